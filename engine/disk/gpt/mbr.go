package gpt

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"imageport/engine/disk"
)

// What ReadMBR finds instead of a table of partitions.
var (
	// ErrNoMBR says that the disk is not partitioned: no boot signature, no
	// partition, or the boot sector of a file system that fills the disk.
	ErrNoMBR = errors.New("no master boot record")
	// ErrProtective says that the MBR only protects a GUID partition table.
	ErrProtective = errors.New("protective MBR of a GPT disk")
	// ErrBadTable says that the partition table contradicts itself or the disk.
	ErrBadTable = errors.New("inconsistent MBR partition table")
)

// Offsets and sizes in the 512 bytes of a master boot record (UEFI 5.2.1,
// tables 5.1 and 5.2). Sectors of 4096 bytes are zero behind it.
const (
	mbrSize       = 512
	mbrBootCode   = 440 // bytes of boot code
	mbrSignature  = 440 // u32, written by Windows
	mbrEntries    = 446
	mbrEntrySize  = 16
	mbrEntryCount = 4
	mbrMagic      = 510 // 55 AA

	typeEmpty         = 0x00
	typeGPTProtective = 0xEE
)

// MBR is the partition table of a BIOS disk.
type MBR struct {
	// Signature identifies the disk to Windows, which records it in the BCD,
	// in MountedDevices and in ReAgent.xml.
	Signature uint32
	// Partitions are the entries in use, in the order of the table, and after
	// them the logical partitions, in the order of the chain.
	Partitions []Partition
}

// Partition is a primary partition, which has an entry of the MBR, or a logical
// one, which lies in an extended one. Extended (see Partition.Extended) and
// dynamic (0x42) partitions are reported like any other.
type Partition struct {
	// Index is the place in the table, 0 to 3. Logical partitions are counted
	// from 4 on; tools that count from 1 call the first one 5.
	Index    int
	Active   bool   // the BIOS boots from it: never a logical partition
	Type     byte   // never 0
	FirstLBA uint64 // in sectors of the disk, also of logical partitions
	Sectors  uint64 // never 0
	// EBR is where the extended boot record of a logical partition lies, in
	// sectors of the disk; 0 for a primary partition.
	EBR uint64
}

// Logical tells that the partition lies in an extended one.
func (p Partition) Logical() bool { return p.Index >= mbrEntryCount }

func (p Partition) end() uint64 { return p.FirstLBA + p.Sectors }

func (p Partition) String() string {
	what := "entry"
	if p.Logical() {
		what = "logical partition"
	}
	return fmt.Sprintf("%s %d (type 0x%02X, LBA %d to %d)", what, p.Index+1, p.Type, p.FirstLBA, p.end()-1)
}

func (p Partition) span() span { return span{p.FirstLBA, p.end(), p.String()} }

// ReadMBR reads the partition table of a BIOS disk, and the chains of its
// extended partitions. Its errors are ErrNoMBR, ErrProtective, ErrBadTable, or
// those of the disk.
func ReadMBR(d disk.Disk) (MBR, error) {
	if err := checkSectorSize(d.SectorSize()); err != nil {
		return MBR{}, err
	}
	sector, err := readMBRSector(d)
	if err != nil {
		return MBR{}, err
	}
	if magic := sector[mbrMagic:]; magic[0] != 0x55 || magic[1] != 0xAA {
		return MBR{}, fmt.Errorf("gpt: LBA 0, offset %d: found % X, not the boot signature 55 AA: %w", mbrMagic, magic, ErrNoMBR)
	}
	if fs := fileSystemOf(sector); fs != "" {
		return MBR{}, fmt.Errorf("gpt: LBA 0 is the boot sector of a %s volume: the disk is not partitioned: %w", fs, ErrNoMBR)
	}
	if i := protectiveEntry(sector); i >= 0 {
		return MBR{}, fmt.Errorf("gpt: MBR entry %d has type 0xEE: %w", i+1, ErrProtective)
	}

	mbr := MBR{Signature: binary.LittleEndian.Uint32(sector[mbrSignature:])}
	total := uint64(d.Size()) / uint64(d.SectorSize())
	for i := range mbrEntryCount {
		e := mbrEntry(sector, i)
		p := Partition{
			Index:    i,
			Active:   e[0] == 0x80,
			Type:     e[4],
			FirstLBA: uint64(binary.LittleEndian.Uint32(e[8:])),
			Sectors:  uint64(binary.LittleEndian.Uint32(e[12:])),
		}
		if p.Type == typeEmpty {
			continue
		}
		switch {
		case e[0] != 0x00 && e[0] != 0x80:
			return MBR{}, fmt.Errorf("gpt: MBR %v: its active flag is 0x%02X, neither 0x00 nor 0x80: %w", p, e[0], ErrBadTable)
		case p.Sectors == 0:
			return MBR{}, fmt.Errorf("gpt: MBR entry %d (type 0x%02X, LBA %d) has no sectors: %w", i+1, p.Type, p.FirstLBA, ErrBadTable)
		case p.FirstLBA == 0:
			return MBR{}, fmt.Errorf("gpt: MBR %v covers the MBR itself: %w", p, ErrBadTable)
		case p.end() > total:
			return MBR{}, fmt.Errorf("gpt: MBR %v ends beyond the disk, whose last LBA is %d: %w", p, total-1, ErrBadTable)
		}
		mbr.Partitions = append(mbr.Partitions, p)
	}
	if len(mbr.Partitions) == 0 {
		return MBR{}, fmt.Errorf("gpt: the MBR has no partitions: %w", ErrNoMBR)
	}
	spans := make([]span, len(mbr.Partitions))
	for i, p := range mbr.Partitions {
		spans[i] = p.span()
	}
	if err := apart(spans); err != nil {
		return MBR{}, err
	}
	next := mbrEntryCount
	for _, p := range mbr.Partitions {
		if !p.Extended() {
			continue
		}
		logical, err := readExtended(d, p, next)
		if err != nil {
			return MBR{}, err
		}
		mbr.Partitions = append(mbr.Partitions, logical...)
		next += len(logical)
	}
	return mbr, nil
}

// span is what something occupies: LBA first to end-1.
type span struct {
	first, end uint64
	what       string
}

// apart returns an ErrBadTable if two spans overlap. It sorts them.
func apart(spans []span) error {
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	for i := 1; i < len(spans); i++ {
		if a, b := spans[i-1], spans[i]; b.first < a.end {
			return fmt.Errorf("gpt: MBR %s overlaps %s: %w", b.what, a.what, ErrBadTable)
		}
	}
	return nil
}

// readMBRSector returns the first 512 bytes of the disk, the same at any
// sector size.
func readMBRSector(d disk.Disk) ([]byte, error) {
	if d.Size() < int64(d.SectorSize()) {
		return nil, fmt.Errorf("gpt: the disk of %d bytes has no sector: %w", d.Size(), ErrNoMBR)
	}
	sector := make([]byte, mbrSize)
	if err := readFull(d, sector, 0); err != nil {
		return nil, fmt.Errorf("gpt: read the MBR: %w", err)
	}
	return sector, nil
}

func mbrEntry(sector []byte, i int) []byte {
	return sector[mbrEntries+i*mbrEntrySize:][:mbrEntrySize]
}

// protectiveEntry is the index of the first entry of type 0xEE, or -1.
func protectiveEntry(sector []byte) int {
	for i := range mbrEntryCount {
		if mbrEntry(sector, i)[4] == typeGPTProtective {
			return i
		}
	}
	return -1
}

// fileSystemOf names the file system whose boot sector this is, or returns "".
// Such a sector ends in 55 AA too, but has boot code where an MBR has its table.
func fileSystemOf(sector []byte) string {
	if sector[0] != 0xEB && sector[0] != 0xE9 {
		return "" // every boot sector below begins with a jump
	}
	for _, fs := range []struct {
		name  string
		at    int
		magic string
	}{
		{"NTFS", 3, "NTFS    "},
		{"BitLocker", 3, "-FVE-FS-"},
		{"exFAT", 3, "EXFAT   "},
		{"FAT12", 54, "FAT12   "},
		{"FAT16", 54, "FAT16   "},
		{"FAT", 54, "FAT     "},
		{"FAT32", 82, "FAT32   "},
	} {
		if bytes.HasPrefix(sector[fs.at:], []byte(fs.magic)) {
			return fs.name
		}
	}
	return ""
}

func checkSectorSize(n int) error {
	if n != 512 && n != 4096 {
		return fmt.Errorf("gpt: sectors of %d bytes, must be 512 or 4096: %w", n, errors.ErrUnsupported)
	}
	return nil
}

func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil // io.ReaderAt may return io.EOF with the last byte
	}
	if err == nil || err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
