package ntfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"
)

// freeSpace collects FreeSpace and checks the order of its ranges.
func freeSpace(t testing.TB, v *Volume) (list []Range, clusters int64) {
	t.Helper()
	end := int64(-1)
	for r, err := range v.FreeSpace() {
		if err != nil {
			t.Fatal(err)
		}
		if r.Offset <= end || r.Length <= 0 || r.Offset%v.clusterSize != 0 || r.Length%v.clusterSize != 0 {
			t.Errorf("range %+v behind one that ends at %d", r, end)
		}
		end = r.Offset + r.Length
		list = append(list, r)
		clusters += r.Length / v.clusterSize
	}
	if end > v.totalBytes {
		t.Errorf("free space up to %d on a volume of %d bytes", end, v.totalBytes)
	}
	return list, clusters
}

// bitByBit is the free space by a bitmap, the slow way.
func bitByBit(bitmap []byte, clusters, clusterSize int64) (list []Range) {
	for c := range clusters {
		if bitmap[c/8]>>(c%8)&1 != 0 {
			continue
		}
		if n := len(list); n > 0 && list[n-1].Offset+list[n-1].Length == c*clusterSize {
			list[n-1].Length += clusterSize
		} else {
			list = append(list, Range{c * clusterSize, clusterSize})
		}
	}
	return list
}

var (
	freeClustersLine = regexp.MustCompile(`Free Clusters: (\d+)`)
	clustersLine     = regexp.MustCompile(`Volume Size in Clusters: (\d+)`)
)

// TestFreeSpace compares with what the NTFS tools see: ntfsinfo's count, the
// bitmap as ntfscat reads it, and ntfscluster's owners of the clusters next to
// and at the ends of free ranges.
func TestFreeSpace(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		size    int64
		cluster int
		args    []string
	}{
		{"default", 48<<20 + 12345, 4096, nil},
		{"fragmented", 6 << 20, 1024, []string{"-c", "1024"}},
		{"clusters of 512 bytes", 40<<20 + 512*37, 512, []string{"-c", "512"}},
		{"clusters of 64 KiB", 48 << 20, 65536, []string{"-c", "65536"}},
		{"sectors of 4096 bytes", 48<<20 + 4096*3, 4096, []string{"-s", "4096"}},
		{"more than a batch of the bitmap", 3 << 30, 4096, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			image := format(t, c.size, c.args...)
			mounted(t, image, "", func(root string) {
				if c.name == "fragmented" {
					punch(t, root, c.cluster, false)
					return
				}
				w := tree{}
				for i := range 60 {
					w[fmt.Sprint("file ", i)] = random(i, i*3000)
				}
				w.write(t, root)
				for i := 0; i < 60; i += 3 {
					if err := os.Remove(filepath.Join(root, fmt.Sprint("file ", i))); err != nil {
						t.Fatal(err)
					}
				}
			})
			v, b := readImage(t, image)
			list, clusters := freeSpace(t, v)
			info := runTool(t, "ntfsinfo", "-m", "-f", image)
			for want, line := range map[int64]*regexp.Regexp{clusters: freeClustersLine, v.clusters: clustersLine} {
				m := line.FindStringSubmatch(info)
				if m == nil || m[1] != strconv.FormatInt(want, 10) {
					t.Errorf("ntfsinfo says %q, want %d", m, want)
				}
			}
			bitmap, err := exec.Command("ntfscat", "-f", image, "$Bitmap").Output()
			if err != nil {
				t.Fatal(err)
			}
			if want := bitByBit(bitmap, v.clusters, v.clusterSize); !slices.Equal(list, want) {
				t.Errorf("%d ranges, want %d", len(list), len(want))
			}
			if c.name == "fragmented" && len(list) < 300 {
				t.Errorf("%d free ranges; the test wants many", len(list))
			}
			checkFilesNotFree(t, v, list)

			// Bits beyond the last cluster are nobody's.
			for n, at := v.clusters, bitmapExtents(t, v); n%8 != 0; n++ {
				b[at(n/8)] ^= 1 << (n % 8)
			}
			if again, _ := freeSpace(t, open(t, b)); !slices.Equal(list, again) {
				t.Error("bits beyond the last cluster count")
			}
			for r := range v.FreeSpace() { // a consumer may stop early
				if r != list[0] {
					t.Errorf("first range %+v, want %+v", r, list[0])
				}
				break
			}
		})
	}
}

// bitmapExtents maps an offset in $Bitmap to the volume.
func bitmapExtents(t testing.TB, v *Volume) func(off int64) int64 {
	t.Helper()
	f, err := v.Open("$Bitmap")
	if err != nil {
		t.Fatal(err)
	}
	extents, err := f.Extents()
	if err != nil {
		t.Fatal(err)
	}
	return func(off int64) int64 {
		for _, e := range extents {
			if off < e.FileOffset+e.Length {
				return e.VolumeOffset + off - e.FileOffset
			}
		}
		t.Fatalf("offset %d is not in $Bitmap", off)
		return 0
	}
}

// checkFilesNotFree holds every file that can be edited in place against the
// free space.
func checkFilesNotFree(t testing.TB, v *Volume, free []Range) {
	t.Helper()
	err := walk(v, func(path string, e Entry) error {
		if e.IsDir {
			return nil
		}
		f, err := v.Open(path)
		if err != nil {
			return err
		}
		if f.Resident() {
			return nil
		}
		extents, err := f.Extents()
		for _, x := range extents {
			i, _ := slices.BinarySearchFunc(free, x.VolumeOffset, func(r Range, at int64) int {
				if r.Offset+r.Length <= at {
					return -1
				}
				return 1
			})
			if i < len(free) && free[i].Offset < x.VolumeOffset+x.Length {
				t.Errorf("%s: extent %+v is free by %+v", path, x, free[i])
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestFreeSpaceOfDamagedBitmap(t *testing.T) {
	t.Parallel()
	original := unpack(t, windowsVolume)
	clusters := open(t, original).clusters
	for _, c := range []struct {
		name   string
		edit   func(attribute []byte)
		reason string
	}{
		{"too short", func(a []byte) {
			a[0x30], a[0x38] = byte((clusters-1)/8), byte((clusters-1)/8)
		}, "$Bitmap has"},
		{"not written to its end", func(a []byte) { a[0x38] = byte((clusters - 1) / 8) }, "$Bitmap has"},
		{"sparse", func(a []byte) { a[0x0d] = flagSparse >> 8 }, "flags 0x8000"},
		{"missing", func(a []byte) { a[0] = typeBitmap }, "no $DATA"},
	} {
		t.Run(c.name, func(t *testing.T) {
			image := bytes.Clone(original)
			editRecord(t, image, recordBitmap, func(b []byte) { c.edit(rawAttribute(t, b, typeData)) })
			n := 0
			for r, err := range open(t, image).FreeSpace() {
				wantCorrupt(t, err, "MFT record 6", c.reason)
				if n++; n > 1 || r != (Range{}) {
					t.Errorf("range %+v with the error", r)
				}
			}
			if n == 0 {
				t.Error("no error")
			}
		})
	}
	t.Run("unreadable", func(t *testing.T) {
		v := open(t, original)
		at := bitmapExtents(t, v)(0)
		v.r = unreadable{v.r, at}
		for _, err := range v.FreeSpace() {
			if !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, ErrCorrupt) {
				t.Errorf("FreeSpace: %v", err)
			}
		}
	})
}

// unreadable ends before an offset.
type unreadable struct {
	io.ReaderAt
	end int64
}

func (u unreadable) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > u.end {
		return 0, io.EOF
	}
	return u.ReaderAt.ReadAt(p, off)
}
