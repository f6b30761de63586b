package ntfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"imageport/engine/windows/wof"
)

// setAttributes sets FILE_ATTRIBUTE_* bits through ntfs-3g.
func setAttributes(t testing.TB, path string, attributes uint32) {
	t.Helper()
	if err := syscall.Setxattr(path, "system.ntfs_attrib_be", binary.BigEndian.AppendUint32(nil, attributes), 0); err != nil {
		t.Fatal(err)
	}
}

// setReparse gives a file a reparse point.
func setReparse(t testing.TB, path string, tag uint32, data []byte) {
	t.Helper()
	b := binary.LittleEndian.AppendUint32(nil, tag)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(data)))
	b = append(binary.LittleEndian.AppendUint16(b, 0), data...)
	if err := syscall.Setxattr(path, "system.ntfs_reparse_data", b, 0); err != nil {
		t.Fatal(err)
	}
}

// interleave writes files in turns of one cluster, so that each becomes as
// fragmented as its length allows.
func interleave(t testing.TB, root string, w tree, cluster int, paths ...string) {
	t.Helper()
	files := make([]*os.File, len(paths))
	for i, path := range paths {
		f, err := os.Create(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files[i] = f
	}
	for off, more := 0, true; more; off += cluster {
		more = false
		for i, path := range paths {
			if content := w[path]; off < len(content) {
				if _, err := files[i].Write(content[off:min(off+cluster, len(content))]); err != nil {
					t.Fatal(err)
				}
				more = true
			}
		}
	}
}

// punch fills a volume with files of one cluster and then empties every other
// one, so that no two free clusters lie together.
// With rest, the first one takes what is left: $MFT cannot grow then.
func punch(t testing.TB, root string, cluster int, rest bool) tree {
	t.Helper()
	w := tree{}
	for i := 0; ; i++ {
		name := fmt.Sprintf("filler %d", i)
		content := random(i, cluster)
		if err := os.WriteFile(filepath.Join(root, name), content, 0o644); err != nil {
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(err)
			}
			if err := os.Remove(filepath.Join(root, name)); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			break
		}
		w[name] = content
	}
	fillers, first := len(w), 0
	if rest {
		first = 1
		f, err := os.Create(filepath.Join(root, "filler 0"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		content := random(0, 16<<20)
		n, err := f.Write(content)
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		w["filler 0"] = content[:n]
	}
	for i := first; i < fillers; i += 2 {
		name := fmt.Sprintf("filler %d", i)
		if err := os.Truncate(filepath.Join(root, name), 0); err != nil {
			t.Fatal(err)
		}
		w[name] = []byte{}
	}
	return w
}

func TestManyFilesInOneDirectory(t *testing.T) {
	t.Parallel()
	image := format(t, 24<<20)
	w := tree{}
	for i := range 2000 {
		w[fmt.Sprintf("many/file with a rather long name, number %d.txt", i*7919%2000)] = fmt.Appendf(nil, "contents %d", i)
	}
	deep := strings.Repeat("another level/", 100)
	w[deep+"bottom"] = []byte("deep")
	mounted(t, image, "", func(root string) {
		w.write(t, root)
		// Freed index blocks must not be listed.
		for path := range w {
			if strings.HasSuffix(path, "3.txt") || strings.Contains(path, "number 4") {
				delete(w, path)
				if err := os.Remove(filepath.Join(root, path)); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
	v, b := readImage(t, image)
	w.check(t, v, b)
}

func TestFragmentedFiles(t *testing.T) {
	t.Parallel()
	image := format(t, 14<<20, "-c", "1024")
	var w tree
	mounted(t, image, "", func(root string) {
		w = punch(t, root, 1024, true)
		var fs syscall.Statfs_t
		if err := syscall.Statfs(root, &fs); err != nil {
			t.Fatal(err)
		}
		free := int(fs.Bavail) * int(fs.Bsize)
		w["a.bin"], w["b.bin"] = random(1, free*5/9), random(2, free*2/9)
		interleave(t, root, w, 1024, "a.bin", "b.bin")
	})
	v, b := readImage(t, image)
	w.check(t, v, b)
	f, err := v.Open("a.bin")
	if err != nil {
		t.Fatal(err)
	}
	extents, err := f.Extents()
	if err != nil || len(extents) < 300 {
		t.Errorf("%d extents, %v; the test wants hundreds", len(extents), err)
	}
	rec, _, err := v.lookup("a.bin")
	if err != nil {
		t.Fatal(err)
	}
	parts := rec.parts(typeData, "")
	if len(parts) < 2 {
		t.Errorf("%d parts of $DATA; the test wants an attribute list with several", len(parts))
	}
}

func TestCompressedAndSparse(t *testing.T) {
	t.Parallel()
	for _, cluster := range []int{512, 1024, 4096} {
		t.Run(fmt.Sprint(cluster), func(t *testing.T) {
			t.Parallel()
			image := format(t, 32<<20, "-c", fmt.Sprint(cluster))
			w := tree{
				"packed/tiny":         []byte("resident"),
				"packed/zeros":        make([]byte, 300_000),
				"packed/text":         text(1, 1_000_003),
				"packed/random":       random(2, 200_000),
				"packed/unit":         text(3, 65536),
				"packed/interleaved1": text(4, 600_000),
				"packed/interleaved2": text(5, 600_000),
				"sparse":              make([]byte, 3_000_000),
				"sparse at the end":   append(random(6, 100_000), make([]byte, 500_000)...),
			}
			copy(w["sparse"][1_000_000:], random(7, 100_000))
			mounted(t, image, "compression", func(root string) {
				if err := os.Mkdir(filepath.Join(root, "packed"), 0o755); err != nil {
					t.Fatal(err)
				}
				setAttributes(t, filepath.Join(root, "packed"), 0x810)
				for path, content := range w {
					if strings.HasPrefix(path, "sparse") {
						f, err := os.Create(filepath.Join(root, path))
						if err != nil {
							t.Fatal(err)
						}
						from, to := 1_000_000, 1_100_000
						if path != "sparse" {
							from, to = 0, 100_000
						}
						if _, err := f.WriteAt(content[from:to], int64(from)); err != nil {
							t.Fatal(err)
						}
						if err := f.Truncate(int64(len(content))); err != nil {
							t.Fatal(err)
						}
						if err := f.Close(); err != nil {
							t.Fatal(err)
						}
					} else if !strings.Contains(path, "interleaved") {
						tree{path: content}.write(t, root)
					}
				}
				interleave(t, root, w, 4096, "packed/interleaved1", "packed/interleaved2")
			})
			v, b := readImage(t, image)
			w.check(t, v, b)
			for path := range w {
				f, err := v.Open(path)
				if err != nil {
					t.Error(err)
					continue
				}
				compressed := strings.HasPrefix(path, "packed/") && path != "packed/tiny"
				if f.Compressed() != compressed && path != "packed/tiny" {
					t.Errorf("%s: Compressed = %v", path, f.Compressed())
				}
				if path == "sparse" && !f.Sparse() {
					t.Errorf("%s: Sparse = false", path)
				}
				if _, err := f.Extents(); !errors.Is(err, ErrNotEditable) && path != "sparse at the end" {
					t.Errorf("%s: Extents: %v", path, err)
				}
			}
		})
	}
}

func TestForeignContents(t *testing.T) {
	t.Parallel()
	image := format(t, 8<<20)
	content := random(1, 20_000)
	w := tree{"wof": content, "wofstream": content, "dedup": content, "junction/": nil, "efs": content, "uninitialised": content, "ordinary": content}
	mounted(t, image, "", func(root string) {
		w.write(t, root)
		setReparse(t, filepath.Join(root, "wof"), wof.ReparseTag, []byte{1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0})
		setReparse(t, filepath.Join(root, "dedup"), 0x80000013, make([]byte, 16))
		target := []byte{0, 0, 12, 0, 14, 0, 0, 0, 'C', 0, ':', 0, '\\', 0, 'x', 0, 'y', 0, 'z', 0, 0, 0, 0, 0}
		setReparse(t, filepath.Join(root, "junction"), 0xa0000003, target)
		if err := syscall.Setxattr(filepath.Join(root, "wofstream"), "user."+wof.StreamName, random(2, 3000), 0); err != nil {
			t.Fatal(err)
		}
	})
	v, b := readImage(t, image)
	number := func(path string) uint64 {
		e, err := v.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return reference(e.Ref).number()
	}
	editRecord(t, b, number("efs"), func(b []byte) {
		rawAttribute(t, b, typeData)[0x0d] |= flagEncrypted >> 8
	})
	editRecord(t, b, number("uninitialised"), func(b []byte) {
		binary.LittleEndian.PutUint64(rawAttribute(t, b, typeData)[0x38:], 5000)
	})
	v = open(t, b)
	for _, c := range []struct {
		path            string
		tag             uint32
		wof, efs        bool
		read, editError error
		reason          string
	}{
		{"wof", wof.ReparseTag, true, false, ErrCorrupt, ErrNotEditable, "CompactOS"},
		{"wofstream", 0, true, false, ErrUnsupported, ErrNotEditable, "CompactOS"},
		{"dedup", 0x80000013, false, false, ErrUnsupported, ErrNotEditable, "tag 0x80000013"},
		{"efs", 0, false, true, ErrUnsupported, ErrNotEditable, "EFS"},
		{"uninitialised", 0, false, false, nil, nil, ""},
		{"ordinary", 0, false, false, nil, nil, ""},
	} {
		f, err := v.Open(c.path)
		if err != nil {
			t.Error(err)
			continue
		}
		if f.ReparseTag() != c.tag || f.WOF() != c.wof || f.Encrypted() != c.efs || f.Size() != int64(len(content)) {
			t.Errorf("%s: tag 0x%x, WOF %v, encrypted %v, size %d", c.path, f.ReparseTag(), f.WOF(), f.Encrypted(), f.Size())
		}
		_, err = f.ReadAt(make([]byte, 100), 0)
		if !errors.Is(err, c.read) || err != nil && !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%s: ReadAt: %v", c.path, err)
		}
		_, err = f.Extents()
		if !errors.Is(err, c.editError) || err != nil && !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%s: Extents: %v", c.path, err)
		}
	}
	f, err := v.Open("uninitialised")
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 20_000)
	if _, err := f.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	if want := append(content[:5000:5000], make([]byte, 15_000)...); string(got) != string(want) {
		t.Errorf("uninitialised: differs at %d", firstDifference(got, want))
	}
	if extents, err := f.Extents(); err != nil || len(extents) != 1 || extents[0].Length != 5000 {
		t.Errorf("uninitialised: extents %v, %v; want the 5000 bytes that were written", extents, err)
	}
	e, err := v.Stat("junction")
	if err != nil || !e.IsDir || e.ReparseTag != 0xa0000003 || e.Attributes&0x400 == 0 {
		t.Errorf("junction: %+v, %v", e, err)
	}
	if _, err := v.Stat(`junction\file`); !isNotFound(err) || !strings.Contains(err.Error(), "not followed") {
		t.Errorf("a path through a junction: %v", err)
	}
}

// TestHardLinks makes a file whose names fill so many records that its
// attribute list is not resident.
func TestHardLinks(t *testing.T) {
	t.Parallel()
	image := format(t, 8<<20)
	w := tree{"WinSxS/original": random(1, 50_000)}
	mounted(t, image, "", func(root string) {
		w.write(t, root)
		for i := range 60 {
			name := fmt.Sprintf("WinSxS/%s %d", strings.Repeat("long name ", 20), i)
			if err := os.Link(filepath.Join(root, "WinSxS/original"), filepath.Join(root, name)); err != nil {
				t.Fatal(err)
			}
			w[name] = w["WinSxS/original"]
		}
		// A write through one name leaves the copies in directories stale.
		w["WinSxS/original"] = append(w["WinSxS/original"], random(2, 60_000)...)
		if err := os.WriteFile(filepath.Join(root, "WinSxS/original"), w["WinSxS/original"], 0o644); err != nil {
			t.Fatal(err)
		}
		for name := range w {
			w[name] = w["WinSxS/original"]
		}
	})
	v, b := readImage(t, image)
	w.check(t, v, b)
	rec, _, err := v.lookup("WinSxS/original")
	if err != nil {
		t.Fatal(err)
	}
	list := false
	for _, a := range rec.attributes {
		list = list || a.typ == typeAttributeList && a.nonResident
	}
	if !list {
		t.Error("the test wants an attribute list that is not resident")
	}
	entries, err := v.ReadDir("WinSxS")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Ref != uint64(rec.reference()) {
			t.Errorf("%s: reference %x, want %x", e.Name, e.Ref, rec.reference())
		}
	}
}
