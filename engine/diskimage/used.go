package diskimage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"imageport/engine/disk"
	"imageport/engine/disk/chain"
	"imageport/engine/disk/copier"
	"imageport/engine/disk/gpt"
	"imageport/engine/windows/ntfs"
	"imageport/job"
)

// freeSpace is what of a disk need not be copied: the free clusters of its
// NTFS volumes.
type freeSpace struct {
	volumes  []freeVolume // ascending and apart
	sector   int64
	warnings []string // why some volumes are copied whole
}

// freeVolume is a volume whose free clusters are known, and where it begins.
type freeVolume struct {
	offset int64
	*ntfs.Volume
}

// partition is a stretch of a disk in bytes.
type partition struct {
	number         int // as partition tools print it
	offset, length int64
}

// findFree looks for the volumes of a disk whose free clusters can be left
// out. What is wrong with the others is a warning; the error is that of ctx, or
// of files that cannot be read right now.
func findFree(ctx context.Context, c *chain.Chain) (freeSpace, error) {
	f := freeSpace{sector: int64(c.SectorSize())}
	partitions, err := partitionsOf(c)
	switch {
	case unread(err):
		return freeSpace{}, err
	case err != nil:
		f.warn("the disk is copied whole: %v", err)
	}
	for _, p := range partitions {
		if err := ctx.Err(); err != nil {
			return freeSpace{}, err
		}
		v, err := openVolume(c, p)
		if err == nil && v != nil {
			err = walkable(ctx, v)
		}
		switch {
		case ctx.Err() != nil:
			return freeSpace{}, ctx.Err()
		case unread(err):
			return freeSpace{}, err
		case err != nil:
			f.warn("partition %d is copied whole: %v", p.number, err)
		case v != nil:
			f.volumes = append(f.volumes, freeVolume{p.offset, v})
		}
	}
	return f, nil
}

// unread reports whether an error is that of a share or disk that may give an
// answer next time.
func unread(err error) bool {
	code := job.CodeOf(err)
	return code != "" && code.Transient()
}

func (f *freeSpace) warn(format string, args ...any) {
	f.warnings = append(f.warnings, fmt.Sprintf(format, args...))
}

// The types of MBR partitions that hold others: what they span is not theirs.
var extendedTypes = []byte{0x05, 0x0f, 0x85}

// partitionsOf gives the partitions of a disk in ascending order.
func partitionsOf(d disk.Disk) ([]partition, error) {
	sector := int64(d.SectorSize())
	var all []partition
	table, err := gpt.Read(d)
	if errors.Is(err, gpt.ErrNotGPT) {
		mbr, err := gpt.ReadMBR(d)
		if err != nil {
			return nil, err
		}
		for _, p := range mbr.Partitions {
			if !slices.Contains(extendedTypes, p.Type) {
				all = append(all, partition{p.Index + 1, int64(p.FirstLBA) * sector, int64(p.Sectors) * sector})
			}
		}
	} else if err != nil {
		return nil, err
	}
	for _, e := range table.Entries {
		all = append(all, partition{e.Index + 1, int64(e.FirstLBA) * sector, int64(e.Sectors()) * sector})
	}
	slices.SortFunc(all, func(a, b partition) int { return cmp.Compare(a.offset, b.offset) })
	return all, nil
}

// openVolume opens the NTFS volume in a partition, if its bitmap can be
// believed; nil if it is no such volume, and was not expected to be one.
func openVolume(d disk.Disk, p partition) (*ntfs.Volume, error) {
	section := disk.Section(d, p.offset, p.length)
	boot := make([]byte, min(512, p.length))
	if err := readFull(d, boot, p.offset); err != nil {
		return nil, err
	}
	switch kind := ntfs.Probe(boot); kind {
	case ntfs.NTFS:
	case ntfs.BitLocker, ntfs.ReFS:
		return nil, fmt.Errorf("its free clusters cannot be told: it is a %s volume", kind)
	default:
		return nil, nil
	}
	v, err := ntfs.Open(section, p.length)
	if err != nil {
		return nil, err
	}
	if v.State().Dirty {
		return nil, errors.New("the volume is marked dirty, so that its bitmap may be wrong; chkdsk on Windows repairs it")
	}
	if clean, err := v.LogFileClean(); err != nil {
		return nil, err
	} else if !clean {
		return nil, errors.New("the volume was not dismounted in order, so that its bitmap may be older than its files")
	}
	if hibernated, err := v.Hibernated(); err != nil {
		return nil, err
	} else if hibernated {
		return nil, errors.New("its Windows is hibernated, so that its bitmap may be older than its files")
	}
	return v, nil
}

// walkable goes through the bitmap once, so that what is wrong with it is
// known before anything is left out.
func walkable(ctx context.Context, v *ntfs.Volume) error {
	for _, err := range v.FreeSpace() {
		if err = cmp.Or(err, ctx.Err()); err != nil {
			return err
		}
	}
	return nil
}

// ranges gives what can be left out, in whole sectors of the disk, which can
// be larger than those of a volume.
func (f freeSpace) ranges() iter.Seq2[copier.Range, error] {
	return func(yield func(copier.Range, error) bool) {
		for _, v := range f.volumes {
			for r, err := range v.FreeSpace() {
				if err != nil {
					yield(copier.Range{}, err)
					return
				}
				first := roundUp(v.offset+r.Offset, f.sector)
				end := (v.offset + r.Offset + r.Length) / f.sector * f.sector
				if first < end && !yield(copier.Range{Offset: first, Length: end - first}, nil) {
					return
				}
			}
		}
	}
}

func roundUp(n, unit int64) int64 { return (n + unit - 1) / unit * unit }
