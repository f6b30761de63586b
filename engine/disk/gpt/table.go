package gpt

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/google/uuid"
)

// ErrInvalid says that a table cannot be written: see Table.Validate.
var ErrInvalid = errors.New("invalid GPT")

// Partition types.
var (
	// TypeESP is the EFI system partition (UEFI table 5.7).
	TypeESP = uuid.MustParse("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
	// TypeBasicData is PARTITION_BASIC_DATA_GUID: any volume of Windows.
	TypeBasicData = uuid.MustParse("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7")
	// TypeRecovery is PARTITION_MSFT_RECOVERY_GUID: the tools of Windows RE.
	TypeRecovery = uuid.MustParse("de94bba4-06d1-4d40-a16a-bfd50179d6ac")
	// TypeMSR is PARTITION_MSFT_RESERVED_GUID.
	TypeMSR = uuid.MustParse("e3c9e316-0b5c-4db8-817d-f92df00215ae")
)

// Attributes of a partition: bits 0 to 2 belong to the UEFI specification
// (table 5.8), bits 48 to 63 to the type. The latter are those that Windows
// gives its basic data partitions (PARTITION_INFORMATION_GPT in winioctl.h).
const (
	AttrRequired      uint64 = 1 << 0 // the platform needs it: do not delete
	AttrNoBlockIO     uint64 = 1 << 1
	AttrLegacyBoot    uint64 = 1 << 2
	AttrReadOnly      uint64 = 1 << 60
	AttrShadowCopy    uint64 = 1 << 61
	AttrHidden        uint64 = 1 << 62
	AttrNoDriveLetter uint64 = 1 << 63
)

const (
	entrySize   = 128 // bytes, SizeOfPartitionEntry
	entryCount  = 128 // NumberOfPartitionEntries: 16 KiB, the least UEFI allows
	nameOffset  = 56
	nameUnits   = 36 // UTF-16 code units
	nameMaxSize = nameUnits * 2
)

// Entry is a partition.
type Entry struct {
	Index      int // number of the entry, from 0
	Type, ID   uuid.UUID
	FirstLBA   uint64
	LastLBA    uint64 // inclusive
	Attributes uint64
	Name       string // at most 36 UTF-16 code units
}

// Sectors is the length of the partition.
func (e Entry) Sectors() uint64 { return e.LastLBA - e.FirstLBA + 1 }

func (e Entry) String() string {
	return fmt.Sprintf("entry %d (LBA %d to %d)", e.Index+1, e.FirstLBA, e.LastLBA)
}

// Table is the GUID partition table of a disk.
type Table struct {
	DiskGUID   uuid.UUID
	SectorSize int     // 512 or 4096
	Sectors    uint64  // of the whole disk
	Entries    []Entry // those in use
}

// FirstUsable is the first LBA that a partition may have, when the table has
// the 128 entries that Write gives it.
func (t Table) FirstUsable() uint64 { return 2 + entrySectors(t.SectorSize) }

// LastUsable is the last LBA that a partition may have, when the table has the
// 128 entries that Write gives it. It is 0 if the disk is too small for any.
func (t Table) LastUsable() uint64 {
	if back := entrySectors(t.SectorSize) + 2; t.Sectors > back {
		return t.Sectors - back
	}
	return 0
}

// entrySectors is the length of an array of 128 entries.
func entrySectors(sectorSize int) uint64 {
	if sectorSize <= 0 {
		return 0
	}
	return uint64((entryCount*entrySize + sectorSize - 1) / sectorSize)
}

// Validate returns an ErrInvalid if the table is not one that Write can store
// or that firmware and Windows would accept.
func (t Table) Validate() error {
	if err := checkSectorSize(t.SectorSize); err != nil {
		return err
	}
	if t.DiskGUID == uuid.Nil {
		return fmt.Errorf("gpt: the disk has no GUID: %w", ErrInvalid)
	}
	if t.Sectors > math.MaxInt64/uint64(t.SectorSize) || t.LastUsable() < t.FirstUsable() {
		return fmt.Errorf("gpt: a disk of %d sectors cannot hold a GPT: %w", t.Sectors, ErrInvalid)
	}
	for _, e := range t.Entries {
		if e.Index < 0 || e.Index >= entryCount {
			return fmt.Errorf("gpt: entry number %d, the table has %d: %w", e.Index+1, entryCount, ErrInvalid)
		}
		if !utf8.ValidString(e.Name) || strings.ContainsRune(e.Name, 0) || len(utf16.Encode([]rune(e.Name))) > nameUnits {
			return fmt.Errorf("gpt: %v: its name %q is not of at most %d UTF-16 code units: %w", e, e.Name, nameUnits, ErrInvalid)
		}
	}
	if err := checkEntries(t.Entries, t.FirstUsable(), t.LastUsable()); err != nil {
		return fmt.Errorf("gpt: %w: %w", err, ErrInvalid)
	}
	return nil
}

// checkEntries tells whether the partitions have their own number, GUID and
// sectors, all within first to last.
func checkEntries(entries []Entry, first, last uint64) error {
	numbers := make(map[int]bool, len(entries))
	ids := make(map[uuid.UUID]int, len(entries))
	for _, e := range entries {
		if e.Type == uuid.Nil || e.ID == uuid.Nil {
			return fmt.Errorf("%v: type %v, GUID %v: neither may be zero", e, e.Type, e.ID)
		}
		if numbers[e.Index] {
			return fmt.Errorf("entry number %d occurs twice", e.Index+1)
		}
		if other, ok := ids[e.ID]; ok {
			return fmt.Errorf("entries %d and %d both have GUID %v", other+1, e.Index+1, e.ID)
		}
		numbers[e.Index], ids[e.ID] = true, e.Index
		if e.FirstLBA > e.LastLBA || e.FirstLBA < first || e.LastLBA > last {
			return fmt.Errorf("%v is not within the usable LBA %d to %d", e, first, last)
		}
	}
	sorted := slices.SortedFunc(slices.Values(entries), func(a, b Entry) int { return cmp.Compare(a.FirstLBA, b.FirstLBA) })
	for i := 1; i < len(sorted); i++ {
		if a, b := sorted[i-1], sorted[i]; b.FirstLBA <= a.LastLBA {
			return fmt.Errorf("%v overlaps %v", b, a)
		}
	}
	return nil
}

// encode puts the entry in its 128 bytes (UEFI table 5.6).
func (e Entry) encode(b []byte) {
	putGUID(b[0:], e.Type)
	putGUID(b[16:], e.ID)
	binary.LittleEndian.PutUint64(b[32:], e.FirstLBA)
	binary.LittleEndian.PutUint64(b[40:], e.LastLBA)
	binary.LittleEndian.PutUint64(b[48:], e.Attributes)
	for i, u := range utf16.Encode([]rune(e.Name)) {
		binary.LittleEndian.PutUint16(b[nameOffset+2*i:], u)
	}
}

// decodeEntry is the inverse of encode; ok is false for an unused entry.
func decodeEntry(index int, b []byte) (e Entry, ok bool) {
	e = Entry{
		Index:      index,
		Type:       getGUID(b[0:]),
		ID:         getGUID(b[16:]),
		FirstLBA:   binary.LittleEndian.Uint64(b[32:]),
		LastLBA:    binary.LittleEndian.Uint64(b[40:]),
		Attributes: binary.LittleEndian.Uint64(b[48:]),
	}
	units := make([]uint16, 0, nameUnits)
	for i := 0; i < nameMaxSize; i += 2 {
		u := binary.LittleEndian.Uint16(b[nameOffset+i:])
		if u == 0 {
			break
		}
		units = append(units, u)
	}
	e.Name = string(utf16.Decode(units))
	return e, e.Type != uuid.Nil
}

// putGUID writes u as an EFI_GUID: the first three fields are little-endian,
// where a uuid.UUID has them in the order of the text (UEFI appendix A).
func putGUID(b []byte, u uuid.UUID) {
	binary.LittleEndian.PutUint32(b[0:], binary.BigEndian.Uint32(u[0:]))
	binary.LittleEndian.PutUint16(b[4:], binary.BigEndian.Uint16(u[4:]))
	binary.LittleEndian.PutUint16(b[6:], binary.BigEndian.Uint16(u[6:]))
	copy(b[8:16], u[8:])
}

func getGUID(b []byte) (u uuid.UUID) {
	binary.BigEndian.PutUint32(u[0:], binary.LittleEndian.Uint32(b[0:]))
	binary.BigEndian.PutUint16(u[4:], binary.LittleEndian.Uint16(b[4:]))
	binary.BigEndian.PutUint16(u[6:], binary.LittleEndian.Uint16(b[6:]))
	copy(u[8:], b[8:16])
	return u
}
