package ntfs

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// TestReplace edits files of all kinds of residence by what Replace says, and
// has ntfs-3g read the volume.
func TestReplace(t *testing.T) {
	files := tree{
		"resident.xml": text(1, 400),
		"pages.bin":    random(2, 100_000),
		"untouched":    random(3, 50_000),
	}
	for _, c := range []struct {
		name string
		args []string
	}{
		{"clusters of 4 KiB", nil},
		{"clusters of 512 bytes, smaller than a record", []string{"-c", "512"}},
		{"sectors of 4 KiB", []string{"-s", "4096"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			image := format(t, 16<<20, c.args...)
			mounted(t, image, "", func(root string) { files.write(t, root) })
			v, b := readImage(t, image)
			want := tree{"untouched": files["untouched"]}
			for _, name := range []string{"resident.xml", "pages.bin"} {
				data := bytes.Clone(files[name])
				for i := 7; i < len(data); i += 20_000 {
					data[i] ^= 0xff
				}
				want[name] = data
				f, err := v.Open("/" + name)
				if err != nil {
					t.Fatal(err)
				}
				if name == "resident.xml" && !f.Resident() {
					t.Fatal("the small file is not resident")
				}
				edits, err := f.Replace(data)
				if err != nil {
					t.Fatal(err)
				}
				total := 0
				for _, e := range edits {
					copy(b[e.Offset:], e.Data)
					total += len(e.Data)
				}
				if limit := 5 * editPage; total == 0 || total > limit {
					t.Errorf("%s: %d bytes are to be written, want at most %d", name, total, limit)
				}
			}
			want.check(t, open(t, b), b)
			if err := os.WriteFile(image, bytes.Clone(b), 0o600); err != nil {
				t.Fatal(err)
			}
			mounted(t, image, "ro", func(root string) {
				for name, data := range want {
					if got, err := os.ReadFile(filepath.Join(root, name)); err != nil || !bytes.Equal(got, data) {
						t.Errorf("ntfs-3g reads %s: %d bytes, %v", name, len(got), err)
					}
				}
			})
		})
	}
}

func TestReplaceRefuses(t *testing.T) {
	image := format(t, 16<<20)
	mounted(t, image, "compression", func(root string) {
		if err := os.Mkdir(filepath.Join(root, "packed"), 0o755); err != nil {
			t.Fatal(err)
		}
		setAttributes(t, filepath.Join(root, "packed"), 0x810)
		tree{"packed/file": bytes.Repeat([]byte("x"), 100_000)}.write(t, root)
	})
	v, _ := readImage(t, image)
	f, err := v.Open("/packed/file")
	if err != nil {
		t.Fatal(err)
	}
	if !f.Compressed() {
		t.Fatal("the file is not compressed")
	}
	for what, data := range map[string][]byte{"other length": make([]byte, 7), "compressed": make([]byte, f.Size())} {
		if _, err := f.Replace(data); !errors.Is(err, ErrNotEditable) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
