package nativeboot

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"imageport/engine/disk/gpt"
	"imageport/job"
)

const repairTable = "Repair the partition table in a maintenance version"

// Partitions of dynamic disks: what is in them need not begin or end where they
// do (PARTITION_LDM_…_GUID in winioctl.h).
const typeDynamic = 0x42

var dynamicTypes = map[uuid.UUID]bool{
	uuid.MustParse("5808c8aa-7e8f-42e0-85d2-e1e90434cfb3"): true, // metadata
	uuid.MustParse("af9b60a0-1431-4f62-bc68-3311714a69ad"): true, // data
}

// findPartitions reads the partition table, which on a larger disk it extends,
// and looks into the partitions. A disk without a table has none.
func (p *planner) findPartitions() error {
	if err := p.extendTable(); err != nil {
		return err
	}
	table, err := gpt.Read(p.out)
	switch {
	case err == nil:
		p.Firmware = job.UEFI
		p.addGPT(table)
	case errors.Is(err, gpt.ErrCorrupt):
		return job.Errorf(job.BadPartitionTable, repairTable, "%w", err)
	case !errors.Is(err, gpt.ErrNotGPT):
		return fmt.Errorf("partition table: %w", err)
	default:
		if err := p.addMBR(); err != nil {
			return err
		}
	}
	for _, v := range p.volumes {
		if err := p.ctx.Err(); err != nil {
			return err
		}
		if err := v.look(p.src); err != nil {
			return err
		}
	}
	return nil
}

// extendTable moves the backup of a GPT to the end of the disk, if it is not
// there.
func (p *planner) extendTable() error {
	writes, err := gpt.Extend(p.src, p.target.SizeBytes)
	switch {
	case errors.Is(err, gpt.ErrNotGPT):
		return nil
	case errors.Is(err, gpt.ErrCorrupt), errors.Is(err, gpt.ErrInvalid):
		return job.Errorf(job.BadPartitionTable, repairTable, "%w", err)
	case err != nil:
		return fmt.Errorf("partition table: %w", err)
	case len(writes) == 0:
		return nil
	}
	sector := int64(p.src.SectorSize())
	header := make([]byte, sector)
	if _, err := p.src.ReadAt(header, sector); err != nil {
		return fmt.Errorf("partition table: %w", err)
	}
	for _, w := range writes {
		if _, err := p.out.WriteAt(w.Data, w.Offset); err != nil {
			return err
		}
	}
	const alternateLBA = 32 // UEFI table 5.5
	p.fixed("backup of the partition table (GPT)",
		fmt.Sprintf("sector %d", binary.LittleEndian.Uint64(header[alternateLBA:])),
		fmt.Sprintf("sector %d", p.target.SizeBytes/sector-1),
		"it belongs to the end of the disk, which is larger than what the table was made for")
	return nil
}

func (p *planner) addGPT(table gpt.Table) {
	dynamic := false
	for _, e := range table.Entries {
		v := p.volume(e.Index, e.FirstLBA, e.Sectors())
		switch {
		case dynamicTypes[e.Type]:
			dynamic = true
		case e.Type == gpt.TypeESP:
			p.esps = append(p.esps, v)
		default:
			p.volumes = append(p.volumes, v)
		}
	}
	if dynamic {
		p.warnDynamic()
	}
}

func (p *planner) addMBR() error {
	mbr, err := gpt.ReadMBR(p.src)
	switch {
	case errors.Is(err, gpt.ErrNoMBR):
		p.warn("the disk has no partition table")
		return nil
	case errors.Is(err, gpt.ErrBadTable), errors.Is(err, gpt.ErrProtective):
		return job.Errorf(job.BadPartitionTable, repairTable, "%w", err)
	case err != nil:
		return fmt.Errorf("partition table: %w", err)
	}
	dynamic := false
	for _, e := range mbr.Partitions {
		switch {
		case e.Type == typeDynamic:
			dynamic = true
		case !e.Extended(): // what that holds are partitions of their own
			p.volumes = append(p.volumes, p.volume(e.Index, e.FirstLBA, e.Sectors))
		}
	}
	if dynamic {
		p.warnDynamic()
	}
	return nil
}

func (p *planner) volume(index int, first, sectors uint64) *volume {
	size := int64(p.src.SectorSize())
	return &volume{number: index + 1, offset: int64(first) * size, size: int64(sectors) * size}
}

func (p *planner) warnDynamic() {
	p.warn("the disk is a dynamic one: what its volumes hold was not looked at")
}
