package gpt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"imageport/engine/disk"
)

// What Read finds instead of a sound GPT.
var (
	// ErrNotGPT says that the MBR protects no GPT.
	ErrNotGPT = errors.New("not a GPT disk")
	// ErrCorrupt says that the GPT contradicts itself or the disk.
	ErrCorrupt = errors.New("corrupt GPT")
)

// maxEntryArray bounds what Read allocates: 64 times the usual 16 KiB.
const maxEntryArray = 1 << 20

// Read returns the GPT of a disk after verifying all of it: the protective
// MBR, the checksums of both headers and both arrays of entries, that the
// copies agree and point at each other, that the backup is in the last sector,
// and that the partitions are within the usable sectors and apart.
//
// The array may have another length than the 128 entries that Write stores.
// Its errors are ErrNotGPT, ErrCorrupt, or those of the disk.
func Read(d disk.Disk) (Table, error) {
	sectors, err := checkProtected(d)
	if err != nil {
		return Table{}, err
	}
	t, _, _, err := readCopies(d, sectors, sectors-1)
	return t, err
}

// checkProtected verifies what comes before the headers, and returns how many
// sectors the disk has: at least three.
func checkProtected(d disk.Disk) (sectors uint64, err error) {
	if err := checkSectorSize(d.SectorSize()); err != nil {
		return 0, err
	}
	sectors = uint64(d.Size()) / uint64(d.SectorSize())
	if sectors < 3 {
		return 0, fmt.Errorf("gpt: the disk has %d sectors: %w", sectors, ErrNotGPT)
	}
	return sectors, checkProtectiveMBR(d)
}

// readCopies verifies both copies, of which the backup must be at LBA last, and
// returns the table that they describe and where it has it from.
func readCopies(d disk.Disk, sectors, last uint64) (t Table, primary, backup tableCopy, err error) {
	if primary, err = readCopy(d, "primary", 1, last); err != nil {
		return t, primary, backup, err
	}
	if backup, err = readCopy(d, "backup", last, 1); err != nil {
		return t, primary, backup, err
	}
	if err := agree(primary.header, backup.header); err != nil {
		return t, primary, backup, fmt.Errorf("gpt: %w: %w", err, ErrCorrupt)
	}
	if !bytes.Equal(primary.entries, backup.entries) {
		return t, primary, backup, fmt.Errorf("gpt: the primary entries at LBA %d and the backup entries at LBA %d differ: %w", primary.PartitionEntryLBA, backup.PartitionEntryLBA, ErrCorrupt)
	}

	t = Table{DiskGUID: primary.DiskGUID, SectorSize: d.SectorSize(), Sectors: sectors}
	for i := range int(primary.NumberOfPartitionEntries) {
		if e, used := decodeEntry(i, primary.entries[i*int(primary.SizeOfPartitionEntry):]); used {
			t.Entries = append(t.Entries, e)
		}
	}
	if err := checkEntries(t.Entries, primary.FirstUsableLBA, primary.LastUsableLBA); err != nil {
		return Table{}, primary, backup, fmt.Errorf("gpt: %w: %w", err, ErrCorrupt)
	}
	return t, primary, backup, nil
}

func checkProtectiveMBR(d disk.Disk) error {
	sector, err := readMBRSector(d)
	if err != nil {
		return err
	}
	if magic := sector[mbrMagic:]; magic[0] != 0x55 || magic[1] != 0xAA {
		return fmt.Errorf("gpt: LBA 0, offset %d: found % X, not the boot signature 55 AA: %w", mbrMagic, magic, ErrNotGPT)
	}
	i := protectiveEntry(sector)
	if i < 0 {
		return fmt.Errorf("gpt: no MBR entry has type 0xEE: %w", ErrNotGPT)
	}
	if first := binary.LittleEndian.Uint32(mbrEntry(sector, i)[8:]); first != 1 {
		return fmt.Errorf("gpt: the protective MBR entry %d starts at LBA %d, not 1: %w", i+1, first, ErrCorrupt)
	}
	return nil
}

// tableCopy is one of the two copies of a GPT as the disk has it.
type tableCopy struct {
	header
	sector  []byte // of the header
	entries []byte // the array, without what remains of its last sector
}

// readCopy reads the header at LBA my, whose other copy must be at LBA
// alternate, and its array of entries.
func readCopy(d disk.Disk, which string, my, alternate uint64) (tableCopy, error) {
	corrupt := func(lba uint64, format string, args ...any) error {
		return fmt.Errorf("gpt: %s GPT, LBA %d: %s: %w", which, lba, fmt.Sprintf(format, args...), ErrCorrupt)
	}
	size := uint64(d.SectorSize())
	sector := make([]byte, size)
	if err := readFull(d, sector, int64(my*size)); err != nil {
		return tableCopy{}, fmt.Errorf("gpt: read the %s header at LBA %d: %w", which, my, err)
	}
	h, err := decodeHeader(sector)
	if err != nil {
		return tableCopy{}, corrupt(my, "%v", err)
	}
	if h.MyLBA != my || h.AlternateLBA != alternate {
		return tableCopy{}, corrupt(my, "the header says that it is at LBA %d and its other copy at LBA %d, which is at LBA %d", h.MyLBA, h.AlternateLBA, alternate)
	}
	if n := h.SizeOfPartitionEntry; n < entrySize || n&(n-1) != 0 || n > uint32(size) {
		return tableCopy{}, corrupt(my, "entries of %d bytes", n)
	}
	length := uint64(h.NumberOfPartitionEntries) * uint64(h.SizeOfPartitionEntry)
	if length == 0 || length > maxEntryArray {
		return tableCopy{}, corrupt(my, "%d entries of %d bytes", h.NumberOfPartitionEntries, h.SizeOfPartitionEntry)
	}

	// The array lies between its header and the usable sectors.
	last := max(my, alternate)
	if h.FirstUsableLBA > h.LastUsableLBA || h.LastUsableLBA >= last {
		return tableCopy{}, corrupt(my, "usable LBA %d to %d on a disk of %d sectors", h.FirstUsableLBA, h.LastUsableLBA, last+1)
	}
	from, to := uint64(2), h.FirstUsableLBA
	if my == last {
		from, to = h.LastUsableLBA+1, last
	}
	blocks := (length + size - 1) / size
	if h.PartitionEntryLBA < from || h.PartitionEntryLBA > to || to-h.PartitionEntryLBA < blocks {
		return tableCopy{}, corrupt(my, "%d sectors of entries from LBA %d, outside LBA %d to %d", blocks, h.PartitionEntryLBA, from, to-1)
	}
	entries := make([]byte, length)
	if err := readFull(d, entries, int64(h.PartitionEntryLBA*size)); err != nil {
		return tableCopy{}, fmt.Errorf("gpt: read the %s entries at LBA %d: %w", which, h.PartitionEntryLBA, err)
	}
	if sum := crc32.ChecksumIEEE(entries); sum != h.PartitionEntryArrayCRC32 {
		return tableCopy{}, corrupt(h.PartitionEntryLBA, "checksum of the entries %08X, computed %08X", h.PartitionEntryArrayCRC32, sum)
	}
	return tableCopy{h, sector, entries}, nil
}

// agree tells whether two headers, each sound, describe the same table.
func agree(primary, backup header) error {
	backup.HeaderSize = primary.HeaderSize
	backup.MyLBA, backup.AlternateLBA = primary.MyLBA, primary.AlternateLBA
	backup.PartitionEntryLBA = primary.PartitionEntryLBA
	if primary != backup {
		return fmt.Errorf("the primary header %+v and the backup header %+v disagree", primary, backup)
	}
	return nil
}
