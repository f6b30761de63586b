package gpt

import (
	"encoding/binary"
	"fmt"

	"imageport/engine/disk"
)

// maxLogical is how many logical partitions ReadMBR gives: as many as a GPT has
// entries for, besides those of the MBR.
const maxLogical = entryCount - mbrEntryCount

// Extended tells that the partition is an extended one: a container, with
// nothing of its own but the boot records of the logical partitions in it.
func (p Partition) Extended() bool { return extendedType(p.Type) }

// extendedType knows the types of Windows (0x05; 0x0F, which the BIOS addresses
// by LBA) and of Linux (0x85). It is the same in an extended boot record, for
// the link to the next one.
func extendedType(t byte) bool { return t == 0x05 || t == 0x0F || t == 0x85 }

// readExtended follows the chain of extended boot records from the first sector
// of an extended partition on. Each is laid out as an MBR and has at most two
// entries: a logical partition, counted from this record, and the link to the
// next record, counted from the extended partition. Either may be missing. The
// logical partitions get numbers from index on.
//
// The sizes in links are not looked at: programs differ in what they store
// there, and nothing needs them.
func readExtended(d disk.Disk, container Partition, index int) ([]Partition, error) {
	size := uint64(d.SectorSize())
	var (
		logical []Partition
		spans   []span
		seen    = make(map[uint64]bool)
		sector  = make([]byte, mbrSize)
	)
	for ebr := container.FirstLBA; ; {
		bad := func(format string, args ...any) error {
			return fmt.Errorf("gpt: extended boot record at LBA %d (byte %d) of MBR %v: %s: %w", ebr, ebr*size, container, fmt.Sprintf(format, args...), ErrBadTable)
		}
		if len(seen) == maxLogical {
			return nil, bad("more than %d of them", maxLogical)
		}
		seen[ebr] = true
		spans = append(spans, span{ebr, ebr + 1, fmt.Sprintf("extended boot record at LBA %d", ebr)})
		if err := readFull(d, sector, int64(ebr*size)); err != nil {
			return nil, fmt.Errorf("gpt: read the extended boot record at LBA %d (byte %d): %w", ebr, ebr*size, err)
		}
		if magic := sector[mbrMagic:]; magic[0] != 0x55 || magic[1] != 0xAA {
			if ebr == container.FirstLBA && zero(sector) {
				return nil, nil // made, but never divided
			}
			return nil, bad("found % X, not the boot signature 55 AA", magic)
		}

		next, partitions := uint64(0), 0
		for i := range mbrEntryCount {
			e := mbrEntry(sector, i)
			first, sectors := uint64(binary.LittleEndian.Uint32(e[8:])), uint64(binary.LittleEndian.Uint32(e[12:]))
			switch {
			case e[4] == typeEmpty:
			case extendedType(e[4]):
				if next != 0 {
					return nil, bad("entry %d is a second link", i+1)
				}
				next = container.FirstLBA + first
				if next >= container.end() {
					return nil, bad("entry %d links to LBA %d, outside of the extended partition", i+1, next)
				}
				if seen[next] {
					return nil, bad("entry %d links back to LBA %d: the chain is a loop", i+1, next)
				}
			default:
				// The BIOS looks for the active partition in the MBR only: the
				// flag means nothing here.
				p := Partition{Index: index + len(logical), Type: e[4], FirstLBA: ebr + first, Sectors: sectors, EBR: ebr}
				if partitions++; partitions > 1 {
					return nil, bad("entry %d is a second logical partition", i+1)
				}
				if sectors == 0 {
					return nil, bad("entry %d (type 0x%02X, LBA %d) has no sectors", i+1, p.Type, p.FirstLBA)
				}
				if p.end() > container.end() {
					return nil, bad("%v ends outside of the extended partition", p)
				}
				logical, spans = append(logical, p), append(spans, p.span())
			}
		}
		if next == 0 {
			break
		}
		ebr = next
	}
	return logical, apart(spans)
}

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
