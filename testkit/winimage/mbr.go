package winimage

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"

	"imageport/testkit/oracle"
)

const (
	signatureAt = 440
	entriesAt   = 446
	bootMarkAt  = 510
)

// bootable puts the oracle's code where a BIOS looks: into the master boot record
// and into the boot sector of the active partition.
func (p *plan) bootable(out io.WriterAt) error {
	put := func(path string, at int64, limit int) error {
		code, err := os.ReadFile(path)
		if err == nil && len(code) > limit {
			err = fmt.Errorf("%s has %d bytes, room is for %d", path, len(code), limit)
		}
		if err == nil {
			_, err = out.WriteAt(code, at)
		}
		if err != nil {
			return fmt.Errorf("winimage: boot code: %w", err)
		}
		return nil
	}
	if p.spec.NoMBR || p.spec.SectorSize != 512 {
		return nil
	}
	if err := put(p.programs.MBRCode, 0, signatureAt); err != nil {
		return err
	}
	for _, partition := range p.partitions {
		if partition.Active && partition.Content == NTFS {
			if err := put(p.programs.BootCode, partition.StartBytes+oracle.BootCodeOffset, oracle.BootCodeLimit); err != nil {
				return err
			}
		}
	}
	return nil
}

// mbr is the first 512 bytes of the disk.
func mbr(spec Spec, partitions []Partition) []byte {
	sector := make([]byte, 512)
	binary.LittleEndian.PutUint32(sector[signatureAt:], spec.Signature)
	n := 0
	for _, p := range partitions {
		if !p.Logical {
			if spec.Overlap && n == 0 {
				p.SizeBytes += mib
			}
			partitionEntry(sector[entriesAt+16*n:], p, 0, spec.SectorSize)
			n++
		}
	}
	sector[bootMarkAt], sector[bootMarkAt+1] = 0x55, 0xaa
	return sector
}

// ebr is the first 512 bytes of the MiB in front of a logical partition: an
// entry for it, and one that says where to find the next ebr, if there is one.
// That counts from the beginning of the extended partition.
func ebr(spec Spec, extended, logical Partition, next *Partition) []byte {
	sector := make([]byte, 512)
	partitionEntry(sector[entriesAt:], logical, logical.StartBytes-mib, spec.SectorSize)
	if next != nil {
		link := Partition{Type: typeExtendedCHS, StartBytes: next.StartBytes - mib, SizeBytes: next.SizeBytes + mib}
		partitionEntry(sector[entriesAt+16:], link, extended.StartBytes, spec.SectorSize)
	}
	sector[bootMarkAt], sector[bootMarkAt+1] = 0x55, 0xaa
	return sector
}

// partitionEntry writes an entry whose start counts from base. Its CHS
// addresses are those that stand for "beyond the reach of CHS".
func partitionEntry(entry []byte, p Partition, base int64, sectorSize int) {
	if p.Active {
		entry[0] = 0x80
	}
	copy(entry[1:], []byte{0xfe, 0xff, 0xff, p.Type, 0xfe, 0xff, 0xff})
	binary.LittleEndian.PutUint32(entry[8:], uint32((p.StartBytes-base)/int64(sectorSize)))
	binary.LittleEndian.PutUint32(entry[12:], uint32(p.SizeBytes/int64(sectorSize)))
}

// table gives the sectors of the partition table by their place on the disk.
func table(spec Spec, partitions []Partition) map[int64][]byte {
	sectors := map[int64][]byte{}
	if !spec.NoMBR {
		sectors[0] = mbr(spec, partitions)
	}
	var extended Partition
	var logical []Partition
	for _, p := range partitions {
		if p.Role == Extended {
			extended = p
		}
		if p.Logical {
			logical = append(logical, p)
		}
	}
	for i, p := range logical {
		var next *Partition
		if i+1 < len(logical) {
			next = &logical[i+1]
		}
		sectors[p.StartBytes-mib] = ebr(spec, extended, p, next)
	}
	return sectors
}
