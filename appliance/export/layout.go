package export

import (
	"errors"
	"fmt"
	"time"

	"imageport/engine/disk/fat32"
)

const (
	sectorSize = 512
	mib        = 1 << 20
	gib        = 1 << 30

	// bootPath is where firmware looks without a boot entry in its NVRAM (UEFI
	// 3.5.1.1, removable media).
	bootPath = "EFI/BOOT/BOOTX64.EFI"

	// firstPartition is the LBA that partitioning tools begin at.
	firstPartition = mib / sectorSize
	// biosBootSectors is the size of the partition for a BIOS loader.
	biosBootSectors = mib / sectorSize
	// backupSectors is the length of the backup GPT, with 128 entries.
	backupSectors = 33
)

// Region is a part of a disk, in sectors of 512 bytes.
type Region struct {
	FirstLBA uint64
	Sectors  uint64
}

// Layout says where things are on the disk.
type Layout struct {
	// SizeBytes is the size of the disk, whole MiB.
	SizeBytes int64
	// BIOSBoot is the partition for the BIOS loader, zero if there is none.
	BIOSBoot Region
	// ESP is the EFI system partition.
	ESP Region
	// UKI is where the UKI lies, in one piece. Zeros fill its last sector.
	UKI Region
	// UKISize is its size in bytes.
	UKISize int64
}

// volume is an EFI system partition before it is written.
type volume struct {
	opt   fat32.Options
	files []fat32.File
	used  int64 // bytes at the front: the rest is zeros
}

// ukiOffset is where the UKI begins in the volume, in bytes: fat32 makes files
// contiguous and directories precede them, so that the only one is the last.
// Nobody has to trust that: contents.holds compares.
func (v volume) ukiOffset() int64 {
	cluster := int64(v.opt.ClusterSize)
	return v.used - (v.files[0].Size+cluster-1)/cluster*cluster
}

// newVolume plans the smallest EFI system partition that holds the UKI, of
// whole MiB: a partition that ends elsewhere makes tools complain. hidden is
// the number of sectors in front of it.
func newVolume(u *UKI, t time.Time, hidden uint32) (volume, error) {
	v := volume{
		opt: fat32.Options{
			SectorSize:    sectorSize,
			HiddenSectors: hidden,
			Label:         "IMAGEPORT",
			VolumeID:      u.id32("volume"),
			ModTime:       t,
			// Small clusters make the smallest FAT32, which is 33 MiB. No UKI
			// needs larger ones.
			ClusterSize: sectorSize,
		},
		files: []fat32.File{{Path: bootPath, Size: u.size, ModTime: t, Data: u.data}},
	}
	for v.opt.SizeBytes = roundUp(u.size, mib); ; v.opt.SizeBytes += mib {
		used, err := fat32.Needed(v.opt, v.files)
		switch {
		case errors.Is(err, fat32.ErrVolumeSize) && v.opt.SizeBytes < 2*maxUKI:
		case err != nil:
			return volume{}, fmt.Errorf("export: plan the EFI system partition: %w", err)
		case used <= v.opt.SizeBytes:
			v.used = used
			return v, nil
		}
	}
}

// layOut places everything on the smallest disk whose size is a multiple of
// granule.
func layOut(u *UKI, opt Options, granule int64) (Layout, volume, error) {
	l := Layout{UKISize: u.size}
	first := uint64(firstPartition)
	if opt.BIOS != nil {
		l.BIOSBoot = Region{first, biosBootSectors}
		first += biosBootSectors
	}
	v, err := newVolume(u, opt.Time, uint32(first))
	if err != nil {
		return Layout{}, volume{}, err
	}
	start := int64(first) * sectorSize
	l.SizeBytes = roundUp(start+v.opt.SizeBytes+backupSectors*sectorSize, granule)
	l.ESP = Region{first, uint64(v.opt.SizeBytes / sectorSize)}
	l.UKI = Region{uint64((start + v.ukiOffset()) / sectorSize), uint64(roundUp(u.size, sectorSize) / sectorSize)}
	return l, v, nil
}

func roundUp(n, granule int64) int64 { return (n + granule - 1) / granule * granule }
