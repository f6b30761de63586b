package nativeboot

import (
	"encoding/binary"
	"errors"
	"fmt"

	"imageport/engine/disk"
	"imageport/engine/disk/gpt"
	"imageport/engine/windows/offline"
	"imageport/job"
)

// findPartitions reads the partition table, which on a larger disk it extends,
// and looks into the partitions. A disk without a table has none.
func (p *planner) findPartitions() error {
	from, err := p.extendTable()
	if err != nil {
		return err
	}
	table, err := offline.ReadTable(from)
	if err != nil {
		return err
	}
	switch table.Style {
	case offline.GPT:
		p.Firmware = job.UEFI
	case offline.NoTable:
		p.warn("the disk has no partition table")
	}
	if table.Dynamic {
		p.warn("the disk is a dynamic one: what its volumes hold was not looked at")
	}
	for _, e := range table.Partitions {
		if e.ESP {
			p.esps = append(p.esps, e)
		}
	}
	p.volumes, err = table.Volumes(p.ctx, p.src)
	return err
}

// extendTable moves the backup of a GPT to the end of the disk, if it is not
// there. It gives the disk that has the table as it is to be.
func (p *planner) extendTable() (disk.Disk, error) {
	writes, err := gpt.Extend(p.src, p.target.SizeBytes)
	switch {
	case errors.Is(err, gpt.ErrNotGPT):
		return p.src, nil
	case errors.Is(err, gpt.ErrCorrupt), errors.Is(err, gpt.ErrInvalid):
		return nil, job.Errorf(job.BadPartitionTable, offline.RepairTable, "%w", err)
	case err != nil:
		return nil, fmt.Errorf("partition table: %w", err)
	case len(writes) == 0:
		return p.src, nil
	}
	sector := int64(p.src.SectorSize())
	header := make([]byte, sector)
	if _, err := p.src.ReadAt(header, sector); err != nil {
		return nil, fmt.Errorf("partition table: %w", err)
	}
	for _, w := range writes {
		if _, err := p.out.WriteAt(w.Data, w.Offset); err != nil {
			return nil, err
		}
	}
	const alternateLBA = 32 // UEFI table 5.5
	p.fixed("backup of the partition table (GPT)",
		fmt.Sprintf("sector %d", binary.LittleEndian.Uint64(header[alternateLBA:])),
		fmt.Sprintf("sector %d", p.target.SizeBytes/sector-1),
		"it belongs to the end of the disk, which is larger than what the table was made for")
	return p.out, nil
}
