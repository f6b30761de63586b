package gpt

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"
)

// mbrEntrySpec is a row of a table under test.
type mbrEntrySpec struct {
	active, kind byte
	first, count uint32
}

func mbrSectorOf(signature uint32, entries ...mbrEntrySpec) []byte {
	b := make([]byte, mbrSize)
	copy(b, "\x33\xC0\x8E\xD0\xBC\x00\x7C") // as Windows' boot code begins
	binary.LittleEndian.PutUint32(b[mbrSignature:], signature)
	for i, e := range entries {
		at := mbrEntry(b, i)
		at[0], at[4] = e.active, e.kind
		binary.LittleEndian.PutUint32(at[8:], e.first)
		binary.LittleEndian.PutUint32(at[12:], e.count)
	}
	b[510], b[511] = 0x55, 0xAA
	return b
}

func diskWith(sector []byte, size, sectorSize int) memDisk {
	d := memDisk{make([]byte, size), sectorSize}
	copy(d.data, sector)
	return d
}

func TestReadMBR(t *testing.T) {
	const size = 16 << 20
	tests := []struct {
		name       string
		sectorSize int
		entries    []mbrEntrySpec
		want       []Partition
	}{
		{"system reserved and Windows", 512,
			[]mbrEntrySpec{{0x80, 7, 2048, 4096}, {0, 7, 6144, 26624}},
			[]Partition{{0, true, 7, 2048, 4096, 0}, {1, false, 7, 6144, 26624, 0}}},
		{"one partition to the last sector", 512,
			[]mbrEntrySpec{{0x80, 7, 63, 32768 - 63}},
			[]Partition{{0, true, 7, 63, 32768 - 63, 0}}},
		{"4096-byte sectors", 4096,
			[]mbrEntrySpec{{0x80, 7, 256, 512}, {0, 7, 768, 3328}},
			[]Partition{{0, true, 7, 256, 512, 0}, {1, false, 7, 768, 3328, 0}}},
		{"holes in the table, table order is not disk order", 512,
			[]mbrEntrySpec{{}, {0, 0x27, 20000, 1000}, {}, {0x80, 7, 2048, 17952}},
			[]Partition{{1, false, 0x27, 20000, 1000, 0}, {3, true, 7, 2048, 17952, 0}}},
		{"empty extended and dynamic are the caller's to refuse", 512,
			[]mbrEntrySpec{{0x80, 7, 2048, 100}, {0, 0x0F, 4096, 100}, {0, 0x42, 8192, 100}, {0, 0x85, 9000, 1}},
			[]Partition{{0, true, 7, 2048, 100, 0}, {1, false, 0x0F, 4096, 100, 0}, {2, false, 0x42, 8192, 100, 0}, {3, false, 0x85, 9000, 1, 0}}},
		{"two active partitions are the caller's to refuse", 512,
			[]mbrEntrySpec{{0x80, 7, 2048, 100}, {0x80, 7, 4096, 100}},
			[]Partition{{0, true, 7, 2048, 100, 0}, {1, true, 7, 4096, 100, 0}}},
		{"an unused entry may hold anything", 512,
			[]mbrEntrySpec{{0x80, 7, 2048, 100}, {0x13, 0, 2048, 100}},
			[]Partition{{0, true, 7, 2048, 100, 0}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			mbr, err := ReadMBR(diskWith(mbrSectorOf(0x1234ABCD, tt.entries...), size, tt.sectorSize))
			if err != nil {
				t.Fatal(err)
			}
			if want := (MBR{0x1234ABCD, tt.want}); !reflect.DeepEqual(mbr, want) {
				t.Errorf("got %+v, want %+v", mbr, want)
			}
		})
	}
}

// The table of a disk that Windows 10 partitioned: bytes 432 to 511 of
// ntfs-fixed.vhd in the test data of log2timeline/dfvfs (Apache 2.0).
func TestReadMBRByWindows(t *testing.T) {
	tail, err := hex.DecodeString("656d000000637b9a37a425af00000000" +
		"01800700c1ff80000000801700000000" + strings.Repeat("00", 46) + "55aa")
	if err != nil {
		t.Fatal(err)
	}
	mbr, err := ReadMBR(diskWith(append(make([]byte, 432), tail...), 4<<20, 512))
	if err != nil {
		t.Fatal(err)
	}
	if want := (MBR{0xAF25A437, []Partition{{0, false, 7, 128, 6016, 0}}}); !reflect.DeepEqual(mbr, want) {
		t.Errorf("got %+v, want %+v", mbr, want)
	}
}

func TestReadMBRRefuses(t *testing.T) {
	windows := mbrEntrySpec{0x80, 7, 2048, 4096}
	bootSector := func(at int, magic string) []byte {
		b := mbrSectorOf(0, windows)
		copy(b, "\xEB\x52\x90")
		copy(b[at:], magic)
		return b
	}
	noMagic := mbrSectorOf(1, windows)
	noMagic[511] = 0
	tests := []struct {
		name   string
		sector []byte
		want   error
		says   string
	}{
		{"blank disk", nil, ErrNoMBR, "found 00 00"},
		{"no boot signature", noMagic, ErrNoMBR, "found 55 00"},
		{"no partitions", mbrSectorOf(1), ErrNoMBR, "no partitions"},
		{"bare NTFS", bootSector(3, "NTFS    "), ErrNoMBR, "NTFS volume"},
		{"bare BitLocker", bootSector(3, "-FVE-FS-"), ErrNoMBR, "BitLocker volume"},
		{"bare exFAT", bootSector(3, "EXFAT   "), ErrNoMBR, "exFAT volume"},
		{"bare FAT16", bootSector(54, "FAT16   "), ErrNoMBR, "FAT16 volume"},
		{"bare FAT32", bootSector(82, "FAT32   "), ErrNoMBR, "FAT32 volume"},
		{"GPT", mbrSectorOf(0, mbrEntrySpec{0, 0xEE, 1, 0xFFFFFFFF}), ErrProtective, "entry 1"},
		{"hybrid MBR", mbrSectorOf(0, windows, mbrEntrySpec{0, 0xEE, 1, 33}), ErrProtective, "entry 2"},
		{"overlap", mbrSectorOf(1, windows, mbrEntrySpec{}, mbrEntrySpec{0, 7, 6143, 10}), ErrBadTable,
			"entry 3 (type 0x07, LBA 6143 to 6152) overlaps entry 1 (type 0x07, LBA 2048 to 6143)"},
		{"beyond the end", mbrSectorOf(1, mbrEntrySpec{0x80, 7, 2048, 32768 - 2047}), ErrBadTable, "entry 1 (type 0x07, LBA 2048 to 32768) ends beyond the disk, whose last LBA is 32767"},
		{"32-bit overflow", mbrSectorOf(1, mbrEntrySpec{0x80, 7, 0xFFFFFFFF, 0xFFFFFFFF}), ErrBadTable, "ends beyond"},
		{"starts at the MBR", mbrSectorOf(1, mbrEntrySpec{0x80, 7, 0, 100}), ErrBadTable, "covers the MBR"},
		{"no sectors", mbrSectorOf(1, mbrEntrySpec{0x80, 7, 100, 0}), ErrBadTable, "no sectors"},
		{"active flag", mbrSectorOf(1, mbrEntrySpec{0x81, 7, 100, 1}), ErrBadTable, "0x81"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ReadMBR(diskWith(tt.sector, 16<<20, 512))
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want %v that says %q", err, tt.want, tt.says)
			}
		})
	}
	if _, err := ReadMBR(memDisk{nil, 512}); !errors.Is(err, ErrNoMBR) {
		t.Errorf("empty disk: %v", err)
	}
	if _, err := ReadMBR(memDisk{make([]byte, 520*8), 520}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("520-byte sectors: %v", err)
	}
}

func FuzzReadMBR(f *testing.F) {
	f.Add(mbrSectorOf(7, mbrEntrySpec{0x80, 7, 1, 1}, mbrEntrySpec{0, 7, 2, 2}))
	f.Add(mbrSectorOf(7, mbrEntrySpec{0, 0xEE, 1, 0xFFFFFFFF}))
	f.Fuzz(func(t *testing.T, sector []byte) {
		const size = 1 << 20
		mbr, err := ReadMBR(sizedDisk{diskWith(sector[:min(len(sector), mbrSize)], mbrSize, 512), size})
		if err != nil {
			return
		}
		if len(mbr.Partitions) == 0 {
			t.Error("no partitions and no error")
		}
		for _, p := range mbr.Partitions {
			if p.Type == 0 || p.FirstLBA == 0 || p.Sectors == 0 || p.end() > size/512 {
				t.Errorf("returned %v", p)
			}
		}
	})
}
