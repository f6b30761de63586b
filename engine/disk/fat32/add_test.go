package fat32

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// recorder is a sparse device that knows what was written.
type recorder struct {
	*sparse
	writes []piece
	failAt int // number of the write that fails; 0 = none
}

var errDevice = errors.New("device")

func (r *recorder) WriteAt(p []byte, off int64) (int, error) {
	if r.failAt > 0 && len(r.writes)+1 == r.failAt {
		return 0, errDevice
	}
	r.writes = append(r.writes, piece{off, bytes.Clone(p)})
	return r.sparse.WriteAt(p, off)
}

// clone returns a device with the same contents.
func (s *sparse) clone() *sparse {
	c := newSparse(s.fill)
	for n, page := range s.pages {
		c.pages[n] = new([4096]byte)
		*c.pages[n] = *page
	}
	return c
}

// formatted is a volume with the files, over garbage.
func formatted(t testing.TB, opt Options, files []File) *sparse {
	t.Helper()
	d := newSparse(0xAA)
	if err := Format(d, opt, files); err != nil {
		t.Fatal(err)
	}
	return d
}

// Any file that Format can store can be added, to whatever is there.
func TestAddFile(t *testing.T) {
	for _, tt := range []struct {
		size                int64
		sectorSize, cluster int
	}{
		{33 << 20, 512, 512},
		{260 << 20, 4096, 4096},
		{8 << 30, 4096, 64 << 10},
	} {
		t.Run(fmt.Sprintf("sectors of %d, clusters of %d", tt.sectorSize, tt.cluster), func(t *testing.T) {
			opt := options(tt.size, tt.sectorSize)
			opt.ClusterSize = tt.cluster
			there := bootFiles(0.01)
			var more []File
			for i, f := range trickyFiles(tt.cluster) {
				if f.Path != "EFI/Boot/bootx64.efi" && (i < 60 || tt.cluster == 512) { // that is one of there
					more = append(more, f)
				}
			}
			d := formatted(t, opt, there)
			for _, f := range more {
				if err := AddFile(d, tt.size, f); err != nil {
					t.Fatalf("%s: %v", f.Path, err)
				}
			}
			checkContent(t, d, opt, append(more, there...))
		})
	}
}

// The names of what is added are those that Format gives, but for the numbers
// of aliases, which are those that are free.
func TestAddFileNames(t *testing.T) {
	opt := options(33<<20, 512)
	d := formatted(t, opt, []File{file("EFI/Long Name.txt", 1), file("EFI/longna~2.txt", 1), file("EFI/LONGNA~3.TXT", 1)})
	for path, want := range map[string]string{
		"EFI/Long Names.txt":       "LONGNA~4.TXT",
		"EFI/Boot/BOOTX64.EFI":     "BOOTX64.EFI",
		"efi/boot/bootia32.efi":    "BOOTIA32.EFI",
		"EFI/Boot/bootx64.efi.bak": "BOOTX6~1.BAK",
	} {
		if err := AddFile(d, opt.SizeBytes, file(path, 1)); err != nil {
			t.Fatal(err)
		}
		v, err := Open(d, opt.SizeBytes)
		if err != nil {
			t.Fatal(err)
		}
		e, err := v.Stat(path)
		if err != nil || e.ShortName != want || !strings.HasSuffix(e.Path, path[strings.LastIndexByte(path, '/'):]) {
			t.Errorf("%s: %+v, %v, want short name %s", path, e, err, want)
		}
	}
}

// Only what is free or must change is written, and its entry last.
func TestAddFileWrites(t *testing.T) {
	const size = 33 << 20
	opt := options(size, 512)
	there := bootFiles(0.01)
	before := formatted(t, opt, there)
	v, err := Open(before, size)
	if err != nil {
		t.Fatal(err)
	}
	parent, err := v.Stat("EFI/Boot")
	if err != nil {
		t.Fatal(err)
	}
	needed, err := Needed(opt, there)
	if err != nil {
		t.Fatal(err)
	}
	d := &recorder{sparse: before.clone()}
	if err := AddFile(d, size, file("EFI/Boot/new/Also New/file", 5000)); err != nil {
		t.Fatal(err)
	}
	for i, w := range d.writes {
		what := "else"
		switch {
		case w.off == 512+fsiFreeCount && len(w.data) == 8:
			what = "FSInfo"
		case w.off >= v.fatStart && w.off < v.dataStart:
			what = "FAT"
		case w.off >= needed:
			what = "free"
		case w.off >= v.offset(parent.cluster) && w.off < v.offset(parent.cluster+1):
			what = "directory"
		}
		if want := []string{"free", "free", "free", "FAT", "FAT", "FSInfo", "directory"}[min(i, 6)]; what != want {
			t.Errorf("write %d: %d bytes at %d, %s, want %s", i, len(w.data), w.off, what, want)
		}
	}
	if last := d.writes[len(d.writes)-1].data; len(d.writes) != 7 || len(last) != 3*dirEntrySize || last[2*dirEntrySize] != entryEnd {
		t.Errorf("%d writes, the last one of %d bytes", len(d.writes), len(last))
	}
}

// Wherever the device fails, the volume has all that it had, and either the
// new file or no trace of it in a directory.
func TestAddFileDeviceFails(t *testing.T) {
	const size = 33 << 20
	opt := options(size, 512)
	there := []File{file("EFI/a", 1000), file("EFI/b", 1000)}
	for i := range 12 { // the entries fill their cluster: the directory will grow
		there = append(there, file(fmt.Sprintf("EFI/%d", i), 100))
	}
	before := formatted(t, opt, there)
	added := file("EFI/Boot/bootx64.efi", 3000)
	for n := 1; ; n++ {
		d := &recorder{sparse: before.clone(), failAt: n}
		err := AddFile(d, size, added)
		if err == nil {
			if n < 7 {
				t.Errorf("only %d writes", n-1)
			}
			checkContent(t, d, opt, append(there, added))
			return
		}
		if !errors.Is(err, errDevice) {
			t.Fatal(err)
		}
		v, err := Open(d, size)
		if err != nil {
			t.Fatal(err)
		}
		found, err := v.Files()
		if err != nil || len(found) != len(there) {
			t.Errorf("write %d: %d files, %v", n, len(found), err)
		}
		for _, f := range there {
			checkFile(t, v, f)
		}
	}
}

// What FSInfo says is a hint: it may be wrong before, and is right afterwards.
func TestAddFileStaleFSInfo(t *testing.T) {
	const size = 33 << 20
	opt := options(size, 512)
	for _, numbers := range []string{"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", "\x00\x00\x00\x00\x00\x00\x00\x00", "\x01\x00\x00\x00\x02\x00\x00\x00"} {
		d := formatted(t, opt, bootFiles(0.01))
		d.WriteAt([]byte(numbers), 512+fsiFreeCount)
		if err := AddFile(d, size, file("new", 1000)); err != nil {
			t.Fatal(err)
		}
		checkContent(t, d, opt, append(bootFiles(0.01), file("new", 1000)))
	}
}

// Where only one FAT is in use, the other one is not touched.
func TestAddFileOneFAT(t *testing.T) {
	const size = 33 << 20
	for active := range 2 {
		opt := options(size, 512)
		d := formatted(t, opt, bootFiles(0.01))
		v, err := Open(d, size)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range []int64{0, backupBootSector * 512} {
			d.WriteAt([]byte{0x80 | byte(active)}, at+bpbExtFlags)
		}
		unused := v.fatStart + int64(1-active)*v.fatSize
		garbage := bytes.Repeat([]byte{0x55}, int(v.fatSize))
		d.WriteAt(garbage, unused)
		if err := AddFile(d, size, file("new", 1000)); err != nil {
			t.Fatal(err)
		}
		checkContent(t, d, opt, append(bootFiles(0.01), file("new", 1000)))
		got := make([]byte, v.fatSize)
		if d.ReadAt(got, unused); !bytes.Equal(got, garbage) {
			t.Error("the unused FAT was written")
		}
	}
}

// The room of deleted entries is used, and what lies behind the end of a
// directory does not come back.
func TestAddFileSlots(t *testing.T) {
	const size = 33 << 20
	opt := options(size, 512)
	// The 16 slots of A: ".", "..", ALPHA, 3 to 6 for the long name, ZULU.
	long := "b" + strings.Repeat("o", 30)
	d := formatted(t, opt, []File{file("A/"+long, 0), file("A/ALPHA", 0), file("A/ZULU", 0)})
	v, err := Open(d, size)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := v.Stat("A")
	if err != nil {
		t.Fatal(err)
	}
	slot := func(n int64) int64 { return v.offset(dir.cluster) + n*dirEntrySize }
	for n := int64(3); n < 7; n++ {
		d.WriteAt([]byte{entryDeleted}, slot(n)) // long
	}
	for n := int64(9); n < 16; n++ { // an old entry behind the end, which Windows may leave
		d.WriteAt(appendEntry(nil, newShortName("GHOST", ""), attrArchive, 9, 1000, testTime), slot(n))
	}
	for i, f := range []File{
		file("A/x"+strings.Repeat("o", 60), 0), // 6 entries
		file("A/Three Entries.bin", 0),
		file("A/ONE", 0),
		file("A/NEXT", 0),
	} {
		want := []int64{8, 3, 6, 14}[i]
		if err := AddFile(d, size, f); err != nil {
			t.Fatal(err)
		}
		e := make([]byte, dirEntrySize)
		entries, _ := d.ReadAt(e, slot(want))
		if entries != len(e) || e[0] == entryDeleted || e[0] == entryEnd {
			t.Errorf("%s: no entry in slot %d: % X", f.Path, want, e)
		}
	}
	found, err := v.Files()
	if err != nil || len(found) != 6 {
		t.Errorf("%d files, %v: %v", len(found), err, found)
	}
	if err := v.Check(); err != nil {
		t.Error(err)
	}
}

func TestAddFileFragmented(t *testing.T) {
	const size = 33 << 20
	opt := options(size, 512)
	var there []File
	for i := range 40 {
		there = append(there, file(fmt.Sprintf("F%d", i), 512*(1+i%3)))
	}
	d := formatted(t, opt, there)
	// Every second file goes, as DEL deletes it.
	v, err := Open(d, size)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := v.Files()
	if err != nil {
		t.Fatal(err)
	}
	table := fatWriter{fatReader: fatReader{v: v}, w: d}
	var left []File
	for i, e := range entries {
		if i%2 == 0 {
			for _, f := range there {
				if f.Path == e.Path {
					left = append(left, f)
				}
			}
			continue
		}
		d.WriteAt([]byte{entryDeleted}, v.offset(v.rootCluster)+int64(1+i)*dirEntrySize) // the label is first
		for k := range uint32(e.Size+511) / 512 {
			if err := table.set(e.cluster+k, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := table.flush(); err != nil {
		t.Fatal(err)
	}
	added := file("fragmented/file", 50_001)
	if err := AddFile(d, size, added); err != nil {
		t.Fatal(err)
	}
	checkContent(t, d, opt, append(left, added))
	e, err := v.Stat(added.Path)
	if err != nil {
		t.Fatal(err)
	}
	if runs, err := v.fileRuns(e); err != nil || len(runs) < 10 {
		t.Errorf("%d runs, %v: the file was meant to be fragmented", len(runs), err)
	}
}
