package gpt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// ebr is an extended boot record: where it lies and its rows, with the LBAs as
// they are stored.
type ebr struct {
	lba  int
	rows []mbrEntrySpec
}

// extendedDisk has a Windows partition from LBA 64 to 1023, an extended one of
// the type from 1024 to 4095, and a recovery partition from 4096 to 5119.
func extendedDisk(sectorSize int, kind byte, records ...ebr) memDisk {
	d := diskWith(mbrSectorOf(7,
		mbrEntrySpec{0x80, 7, 64, 960}, mbrEntrySpec{0, kind, 1024, 3072}, mbrEntrySpec{0, 0x27, 4096, 1024}),
		8192*sectorSize, sectorSize)
	for _, r := range records {
		sector := d.data[r.lba*sectorSize:][:mbrSize]
		copy(sector, mbrSectorOf(0, r.rows...))
		clear(sector[:mbrSignature])
	}
	return d
}

// twoLogical is a chain as Windows and fdisk make it: the first record has a
// partition and a link, the second one a partition.
func twoLogical(link byte) []ebr {
	return []ebr{
		{1024, []mbrEntrySpec{{0, 7, 64, 1000}, {0, link, 1536, 1536}}},
		{2560, []mbrEntrySpec{{0, 0x0B, 64, 1472}}},
	}
}

func TestReadExtended(t *testing.T) {
	primary := func(kind byte) []Partition {
		return []Partition{{0, true, 7, 64, 960, 0}, {1, false, kind, 1024, 3072, 0}, {2, false, 0x27, 4096, 1024, 0}}
	}
	two := []Partition{{4, false, 7, 1088, 1000, 1024}, {5, false, 0x0B, 2624, 1472, 2560}}
	tests := []struct {
		name    string
		kind    byte
		records []ebr
		want    []Partition
	}{
		{"two logical partitions, CHS", 0x05, twoLogical(0x05), two},
		{"LBA", 0x0F, twoLogical(0x05), two},
		{"LBA in links, too", 0x0F, twoLogical(0x0F), two},
		{"Linux", 0x85, twoLogical(0x85), two},
		{"without logical partitions", 0x0F, []ebr{{1024, nil}}, nil},
		{"never divided", 0x0F, nil, nil},
		{"first one deleted", 0x0F, []ebr{
			{1024, []mbrEntrySpec{{}, {0, 5, 1536, 1536}}},
			{2560, []mbrEntrySpec{{0, 7, 64, 1472}}}},
			[]Partition{{4, false, 7, 2624, 1472, 2560}}},
		{"link before the partition", 0x05, []ebr{
			{1024, []mbrEntrySpec{{0, 5, 1536, 1536}, {0, 7, 64, 1000}}},
			{2560, []mbrEntrySpec{{0, 7, 64, 1472}}}},
			[]Partition{{4, false, 7, 1088, 1000, 1024}, {5, false, 7, 2624, 1472, 2560}}},
		{"chain against the order of the disk", 0x05, []ebr{
			{1024, []mbrEntrySpec{{0, 7, 1, 99}, {0, 5, 2000, 500}}},
			{3024, []mbrEntrySpec{{0, 7, 1, 99}, {0, 5, 1000, 500}}},
			{2024, []mbrEntrySpec{{0, 0x27, 1, 99}}}},
			[]Partition{{4, false, 7, 1025, 99, 1024}, {5, false, 7, 3025, 99, 3024}, {6, false, 0x27, 2025, 99, 2024}}},
		{"an active flag means nothing", 0x05, []ebr{{1024, []mbrEntrySpec{{0x80, 7, 64, 100}}}},
			[]Partition{{4, false, 7, 1088, 100, 1024}}},
		{"sizes of links mean nothing", 0x05, []ebr{
			{1024, []mbrEntrySpec{{0, 7, 64, 1000}, {0, 5, 1536, 0xFFFFFFFF}}},
			{2560, []mbrEntrySpec{{0, 7, 64, 1472}}}},
			[]Partition{{4, false, 7, 1088, 1000, 1024}, {5, false, 7, 2624, 1472, 2560}}},
	}
	for _, tt := range tests {
		for _, sectorSize := range []int{512, 4096} {
			t.Run(fmt.Sprintf("%s, %d", tt.name, sectorSize), func(t *testing.T) {
				mbr, err := ReadMBR(extendedDisk(sectorSize, tt.kind, tt.records...))
				if err != nil {
					t.Fatal(err)
				}
				if want := append(primary(tt.kind), tt.want...); !reflect.DeepEqual(mbr.Partitions, want) {
					t.Errorf("got %v, want %v", mbr.Partitions, want)
				}
				for _, p := range mbr.Partitions {
					if p.Extended() != (p.Index == 1) || p.Logical() != (p.Index > 3) || p.Logical() != (p.EBR != 0) {
						t.Errorf("%v: extended %t, logical %t, EBR at %d", p, p.Extended(), p.Logical(), p.EBR)
					}
				}
			})
		}
	}
}

func TestReadExtendedRefuses(t *testing.T) {
	var many []ebr
	for i := range maxLogical + 1 {
		many = append(many, ebr{1024 + 2*i, []mbrEntrySpec{{0, 7, 1, 1}, {0, 5, uint32(2*i + 2), 2}}})
	}
	tests := []struct {
		name    string
		records []ebr
		says    string
	}{
		{"loop to itself", []ebr{{1024, []mbrEntrySpec{{0, 7, 64, 100}, {0, 5, 0, 100}}}},
			"at LBA 1024 (byte 524288) of MBR entry 2 (type 0x0F, LBA 1024 to 4095): entry 2 links back to LBA 1024: the chain is a loop"},
		{"loop of two", []ebr{
			{1024, []mbrEntrySpec{{0, 7, 64, 100}, {0, 5, 1536, 100}}},
			{2560, []mbrEntrySpec{{0, 7, 64, 100}, {0, 5, 0, 100}}}},
			"at LBA 2560 (byte 1310720) of MBR entry 2 (type 0x0F, LBA 1024 to 4095): entry 2 links back"},
		{"link to the next partition", []ebr{{1024, []mbrEntrySpec{{}, {0, 5, 3072, 100}}}}, "links to LBA 4096, outside"},
		{"link beyond the disk", []ebr{{1024, []mbrEntrySpec{{}, {0, 5, 0xFFFFFFFF, 1}}}}, "links to LBA 4294968319, outside"},
		{"two links", []ebr{{1024, []mbrEntrySpec{{0, 5, 100, 100}, {0, 5, 200, 100}}}}, "entry 2 is a second link"},
		{"two partitions", []ebr{{1024, []mbrEntrySpec{{0, 7, 100, 100}, {}, {0, 7, 200, 100}}}}, "entry 3 is a second logical partition"},
		{"empty partition", []ebr{{1024, []mbrEntrySpec{{0, 7, 100, 0}}}}, "entry 1 (type 0x07, LBA 1124) has no sectors"},
		{"partition over its own record", []ebr{{1024, []mbrEntrySpec{{0, 7, 0, 100}}}}, "overlaps"},
		{"partition over the next record", []ebr{
			{1024, []mbrEntrySpec{{0, 7, 64, 1473}, {0, 5, 1536, 100}}},
			{2560, []mbrEntrySpec{{0, 7, 64, 100}}}},
			"extended boot record at LBA 2560 overlaps logical partition 5 (type 0x07, LBA 1088 to 2560)"},
		{"partitions overlap", []ebr{
			{1024, []mbrEntrySpec{{0, 7, 64, 100}, {0, 5, 50, 100}}},
			{1074, []mbrEntrySpec{{0, 7, 64, 100}}}},
			"logical partition 6 (type 0x07, LBA 1138 to 1237) overlaps logical partition 5 (type 0x07, LBA 1088 to 1187)"},
		{"partition outside", []ebr{{1024, []mbrEntrySpec{{0, 7, 64, 3009}}}}, "logical partition 5 (type 0x07, LBA 1088 to 4096) ends outside"},
		{"partition outside of 32 bits", []ebr{{1024, []mbrEntrySpec{{0, 7, 0xFFFFFFFF, 0xFFFFFFFF}}}}, "ends outside"},
		{"no record where a link points", []ebr{{1024, []mbrEntrySpec{{}, {0, 5, 100, 100}}}}, "at LBA 1124 (byte 575488) of MBR entry 2 (type 0x0F, LBA 1024 to 4095): found 00 00"},
		{"more than a GPT has entries for", many, "more than 124"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ReadMBR(extendedDisk(512, 0x0F, tt.records...))
			if !errors.Is(err, ErrBadTable) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want one that says %q", err, tt.says)
			}
		})
	}
	d := extendedDisk(512, 0x0F)
	d.data[1024*512] = 0xFA // boot code where the record should be
	if _, err := ReadMBR(d); !errors.Is(err, ErrBadTable) {
		t.Errorf("no boot record: %v", err)
	}
	if _, err := ReadMBR(sizedDisk{memDisk{d.data[:1024*512], 512}, int64(len(d.data))}); err == nil || errors.Is(err, ErrBadTable) {
		t.Errorf("a disk that cannot be read: %v", err)
	}
}

// sgdisk reads such a table to convert it, and must find the same partitions.
func TestSgdiskReadsExtended(t *testing.T) {
	for _, sectorSize := range []int{512, 4096} {
		t.Run(fmt.Sprint(sectorSize), func(t *testing.T) {
			mem := extendedDisk(sectorSize, 0x0F, twoLogical(0x05)...)
			d := newFileDisk(t, mem.Size(), sectorSize)
			if _, err := d.WriteAt(mem.data, 0); err != nil {
				t.Fatal(err)
			}
			path := d.Name()
			if sectorSize != 512 {
				path = loopDevice(t, path, sectorSize)
			}
			mbr, err := ReadMBR(d)
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]bool{}
			for _, p := range mbr.Partitions {
				if !p.Extended() {
					want[fmt.Sprint(p.Index+1, " ", p.FirstLBA, " ", p.end()-1)] = true
				}
			}
			got := map[string]bool{}
			for _, m := range regexp.MustCompile(`(?m)^ +(\d+) +(\d+) +(\d+) `).FindAllStringSubmatch(run(t, "sgdisk", "-p", path), -1) {
				got[strings.Join(m[1:], " ")] = true
			}
			if len(got) != 4 || !reflect.DeepEqual(got, want) {
				t.Errorf("sgdisk reads %v, want %v", got, want)
			}
		})
	}
}

func TestTypeOf(t *testing.T) {
	for _, tt := range []struct {
		types      string
		typ        string
		attributes uint64
	}{
		{"\x01\x04\x06\x07\x0B\x0C\x0E", TypeBasicData.String(), 0},
		{"\x11\x14\x16\x17\x1B\x1C\x1E", TypeBasicData.String(), 0xC000000000000000},
		{"\x27", TypeRecovery.String(), 0x8000000000000001},
		{"\x12\x84\xA0\xDE\xFE", TypeBasicData.String(), 0x8000000000000001},
	} {
		for _, mbrType := range []byte(tt.types) {
			if typ, attributes, known := TypeOf(mbrType); !known || typ.String() != tt.typ || attributes != tt.attributes {
				t.Errorf("0x%02X becomes %v %016X %t", mbrType, typ, attributes, known)
			}
		}
	}
	known := 0
	for i := range 256 {
		if _, _, ok := TypeOf(byte(i)); ok {
			known++
		}
	}
	if known != 20 {
		t.Errorf("%d types are known", known)
	}
	for _, mbrType := range []byte{0x00, 0x05, 0x0F, 0x85, 0x42, 0xEE, 0xEF, 0x83} {
		if _, _, ok := TypeOf(mbrType); ok {
			t.Errorf("0x%02X is known", mbrType)
		}
	}
}

// FuzzReadExtended fills the extended partition with records that have a boot
// signature each, so that the rows are reached.
func FuzzReadExtended(f *testing.F) {
	const size = 128 * 512
	rows := func(records ...ebr) []byte {
		b := make([]byte, size-64*512)
		for _, r := range records {
			copy(b[(r.lba-64)*512:], mbrSectorOf(0, r.rows...)[mbrEntries:mbrMagic])
		}
		return b
	}
	f.Add(rows())
	f.Add(rows(ebr{64, []mbrEntrySpec{{0, 7, 1, 10}, {0, 5, 20, 40}}}, ebr{84, []mbrEntrySpec{{0, 7, 1, 10}}}))
	f.Add(rows(ebr{64, []mbrEntrySpec{{0, 7, 1, 10}, {0, 5, 20, 40}}}, ebr{84, []mbrEntrySpec{{0, 7, 1, 10}, {0, 5, 0, 10}}}))
	f.Fuzz(func(t *testing.T, records []byte) {
		d := diskWith(mbrSectorOf(7, mbrEntrySpec{0, 0x0F, 64, 64}), size, 512)
		for at := 64 * 512; at < size && len(records) > 0; at += 512 {
			sector := d.data[at:][:512]
			n := copy(sector[mbrEntries:mbrMagic], records)
			binary.LittleEndian.PutUint16(sector[mbrMagic:], 0xAA55)
			records = records[min(max(n, 512), len(records)):]
		}
		mbr, err := ReadMBR(d)
		if err != nil {
			if !errors.Is(err, ErrBadTable) {
				t.Error(err)
			}
			return
		}
		used := map[uint64]int{}
		for i, p := range mbr.Partitions[1:] {
			if p.Index != 4+i || p.Type == 0 || p.Sectors == 0 || p.EBR < 64 || p.FirstLBA <= 64 || p.end() > 128 {
				t.Fatalf("returned %+v", p)
			}
			for lba := p.FirstLBA; lba < p.end(); lba++ {
				used[lba]++
			}
			used[p.EBR]++
		}
		for lba, n := range used {
			if n > 1 {
				t.Errorf("LBA %d belongs to %d", lba, n)
			}
		}
	})
}
