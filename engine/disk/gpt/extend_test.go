package gpt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"reflect"
	"strings"
	"testing"
)

// grown is a copy of d on a larger disk.
func grown(d memDisk, size int64) memDisk {
	larger := memDisk{make([]byte, size), d.sectorSize}
	copy(larger.data, d.data)
	return larger
}

// extend does what Extend says, in order.
func extend(t testing.TB, d memDisk, size int64) memDisk {
	t.Helper()
	writes, err := Extend(d, size)
	if err != nil {
		t.Fatal(err)
	}
	larger := grown(d, size)
	for _, w := range writes {
		if w.Offset%int64(d.sectorSize) != 0 || len(w.Data)%d.sectorSize != 0 || len(w.Data) == 0 {
			t.Errorf("a write of %d bytes at %d", len(w.Data), w.Offset)
		}
		if _, err := larger.WriteAt(w.Data, w.Offset); err != nil {
			t.Fatalf("%d bytes at %d: %v", len(w.Data), w.Offset, err)
		}
	}
	return larger
}

// headers is how many sectors of the disk begin as GPT headers do.
func headers(d memDisk) (n int) {
	for at := 0; at < len(d.data); at += d.sectorSize {
		if bytes.HasPrefix(d.data[at:], []byte(headerMagic)) {
			n++
		}
	}
	return n
}

// reshaped is a disk whose table has another number and size of entries than
// Write gives it, usable sectors that do not begin at once, a longer header,
// and something in what is reserved.
func reshaped(t testing.TB, sectors uint64, sectorSize int, count, size uint32) (memDisk, Table) {
	table := windowsTable(sectors, sectorSize)
	d := memDisk{make([]byte, int64(sectors)*int64(sectorSize)), sectorSize}
	if err := table.WriteProtectiveMBR(d); err != nil {
		t.Fatal(err)
	}
	blocks := (uint64(count)*uint64(size) + uint64(sectorSize) - 1) / uint64(sectorSize)
	first, last := 2+blocks+7, sectors-blocks-2
	mib := uint64(1<<20) / uint64(sectorSize)
	table.Entries[1].Index, table.Entries[2].Index = 2, int(count)-1
	table.Entries[2].LastLBA = min(table.Entries[2].LastLBA, last)
	table.Entries[0].FirstLBA = max(mib, first)
	entries := make([]byte, count*size)
	for _, e := range table.Entries {
		e.encode(entries[e.Index*int(size):][:entrySize])
	}
	for _, h := range []header{{MyLBA: 1, AlternateLBA: sectors - 1, PartitionEntryLBA: 2}, {MyLBA: sectors - 1, AlternateLBA: 1, PartitionEntryLBA: last + 1}} {
		h.HeaderSize, h.DiskGUID = 100, table.DiskGUID
		h.FirstUsableLBA, h.LastUsableLBA = first, last
		h.NumberOfPartitionEntries, h.SizeOfPartitionEntry, h.PartitionEntryArrayCRC32 = count, size, crc32.ChecksumIEEE(entries)
		sector := d.data[h.MyLBA*uint64(sectorSize):][:sectorSize]
		copy(sector[headerSize:], "reserved and more")
		h.put(sector)
		copy(d.data[h.PartitionEntryLBA*uint64(sectorSize):], entries)
	}
	return d, table
}

func TestExtend(t *testing.T) {
	for _, sectorSize := range []int{512, 4096} {
		for _, shape := range []struct{ count, size uint32 }{{128, 128}, {4, 128}, {200, 128}, {256, 256}, {130, 512}} {
			for _, more := range []uint64{1, 2, 5, 33, 34, 40, 1000} { // sectors: the places of old and new overlap, touch, are apart
				t.Run(fmt.Sprintf("sectors of %d, %d entries of %d, %d more", sectorSize, shape.count, shape.size, more), func(t *testing.T) {
					sectors := uint64(8<<20) / uint64(sectorSize)
					d, table := reshaped(t, sectors, sectorSize, shape.count, shape.size)
					if got, err := Read(d); err != nil || !reflect.DeepEqual(got, table) {
						t.Fatalf("before: %v\ngot  %+v\nwant %+v", err, got, table)
					}
					before := bytes.Clone(d.data)
					larger := extend(t, d, int64(sectors+more)*int64(sectorSize))
					if !bytes.Equal(d.data, before) {
						t.Error("Extend changed the disk")
					}

					table.Sectors += more
					if got, err := Read(larger); err != nil || !reflect.DeepEqual(got, table) {
						t.Errorf("after: %v\ngot  %+v\nwant %+v", err, got, table)
					}
					if n := headers(larger); n != 2 {
						t.Errorf("%d GPT headers on the disk", n)
					}
					blocks := (uint64(shape.count)*uint64(shape.size) + uint64(sectorSize) - 1) / uint64(sectorSize)
					h, err := decodeHeader(larger.data[sectorSize:][:sectorSize])
					if err != nil || h.LastUsableLBA != table.Sectors-blocks-2 || h.FirstUsableLBA != 2+blocks+7 {
						t.Errorf("usable LBA %d to %d, %v", h.FirstUsableLBA, h.LastUsableLBA, err)
					}
					// All that is neither header, nor old backup, nor new one.
					from, to := (sectors-1-blocks)*uint64(sectorSize), (table.Sectors-1-blocks)*uint64(sectorSize)
					if !bytes.Equal(larger.data[2*sectorSize:from], before[2*sectorSize:from]) {
						t.Error("it changed what is between the table and its backup")
					}
					if !zero(larger.data[from:to]) {
						t.Error("something of the old backup is left")
					}
					for _, at := range []int{1, int(table.Sectors - 1)} {
						if got := larger.data[at*sectorSize+headerSize:][:17]; string(got) != "reserved and more" {
							t.Errorf("header at LBA %d: the reserved bytes are %q", at, got)
						}
					}
					// Once more is nothing more.
					if writes, err := Extend(larger, larger.Size()); writes != nil || err != nil {
						t.Errorf("%d writes, %v to a disk that is right", len(writes), err)
					}
				})
			}
		}
	}
}

// A disk that was enlarged before, by somebody who left the backup where it was.
func TestExtendGrownDisk(t *testing.T) {
	const old, size = 8 << 20, 9 << 20
	table := windowsTable(old/512, 512)
	d := memDisk{make([]byte, old), 512}
	if err := table.Write(d); err != nil {
		t.Fatal(err)
	}
	d = grown(d, size)
	if _, err := Read(d); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("Read: %v", err)
	}
	for _, to := range []int64{size, size + 512, 10 << 20} {
		larger := extend(t, d, to)
		want := table
		want.Sectors = uint64(to / 512)
		if got, err := Read(larger); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%d bytes: %v\ngot  %+v\nwant %+v", to, err, got, want)
		}
		if n := headers(larger); n != 2 {
			t.Errorf("%d GPT headers on the disk", n)
		}
		if got := binary.LittleEndian.Uint32(larger.data[mbrEntries+12:]); got != uint32(to/512-1) {
			t.Errorf("the MBR protects %d sectors", got)
		}
	}
}

// Whenever the writes end early, there is a table.
func TestExtendCutOff(t *testing.T) {
	const size = 8 << 20
	d := memDisk{make([]byte, size), 512}
	if err := windowsTable(size/512, 512).Write(d); err != nil {
		t.Fatal(err)
	}
	for _, to := range []int64{size + 512, size + 20*512, 2 * size} {
		writes, err := Extend(d, to)
		if err != nil {
			t.Fatal(err)
		}
		for n := range writes {
			larger := grown(d, to)
			for _, w := range writes[:n] {
				larger.WriteAt(w.Data, w.Offset)
			}
			h, err := decodeHeader(larger.data[512:1024])
			if err != nil {
				t.Fatal(err)
			}
			if _, err := readCopy(larger, "primary", 1, h.AlternateLBA); err != nil {
				t.Errorf("%d bytes, after %d writes: %v", to, n, err)
			}
			_, err = readCopy(larger, "backup", h.AlternateLBA, 1)
			// Where the new entries go over the old header, there is a moment
			// without the copy that the primary means.
			if overlaps := writes[0].Offset < size; err != nil && !(overlaps && n == 1) {
				t.Errorf("%d bytes, after %d writes: %v", to, n, err)
			}
		}
	}
}

func TestExtendProtectiveMBR(t *testing.T) {
	const sectors, larger = 16 << 11, 32 << 11
	entry := func(first, count uint32, kind byte) mbrEntrySpec { return mbrEntrySpec{0, kind, first, count} }
	tests := []struct {
		name string
		mbr  []mbrEntrySpec
		want []uint32 // of the entries, in sectors; nil: all as before
	}{
		{"whole disk", []mbrEntrySpec{entry(1, sectors-1, 0xEE)}, []uint32{larger - 1}},
		{"as Windows stores it", []mbrEntrySpec{entry(1, 0xFFFFFFFF, 0xEE)}, nil},
		{"of a disk that grew before", []mbrEntrySpec{entry(1, 1000, 0xEE)}, []uint32{larger - 1}},
		{"too long", []mbrEntrySpec{entry(1, sectors, 0xEE)}, []uint32{larger - 1}},
		{"right already", []mbrEntrySpec{entry(1, larger-1, 0xEE)}, nil},
		{"hybrid", []mbrEntrySpec{entry(1, 2047, 0xEE), entry(2048, 2048, 7)}, nil},
		{"hybrid to the end", []mbrEntrySpec{entry(2048, 2048, 7), entry(1, sectors-1, 0xEE)}, []uint32{2048, larger - 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := memDisk{make([]byte, sectors*512), 512}
			if err := windowsTable(sectors, 512).Write(d); err != nil {
				t.Fatal(err)
			}
			copy(d.data, mbrSectorOf(0x1234, tt.mbr...))
			want := bytes.Clone(d.data[:512])
			for i, n := range tt.want {
				if e := mbrEntry(want, i); binary.LittleEndian.Uint32(e[12:]) != n {
					copy(e[5:8], "\xFF\xFF\xFF")
					binary.LittleEndian.PutUint32(e[12:], n)
				}
			}
			if got := extend(t, d, larger*512).data[:512]; !bytes.Equal(got, want) {
				t.Errorf("got  % X\nwant % X", got[mbrEntries:], want[mbrEntries:])
			}
		})
	}
}

func TestExtendRefuses(t *testing.T) {
	const size, last = 16 << 20, 16<<11 - 1
	tests := []struct {
		name   string
		damage func([]byte)
		size   int64
		want   error
		says   string
	}{
		{"smaller", nil, size - 512, ErrInvalid, "cannot be extended to 16776704 bytes"},
		{"half a sector", nil, size + 256, ErrInvalid, "cannot be extended"},
		{"negative", nil, -512, ErrInvalid, "cannot be extended"},
		{"BIOS disk", func(b []byte) { copy(b, mbrSectorOf(7, mbrEntrySpec{0x80, 7, 2048, 100})) }, 2 * size, ErrNotGPT, "0xEE"},
		{"corrupt primary", func(b []byte) { b[512+57] ^= 1 }, 2 * size, ErrCorrupt, "primary GPT, LBA 1: header checksum"},
		{"corrupt primary, sound backup", func(b []byte) { b[512+57] ^= 1 }, 2 * size, ErrCorrupt, "the backup at LBA 32767 is sound"},
		{"both corrupt", func(b []byte) { b[512+57] ^= 1; b[last*512+57] ^= 1 }, 2 * size, ErrCorrupt, "no sound backup in the last sector either"},
		{"corrupt backup", func(b []byte) { b[last*512+57] ^= 1 }, 2 * size, ErrCorrupt, "backup GPT, LBA 32767: header checksum"},
		{"corrupt backup, same size", func(b []byte) { b[last*512+57] ^= 1 }, size, ErrCorrupt, "backup GPT, LBA 32767: header checksum"},
		{"corrupt primary entries", func(b []byte) { b[1024+200] ^= 1 }, 2 * size, ErrCorrupt, "primary GPT, LBA 2: checksum of the entries"},
		{"corrupt backup entries", func(b []byte) { b[(last-32)*512] ^= 1 }, 2 * size, ErrCorrupt, "backup GPT, LBA 32735: checksum of the entries"},
		{"backup beyond the disk", func(b []byte) {
			h, _ := decodeHeader(b[512:1024])
			h.AlternateLBA = last + 1
			h.put(b[512:1024])
		}, 2 * size, ErrCorrupt, "other copy is at LBA 32768, the disk has 32768"},
		{"backup is the primary", func(b []byte) {
			h, _ := decodeHeader(b[512:1024])
			h.AlternateLBA = 1
			h.put(b[512:1024])
		}, 2 * size, ErrCorrupt, "other copy is at LBA 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := memDisk{make([]byte, size), 512}
			if err := windowsTable(last+1, 512).Write(d); err != nil {
				t.Fatal(err)
			}
			if tt.damage != nil {
				tt.damage(d.data)
			}
			writes, err := Extend(d, tt.size)
			if writes != nil || !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %d writes, %v, want %v that says %q", len(writes), err, tt.want, tt.says)
			}
		})
	}
	if _, err := Extend(memDisk{make([]byte, 1024), 512}, 1<<20); !errors.Is(err, ErrNotGPT) {
		t.Errorf("two sectors: %v", err)
	}
}

// FuzzExtend gives Extend a small disk with right checksums, so that the fields
// behind them are reached. What it extends must be sound, with the same table.
func FuzzExtend(f *testing.F) {
	const sectors = 80
	table := Table{DiskGUID: id(1), SectorSize: 512, Sectors: sectors, Entries: []Entry{
		{Index: 0, Type: TypeESP, ID: id(2), FirstLBA: 34, LastLBA: 40, Name: "EFI system partition"},
		{Index: 5, Type: TypeBasicData, ID: id(3), FirstLBA: 41, LastLBA: 46},
	}}
	d := memDisk{make([]byte, sectors*512), 512}
	if err := table.Write(d); err != nil {
		f.Fatal(err)
	}
	for _, more := range []uint16{0, 1, 7, 33, 500} {
		f.Add(d.data[mbrEntries:512], d.data[512:1024], d.data[(sectors-1)*512:], d.data[1024:1024+6*128], uint8(sectors-1), more)
	}
	f.Fuzz(func(t *testing.T, mbr, primary, backup, entries []byte, last uint8, more uint16) {
		d := memDisk{make([]byte, sectors*512), 512}
		at := max(33, int(last)%sectors) // the backup may lie inside the disk
		copy(d.data[1024:34*512], entries)
		copy(d.data[max(34, at-32)*512:], d.data[1024:34*512])
		for _, c := range []struct {
			from []byte
			lba  int
		}{{primary, 1}, {backup, at}} {
			sector := d.data[c.lba*512:][:512]
			copy(sector, c.from)
			if n := uint64(binary.LittleEndian.Uint32(sector[80:])) * uint64(binary.LittleEndian.Uint32(sector[84:])); n <= 32*512 {
				binary.LittleEndian.PutUint32(sector[88:], crc32.ChecksumIEEE(d.data[1024:1024+n]))
			}
			if n := binary.LittleEndian.Uint32(sector[12:]); n >= headerCRC+4 && n <= 512 {
				clear(sector[headerCRC : headerCRC+4])
				binary.LittleEndian.PutUint32(sector[headerCRC:], crc32.ChecksumIEEE(sector[:n]))
			}
		}
		copy(d.data[mbrEntries:512], mbr)

		size := int64(sectors+int(more)) * 512
		writes, err := Extend(d, size)
		before, readErr := Read(d)
		if err != nil {
			if writes != nil || readErr == nil {
				t.Errorf("%d writes, %v; Read: %v", len(writes), err, readErr)
			}
			return
		}
		larger := extend(t, d, size)
		got, err := Read(larger)
		if err != nil {
			t.Fatal(err)
		}
		if before.Sectors = got.Sectors; readErr == nil && !reflect.DeepEqual(got, before) {
			t.Errorf("got %+v, was %+v", got, before)
		}
	})
}
