package gpt

import (
	"encoding/binary"
	"fmt"
	"math"

	"imageport/engine/disk"
)

// Write is what a disk gets at a place. Both are whole sectors.
type Write struct {
	Offset int64 // bytes
	Data   []byte
}

// Extend returns what to write to a disk of size bytes, to which d was copied,
// so that its GPT is that of a disk of this size: the backup at the new end,
// where firmware and Windows look for it, the usable sectors up to there, and
// the MBR protecting all. It is what sgdisk -e does. The GUIDs, the partitions,
// and the number and size of the entries stay. Nothing is written if the backup
// is at that end already.
//
// The backup of d is where its primary header says: a disk that was enlarged
// before, and still has it inside, is served as well.
//
// The writes are in an order in which there are two sound copies, or at least
// one, whenever they end early. The last one clears the old backup, header and
// entries: what is left of it would be a second sound backup to all tools that
// look for a lost table, with the partitions of today for ever.
//
// Both copies must be sound, or it is not known which one the guest believes:
// repairing a table is the business of its owner. The errors are ErrNotGPT,
// ErrCorrupt, ErrInvalid if size is no size for a copy of d, and those of d.
func Extend(d disk.Disk, size int64) ([]Write, error) {
	sectors, err := checkProtected(d)
	if err != nil {
		return nil, err
	}
	sectorSize := int64(d.SectorSize())
	if size%sectorSize != 0 || size < d.Size() {
		return nil, fmt.Errorf("gpt: a disk of %d bytes, with sectors of %d, cannot be extended to %d bytes: %w", d.Size(), sectorSize, size, ErrInvalid)
	}
	oldLast, err := backupLBA(d, sectors)
	if err != nil {
		return nil, err
	}
	_, primary, backup, err := readCopies(d, sectors, oldLast)
	if err != nil {
		return nil, err
	}
	last := uint64(size/sectorSize) - 1
	if oldLast == last {
		return nil, nil
	}

	blocks := (uint64(len(backup.entries)) + uint64(sectorSize) - 1) / uint64(sectorSize)
	oldArray, array := backup.PartitionEntryLBA, last-blocks
	backup.MyLBA, backup.PartitionEntryLBA, backup.LastUsableLBA = last, array, array-1
	primary.AlternateLBA, primary.LastUsableLBA = last, array-1

	// The header follows the entries at once.
	end := make([]byte, int64(blocks+1)*sectorSize)
	copy(end, backup.entries)
	header := end[int64(blocks)*sectorSize:]
	copy(header, backup.sector)
	backup.put(header)
	primary.put(primary.sector)
	writes := []Write{
		{int64(array) * sectorSize, end},
		{sectorSize, primary.sector},
	}
	mbr, err := extendProtective(d, sectors, last+1)
	if err != nil {
		return nil, err
	}
	if mbr != nil {
		writes = append(writes, Write{0, mbr})
	}
	// A disk that is only a little larger has its backup where the old one was,
	// from array on.
	for _, old := range []struct{ first, end uint64 }{{oldArray, oldArray + blocks}, {oldLast, oldLast + 1}} {
		if to := min(old.end, array); old.first < to {
			writes = append(writes, Write{int64(old.first) * sectorSize, make([]byte, int64(to-old.first)*sectorSize)})
		}
	}
	return writes, nil
}

// backupLBA is where the primary header has its backup. If the primary cannot
// be read, the error tells whether there is a backup at the end of the disk,
// with which its owner can repair it.
func backupLBA(d disk.Disk, sectors uint64) (uint64, error) {
	sector := make([]byte, d.SectorSize())
	if err := readFull(d, sector, int64(len(sector))); err != nil {
		return 0, fmt.Errorf("gpt: read the primary header at LBA 1: %w", err)
	}
	h, err := decodeHeader(sector)
	if err != nil {
		backup := "there is no sound backup in the last sector either"
		if _, err := readCopy(d, "backup", sectors-1, 1); err == nil {
			backup = fmt.Sprintf("the backup at LBA %d is sound", sectors-1)
		}
		return 0, fmt.Errorf("gpt: primary GPT, LBA 1: %v; %s: %w", err, backup, ErrCorrupt)
	}
	if h.AlternateLBA < 2 || h.AlternateLBA >= sectors {
		return 0, fmt.Errorf("gpt: primary GPT, LBA 1: the header says that its other copy is at LBA %d, the disk has %d: %w", h.AlternateLBA, sectors, ErrCorrupt)
	}
	return h.AlternateLBA, nil
}

// extendProtective returns the first sector of a disk of sectors, which had
// fewer, or nil if it fits already (UEFI 5.2.3, table 5.4).
//
// An entry of 0xFFFFFFFF sectors covers every disk: Windows stores it on small
// ones, too. One that ends before the disk, beside entries of other types, is a
// hybrid MBR's: it covers what it was made for.
func extendProtective(d disk.Disk, oldSectors, sectors uint64) ([]byte, error) {
	b := make([]byte, d.SectorSize())
	if err := readFull(d, b, 0); err != nil {
		return nil, fmt.Errorf("gpt: read the MBR: %w", err)
	}
	protective := protectiveEntry(b)
	if protective < 0 {
		return nil, fmt.Errorf("gpt: no MBR entry has type 0xEE: %w", ErrNotGPT)
	}
	alone := true
	for i := range mbrEntryCount {
		alone = alone && (i == protective || mbrEntry(b, i)[4] == typeEmpty)
	}
	e := mbrEntry(b, protective)
	covers := uint64(binary.LittleEndian.Uint32(e[12:]))
	want := min(sectors-1, math.MaxUint32)
	if covers == want || covers == math.MaxUint32 || !alone && covers < oldSectors-1 {
		return nil, nil
	}
	copy(e[5:8], []byte{0xFF, 0xFF, 0xFF}) // no geometry to count in
	binary.LittleEndian.PutUint32(e[12:], uint32(want))
	return b, nil
}
