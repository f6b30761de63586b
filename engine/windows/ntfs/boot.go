package ntfs

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// Kind is what a partition's boot sector says the partition holds.
type Kind int

const (
	// Unknown is anything not listed here, such as an unformatted partition.
	Unknown Kind = iota
	// NTFS is a readable NTFS volume.
	NTFS
	// BitLocker is a volume encrypted with BitLocker, whatever lies below.
	BitLocker
	// FAT is a FAT12, FAT16 or FAT32 volume; not exFAT.
	FAT
	// ReFS is a Resilient File System volume.
	ReFS
)

func (k Kind) String() string {
	switch k {
	case NTFS:
		return "NTFS"
	case BitLocker:
		return "BitLocker"
	case FAT:
		return "FAT"
	case ReFS:
		return "ReFS"
	}
	return "unknown"
}

// bootSectorSize is the number of bytes of the boot sector that are defined,
// also where sectors are 4096 bytes.
const bootSectorSize = 512

// Probe tells what a partition holds from its first 512 bytes. It looks at
// signatures only: Open checks the rest.
func Probe(bootSector []byte) Kind {
	if len(bootSector) < bootSectorSize {
		return Unknown
	}
	switch string(bootSector[3:11]) {
	case "NTFS    ":
		return NTFS
	case "-FVE-FS-":
		return BitLocker
	case "ReFS\x00\x00\x00\x00":
		return ReFS
	}
	if bootSector[510] != 0x55 || bootSector[511] != 0xaa {
		return Unknown
	}
	switch string(bootSector[0x36:0x3e]) {
	case "FAT12   ", "FAT16   ", "FAT     ":
		return FAT
	}
	if string(bootSector[0x52:0x5a]) == "FAT32   " {
		return FAT
	}
	return Unknown
}

// Sizes that Windows can format; anything beyond is not a real volume.
const (
	minClusterSize = 512
	maxClusterSize = 2 << 20
	minRecordSize  = 512
	maxRecordSize  = 64 << 10
)

// geometry is the BIOS parameter block of an NTFS volume.
type geometry struct {
	sectorSize  int64
	clusterSize int64
	recordSize  int64 // of one FILE record
	totalBytes  int64 // the volume, without the backup boot sector behind it
	clusters    int64
	mftLCN      int64
	serial      uint64
}

func parseBootSector(b []byte, size int64) (geometry, error) {
	var g geometry
	if kind := Probe(b); kind != NTFS {
		return g, fmt.Errorf("%w: the boot sector is that of kind %s (OEM identifier %q)", ErrNotNTFS, kind, b[3:11])
	}
	g.sectorSize = int64(binary.LittleEndian.Uint16(b[0x0b:]))
	if g.sectorSize < 512 || g.sectorSize > 4096 || !powerOfTwo(g.sectorSize) {
		return g, corruptf("boot sector, offset 0x0b: %d bytes per sector", g.sectorSize)
	}
	// Above 128 sectors the byte is the negated binary logarithm.
	sectors := int64(b[0x0d])
	if sectors > 0x80 {
		shift := 256 - sectors
		if shift > 12 {
			return g, corruptf("boot sector, offset 0x0d: 2^%d sectors per cluster", shift)
		}
		sectors = 1 << shift
	}
	g.clusterSize = sectors * g.sectorSize
	if !powerOfTwo(g.clusterSize) || g.clusterSize < minClusterSize || g.clusterSize > maxClusterSize {
		return g, corruptf("boot sector, offset 0x0d: clusters of %d sectors of %d bytes", sectors, g.sectorSize)
	}
	totalSectors := binary.LittleEndian.Uint64(b[0x28:])
	if size < 0 || totalSectors > uint64(size/g.sectorSize) {
		return g, corruptf("boot sector, offset 0x28: %d sectors of %d bytes do not fit in a partition of %d bytes", totalSectors, g.sectorSize, size)
	}
	g.totalBytes = int64(totalSectors) * g.sectorSize
	g.clusters = g.totalBytes / g.clusterSize
	mft := binary.LittleEndian.Uint64(b[0x30:])
	if mft == 0 || mft >= uint64(g.clusters) {
		return g, corruptf("boot sector, offset 0x30: $MFT at cluster %d of a volume of %d clusters", mft, g.clusters)
	}
	g.mftLCN = int64(mft)
	// Negative means a size of 2^-n bytes, positive a number of clusters.
	switch n := int8(b[0x40]); {
	case n > 0:
		g.recordSize = int64(n) * g.clusterSize
	case n > -31:
		g.recordSize = 1 << -n
	}
	if !powerOfTwo(g.recordSize) || g.recordSize < minRecordSize || g.recordSize > maxRecordSize {
		return g, corruptf("boot sector, offset 0x40: value 0x%02x gives FILE records of %d bytes", b[0x40], g.recordSize)
	}
	if g.mftLCN*g.clusterSize+g.recordSize > g.totalBytes {
		return g, corruptf("boot sector, offset 0x30: $MFT at cluster %d ends beyond the volume", mft)
	}
	g.serial = binary.LittleEndian.Uint64(b[0x48:])
	return g, nil
}

func powerOfTwo(n int64) bool { return n > 0 && bits.OnesCount64(uint64(n)) == 1 }
