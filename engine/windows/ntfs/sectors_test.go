package ntfs

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestSectorsOf4096 has on volumes of a 4Kn disk what depends on the sizes of
// structures there: FILE records of 4096 bytes, encoded as one cluster or as a
// power of two, their attribute lists, index blocks smaller than clusters, and
// compression units.
func TestSectorsOf4096(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		cluster string
		records byte // how the boot sector gives the size of FILE records
	}{
		{"4096", 1},
		{"8192", 0xf4},
		{"65536", 0xf4},
	} {
		t.Run("clusters of "+c.cluster, func(t *testing.T) {
			t.Parallel()
			path := format(t, 96<<20, "-s", "4096", "-c", c.cluster)
			w := tree{"linked": random(1, 100_000)}
			for i := range 700 {
				w[fmt.Sprintf("many/file with a rather long name, number %d.txt", i*7919%700)] = fmt.Appendf(nil, "contents %d", i)
			}
			if c.cluster == "4096" { // what NTFS compresses
				w["packed/text"] = text(1, 400_003)
			}
			scattered := make([]byte, 12<<20)
			w["scattered"] = scattered
			mounted(t, path, "compression", func(root string) {
				if err := os.Mkdir(filepath.Join(root, "packed"), 0o755); err != nil {
					t.Fatal(err)
				}
				setAttributes(t, filepath.Join(root, "packed"), 0x810)
				delete(w, "scattered")
				w.write(t, root)
				w["packed/"] = nil
				w["scattered"] = scattered
				f, err := os.Create(filepath.Join(root, "scattered"))
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				for at := 0; at < len(scattered); at += 8192 { // each second cluster of 4096 a hole
					copy(scattered[at:], "data")
					if _, err := f.WriteAt([]byte("data"), int64(at)); err != nil {
						t.Fatal(err)
					}
				}
				end := len(scattered) - 4
				copy(scattered[end:], "last")
				if _, err := f.WriteAt(scattered[end:], int64(end)); err != nil {
					t.Fatal(err)
				}
				for i := range 40 {
					name := fmt.Sprintf("many/%s %d", strings.Repeat("link ", 40), i)
					if err := os.Link(filepath.Join(root, "linked"), filepath.Join(root, name)); err != nil {
						t.Fatal(err)
					}
					w[name] = w["linked"]
				}
			})
			v, image := readImage(t, path)
			if image[0x40] != c.records || v.recordSize != 4096 {
				t.Errorf("FILE records of %d bytes by 0x%02x, want 4096 by 0x%02x", v.recordSize, image[0x40], c.records)
			}
			w.check(t, v, image)
			if len(w["packed/text"]) > 0 {
				f, err := v.Open("packed/text")
				if err != nil || !f.Compressed() {
					t.Errorf("packed/text: compressed %v, %v", err == nil && f.Compressed(), err)
				}
			}
			for path, typ := range map[string]uint32{"scattered": typeData, "linked": typeFileName} {
				if path == "scattered" && c.cluster != "4096" {
					continue // no holes of 4096 bytes there
				}
				rec, _, err := v.lookup(path)
				if err != nil {
					t.Fatal(err)
				}
				records := map[reference]bool{}
				for _, l := range rec.parts(typ, "") {
					records[l.record] = true
				}
				if len(records) < 2 {
					t.Errorf("%s: %s in one record; the test wants several", path, typeName(typ))
				}
			}
			bitmap, err := exec.Command("ntfscat", "-f", path, "$Bitmap").Output()
			if err != nil {
				t.Fatal(err)
			}
			checkFile(t, v, image, "$Bitmap", bitmap)
			if clean, err := v.LogFileClean(); !clean || err != nil {
				t.Errorf("LogFileClean = %v, %v", clean, err)
			}
			tornRecord(t, image)
		})
	}
}

// tornRecord breaks each of the eight strides of a FILE record of 4096 bytes.
func tornRecord(t *testing.T, image []byte) {
	t.Helper()
	v := open(t, image)
	e, err := v.Stat("linked")
	if err != nil {
		t.Fatal(err)
	}
	pos := int64(reference(e.Ref).number()) * v.recordSize
	r := v.mft.runs[v.mft.runs.find(pos/v.clusterSize)]
	at := r.lcn*v.clusterSize + pos - r.vcn*v.clusterSize
	for i := int64(1); i <= 8; i++ {
		torn := bytes.Clone(image[at : at+v.recordSize])
		torn[i*stride-1] ^= 0x80
		v, err := Open(&patched{base: image, patches: []patch{{at, torn}}}, int64(len(image)))
		if err != nil {
			t.Fatal(err)
		}
		_, err = v.Stat("linked")
		wantCorrupt(t, err, "torn write", fmt.Sprintf("0x%x", i*stride-2))
	}
}
