package offline

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"imageport/engine/disk"
	"imageport/engine/disk/gpt"
	"imageport/job"
)

// RepairTable is the remedy of a partition table that contradicts itself.
const RepairTable = "Repair the partition table in a maintenance version"

// Style is the kind of a partition table.
type Style int

// The kinds of partition tables.
const (
	NoTable Style = iota
	MBR
	GPT
)

// Table is what a disk is divided into.
type Table struct {
	Style Style
	// Partitions are in the order of the table, and behind them those inside of an
	// extended partition. Those of dynamic disks are not among them.
	Partitions []Partition
	// Dynamic says that there are partitions of a dynamic disk: what is in them
	// need not begin or end where they do.
	Dynamic bool
}

// Partition is a place on a disk.
type Partition struct {
	Number       int   // from 1, as partition tools count
	Offset, Size int64 // in bytes
	// ESP says that it is an EFI system partition, by its type in a GPT.
	ESP bool
}

func (p Partition) String() string { return fmt.Sprintf("partition %d", p.Number) }

// Partitions of dynamic disks (PARTITION_LDM_…_GUID in winioctl.h).
const typeDynamic = 0x42

var dynamicTypes = map[uuid.UUID]bool{
	uuid.MustParse("5808c8aa-7e8f-42e0-85d2-e1e90434cfb3"): true, // metadata
	uuid.MustParse("af9b60a0-1431-4f62-bc68-3311714a69ad"): true, // data
}

// ReadTable reads the partition table of a disk. The error is job.BadPartitionTable,
// or one of the disk.
func ReadTable(d disk.Disk) (Table, error) {
	t, err := gpt.Read(d)
	switch {
	case err == nil:
		return ofGPT(t, d.SectorSize()), nil
	case errors.Is(err, gpt.ErrCorrupt):
		return Table{}, job.Errorf(job.BadPartitionTable, RepairTable, "%w", err)
	case !errors.Is(err, gpt.ErrNotGPT):
		return Table{}, fmt.Errorf("partition table: %w", err)
	}
	m, err := gpt.ReadMBR(d)
	switch {
	case err == nil:
		return ofMBR(m, d.SectorSize()), nil
	case errors.Is(err, gpt.ErrNoMBR):
		return Table{}, nil
	case errors.Is(err, gpt.ErrBadTable), errors.Is(err, gpt.ErrProtective):
		return Table{}, job.Errorf(job.BadPartitionTable, RepairTable, "%w", err)
	}
	return Table{}, fmt.Errorf("partition table: %w", err)
}

func ofGPT(g gpt.Table, sectorSize int) Table {
	t := Table{Style: GPT}
	for _, e := range g.Entries {
		if dynamicTypes[e.Type] {
			t.Dynamic = true
			continue
		}
		p := partition(e.Index, e.FirstLBA, e.Sectors(), sectorSize)
		p.ESP = e.Type == gpt.TypeESP
		t.Partitions = append(t.Partitions, p)
	}
	return t
}

func ofMBR(m gpt.MBR, sectorSize int) Table {
	t := Table{Style: MBR}
	for _, e := range m.Partitions {
		switch {
		case e.Type == typeDynamic:
			t.Dynamic = true
		case !e.Extended(): // what that holds are partitions of their own
			t.Partitions = append(t.Partitions, partition(e.Index, e.FirstLBA, e.Sectors, sectorSize))
		}
	}
	return t
}

func partition(index int, first, sectors uint64, sectorSize int) Partition {
	return Partition{Number: index + 1, Offset: int64(first) * int64(sectorSize), Size: int64(sectors) * int64(sectorSize)}
}

// Volumes looks into the partitions, but for EFI system partitions. Its errors
// are those of the disk.
func (t Table) Volumes(ctx context.Context, d disk.Disk) ([]*Volume, error) {
	var volumes []*Volume
	for _, p := range t.Partitions {
		if p.ESP {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		v, err := Look(d, p)
		if err != nil {
			return nil, err
		}
		volumes = append(volumes, v)
	}
	return volumes, nil
}
