package fat32

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"
)

// What Format and Needed refuse.
var (
	// ErrOptions says that an option has no meaning in FAT32.
	ErrOptions = errors.New("invalid FAT32 option")
	// ErrVolumeSize says that a volume of this size cannot be FAT32 with this
	// sector and cluster size: 65541 clusters are the least.
	ErrVolumeSize = errors.New("size not possible with FAT32")
	// ErrPath says that FAT32 cannot store a file under its path.
	ErrPath = errors.New("path not possible with FAT32")
	// ErrFileSize says that a file is larger than 4 GiB - 1, or negative.
	ErrFileSize = errors.New("file size not possible with FAT32")
	// ErrNoSpace says that the content does not fit.
	ErrNoSpace = errors.New("content does not fit the FAT32 volume")
)

// File is a file to store.
type File struct {
	// Path has '/' between names. Directories exist by being in a path. Case
	// is preserved; paths that differ only in case are the same.
	Path    string
	Size    int64 // bytes, at most 4 GiB - 1
	ModTime time.Time
	Data    io.ReaderAt // the first Size bytes are stored; nil if Size is 0
}

// Options describe the volume.
type Options struct {
	SizeBytes     int64     // of the volume, a multiple of SectorSize
	SectorSize    int       // 512 or 4096
	HiddenSectors uint32    // before the volume: the first LBA of the partition
	Label         string    // at most 11 of the characters of a short name, or empty
	VolumeID      uint32    // the serial number
	ModTime       time.Time // of the directories and the label
	ClusterSize   int       // bytes, a power of two up to 64 KiB; 0 = by SizeBytes
}

// geometry is where things are in a volume.
type geometry struct {
	sectorSize   int
	clusterSize  int
	totalSectors uint32
	reserved     uint32 // sectors before the first FAT
	fatSectors   uint32 // of one FAT
	clusters     uint32
}

// dataStart is the offset of the first cluster, in bytes.
func (g geometry) dataStart() int64 {
	return (int64(g.reserved) + numFATs*int64(g.fatSectors)) * int64(g.sectorSize)
}

const (
	numFATs            = 2
	minReservedSectors = 32 // as Windows has it; at least 9 are needed

	// The specification asks for some distance from the number that decides
	// between FAT16 and FAT32, since some drivers are off by a few.
	clusterMargin = 16

	// dataAlign keeps clusters on the pages of the disk below.
	dataAlign = 4096
)

// newGeometry validates the options that decide the geometry, and decides it.
func newGeometry(opt Options) (geometry, error) {
	if opt.SectorSize != 512 && opt.SectorSize != 4096 {
		return geometry{}, fmt.Errorf("fat32: sectors of %d bytes, must be 512 or 4096: %w", opt.SectorSize, ErrOptions)
	}
	if opt.SizeBytes <= 0 || opt.SizeBytes%int64(opt.SectorSize) != 0 {
		return geometry{}, fmt.Errorf("fat32: a volume of %d bytes is not a number of %d-byte sectors: %w", opt.SizeBytes, opt.SectorSize, ErrOptions)
	}
	sectors := opt.SizeBytes / int64(opt.SectorSize)
	if sectors > math.MaxUint32 {
		return geometry{}, fmt.Errorf("fat32: %d sectors, more than 32 bits can count: %w", sectors, ErrVolumeSize)
	}
	if size := opt.ClusterSize; size != 0 {
		if size < opt.SectorSize || size > maxClusterSize || size&(size-1) != 0 {
			return geometry{}, fmt.Errorf("fat32: clusters of %d bytes, must be a power of two from %d to %d: %w", size, opt.SectorSize, maxClusterSize, ErrOptions)
		}
		return layOut(opt.SectorSize, size, uint32(sectors))
	}
	for size := max(preferredClusterSize(opt.SizeBytes), opt.SectorSize); ; size /= 2 {
		g, err := layOut(opt.SectorSize, size, uint32(sectors))
		if err == nil || size == opt.SectorSize {
			return g, err
		}
	}
}

// preferredClusterSize is what Windows would take, but small enough that a
// small volume is FAT32 at all.
func preferredClusterSize(sizeBytes int64) int {
	switch {
	case sizeBytes <= 64<<20:
		return 512
	case sizeBytes <= 128<<20:
		return 1 << 10
	case sizeBytes <= 260<<20:
		return 2 << 10
	case sizeBytes <= 8<<30:
		return 4 << 10
	case sizeBytes <= 16<<30:
		return 8 << 10
	case sizeBytes <= 32<<30:
		return 16 << 10
	default:
		return 32 << 10
	}
}

// layOut divides the sectors between the FATs and the clusters that they
// describe.
func layOut(sectorSize, clusterSize int, sectors uint32) (geometry, error) {
	g := geometry{sectorSize: sectorSize, clusterSize: clusterSize, totalSectors: sectors}
	perCluster := int64(clusterSize / sectorSize)
	align := int64(max(clusterSize, dataAlign) / sectorSize)
	// FATs for all clusters that there would be without FATs: a little more
	// than enough for those that there are.
	most := (int64(sectors) - minReservedSectors) / perCluster
	fat := ((most+firstCluster)*4 + int64(sectorSize) - 1) / int64(sectorSize)
	front := (minReservedSectors + numFATs*fat + align - 1) / align * align
	clusters := (int64(sectors) - front) / perCluster
	if clusters < minClusters+clusterMargin || clusters > maxClusters {
		return geometry{}, fmt.Errorf("fat32: %d bytes in clusters of %d bytes are %d clusters, must be %d to %d: %w",
			int64(sectors)*int64(sectorSize), clusterSize, max(clusters, 0), minClusters+clusterMargin, maxClusters, ErrVolumeSize)
	}
	g.reserved, g.fatSectors, g.clusters = uint32(front-numFATs*fat), uint32(fat), uint32(clusters)
	return g, nil
}

// labelBytes returns the label as the boot sector and the root directory have
// it.
func labelBytes(label string) ([11]byte, error) {
	var b [11]byte
	label = strings.ToUpper(label)
	if len(label) > len(b) || strings.HasPrefix(label, " ") {
		return b, fmt.Errorf("fat32: label %q: at most %d characters, the first not a space: %w", label, len(b), ErrOptions)
	}
	for i := range label {
		if label[i] != ' ' && !isShortNameChar(label[i]) {
			return b, fmt.Errorf("fat32: label %q: %q cannot be in a label: %w", label, label[i], ErrOptions)
		}
	}
	copy(b[:], label+"           ")
	return b, nil
}
