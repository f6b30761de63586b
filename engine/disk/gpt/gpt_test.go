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

	"github.com/google/uuid"
)

var geometries = []struct {
	sectors    uint64
	sectorSize int
}{
	{16 << 11, 512},
	{16<<11 + 7, 512}, // not a whole number of MiB
	{16 << 8, 4096},
}

func TestRoundTrip(t *testing.T) {
	for _, g := range geometries {
		t.Run(fmt.Sprintf("%d sectors of %d", g.sectors, g.sectorSize), func(t *testing.T) {
			d := memDisk{bytes.Repeat([]byte{0xAA}, int(g.sectors)*g.sectorSize), g.sectorSize}
			want := windowsTable(g.sectors, g.sectorSize)
			want.Entries[1].Name = strings.Repeat("𝄞", 18) // all 36 code units
			if err := want.Write(d); err != nil {
				t.Fatal(err)
			}
			got, err := Read(d)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, want %+v", got, want)
			}
			if _, err := ReadMBR(d); !errors.Is(err, ErrProtective) {
				t.Errorf("ReadMBR: %v", err)
			}
			usable := d.data[want.FirstUsable()*uint64(g.sectorSize) : (want.LastUsable()+1)*uint64(g.sectorSize)]
			if bytes.Count(usable, []byte{0xAA}) != len(usable) {
				t.Error("Write changed a sector that partitions may have")
			}
			again := memDisk{make([]byte, len(d.data)), g.sectorSize}
			if err := want.Write(again); err != nil {
				t.Fatal(err)
			}
			copy(again.data[want.FirstUsable()*uint64(g.sectorSize):], usable)
			if !bytes.Equal(again.data, d.data) {
				t.Error("what Write stores depends on what was there")
			}
		})
	}
}

// The BIOS partition table must survive until the last step.
func TestWriteOrder(t *testing.T) {
	old := mbrSectorOf(7, mbrEntrySpec{0x80, 7, 2048, 4096})
	d := diskWith(old, 16<<20, 512)
	table := windowsTable(16<<11, 512)
	for _, step := range []func() error{func() error { return table.WriteBackup(d) }, func() error { return table.WritePrimary(d) }} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(d.data[:512], old) {
			t.Fatal("the MBR changed")
		}
		if _, err := Read(d); !errors.Is(err, ErrNotGPT) {
			t.Fatalf("Read: %v", err)
		}
	}
	if err := table.WriteProtectiveMBR(d); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(d); err != nil {
		t.Fatal(err)
	}
}

func TestProtectiveMBR(t *testing.T) {
	for _, tt := range []struct{ sectors, size uint64 }{{32768, 32767}, {1 << 32, 0xFFFFFFFF}, {1 << 33, 0xFFFFFFFF}} {
		b := protectiveMBR(tt.sectors, 4096)
		if got := binary.LittleEndian.Uint32(b[mbrEntries+12:]); uint64(got) != tt.size {
			t.Errorf("%d sectors: the entry has %d", tt.sectors, got)
		}
		if !bytes.Equal(b[mbrSignature:mbrEntries], make([]byte, 6)) {
			t.Errorf("disk signature % X", b[mbrSignature:mbrEntries])
		}
		if !bytes.Equal(b[mbrEntries:mbrEntries+8], []byte{0, 0, 2, 0, 0xEE, 0xFF, 0xFF, 0xFF}) {
			t.Errorf("entry % X", b[mbrEntries:mbrEntries+8])
		}
		if len(bytes.Trim(b[mbrEntries+16:mbrMagic], "\x00")) != 0 || len(bytes.Trim(b[mbrSize:], "\x00")) != 0 {
			t.Error("more than one entry, or a sector that is not zero behind the MBR")
		}
	}
	if n := len(stubCode + stubMessage); n > mbrBootCode {
		t.Errorf("the boot code has %d bytes", n)
	}
	// The address that the code loads is where the message is.
	if at := 0x7C00 + len(stubCode); int(binary.LittleEndian.Uint16([]byte(stubCode)[12:])) != at {
		t.Errorf("the message is at %04X", at)
	}
}

// The array of 128 entries takes 32 sectors of 512 bytes, or 4 of 4096.
func TestUsable(t *testing.T) {
	for _, tt := range []struct {
		sectorSize  int
		first, last uint64
	}{{512, 34, 9999 - 33}, {4096, 6, 9999 - 5}} {
		table := Table{SectorSize: tt.sectorSize, Sectors: 10000}
		if table.FirstUsable() != tt.first || table.LastUsable() != tt.last {
			t.Errorf("%d: usable LBA %d to %d", tt.sectorSize, table.FirstUsable(), table.LastUsable())
		}
	}
}

// The example of UEFI appendix A and the well-known bytes of an ESP entry.
func TestGUIDByteOrder(t *testing.T) {
	b := make([]byte, 16)
	putGUID(b, TypeESP)
	if want := []byte("\x28\x73\x2A\xC1\x1F\xF8\xD2\x11\xBA\x4B\x00\xA0\xC9\x3E\xC9\x3B"); !bytes.Equal(b, want) {
		t.Errorf("% X", b)
	}
	if getGUID(b) != TypeESP {
		t.Error(getGUID(b))
	}
}

func TestValidate(t *testing.T) {
	const sectors = 16 << 11
	tests := []struct {
		name   string
		change func(*Table)
		says   string
	}{
		{"no disk GUID", func(t *Table) { t.DiskGUID = uuid.Nil }, "no GUID"},
		{"tiny disk", func(t *Table) { t.Sectors, t.Entries = 67, nil }, "67 sectors"},
		{"no disk", func(t *Table) { t.Sectors, t.Entries = 0, nil }, "0 sectors"},
		{"more than 8 EiB", func(t *Table) { t.Sectors = 1 << 62 }, "sectors cannot"},
		{"no type", func(t *Table) { t.Entries[0].Type = uuid.Nil }, "neither may be zero"},
		{"no partition GUID", func(t *Table) { t.Entries[0].ID = uuid.Nil }, "neither may be zero"},
		{"same GUID", func(t *Table) { t.Entries[2].ID = t.Entries[0].ID }, "entries 1 and 3 both"},
		{"same number", func(t *Table) { t.Entries[2].Index = 1 }, "number 2 occurs twice"},
		{"negative number", func(t *Table) { t.Entries[2].Index = -1 }, "entry number 0"},
		{"number 129", func(t *Table) { t.Entries[2].Index = 128 }, "entry number 129"},
		{"before the usable sectors", func(t *Table) { t.Entries[0].FirstLBA = 33 }, "usable LBA 34 to 32734"},
		{"behind the usable sectors", func(t *Table) { t.Entries[2].LastLBA = sectors - 33 }, "usable LBA 34 to 32734"},
		{"backwards", func(t *Table) { t.Entries[0].LastLBA = t.Entries[0].FirstLBA - 1 }, "not within"},
		{"overlap", func(t *Table) { t.Entries[1].FirstLBA-- }, "entry 2 (LBA 4095 to 28671) overlaps entry 1 (LBA 2048 to 4095)"},
		{"long name", func(t *Table) { t.Entries[0].Name = strings.Repeat("𝄞", 18) + "x" }, "36 UTF-16"},
		{"name with NUL", func(t *Table) { t.Entries[0].Name = "a\x00b" }, "36 UTF-16"},
		{"name not UTF-8", func(t *Table) { t.Entries[0].Name = "a\xFF" }, "36 UTF-16"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			table := windowsTable(sectors, 512)
			tt.change(&table)
			d := memDisk{make([]byte, sectors*512), 512}
			for _, err := range []error{table.Validate(), table.Write(d), table.WritePrimary(d), table.WriteProtectiveMBR(d)} {
				if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("got %v, want one that says %q", err, tt.says)
				}
			}
			if !bytes.Equal(d.data, make([]byte, len(d.data))) {
				t.Error("an invalid table was written")
			}
		})
	}
	fits := windowsTable(sectors, 512)
	fits.Entries[0].FirstLBA, fits.Entries[2].LastLBA = fits.FirstUsable(), fits.LastUsable()
	fits.Entries[0].Name = strings.Repeat("𝄞", 18)
	if err := fits.Validate(); err != nil {
		t.Error(err)
	}
	if err := (Table{SectorSize: 1024}).Validate(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("1024-byte sectors: %v", err)
	}
}

// TestReadRefuses damages one thing each in a sound disk.
func TestReadRefuses(t *testing.T) {
	const size, last = 16 << 20, 16<<11 - 1
	put32 := func(at int, v uint32) func([]byte) {
		return func(b []byte) { binary.LittleEndian.PutUint32(b[at:], v) }
	}
	// resealed changes a header field and makes the checksum right again.
	resealed := func(lba int, change func(h []byte)) func([]byte) {
		return func(b []byte) {
			h := b[lba*512:][:headerSize]
			change(h)
			put32(headerCRC, 0)(h)
			put32(headerCRC, crc32.ChecksumIEEE(h))(h)
		}
	}
	// entriesResealed changes the entries in both copies, checksums included.
	entriesResealed := func(change func(entries []byte)) func([]byte) {
		return func(b []byte) {
			for _, at := range []struct{ header, entries int }{{1, 2}, {last, last - 32}} {
				entries := b[at.entries*512:][:32*512]
				change(entries)
				resealed(at.header, put32(88, crc32.ChecksumIEEE(entries)))(b)
			}
		}
	}
	tests := []struct {
		name   string
		damage func([]byte)
		want   error
		says   string
	}{
		{"blank MBR", func(b []byte) { clear(b[:512]) }, ErrNotGPT, "boot signature"},
		{"BIOS disk", func(b []byte) { copy(b, mbrSectorOf(7, mbrEntrySpec{0x80, 7, 2048, 100})) }, ErrNotGPT, "0xEE"},
		{"protective MBR from LBA 2", put32(mbrEntries+8, 2), ErrCorrupt, "starts at LBA 2"},
		{"no primary header", func(b []byte) { clear(b[512:1024]) }, ErrCorrupt, "primary GPT, LBA 1: found 00"},
		{"no backup header", func(b []byte) { clear(b[last*512:]) }, ErrCorrupt, "backup GPT, LBA 32767: found 00"},
		{"primary header bit", func(b []byte) { b[512+57] ^= 1 }, ErrCorrupt, "primary GPT, LBA 1: header checksum"},
		{"backup header bit", func(b []byte) { b[last*512+57] ^= 1 }, ErrCorrupt, "backup GPT, LBA 32767: header checksum"},
		{"primary entry bit", func(b []byte) { b[1024+200] ^= 1 }, ErrCorrupt, "primary GPT, LBA 2: checksum of the entries"},
		{"backup entry bit", func(b []byte) { b[(last-32)*512+16383] ^= 1 }, ErrCorrupt, "backup GPT, LBA 32735: checksum of the entries"},
		{"revision", resealed(1, put32(8, 0x00020000)), ErrCorrupt, "revision 00020000"},
		{"header size 0", resealed(1, put32(12, 0)), ErrCorrupt, "header size 0"},
		{"header size 4 GiB", resealed(1, put32(12, 0xFFFFFFFF)), ErrCorrupt, "header size 4294967295"},
		{"misplaced", resealed(1, put32(24, 2)), ErrCorrupt, "says that it is at LBA 2"},
		{"grown disk: backup is not last", resealed(1, put32(32, last-5)), ErrCorrupt, "other copy at LBA 32762"},
		{"entry size", resealed(1, put32(84, 120)), ErrCorrupt, "entries of 120 bytes"},
		{"2^32 entries", resealed(1, put32(80, 0xFFFFFFFF)), ErrCorrupt, "4294967295 entries"},
		{"no entries", resealed(1, put32(80, 0)), ErrCorrupt, "0 entries"},
		{"array in the usable sectors", resealed(1, put32(72, 3)), ErrCorrupt, "32 sectors of entries from LBA 3"},
		{"backup array over its header", resealed(last, put32(72, last-31)), ErrCorrupt, "32 sectors of entries from LBA 32736"},
		{"array at the end of the world", resealed(1, func(h []byte) { binary.LittleEndian.PutUint64(h[72:], 1<<63) }), ErrCorrupt, "sectors of entries"},
		{"usable to the last sector", resealed(1, put32(48, last)), ErrCorrupt, "usable LBA"},
		{"usable sectors differ", resealed(last, put32(40, 40)), ErrCorrupt, "disagree"},
		{"disk GUIDs differ", resealed(last, put32(56, 40)), ErrCorrupt, "disagree"},
		{"partition GUIDs differ", func(b []byte) {
			entries := b[1024:][:32*512]
			entries[16] ^= 1
			resealed(1, put32(88, crc32.ChecksumIEEE(entries)))(b)
		}, ErrCorrupt, "disagree"},
		{"overlap", entriesResealed(func(e []byte) { put32(32, 2048)(e[128:]) }), ErrCorrupt, "overlaps"},
		{"outside", entriesResealed(func(e []byte) { put32(32, 33)(e) }), ErrCorrupt, "usable LBA 34 to 32734"},
		{"partition without GUID", entriesResealed(func(e []byte) { clear(e[16:32]) }), ErrCorrupt, "neither may be zero"},
		{"two partitions, one GUID", entriesResealed(func(e []byte) { copy(e[128+16:], e[16:32]) }), ErrCorrupt, "both have GUID"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := memDisk{make([]byte, size), 512}
			if err := windowsTable(last+1, 512).Write(d); err != nil {
				t.Fatal(err)
			}
			tt.damage(d.data)
			_, err := Read(d)
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %v, want %v that says %q", err, tt.want, tt.says)
			}
		})
	}
	if _, err := Read(memDisk{make([]byte, 1024), 512}); !errors.Is(err, ErrNotGPT) {
		t.Errorf("two sectors: %v", err)
	}
}

// FuzzRead gives the parser a small disk with right checksums, so that the
// fields behind them are reached.
func FuzzRead(f *testing.F) {
	const sectors = 80
	table := Table{DiskGUID: id(1), SectorSize: 512, Sectors: sectors, Entries: []Entry{
		{Index: 0, Type: TypeESP, ID: id(2), FirstLBA: 34, LastLBA: 40, Name: "EFI system partition"},
		{Index: 5, Type: TypeBasicData, ID: id(3), FirstLBA: 41, LastLBA: 46},
	}}
	d := memDisk{make([]byte, sectors*512), 512}
	if err := table.Write(d); err != nil {
		f.Fatal(err)
	}
	f.Add(d.data[512:1024], d.data[(sectors-1)*512:], d.data[1024:1024+6*128])
	f.Fuzz(func(t *testing.T, primary, backup, entries []byte) {
		d := memDisk{make([]byte, sectors*512), 512}
		if err := table.WriteProtectiveMBR(d); err != nil {
			t.Fatal(err)
		}
		copy(d.data[1024:34*512], entries)
		copy(d.data[(sectors-33)*512:], d.data[1024:34*512])
		for _, c := range []struct {
			from []byte
			lba  int
		}{{primary, 1}, {backup, sectors - 1}} {
			sector := d.data[c.lba*512:][:512]
			copy(sector, c.from)
			binary.LittleEndian.PutUint32(sector[88:], crc32.ChecksumIEEE(d.data[1024:34*512]))
			if n := binary.LittleEndian.Uint32(sector[12:]); n >= headerCRC+4 && n <= 512 {
				clear(sector[headerCRC : headerCRC+4])
				binary.LittleEndian.PutUint32(sector[headerCRC:], crc32.ChecksumIEEE(sector[:n]))
			}
		}
		got, err := Read(d)
		if err != nil {
			return
		}
		for _, e := range got.Entries {
			if e.FirstLBA > e.LastLBA || e.FirstLBA < 2 || e.LastLBA >= sectors-1 {
				t.Errorf("returned %v", e)
			}
		}
	})
}
