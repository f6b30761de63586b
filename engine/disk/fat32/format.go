package fat32

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

// plan is a volume before it is written.
type plan struct {
	geometry
	opt   Options
	label [11]byte
	order []*node // by cluster; the root is first, at cluster 2
	used  int64   // clusters
}

func newPlan(opt Options, files []File) (plan, error) {
	g, err := newGeometry(opt)
	if err != nil {
		return plan{}, err
	}
	p := plan{geometry: g, opt: opt}
	if p.label, err = labelBytes(opt.Label); err != nil {
		return plan{}, err
	}
	root, err := newTree(files, opt.ModTime, opt.Label != "")
	if err != nil {
		return plan{}, err
	}
	p.order, p.used = root.allocate(g.clusterSize)
	return p, nil
}

// needed is the least number of bytes that has all clusters in use.
func (p plan) needed() int64 { return p.dataStart() + p.used*int64(p.clusterSize) }

// Needed returns how many bytes at the front of the volume that opt describes
// are in use once it holds the files: Format writes exactly those, and does so
// if they are at most opt.SizeBytes. The data of the files is not read and may
// be nil.
func Needed(opt Options, files []File) (sizeBytes int64, err error) {
	p, err := newPlan(opt, files)
	if err != nil {
		return 0, err
	}
	return p.needed(), nil
}

// Format writes a FAT32 volume that holds the files. w's offset 0 is the first
// byte of the volume. All sectors up to the end of the last cluster in use are
// written in order, in large pieces; clusters that are free keep what they
// hold. If it fails, what is there is no file system.
//
// Its errors are ErrOptions, ErrVolumeSize, ErrPath, ErrFileSize and ErrNoSpace,
// before anything is written, and those of w and the files.
func Format(w io.WriterAt, opt Options, files []File) error {
	p, err := newPlan(opt, files)
	if err != nil {
		return err
	}
	if p.used > int64(p.clusters) {
		return fmt.Errorf("fat32: the files need %d clusters of %d bytes, the volume of %d bytes has %d: %w",
			p.used, p.clusterSize, opt.SizeBytes, p.clusters, ErrNoSpace)
	}
	for i := range files {
		if files[i].Data == nil && files[i].Size > 0 {
			return fmt.Errorf("fat32: %s: %d bytes but no data: %w", files[i].Path, files[i].Size, ErrFileSize)
		}
	}

	out := bufio.NewWriterSize(io.NewOffsetWriter(w, 0), 1<<20)
	if _, err := out.Write(p.reservedSectors()); err != nil {
		return fmt.Errorf("fat32: write the boot sector: %w", err)
	}
	for range numFATs {
		if err := p.writeFAT(out); err != nil {
			return fmt.Errorf("fat32: write the FAT: %w", err)
		}
	}
	for _, n := range p.order {
		if err := p.writeNode(out, n); err != nil {
			return fmt.Errorf("fat32: write %q: %w", n.path, err)
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("fat32: write: %w", err)
	}
	return nil
}

// Sectors of the reserved area. 6 is fixed by the specification: drivers look
// for the backup there when they cannot read the boot sector.
const (
	fsInfoSector     = 1
	backupBootSector = 6
)

// reservedSectors returns all sectors before the first FAT.
func (p plan) reservedSectors() []byte {
	b := make([]byte, int(p.reserved)*p.sectorSize)
	p.putBootSector(b)
	p.putFSInfo(b[fsInfoSector*p.sectorSize:])
	copy(b[backupBootSector*p.sectorSize:], b[:(fsInfoSector+1)*p.sectorSize])
	return b
}

func (p plan) putBootSector(b []byte) {
	le := binary.LittleEndian
	copy(b, "\xEB\x58\x90")              // jmp to the boot code
	copy(b[bpbOEMName:], "MSWIN4.1")     // the name that most drivers have seen
	copy(b[bsBootCode:], "\xF4\xEB\xFD") // hlt, and again: nothing to boot by BIOS
	b[bsMagic], b[bsMagic+1] = 0x55, 0xAA
	le.PutUint16(b[bpbBytesPerSector:], uint16(p.sectorSize))
	b[bpbSectorsPerCluster] = byte(p.clusterSize / p.sectorSize)
	le.PutUint16(b[bpbReservedSectors:], uint16(p.reserved))
	b[bpbNumFATs] = numFATs
	b[bpbMedia] = mediaFixed
	le.PutUint16(b[bpbSectorsPerTrack:], 63)
	le.PutUint16(b[bpbHeads:], 255)
	le.PutUint32(b[bpbHiddenSectors:], p.opt.HiddenSectors)
	le.PutUint32(b[bpbTotalSectors32:], p.totalSectors)
	le.PutUint32(b[bpbFATSectors32:], p.fatSectors)
	le.PutUint32(b[bpbRootCluster:], firstCluster)
	le.PutUint16(b[bpbFSInfo:], fsInfoSector)
	le.PutUint16(b[bpbBackupBootSector:], backupBootSector)
	b[bsDriveNumber] = 0x80
	b[bsBootSignature] = 0x29
	le.PutUint32(b[bsVolumeID:], p.opt.VolumeID)
	copy(b[bsVolumeLabel:], "NO NAME    ")
	if p.opt.Label != "" {
		copy(b[bsVolumeLabel:], p.label[:])
	}
	copy(b[bsFileSystemType:], "FAT32   ")
}

func (p plan) putFSInfo(b []byte) {
	free := p.clusters - uint32(p.used)
	next := firstCluster + uint32(p.used)
	if free == 0 {
		next = math.MaxUint32 // unknown
	}
	binary.LittleEndian.PutUint32(b[fsiLeadSignature:], fsiLead)
	binary.LittleEndian.PutUint32(b[fsiStructSignature:], fsiStruct)
	binary.LittleEndian.PutUint32(b[fsiFreeCount:], free)
	binary.LittleEndian.PutUint32(b[fsiNextFree:], next)
	binary.LittleEndian.PutUint32(b[fsiTrailSignature:], fsiTrail)
}

// writeFAT writes one FAT, all its sectors.
func (p plan) writeFAT(out *bufio.Writer) error {
	put := func(v uint32) error {
		_, err := out.Write(binary.LittleEndian.AppendUint32(out.AvailableBuffer(), v))
		return err
	}
	// The first two entries are the media byte and the flags of a volume that
	// was unmounted cleanly and had no I/O errors ("FAT Data Structure").
	if err := put(fatMask&^0xFF | mediaFixed); err != nil {
		return err
	}
	if err := put(fatMask); err != nil {
		return err
	}
	for _, n := range p.order {
		for i := int64(1); i <= n.clusters; i++ {
			next := n.cluster + uint32(i)
			if i == n.clusters {
				next = fatMask
			}
			if err := put(next); err != nil {
				return err
			}
		}
	}
	return writeZeros(out, int64(p.fatSectors)*int64(p.sectorSize)-4*(firstCluster+p.used))
}

// writeNode writes the clusters of a file or directory to their end.
func (p plan) writeNode(out *bufio.Writer, n *node) error {
	if n.file == nil {
		entries := n.directoryEntries()
		if n.parent == nil && p.opt.Label != "" {
			entries = append(p.labelEntry(), entries...)
		}
		if _, err := out.Write(entries); err != nil {
			return err
		}
	} else if n.size > 0 {
		copied, err := io.Copy(out, io.NewSectionReader(n.file.Data, 0, n.size))
		if err != nil {
			return err
		}
		if copied != n.size {
			return fmt.Errorf("the data ends after %d of %d bytes: %w", copied, n.size, io.ErrUnexpectedEOF)
		}
	}
	return writeZeros(out, n.clusters*int64(p.clusterSize)-n.size)
}

var zeros [64 << 10]byte

func writeZeros(out *bufio.Writer, n int64) error {
	for n > 0 {
		k := min(n, int64(len(zeros)))
		if _, err := out.Write(zeros[:k]); err != nil {
			return err
		}
		n -= k
	}
	return nil
}
