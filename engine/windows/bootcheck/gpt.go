package bootcheck

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"hash/crc32"
	"io"
	"slices"
	"unicode/utf16"

	"github.com/google/uuid"

	"imageport/engine/disk"
)

// Limits of the entry array: 128 entries of 128 bytes are what everybody
// writes, and the least room that it must have.
const (
	leastEntriesBytes = 16 << 10
	mostEntriesBytes  = 1 << 20
	mostPartitions    = 128 // that Windows knows
)

// table is a GUID partition table whose two copies agree.
type table struct {
	diskGUID    uuid.UUID
	first, last uint64 // usable LBAs
	partitions  []Partition
}

// gptHeader is the header of one copy (UEFI 5.3.2). Its CRCs have been verified.
type gptHeader struct {
	my, alternate, first, last, entries uint64 // LBAs
	disk                                [16]byte
	count, size                         uint32
	array                               []byte
}

// checkMBR checks the protective MBR (UEFI 5.2.3).
func checkMBR(d disk.Disk) error {
	sector := make([]byte, 512)
	if err := readAt(d, sector, 0, "protective MBR"); err != nil {
		return err
	}
	le := binary.LittleEndian
	if got := le.Uint16(sector[510:]); got != 0xaa55 {
		return wrong("MBR: signature at byte 510 is 0x%04x, expected 0xaa55", got)
	}
	if got := le.Uint32(sector[440:]); got != 0 {
		return wrong("MBR: disk signature at byte 440 is 0x%08x, expected none: the disk still calls itself an MBR disk", got)
	}
	protective := 0
	for i := range 4 {
		e := sector[446+16*i:][:16]
		if allZero(e) {
			continue
		}
		if e[4] != 0xee {
			return wrong("MBR: entry %d is a partition of type 0x%02x from sector %d, expected none but the protective one (0xee)", i+1, e[4], le.Uint32(e[8:]))
		}
		if e[0] != 0 {
			return wrong("MBR: entry %d (0xee) has the boot indicator 0x%02x, expected 0: it is marked active", i+1, e[0])
		}
		sectors := uint64(d.Size()/int64(d.SectorSize())) - 1
		if start, n := le.Uint32(e[8:]), le.Uint32(e[12:]); start != 1 || uint64(n) != min(sectors, 0xffffffff) && n != 0xffffffff {
			return wrong("MBR: the protective entry covers %d sectors from %d, expected %d from 1", n, start, min(sectors, 0xffffffff))
		}
		protective++
	}
	if protective != 1 {
		return wrong("MBR: %d protective entries (0xee), expected 1", protective)
	}
	return nil
}

// readTable reads both copies of the table, and compares them.
func readTable(d disk.Disk) (table, error) {
	last := uint64(d.Size()/int64(d.SectorSize())) - 1
	primary, err := readHeader(d, 1, last, "primary GPT")
	if err != nil {
		return table{}, err
	}
	backup, err := readHeader(d, last, 1, "backup GPT")
	if err != nil {
		return table{}, err
	}
	if primary.disk != backup.disk {
		return table{}, wrong("backup GPT: disk GUID is %v, expected %v as in the primary", guidAt(backup.disk[:]), guidAt(primary.disk[:]))
	}
	if primary.first != backup.first || primary.last != backup.last || primary.count != backup.count || primary.size != backup.size {
		return table{}, wrong("backup GPT: usable sectors %d to %d and %d entries of %d bytes, expected %d to %d and %d of %d as in the primary",
			backup.first, backup.last, backup.count, backup.size, primary.first, primary.last, primary.count, primary.size)
	}
	if !bytes.Equal(primary.array, backup.array) {
		return table{}, wrong("backup GPT: its entries differ from the primary's")
	}
	t := table{diskGUID: guidAt(primary.disk[:]), first: primary.first, last: primary.last}
	if t.diskGUID == uuid.Nil {
		return table{}, wrong("GPT: the disk GUID is zero")
	}
	t.partitions, err = readPartitions(primary)
	return t, err
}

// readHeader reads a copy of the table from the header at an LBA; the other
// copy's is at alternate.
func readHeader(d disk.Disk, at, alternate uint64, what string) (gptHeader, error) {
	bytesPerSector := uint64(d.SectorSize())
	b := make([]byte, bytesPerSector)
	if err := readAt(d, b, int64(at*bytesPerSector), what); err != nil {
		return gptHeader{}, err
	}
	le := binary.LittleEndian
	if string(b[:8]) != "EFI PART" {
		return gptHeader{}, wrong("%s: sector %d begins with %q, expected \"EFI PART\"", what, at, b[:8])
	}
	size := le.Uint32(b[12:])
	if revision := le.Uint32(b[8:]); revision != 0x10000 || size < 92 || uint64(size) > bytesPerSector {
		return gptHeader{}, wrong("%s: revision 0x%x with a header of %d bytes, expected 0x10000 and 92 to %d", what, revision, size, bytesPerSector)
	}
	stored := le.Uint32(b[16:])
	le.PutUint32(b[16:], 0)
	if sum := crc32.ChecksumIEEE(b[:size]); sum != stored {
		return gptHeader{}, wrong("%s: CRC of the header in sector %d is 0x%08x, expected 0x%08x", what, at, stored, sum)
	}
	h := gptHeader{
		my: le.Uint64(b[24:]), alternate: le.Uint64(b[32:]), first: le.Uint64(b[40:]), last: le.Uint64(b[48:]),
		disk: [16]byte(b[56:72]), entries: le.Uint64(b[72:]), count: le.Uint32(b[80:]), size: le.Uint32(b[84:]),
	}
	if h.my != at || h.alternate != alternate {
		return gptHeader{}, wrong("%s: the header says it is in sector %d and the other in %d, expected %d and %d", what, h.my, h.alternate, at, alternate)
	}
	if le.Uint32(b[20:]) != 0 || !allZero(b[92:size]) {
		return gptHeader{}, wrong("%s: reserved bytes of the header in sector %d are not zero", what, at)
	}
	if h.size < 128 || h.size&(h.size-1) != 0 || h.count == 0 || uint64(h.size)*uint64(h.count) > mostEntriesBytes {
		return gptHeader{}, wrong("%s: %d entries of %d bytes, expected a power of two from 128 on, and at most %d bytes", what, h.count, h.size, mostEntriesBytes)
	}
	if err := h.checkPlaces(max(at, alternate), bytesPerSector, what); err != nil {
		return gptHeader{}, err
	}
	h.array = make([]byte, uint64(h.size)*uint64(h.count))
	if err := readAt(d, h.array, int64(h.entries*bytesPerSector), what+", entries"); err != nil {
		return gptHeader{}, err
	}
	if want, sum := le.Uint32(b[88:]), crc32.ChecksumIEEE(h.array); sum != want {
		return gptHeader{}, wrong("%s: CRC of the entries in sector %d is 0x%08x, expected 0x%08x as in the header", what, h.entries, sum, want)
	}
	return h, nil
}

// checkPlaces checks that the entries lie between their header and the usable
// sectors, with the least room that they must have.
func (h gptHeader) checkPlaces(lastLBA, bytesPerSector uint64, what string) error {
	room := max(uint64(h.size)*uint64(h.count), leastEntriesBytes)
	room = (room + bytesPerSector - 1) / bytesPerSector
	if h.first > h.last || h.first < 2+room || lastLBA < 1+room || h.last > lastLBA-1-room {
		return wrong("%s: usable sectors %d to %d, expected a range within %d to %d", what, h.first, h.last, 2+room, int64(lastLBA)-1-int64(room))
	}
	// Neither end can overflow: first and last are sectors of the disk.
	if h.my == 1 && (h.entries < 2 || h.entries > h.first-room) {
		return wrong("%s: entries from sector %d, expected from 2 to %d", what, h.entries, h.first-room)
	}
	if h.my != 1 && (h.entries <= h.last || h.entries > lastLBA-room) {
		return wrong("%s: entries from sector %d, expected from %d to %d", what, h.entries, h.last+1, lastLBA-room)
	}
	return nil
}

// readPartitions decodes the entries (UEFI 5.3.3) and checks that they are
// apart, and inside the usable sectors.
func readPartitions(h gptHeader) ([]Partition, error) {
	le := binary.LittleEndian
	var found []Partition
	for i := range int(h.count) {
		e := h.array[i*int(h.size):][:h.size]
		if allZero(e[:16]) {
			continue
		}
		p := Partition{
			Number: i + 1, Type: guidAt(e), ID: guidAt(e[16:]), FirstLBA: le.Uint64(e[32:]), LastLBA: le.Uint64(e[40:]),
			Attributes: le.Uint64(e[48:]), Name: utf16Text(e[56:128]),
		}
		if p.FirstLBA > p.LastLBA || p.FirstLBA < h.first || p.LastLBA > h.last {
			return nil, wrong("GPT: partition %d is sectors %d to %d, expected a range within %d to %d", p.Number, p.FirstLBA, p.LastLBA, h.first, h.last)
		}
		if len(found) == mostPartitions {
			return nil, wrong("GPT: more than %d partitions", mostPartitions)
		}
		if p.ID == uuid.Nil {
			return nil, wrong("GPT: partition %d has no GUID", p.Number)
		}
		found = append(found, p)
	}
	order := slices.Clone(found)
	slices.SortFunc(order, func(a, b Partition) int { return cmp.Compare(a.FirstLBA, b.FirstLBA) })
	seen := map[uuid.UUID]int{}
	for i, p := range order {
		if i > 0 && p.FirstLBA <= order[i-1].LastLBA {
			return nil, wrong("GPT: partition %d begins at sector %d, inside partition %d, which ends at %d", p.Number, p.FirstLBA, order[i-1].Number, order[i-1].LastLBA)
		}
		if other, ok := seen[p.ID]; ok {
			return nil, wrong("GPT: partitions %d and %d have the same GUID %v", other, p.Number, p.ID)
		}
		seen[p.ID] = p.Number
	}
	return found, nil
}

// byID finds a partition by its GUID.
func (t table) byID(id uuid.UUID) (Partition, bool) {
	i := slices.IndexFunc(t.partitions, func(p Partition) bool { return p.ID == id })
	if i < 0 {
		return Partition{}, false
	}
	return t.partitions[i], true
}

// compareWith checks that the table is what was planned.
func (t table) compareWith(want Expected) error {
	if want.DiskGUID != uuid.Nil && t.diskGUID != want.DiskGUID {
		return wrong("GPT: disk GUID is %v, expected %v", t.diskGUID, want.DiskGUID)
	}
	if want.Partitions == nil {
		return nil
	}
	expected := slices.Clone(want.Partitions)
	slices.SortFunc(expected, func(a, b Partition) int { return a.Number - b.Number })
	for i := range max(len(expected), len(t.partitions)) {
		if i >= len(expected) || i < len(t.partitions) && t.partitions[i].Number < expected[i].Number {
			return wrong("GPT: there is a partition %d (%q), expected none", t.partitions[i].Number, t.partitions[i].Name)
		}
		if i >= len(t.partitions) || t.partitions[i].Number > expected[i].Number {
			return wrong("GPT: there is no partition %d, expected %q", expected[i].Number, expected[i].Name)
		}
		if t.partitions[i] != expected[i] {
			return wrong("GPT: partition %d is %+v, expected %+v", expected[i].Number, t.partitions[i], expected[i])
		}
	}
	return nil
}

// section is the partition's bytes.
func section(d disk.Disk, p Partition) *io.SectionReader {
	n := int64(d.SectorSize())
	return disk.Section(d, int64(p.FirstLBA)*n, int64(p.LastLBA-p.FirstLBA+1)*n)
}

// guidAt decodes a GUID, whose first three groups are little-endian (UEFI,
// appendix A).
func guidAt(b []byte) uuid.UUID {
	return uuid.UUID{b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]}
}

// utf16Text decodes UTF-16LE up to the first NUL.
func utf16Text(b []byte) string {
	var units []uint16
	for ; len(b) >= 2; b = b[2:] {
		c := binary.LittleEndian.Uint16(b)
		if c == 0 {
			break
		}
		units = append(units, c)
	}
	return string(utf16.Decode(units))
}

func allZero(b []byte) bool {
	return !slices.ContainsFunc(b, func(c byte) bool { return c != 0 })
}
