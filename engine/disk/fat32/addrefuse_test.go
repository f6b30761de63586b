package fat32

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"
)

func TestAddFileRefuses(t *testing.T) {
	const size = 33 << 20
	opt := options(size, 512)
	there := []File{file("EFI/Boot/Long Name.txt", 1000), file("EFI/file", 0)}
	sound := formatted(t, opt, there)
	v, err := Open(sound, size)
	if err != nil {
		t.Fatal(err)
	}
	_, used, _ := v.chain(2, 1) // the root
	if used != 1 {
		t.Fatal("the root has grown")
	}
	free := int64(v.info.Clusters) - 6 + 1 // root, EFI, Boot, 2 of the file, and no more
	put := func(off int64, b ...byte) func(*sparse) { return func(d *sparse) { d.WriteAt(b, off) } }
	fat := func(cluster int64, value uint32) func(*sparse) {
		return func(d *sparse) {
			for i := range int64(2) {
				d.WriteAt(binary.LittleEndian.AppendUint32(nil, value), v.fatStart+i*v.fatSize+4*cluster)
			}
		}
	}
	tests := []struct {
		name   string
		damage func(*sparse)
		file   File
		want   error
		says   string
	}{
		{"NTFS", put(bpbRootEntries16, 0, 2), file("a", 1), ErrNotFAT32, "FAT12 or FAT16"},
		{"dirty", fat(1, 0x07FFFFFF), file("a", 1), ErrDirty, "was not unmounted"},
		{"dirty as Windows has it", put(bsState, 1), file("a", 1), ErrDirty, "was not unmounted"},
		{"I/O errors", put(bsState, 2), file("a", 1), ErrDirty, "I/O errors"},
		{"FATs differ", put(v.fatStart+v.fatSize+40000, 1), file("a", 1), ErrCorrupt, "the FAT at offset"},
		{"lost cluster", fat(500, fatMask), file("a", 1), ErrCorrupt, "belongs to no file"},
		{"file in free clusters", fat(5, 1000), file("a", 1), ErrCorrupt, "Long Name.txt"},
		{"FSInfo", put(512, 0), file("a", 1), ErrCorrupt, "FSInfo at offset 512"},
		{"directory in a cycle", fat(3, 3), file("a", 1), ErrCorrupt, "does not end"},

		{"exists", nil, file("EFI/Boot/Long Name.txt", 1), fs.ErrExist, `"EFI/Boot/Long Name.txt" is there already`},
		{"exists in another case", nil, file("efi/BOOT/long NAME.TXT", 1), fs.ErrExist, "is there already"},
		{"exists as a short name", nil, file("EFI/Boot/longna~1.txt", 1), fs.ErrExist, `"EFI/Boot/Long Name.txt" is there already`},
		{"exists as a directory", nil, file("efi", 1), fs.ErrExist, `"EFI" is there already`},
		{"in a file", nil, file("EFI/file/x", 1), ErrPath, `"EFI/file" is a file`},
		{"no name", nil, file("", 1), ErrPath, "empty name"},
		{"empty name", nil, file("EFI//x", 1), ErrPath, "empty name"},
		{"absolute", nil, file("/EFI/x", 1), ErrPath, "empty name"},
		{"dots", nil, file("EFI/../x", 1), ErrPath, `".."`},
		{"backslash", nil, file(`EFI\x`, 1), ErrPath, "contains"},
		{"trailing dot", nil, file("EFI/x.", 1), ErrPath, "ends in a dot"},
		{"long name", nil, file(strings.Repeat("x", 256), 1), ErrPath, "255"},
		{"long path", nil, file(strings.Repeat("x/", 2100), 1), ErrPath, "at most 4096"},
		{"deep path", nil, file(strings.Repeat("x/", 129)+"x", 1), ErrPath, "129 directories"},
		{"negative size", nil, File{Path: "a", Size: -1}, ErrFileSize, "-1 bytes"},
		{"4 GiB", nil, File{Path: "a", Size: 1 << 32}, ErrFileSize, "4294967296 bytes"},
		{"no data", nil, File{Path: "a", Size: 1}, ErrFileSize, "no data"},
		{"no space", nil, File{Path: "a", Size: free*512 + 1, Data: zeroes{}}, ErrNoSpace, fmt.Sprintf("needs %d clusters of 512 bytes, %d are free", free+1, free)},
		{"no space for the directory", nil, File{Path: "d/a", Size: free * 512, Data: zeroes{}}, ErrNoSpace, "are free"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := &recorder{sparse: sound.clone()}
			if tt.damage != nil {
				tt.damage(d.sparse)
			}
			err := AddFile(d, size, tt.file)
			if !errors.Is(err, tt.want) || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want %v that says %q", err, tt.want, tt.says)
			}
			if len(d.writes) > 0 {
				t.Errorf("%d writes", len(d.writes))
			}
		})
	}

	// What just fits, is stored.
	d := sound.clone()
	if err := AddFile(d, size, File{Path: "a", Size: free * 512, Data: zeroes{}, ModTime: testTime}); err != nil {
		t.Fatal(err)
	}
	if v, err := Open(d, size); err != nil || v.Check() != nil {
		t.Error(err, v.Check())
	}
	if err := AddFile(d, size, file("b", 1)); !errors.Is(err, ErrNoSpace) {
		t.Errorf("a full volume: %v", err)
	}
	if err := AddFile(d, size, file("empty", 0)); err != nil {
		t.Errorf("an empty file needs no cluster: %v", err)
	}

	short := File{Path: "a", Size: 1000, Data: strings.NewReader("short")}
	if err := AddFile(sound.clone(), size, short); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("data shorter than its size: %v", err)
	}
}

// zeroes is endless data.
type zeroes struct{}

func (zeroes) ReadAt(p []byte, _ int64) (int, error) { clear(p); return len(p), nil }

// A directory of 65536 entries is full.
func TestAddFileDirectoryFull(t *testing.T) {
	opt := options(260<<20, 4096)
	var files []File
	for i := range 65536 - 3 { // ".", "..", and one is left
		files = append(files, File{Path: fmt.Sprintf("D/%d", i)})
	}
	d := formatted(t, opt, files)
	if err := AddFile(d, opt.SizeBytes, file("D/two entries", 0)); !errors.Is(err, ErrNoSpace) {
		t.Errorf("two entries: %v", err)
	}
	if err := AddFile(d, opt.SizeBytes, file("D/LAST", 0)); err != nil {
		t.Error(err)
	}
	if err := AddFile(d, opt.SizeBytes, file("D/ONEMORE", 0)); !errors.Is(err, ErrNoSpace) {
		t.Errorf("one more: %v", err)
	}
	if v, err := Open(d, opt.SizeBytes); err != nil || v.Check() != nil {
		t.Error(err, v.Check())
	}
}
