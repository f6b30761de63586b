package gpt

import (
	"fmt"
	"hash/crc32"
	"io"
)

// Write stores the table on a disk in the order WriteBackup, WritePrimary,
// WriteProtectiveMBR: the disk keeps its old MBR until all else is written.
// A caller that can flush the disk calls the three itself and flushes after
// each. w's offset 0 is the start of the disk.
func (t Table) Write(w io.WriterAt) error {
	for _, step := range []func(io.WriterAt) error{t.WriteBackup, t.WritePrimary, t.WriteProtectiveMBR} {
		if err := step(w); err != nil {
			return err
		}
	}
	return nil
}

// WriteBackup writes the backup entries and header, in the last sectors.
func (t Table) WriteBackup(w io.WriterAt) error {
	last := t.Sectors - 1
	return t.writeCopy(w, "backup", header{
		MyLBA:             last,
		AlternateLBA:      1,
		PartitionEntryLBA: last - entrySectors(t.SectorSize),
	})
}

// WritePrimary writes the primary entries and header, behind the MBR.
func (t Table) WritePrimary(w io.WriterAt) error {
	return t.writeCopy(w, "primary", header{
		MyLBA:             1,
		AlternateLBA:      t.Sectors - 1,
		PartitionEntryLBA: 2,
	})
}

// WriteProtectiveMBR writes the first sector: nothing of the old MBR remains.
func (t Table) WriteProtectiveMBR(w io.WriterAt) error {
	if err := t.Validate(); err != nil {
		return err
	}
	if _, err := w.WriteAt(protectiveMBR(t.Sectors, t.SectorSize), 0); err != nil {
		return fmt.Errorf("gpt: write the protective MBR: %w", err)
	}
	return nil
}

// writeCopy completes h, which has its place, and writes it after its entries.
func (t Table) writeCopy(w io.WriterAt, which string, h header) error {
	if err := t.Validate(); err != nil {
		return err
	}
	entries := make([]byte, entrySectors(t.SectorSize)*uint64(t.SectorSize))
	for _, e := range t.Entries {
		e.encode(entries[e.Index*entrySize:][:entrySize])
	}
	h.HeaderSize = headerSize
	h.FirstUsableLBA = t.FirstUsable()
	h.LastUsableLBA = t.LastUsable()
	h.DiskGUID = t.DiskGUID
	h.NumberOfPartitionEntries = entryCount
	h.SizeOfPartitionEntry = entrySize
	h.PartitionEntryArrayCRC32 = crc32.ChecksumIEEE(entries[:entryCount*entrySize])

	if _, err := w.WriteAt(entries, int64(h.PartitionEntryLBA)*int64(t.SectorSize)); err != nil {
		return fmt.Errorf("gpt: write the %s entries at LBA %d: %w", which, h.PartitionEntryLBA, err)
	}
	if _, err := w.WriteAt(h.encode(t.SectorSize), int64(h.MyLBA)*int64(t.SectorSize)); err != nil {
		return fmt.Errorf("gpt: write the %s header at LBA %d: %w", which, h.MyLBA, err)
	}
	return nil
}
