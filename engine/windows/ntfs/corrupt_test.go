package ntfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
)

func TestProbe(t *testing.T) {
	sector := func(at int, signature string) []byte {
		b := make([]byte, 512)
		copy(b[at:], signature)
		b[510], b[511] = 0x55, 0xaa
		return b
	}
	for _, c := range []struct {
		name string
		b    []byte
		want Kind
	}{
		{"NTFS", sector(3, "NTFS    "), NTFS},
		{"BitLocker", sector(3, "-FVE-FS-"), BitLocker},
		{"ReFS", sector(3, "ReFS\x00\x00\x00\x00"), ReFS},
		{"FAT32", sector(0x52, "FAT32   "), FAT},
		{"FAT16", sector(0x36, "FAT16   "), FAT},
		{"exFAT", sector(3, "EXFAT   "), Unknown},
		{"zeros", make([]byte, 512), Unknown},
		{"short", []byte("\xeb\x52\x90NTFS    "), Unknown},
		{"nothing", nil, Unknown},
	} {
		if got := Probe(c.b); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	_, err := Open(bytes.NewReader(sector(3, "-FVE-FS-")), 512)
	if !errors.Is(err, ErrNotNTFS) || !strings.Contains(err.Error(), "BitLocker") {
		t.Errorf("Open of BitLocker: %v", err)
	}
	if _, err := Open(bytes.NewReader(nil), 0); !errors.Is(err, ErrNotNTFS) {
		t.Errorf("Open of nothing: %v", err)
	}
}

// TestCorrupt breaks a volume in one place; opening it, or reading all of it,
// must say what is wrong where.
func TestCorrupt(t *testing.T) {
	t.Parallel()
	pristine := unpack(t, windowsVolume)
	v := open(t, pristine)
	number := func(path string) uint64 {
		e, err := v.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return reference(e.Ref).number()
	}
	directory, file, link := number("a_directory"), number("passwords.txt"), number("a_link")
	record := func(n uint64, edit func(b []byte)) func([]byte) {
		return func(image []byte) { editRecord(t, image, n, edit) }
	}
	attribute := func(n uint64, typ uint32, edit func(a []byte)) func([]byte) {
		return record(n, func(b []byte) { edit(rawAttribute(t, b, typ)) })
	}
	// upCase is a non-resident file of one run that Open reads.
	pairs := func(b ...byte) func(a []byte) {
		return func(a []byte) { copy(a[binary.LittleEndian.Uint16(a[0x20:]):], b) }
	}
	put64 := func(at int, n int64) func(a []byte) {
		return func(a []byte) { binary.LittleEndian.PutUint64(a[at:], uint64(n)) }
	}
	for _, c := range []struct {
		name     string
		edit     func(image []byte)
		mentions []string
	}{
		{"bytes per sector", func(b []byte) { b[0x0b] = 1 }, []string{"boot sector", "0x0b"}},
		{"sectors per cluster", func(b []byte) { b[0x0d] = 3 }, []string{"boot sector", "0x0d"}},
		{"huge clusters", func(b []byte) { b[0x0d] = 0x81 }, []string{"boot sector", "0x0d"}},
		{"volume larger than partition", func(b []byte) { b[0x2c] = 1 }, []string{"boot sector", "0x28", "do not fit"}},
		{"MFT outside", func(b []byte) { b[0x34] = 1 }, []string{"boot sector", "0x30"}},
		{"record size", func(b []byte) { b[0x40] = 0x85 }, []string{"boot sector", "0x40"}},
		{"MFT elsewhere", func(b []byte) { b[0x30]++ }, []string{"MFT record 0"}},
		{"torn record", func(b []byte) { b[250*4096+5*1024+510] ^= 1 }, []string{"MFT record 5", "torn write"}},
		{"record signature", func(b []byte) { copy(b[250*4096+10*1024:], "BAAD") }, []string{"MFT record 10", "BAAD"}},
		{"record not in use", record(file, func(b []byte) { b[0x16] = 0 }), []string{"MFT record", "not in use"}},
		{"stale reference", record(file, func(b []byte) { b[0x10]++ }), []string{"MFT record", "sequence number"}},
		{"extension named as file", record(file, func(b []byte) { b[0x20] = 7 }), []string{"MFT record", "extension of record 7"}},
		{"attribute length zero", attribute(file, typeData, func(a []byte) { clear(a[4:8]) }), []string{"MFT record", "$DATA", "length 0"}},
		{"attribute length beyond", attribute(file, typeData, func(a []byte) { a[6] = 1 }), []string{"MFT record", "$DATA", "length"}},
		{"value beyond attribute", attribute(file, typeData, func(a []byte) { a[0x11] = 0xff }), []string{"MFT record", "$DATA", "value of"}},
		{"no end marker", record(file, func(b []byte) { binary.LittleEndian.PutUint32(b[0x18:], 0x40) }), []string{"MFT record"}},
		{"run beyond the volume", attribute(recordUpCase, typeData, pairs(0x21, 32, 0xff, 0x7f, 0)), []string{"MFT record 10", "$DATA", "not within the 751 clusters"}},
		{"run before the volume", attribute(recordUpCase, typeData, pairs(0x21, 32, 0x00, 0x80, 0)), []string{"MFT record 10", "$DATA", "not within"}},
		{"run of negative length", attribute(recordUpCase, typeData, pairs(0x11, 0xe0, 5, 0)), []string{"MFT record 10", "$DATA", "run of -32 clusters"}},
		{"malformed run", attribute(recordUpCase, typeData, pairs(0xff)), []string{"MFT record 10", "$DATA", "run header 0xff"}},
		{"run list too short", attribute(recordUpCase, typeData, pairs(0x11, 31, 5, 0)), []string{"MFT record 10", "$DATA", "want 31"}},
		{"hole in a file that is not sparse", attribute(recordUpCase, typeData, pairs(0x01, 32, 0)), []string{"MFT record 10", "$DATA", "not sparse"}},
		{"size larger than allocated", attribute(recordUpCase, typeData, put64(0x30, 1<<40)), []string{"MFT record 10", "$DATA", "allocated"}},
		{"size larger than the run list", attribute(recordUpCase, typeData, func(a []byte) {
			put64(0x28, 1<<40)(a)
			put64(0x30, 1<<40)(a)
		}), []string{"MFT record 10", "$DATA", "maps 32 clusters"}},
		{"negative size", attribute(recordUpCase, typeData, put64(0x30, math.MinInt64)), []string{"MFT record 10", "$DATA"}},
		{"starts in the middle", attribute(recordUpCase, typeData, put64(0x10, 3)), []string{"MFT record 10", "$DATA", "cluster 3"}},
		{"directory in a directory of another", attribute(directory, typeFileName, func(a []byte) { a[0x18] = 99 }), []string{"MFT record", "$FILE_NAME", "its parent is 99"}},
		{"entry of another directory", attribute(directory, typeIndexRoot, func(a []byte) { a[0x20+0x20+0x10]++ }), []string{"MFT record", "directory index", "belongs to directory"}},
		{"entry length", attribute(directory, typeIndexRoot, func(a []byte) { a[0x20+0x20+8] = 8 }), []string{"MFT record", "directory index", "length 8"}},
		{"index collation", attribute(directory, typeIndexRoot, func(a []byte) { a[0x20+4] = 9 }), []string{"MFT record", "$INDEX_ROOT", "collation"}},
		{"index block size", attribute(directory, typeIndexRoot, func(a []byte) { a[0x20+8] = 1 }), []string{"MFT record", "$INDEX_ROOT", "index blocks of"}},
		{"child without blocks", attribute(directory, typeIndexRoot, func(a []byte) { a[0x20+0x20+12] = 1 }), []string{"MFT record", "directory index"}},
		{"reparse point", attribute(link, typeReparsePoint, func(a []byte) { a[0x10] = 4 }), []string{"MFT record", "$REPARSE_POINT"}},
		{"volume information", attribute(recordVolume, typeVolumeInformation, func(a []byte) { a[0x10] = 4 }), []string{"MFT record 3", "$VOLUME_INFORMATION"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			image := bytes.Clone(pristine)
			c.edit(image)
			v, err := Open(bytes.NewReader(image), int64(len(image)))
			if err == nil {
				err = walk(v, func(path string, _ Entry) error {
					_, err := v.Open(path)
					if isUnsupported(err) {
						return nil // a directory
					}
					return err
				})
			}
			if err == nil {
				// Lookups go down the tree, listings do not.
				_, err = v.Stat(`a_directory\zzz`)
				if err == nil {
					_, err = v.Stat(`a_directory\0`)
				}
			}
			wantCorrupt(t, err, c.mentions...)
		})
	}
}

// failing is a disk that breaks down.
type failing struct {
	io.ReaderAt
	after int // reads until then
	err   error
}

func (f *failing) ReadAt(p []byte, off int64) (int, error) {
	if f.after--; f.after < 0 {
		return 0, f.err
	}
	return f.ReaderAt.ReadAt(p, off)
}

func TestReadErrorsAreNotCorruption(t *testing.T) {
	t.Parallel()
	image := unpack(t, windowsVolume)
	broken := errors.New("connection lost")
	for after := range 40 {
		v, err := Open(&failing{bytes.NewReader(image), after, broken}, int64(len(image)))
		if err == nil {
			_, err = v.LogFileClean()
		}
		if err == nil {
			_, err = v.ReadDir(`\a_directory`)
		}
		if err == nil {
			return // by now nothing is left to fail
		}
		if !errors.Is(err, broken) || errors.Is(err, ErrCorrupt) {
			t.Fatalf("after %d reads: %v", after, err)
		}
	}
	t.Error("40 reads for so small a volume")
}

func TestTruncatedPartition(t *testing.T) {
	t.Parallel()
	image := unpack(t, windowsVolume)
	_, err := Open(bytes.NewReader(image[:900<<10]), int64(len(image)))
	if !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, ErrCorrupt) {
		t.Errorf("a disk shorter than it says: %v", err)
	}
	_, err = Open(bytes.NewReader(image), 1<<20)
	wantCorrupt(t, err, "boot sector", "do not fit")
}

// TestLoops makes structures refer back to themselves.
func TestLoops(t *testing.T) {
	t.Parallel()
	pristine := unpack(t, featuresVolume)
	v := open(t, pristine)

	t.Run("index block that is its own child", func(t *testing.T) {
		image := bytes.Clone(pristine)
		rec, _, err := v.lookup("directory")
		if err != nil {
			t.Fatal(err)
		}
		d, err := v.directory(rec)
		if err != nil {
			t.Fatal(err)
		}
		root, err := d.entries(d.root)
		if err != nil {
			t.Fatal(err)
		}
		child := root[len(root)-1].child // the block that holds the last names
		run := d.blocks.runs[d.blocks.runs.find(child)]
		at := (run.lcn + child - run.vcn) * v.clusterSize
		if (child-run.vcn)*v.clusterSize+d.blockSize > run.length*v.clusterSize {
			t.Fatal("the block is in two runs: the test wants it in one")
		}
		editProtected(t, image[at:at+d.blockSize], func(b []byte) {
			node := b[0x18:]
			end := binary.LittleEndian.Uint32(node[4:])
			if node[12]&entryHasChild == 0 { // a leaf: room for the address
				closing := node[end-0x10:]
				closing[8] = 0x18
				closing[12] |= entryHasChild
				end += 8
				binary.LittleEndian.PutUint32(node[4:], end)
			}
			binary.LittleEndian.PutUint64(node[end-8:], uint64(child))
		})
		_, err = open(t, image).Stat(`directory\zzz`)
		wantCorrupt(t, err, "directory index", "more than 16 levels")
	})

	t.Run("attribute list that names a part twice", func(t *testing.T) {
		image := bytes.Clone(pristine)
		rec, _, err := v.lookup("sparse")
		if err != nil {
			t.Fatal(err)
		}
		var list []byte
		for i, a := range rec.attributes {
			if a.typ == typeAttributeList && a.nonResident {
				s, err := v.newStream(rec.number, &rec.attributes[i])
				if err != nil {
					t.Fatal(err)
				}
				list = image[s.runs[0].lcn*v.clusterSize:][:s.size]
			}
		}
		var parts [][]byte
		for len(list) > 0 {
			length := binary.LittleEndian.Uint16(list[4:])
			if binary.LittleEndian.Uint32(list) == typeData {
				parts = append(parts, list[:length])
			}
			list = list[length:]
		}
		if len(parts) < 2 {
			t.Fatalf("%d parts of $DATA; the test wants two, in an attribute list that is not resident", len(parts))
		}
		copy(parts[1], parts[0])
		_, err = open(t, image).Open("sparse")
		wantCorrupt(t, err, "$DATA", "a part begins at cluster 0")
	})

	t.Run("file whose extents overlap", func(t *testing.T) {
		image := unpack(t, windowsVolume)
		editRecord(t, image, recordUpCase, func(b []byte) {
			a := rawAttribute(t, b, typeData)
			copy(a[binary.LittleEndian.Uint16(a[0x20:]):], []byte{0x11, 16, 100, 0x11, 16, 0xf8, 0}) // 8 clusters back
		})
		v := open(t, image) // which no longer finds names
		rec, err := v.record(recordUpCase)
		if err != nil {
			t.Fatal(err)
		}
		f, err := v.openFile(rec, "$UpCase", "$UpCase")
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.Extents()
		wantCorrupt(t, err, "MFT record 10", "$DATA", "share clusters")
	})
}

func TestNotEditable(t *testing.T) {
	t.Parallel()
	v := open(t, unpack(t, featuresVolume))
	for path, reason := range map[string]string{
		"resident":    "resident",
		"packed/text": "compressed",
		"sparse":      "sparse",
		"XPRESS8K":    "CompactOS",
	} {
		f, err := v.Open(path)
		if err != nil {
			t.Error(err)
			continue
		}
		if _, err := f.Extents(); !errors.Is(err, ErrNotEditable) || !strings.Contains(err.Error(), reason) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want ErrNotEditable for %q", path, err, reason)
		}
	}
}
