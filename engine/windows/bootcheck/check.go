package bootcheck

import (
	"context"
	"fmt"
	"io"

	"github.com/google/uuid"

	"imageport/engine/disk"
	"imageport/engine/windows/ntfs"
	"imageport/job"
)

// Expected is what must be found besides what holds for every UEFI disk with
// Windows. The zero value expects nothing particular.
type Expected struct {
	// Signature is that of the MBR disk that it was, which must be named nowhere
	// any more. Without one, descriptors of MBR disks are reported only.
	Signature uint32
	DiskGUID  uuid.UUID // zero: any
	// Partitions are exactly those of the disk; nil: any.
	Partitions []Partition
	// ESPFiles are exactly those on the EFI system partition; nil: any.
	ESPFiles []File
	// MountedDevices are values of SYSTEM\MountedDevices, such as
	// \DosDevices\C:, that must name these partitions; nil: any.
	MountedDevices map[string]uuid.UUID
}

// Partition is an entry of a GUID partition table.
type Partition struct {
	Number            int // from 1
	Type, ID          uuid.UUID
	FirstLBA, LastLBA uint64 // both are part of it
	Attributes        uint64
	Name              string
}

// File is a file that must be on the EFI system partition.
type File struct {
	Path string      // '/'-separated, from the root of the partition
	Size int64       // bytes
	Data io.ReaderAt // nil: contents are not compared
}

// typeESP is the type of an EFI system partition (UEFI 5.3.3).
var typeESP = uuid.MustParse("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")

// Check reads the disk as firmware, boot manager and Windows would, and says
// what it found. Its error wraps ErrWrong if something is not right, naming
// what, where, found and wanted; others are those of the disk or ctx. The
// verification then holds what was right until there.
//
// What Windows starts without, such as its recovery environment, is never an
// error, but a check that says so.
func Check(ctx context.Context, d disk.Disk, want Expected) (job.Verification, error) {
	c := &checker{ctx: ctx, d: d, want: want, volumes: map[int]opened{}}
	for _, step := range []func() error{c.checkTables, c.checkESP, c.checkBoot, c.checkWindows} {
		err := ctx.Err()
		if err == nil {
			err = step()
		}
		if err != nil {
			return c.found, err
		}
	}
	return c.found, nil
}

// checker is a check under way. Each step uses what the ones before it found.
type checker struct {
	ctx   context.Context
	d     disk.Disk
	want  Expected
	found job.Verification

	table   table
	esp     Partition
	system  *volume        // on the ESP
	volumes map[int]opened // by the partition's number
	store   *store
	windows Partition // where the default entry leads to
	root    string    // the folder of Windows there
}

// opened is the NTFS volume of a partition, or why it has none.
type opened struct {
	volume *ntfs.Volume
	why    error
}

// add notes what was found.
func (c *checker) add(what, format string, args ...any) {
	c.found.Checks = append(c.found.Checks, job.Check{What: what, Found: fmt.Sprintf(format, args...)})
}

func (c *checker) checkTables() error {
	if n := c.d.SectorSize(); n != 512 && n != 4096 {
		return wrong("disk: sectors of %d bytes, expected 512 or 4096", n)
	}
	if err := checkMBR(c.d); err != nil {
		return err
	}
	c.add("Protective MBR", "one entry of type 0xEE from sector 1, no disk signature, no MBR partition")
	var err error
	if c.table, err = readTable(c.d); err != nil {
		return err
	}
	if err := c.table.compareWith(c.want); err != nil {
		return err
	}
	c.add("GPT", "both copies are valid and equal; disk {%v}, %d partitions within sectors %d to %d of %d bytes",
		c.table.diskGUID, len(c.table.partitions), c.table.first, c.table.last, c.d.SectorSize())
	esps := 0
	for _, p := range c.table.partitions {
		if p.Type == typeESP {
			c.esp = p
			esps++
		}
	}
	if esps != 1 {
		return wrong("GPT: %d EFI system partitions, expected 1", esps)
	}
	return nil
}

// ntfs opens the NTFS volume of a partition. Its error is that of the disk.
func (c *checker) ntfs(p Partition) (opened, error) {
	if o, ok := c.volumes[p.Number]; ok {
		return o, nil
	}
	r := section(c.d, p)
	v, err := ntfs.Open(r, r.Size())
	if err != nil && !isNTFS(err) {
		return opened{}, fmt.Errorf("%s: %w", name(p), err)
	}
	o := opened{v, err}
	c.volumes[p.Number] = o
	return o, nil
}

// has tells whether there is a file or folder on a partition, which is the ESP
// or has NTFS.
func (c *checker) has(p Partition, path string) (bool, error) {
	if path == "" {
		return false, nil
	}
	if p.Number == c.esp.Number {
		_, ok := c.system.find(path)
		return ok, nil
	}
	o, err := c.ntfs(p)
	if o.volume == nil || err != nil {
		return false, err
	}
	if _, err = o.volume.Stat(path); isNTFS(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("%s: %s: %w", name(p), path, err)
	}
	return true, nil
}

// name names a partition to people.
func name(p Partition) string {
	if p.Name == "" {
		return fmt.Sprintf("partition %d", p.Number)
	}
	return fmt.Sprintf("partition %d (%s)", p.Number, p.Name)
}
