package fat32

import (
	"bytes"
	"io"
	"testing"
)

// FuzzAddFile adds a file to a volume whose boot sector, FSInfo, FAT and first
// clusters are the input. A volume that was sound is sound with the file, a
// refusal writes nothing, and what was there is there.
func FuzzAddFile(f *testing.F) {
	const size = 34 << 20
	opt := options(size, 512)
	sound := newSparse(0)
	files := []File{file("EFI/Boot/bootx64.efi", 2000), file("EFI/a long name", 0), file("EFI/Microsoft/Boot/BCD", 513)}
	if err := Format(sound, opt, files); err != nil {
		f.Fatal(err)
	}
	v, err := Open(sound, size)
	if err != nil {
		f.Fatal(err)
	}
	front, fat, data := make([]byte, 1024), make([]byte, 4*40), make([]byte, 6*512)
	sound.ReadAt(front, 0)
	sound.ReadAt(fat, v.fatStart)
	sound.ReadAt(data, v.dataStart)
	for _, path := range []string{"EFI/Boot/new.efi", "efi/boot/BOOTX64.EFI", "a/b/c/a long name.txt", "EFI/a long name 2"} {
		f.Add(front, fat, data, path, uint16(3000))
	}
	f.Fuzz(func(t *testing.T, front, fat, data []byte, path string, length uint16) {
		d := &recorder{sparse: sound.clone()}
		d.sparse.WriteAt(front[:min(len(front), 1024)], 0)
		d.sparse.WriteAt(front[:min(len(front), 512)], backupBootSector*512)
		for i := range int64(2) {
			d.sparse.WriteAt(fat[:min(len(fat), 4*4096)], v.fatStart+i*v.fatSize)
		}
		d.sparse.WriteAt(data[:min(len(data), 64*512)], v.dataStart)
		before := &recorder{sparse: d.clone()}
		clean, found := inspect(before)

		added := file(path, int(length))
		if err := AddFile(d, size, added); err != nil {
			if len(d.writes) > 0 {
				t.Fatalf("%v, after %d writes", err, len(d.writes))
			}
			return
		}
		after, err := Open(d, size)
		if err != nil {
			t.Fatal(err)
		}
		if err := after.Check(); clean && err != nil {
			t.Fatalf("clean before, now %v", err)
		}
		checkFile(t, after, added)
		now, err := after.Files()
		if err != nil || len(now) != len(found)+1 {
			t.Fatalf("%d files, were %d: %v", len(now), len(found), err)
		}
		old, err := Open(before, size)
		if err != nil {
			t.Fatal(err)
		}
		for i, e := range found {
			if i < 20 {
				compareFile(t, old, after, e)
			}
		}
	})
}

// inspect tells whether a volume is sound, and which files it has.
func inspect(d io.ReaderAt) (clean bool, files []Entry) {
	v, err := Open(d, 34<<20)
	if err != nil {
		return false, nil
	}
	clean = v.Check() == nil
	files, _ = v.Files()
	return clean, files
}

// compareFile tells whether two volumes have a file of the same contents.
func compareFile(t *testing.T, before, after *FS, e Entry) {
	t.Helper()
	contents := func(v *FS) ([]byte, error) {
		runs, err := v.fileRuns(e)
		if err != nil {
			return nil, err
		}
		return io.ReadAll(io.NewSectionReader(&contents{v, runs}, 0, min(e.Size, 1<<20)))
	}
	want, err := contents(before)
	if err != nil {
		t.Fatalf("%s, which Check had read: %v", e.Path, err)
	}
	if got, err := contents(after); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s: not what it was: %v", e.Path, err)
	}
}
