package winimage

import (
	"encoding/binary"
	"fmt"
)

// Role says what a partition is for.
type Role string

const (
	System   Role = "System Reserved"
	Windows  Role = "Windows"
	Recovery Role = "Recovery"
	Extended Role = "Extended"
)

// Partition is one partition of the MBR.
type Partition struct {
	Role       Role
	Number     int  // from 1, also the place in the MBR
	Type       byte // of the MBR
	Active     bool
	StartBytes int64
	SizeBytes  int64
}

const (
	mib         = 1 << 20
	sectorBytes = 512

	typeNTFS     = 0x07
	typeExtended = 0x0f
	typeRecovery = 0x27
	typeDynamic  = 0x42

	extendedMiB = 64
	minimumMiB  = 8 // of an NTFS volume with something in it
)

// Layout gives the partitions of the disk, without making it.
func (s Spec) Layout() ([]Partition, error) {
	s = s.withDefaults()
	if err := s.check(); err != nil {
		return nil, err
	}
	extended := 0
	if s.Extended {
		extended = extendedMiB
	}
	// The first MiB is the MBR's.
	windows := int(s.SizeBytes/mib) - 1 - s.SystemReservedMiB - extended - s.FreeAfterWindowsMiB - s.RecoveryMiB - s.FreeAtEndMiB
	if windows < minimumMiB {
		return nil, fmt.Errorf("%w: C: is left with %d MiB", ErrSpec, windows)
	}
	var partitions []Partition
	at := 1
	add := func(role Role, kind byte, size int) {
		if size > 0 {
			partitions = append(partitions, Partition{
				Role: role, Number: len(partitions) + 1, Type: kind,
				StartBytes: int64(at) * mib, SizeBytes: int64(size) * mib,
			})
			at += size
		}
	}
	add(System, typeNTFS, s.SystemReservedMiB)
	add(Windows, typeNTFS, windows)
	add(Extended, typeExtended, extended)
	at += s.FreeAfterWindowsMiB
	add(Recovery, typeRecovery, s.RecoveryMiB)
	for i := range partitions {
		p := &partitions[i]
		p.Active = !s.NoActive && (i == 0 || s.MultipleActive)
		if s.DynamicDisk {
			p.Type = typeDynamic
		}
	}
	return partitions, nil
}

// bootCode halts: nothing here is started by a BIOS.
var bootCode = []byte{0xfa, 0xf4, 0xeb, 0xfd} // cli; hlt; jmp back to hlt

// mbr is the first sector of the disk.
func mbr(signature uint32, partitions []Partition) []byte {
	sector := make([]byte, sectorBytes)
	copy(sector, bootCode)
	binary.LittleEndian.PutUint32(sector[440:], signature)
	for i, p := range partitions {
		partitionEntry(sector[446+16*i:], p, 0)
	}
	sector[510], sector[511] = 0x55, 0xaa
	return sector
}

// ebr is the first sector of the extended partition, with one logical partition
// behind it.
func ebr(p Partition) []byte {
	sector := make([]byte, sectorBytes)
	partitionEntry(sector[446:], Partition{
		Type: typeNTFS, StartBytes: p.StartBytes + mib, SizeBytes: p.SizeBytes - mib,
	}, p.StartBytes)
	sector[510], sector[511] = 0x55, 0xaa
	return sector
}

// partitionEntry writes an entry whose start counts from base. Its CHS
// addresses are those that stand for "beyond the reach of CHS".
func partitionEntry(entry []byte, p Partition, base int64) {
	if p.Active {
		entry[0] = 0x80
	}
	copy(entry[1:], []byte{0xfe, 0xff, 0xff, p.Type, 0xfe, 0xff, 0xff})
	binary.LittleEndian.PutUint32(entry[8:], uint32((p.StartBytes-base)/sectorBytes))
	binary.LittleEndian.PutUint32(entry[12:], uint32(p.SizeBytes/sectorBytes))
}
