package fat32

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The reader must take what others write, fragmented files and directories
// among it.
func TestReadsMtools(t *testing.T) {
	for _, sectorSize := range []int{512, 4096} {
		t.Run(fmt.Sprint(sectorSize), func(t *testing.T) {
			opt := options(2400*63*4096, sectorSize) // whole tracks, or mkfs.fat leaves out the rest
			opt.ClusterSize = 4096
			image := newImage(t, opt.SizeBytes, 0)
			command(t, "mkfs.fat", "-F", "32", "-S", fmt.Sprint(sectorSize), "-s", fmt.Sprint(4096/sectorSize),
				"-n", opt.Label, "-i", "1234ABCD", "-h", "2048", image.Name())

			// Every second file goes, one that needs more than its room comes.
			dir := t.TempDir()
			store := func(f File) {
				path := filepath.Join(dir, "file")
				if err := os.WriteFile(path, content(f.Path, int(f.Size)), 0o600); err != nil {
					t.Fatal(err)
				}
				if err := os.Chtimes(path, testTime, testTime); err != nil {
					t.Fatal(err)
				}
				command(t, "mcopy", "-m", "-i", image.Name(), path, "::/"+f.Path)
			}
			command(t, "mmd", "-i", image.Name(), "::/EFI", "::/EFI/A Directory")
			var files []File
			for i := range 40 {
				f := file(fmt.Sprintf("EFI/A Directory/file with a rather long name %d.bin", i), 4096*(1+i%3)-i)
				store(f)
				files = append(files, f)
			}
			for i := len(files) - 1; i >= 0; i -= 2 {
				command(t, "mdel", "-i", image.Name(), "::/"+files[i].Path)
				files = slices.Delete(files, i, i+1)
			}
			// mtools looks for room from where FSInfo says: say the beginning.
			fsInfo := int64(sectorSize)
			if _, err := image.WriteAt([]byte{2, 0, 0, 0}, fsInfo+fsiNextFree); err != nil {
				t.Fatal(err)
			}
			for _, f := range []File{file("EFI/A Directory/Fragmented.bin", 150_001), file("lower.txt", 7), file("EFI/empty", 0)} {
				store(f)
				files = append(files, f)
			}
			checkContent(t, image, opt, files)

			v, err := Open(image, opt.SizeBytes)
			if err != nil {
				t.Fatal(err)
			}
			e, err := v.Stat("efi/a directory/FRAGMENTED.BIN")
			if err != nil {
				t.Fatal(err)
			}
			runs, err := v.fileRuns(e)
			if err != nil || len(runs) < 3 {
				t.Errorf("%d runs, %v: the file was meant to be fragmented", len(runs), err)
			}
			// Reads that begin and end within runs.
			r, err := v.Open(e.Path)
			if err != nil {
				t.Fatal(err)
			}
			want := content(e.Path, int(e.Size))
			for off := 0; off < len(want); off += 1777 {
				p := make([]byte, min(9000, len(want)-off))
				if _, err := r.ReadAt(p, int64(off)); err != nil || !bytes.Equal(p, want[off:off+len(p)]) {
					t.Fatalf("at %d: %v", off, err)
				}
			}
		})
	}
}

func TestOpenFile(t *testing.T) {
	opt := options(33<<20, 512)
	d := newSparse(0)
	if err := Format(d, opt, bootFiles(0.01)); err != nil {
		t.Fatal(err)
	}
	v, err := Open(d, opt.SizeBytes)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{
		"EFI/Boot/bootx64.efi":                    nil,
		"efi/BOOT/BOOTX64.EFI":                    nil,
		"EFI/MICROS~1/Boot/qps-ploc/BOOTMG~1.MUI": nil,
		"":                         fs.ErrNotExist,
		"/EFI/Boot/bootx64.efi":    fs.ErrNotExist,
		"EFI/Boot":                 fs.ErrInvalid,
		"EFI/Boot/":                fs.ErrNotExist,
		"EFI/Boot/.":               fs.ErrNotExist,
		"EFI/Boot/bootia32.efi":    fs.ErrNotExist,
		"EFI/Boot/bootx64.efi/x":   fs.ErrNotExist,
		"SYSTEM":                   fs.ErrNotExist, // the label is no file
		"EFI/../EFI/Boot":          fs.ErrNotExist,
		`EFI\Boot\bootx64.efi`:     fs.ErrNotExist,
		"EFI/Microsoft/Boot/de-DE": fs.ErrInvalid,
	} {
		if _, err := v.Open(path); !errors.Is(err, want) {
			t.Errorf("%q: got %v, want %v", path, err, want)
		}
	}
	stop := errors.New("stop")
	if err := v.Walk(func(e Entry) error {
		if e.Path == "EFI/Boot" {
			return stop
		}
		return nil
	}); err != stop {
		t.Errorf("Walk: %v", err)
	}
}

// TestRefuses damages one thing each in a sound volume, whose tree is
//
//	cluster 2 root, 3 A, 4 A/B, 5 C, 6 and 7 A/B/FILE
func TestRefuses(t *testing.T) {
	const size = 33 << 20
	const root, a, ab, c = 1088 * 512, 1089 * 512, 1090 * 512, 1091 * 512
	const fat1, fat2 = 32 * 512, (32 + 528) * 512
	fatEntry := func(cluster int64, v uint32) func(*sparse) {
		return func(d *sparse) {
			for _, fat := range []int64{fat1, fat2} {
				d.WriteAt(binary.LittleEndian.AppendUint32(nil, v), fat+4*cluster)
			}
		}
	}
	put := func(off int64, b ...byte) func(*sparse) {
		return func(d *sparse) { d.WriteAt(b, off) }
	}
	both := func(changes ...func(*sparse)) func(*sparse) {
		return func(d *sparse) {
			for _, c := range changes {
				c(d)
			}
		}
	}
	tests := []struct {
		name   string
		damage func(*sparse)
		want   error
		says   string
	}{
		{"no boot signature", put(510, 0), ErrNotFAT32, "found 00 AA"},
		{"no jump", put(0, 0x33), ErrNotFAT32, "starts with 33"},
		{"sector size 0", put(bpbBytesPerSector, 0, 0), ErrNotFAT32, "sectors of 0 bytes"},
		{"cluster size 0", put(bpbSectorsPerCluster, 0), ErrNotFAT32, "clusters of 0 sectors"},
		{"cluster size 3", put(bpbSectorsPerCluster, 3), ErrNotFAT32, "clusters of 3 sectors"},
		{"no reserved sectors", put(bpbReservedSectors, 0, 0), ErrNotFAT32, "0 reserved sectors"},
		{"no FATs", put(bpbNumFATs, 0), ErrNotFAT32, "0 FATs"},
		{"FAT16", put(bpbRootEntries16, 0, 2), ErrNotFAT32, "FAT12 or FAT16"},
		{"version", put(bpbVersion, 1), ErrNotFAT32, "version 0001"},
		{"larger than the partition", put(bpbTotalSectors32+3, 1), ErrNotFAT32, "but the partition has"},
		{"too few clusters", put(bpbTotalSectors32+2, 0), ErrNotFAT32, "clusters"},
		{"FATs too short", put(bpbFATSectors32, 1, 0), ErrNotFAT32, "FATs of 1 sectors"},
		{"FATs over everything", put(bpbFATSectors32+3, 0xFF), ErrNotFAT32, "0 clusters"},
		{"root at cluster 1", put(bpbRootCluster, 1), ErrNotFAT32, "cluster 1"},
		{"root beyond the end", put(bpbRootCluster+3, 1), ErrNotFAT32, "root directory"},
		{"FAT 3 in use", put(bpbExtFlags, 0x83), ErrNotFAT32, "FAT 3"},
		{"FSInfo in the FAT", put(bpbFSInfo, 32), ErrNotFAT32, "FSInfo in sector 32"},

		{"file in a cycle", fatEntry(7, 6), ErrCorrupt, `"A/B/FILE": the chain from cluster 6 does not end`},
		{"file in a cycle of one", fatEntry(6, 6), ErrCorrupt, `"A/B/FILE": the chain from cluster 6 does not end`},
		{"file too long", both(fatEntry(7, 8), fatEntry(8, fatMask)), ErrCorrupt, "does not end after 2 clusters"},
		{"file too short", fatEntry(6, fatMask), ErrCorrupt, "only 1 clusters"},
		{"file into the free clusters", fatEntry(6, 1000), ErrCorrupt, "cluster number 0 after 2 clusters"},
		{"file beyond the end", fatEntry(6, 0x0FFFFFF0), ErrCorrupt, "cluster number 268435440 after 1"},
		{"file in a bad cluster", fatEntry(6, fatBad), ErrCorrupt, "cluster number 268435447 after 1"},
		{"root in a cycle", fatEntry(2, 2), ErrCorrupt, `directory "": the chain from cluster 2 does not end`},
		{"directory in a cycle", fatEntry(4, 4), ErrCorrupt, `directory "A/B": the chain from cluster 4 does not end`},
		{"directory is its parent", put(a+2*32+dirClusterLow, 3), ErrCorrupt, `directories "A" and "A/B" both have cluster 3`},
		{"directory is the root", put(a+2*32+dirClusterLow, 2), ErrCorrupt, "both have cluster 2"},
		{"directory has no cluster", put(a+2*32+dirClusterLow, 0), ErrCorrupt, "cluster number 0 after 0 clusters"},
		{"directories share", put(root+2*32+dirClusterLow, 3), ErrCorrupt, "both have cluster 3"},
		{"directory with a size", put(root+32+dirFileSize, 1), ErrCorrupt, "has size 1"},
		{"name with a slash", put(ab+2*32, 'A', '/', 'B'), ErrCorrupt, `name "A/BE"`},
		{"name of dots", put(ab+2*32, '.', '.', ' ', ' '), ErrCorrupt, `name ".."`},
		{"name with a control character", put(ab+2*32, 7), ErrCorrupt, `name "\aILE"`},
		{"long name with a slash", put(c+2*32+1, '/'), ErrCorrupt, `name "/ong name"`},
		{"dot points elsewhere", put(a+dirClusterLow, 9), ErrCorrupt, `entry 0 is ".          " at cluster 9`},
		{"dotdot of the first level is not 0", put(a+32+dirClusterLow, 2), ErrCorrupt, `entry 1 is "..         " at cluster 2`},
		{"dotdot points elsewhere", put(ab+32+dirClusterLow, 2), ErrCorrupt, "at cluster 3"},
		{"file in the cluster of a directory", both(put(ab+2*32+dirClusterLow, 4), put(ab+2*32+dirFileSize, 1, 0)), ErrCorrupt, "cluster 4 belongs to another file too"},
		{"lost cluster", fatEntry(500, fatMask), ErrCorrupt, "cluster 500 is in use but belongs to no file"},
		{"media", fatEntry(0, fatMask), nil, ""}, // FF is a medium too
		{"wrong media", fatEntry(0, 0x0FFFFF00), ErrCorrupt, "FAT entry 0 is 0FFFFF00"},
		{"dirty", fatEntry(1, 0x07FFFFFF), ErrDirty, "FAT entry 1 is 07FFFFFF: the volume was not unmounted"},
		{"had I/O errors", fatEntry(1, 0x0BFFFFFF), ErrDirty, "I/O errors"},
		{"dirty as Windows has it", put(bsState, 1), ErrDirty, "offset 65: found 01"},
		{"one FAT in use, another one in the other", both(put(bpbExtFlags, 0x80), put(6*512+bpbExtFlags, 0x80), put(fat2, 0, 0, 0, 0, 0)), nil, ""},
		{"bad cluster", fatEntry(900, fatBad), ErrCorrupt, "are free"},
		{"FATs differ", put(fat2+4*60000, 1), ErrCorrupt, "the FAT at offset"},
		{"boot sector and backup differ", put(6*512+bsVolumeID, 1), ErrCorrupt, "the boot sector at offset 0 and its copy at offset 3072"},
		{"FSInfo signature", put(512+fsiStructSignature, 0), ErrCorrupt, "FSInfo at offset 512: signatures"},
		{"free count", put(512+fsiFreeCount, 0, 0), ErrCorrupt, "clusters are free"},
		{"next free", put(512+fsiNextFree, 0, 0, 0, 1), ErrCorrupt, "next free cluster is 16777216"},
		{"reserved bits of a FAT entry", fatEntry(7, 0xFFFFFFFF), nil, ""},
		{"orphan long name", put(c+2*32+lfnChecksum, 0), nil, ""},
		{"deleted file", put(ab+2*32, entryDeleted), ErrCorrupt, "cluster 6 is in use but belongs to no file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newSparse(0)
			if err := Format(d, options(size, 512), []File{file("A/B/FILE", 1000), file("C/long name", 0)}); err != nil {
				t.Fatal(err)
			}
			tt.damage(d)
			v, err := Open(d, size)
			if err == nil {
				if v.dataStart != root {
					t.Fatalf("the test expects clusters at %d, they are at %d", root, v.dataStart)
				}
				err = v.Check()
			}
			if !errors.Is(err, tt.want) || err != nil && !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want %v that says %q", err, tt.want, tt.says)
			}
		})
	}
	if _, err := Open(bytes.NewReader(nil), 0); !errors.Is(err, ErrNotFAT32) {
		t.Errorf("no volume: %v", err)
	}
	if _, err := Open(bytes.NewReader(make([]byte, 100)), size); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("truncated device: %v", err)
	}
}

// FuzzFS gives the reader a volume whose boot sector, FSInfo, FAT and first
// clusters are the input. All else is zero.
func FuzzFS(f *testing.F) {
	const size = 34 << 20
	opt := options(size, 512)
	d := newSparse(0)
	files := []File{file("EFI/Boot/bootx64.efi", 2000), file("EFI/a long name", 0), file("EFI/Microsoft/Boot/BCD", 513)}
	if err := Format(d, opt, files); err != nil {
		f.Fatal(err)
	}
	v, err := Open(d, size)
	if err != nil {
		f.Fatal(err)
	}
	front := make([]byte, 1024)
	fat := make([]byte, 4*32)
	data := make([]byte, 6*512)
	d.ReadAt(front, 0)
	d.ReadAt(fat, v.fatStart)
	d.ReadAt(data, v.dataStart)
	f.Add(front, fat, data)
	f.Fuzz(func(t *testing.T, front, fat, data []byte) {
		device := pieces{size, []piece{{0, front[:min(len(front), 1024)]}, {v.fatStart, fat}, {v.fatStart + v.fatSize, fat}, {v.dataStart, data}}}
		v, err := Open(device, size)
		if err != nil {
			return
		}
		entries := 0
		walkErr := v.Walk(func(e Entry) error {
			entries++
			if e.Path == "" || len(e.Path) > maxPathBytes || strings.Contains(e.Path, "//") || e.Size < 0 {
				t.Errorf("returned %+v", e)
			}
			if !e.Dir && entries < 20 {
				r, err := v.Open(e.Path)
				if err != nil {
					return nil
				}
				if n, err := io.Copy(io.Discard, io.LimitReader(r, 1<<20)); err != nil || n != min(r.Size(), 1<<20) {
					t.Errorf("%s of %d bytes: read %d, %v", e.Path, r.Size(), n, err)
				}
			}
			return nil
		})
		if entries > size/dirEntrySize {
			t.Errorf("%d entries", entries)
		}
		if err := v.Check(); err == nil && walkErr != nil {
			t.Errorf("Check finds nothing, Walk %v", walkErr)
		}
	})
}

// pieces is a device of zeros but for the pieces.
type pieces struct {
	size   int64
	pieces []piece
}

type piece struct {
	off  int64
	data []byte
}

func (d pieces) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > d.size {
		return 0, io.EOF
	}
	clear(p)
	for _, c := range d.pieces {
		if skip := off - c.off; skip >= 0 {
			copy(p, c.data[min(skip, int64(len(c.data))):])
		} else if -skip < int64(len(p)) {
			copy(p[-skip:], c.data)
		}
	}
	return len(p), nil
}
