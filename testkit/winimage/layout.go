package winimage

import "fmt"

// Role says what a partition is for.
type Role string

const (
	System      Role = "System Reserved"
	Windows     Role = "Windows"
	Recovery    Role = "Recovery"
	Extended    Role = "Extended"    // holds the logical ones
	Unformatted Role = "Unformatted" // see Spec.Extended
	Maker       Role = "OEM"
	InFront     Role = "In front" // see Spec.NoRoomInFront
)

// DataRole is that of the data partition with a drive letter.
func DataRole(letter string) Role { return Role("Data " + letter) }

// Partition is one partition of the MBR.
type Partition struct {
	Role       Role
	Number     int  // from 1 the place in the MBR, from 5 that in the extended partition
	Type       byte // of the MBR
	Active     bool
	Logical    bool
	Content    Content // empty: zeros
	Letter     string  // "D", of data partitions
	StartBytes int64
	SizeBytes  int64
}

const (
	mib = 1 << 20

	typeNTFS        = 0x07
	typeExtendedCHS = 0x05
	typeExtended    = 0x0f
	typeMaker       = 0x12
	typeRecovery    = 0x27
	typeDynamic     = 0x42

	unformattedMiB = 63
	minimumMiB     = 8 // of a volume with something in it
	maxPrimaries   = 4
	firstLogical   = 5
	frontSectors   = 8 // before the partition that leaves no room
)

// Layout gives the partitions of the disk, without making it, in the order in
// which they lie there; the extended one comes before what it holds.
func (s Spec) Layout() ([]Partition, error) {
	s = s.withDefaults()
	if err := s.check(); err != nil {
		return nil, err
	}
	var front, behind, logical []Partition
	for _, o := range s.OEM {
		front = append(front, Partition{Role: Maker, Type: o.Type, Content: o.Content, SizeBytes: int64(o.MiB) * mib})
	}
	if s.SystemReservedMiB > 0 {
		front = append(front, Partition{Role: System, Type: typeNTFS, Content: NTFS, SizeBytes: int64(s.SystemReservedMiB) * mib})
	}
	for _, d := range s.Data {
		p := Partition{Role: DataRole(d.Letter), Type: typeNTFS, Content: NTFS, Letter: d.Letter, SizeBytes: int64(d.MiB) * mib}
		if p.Logical = d.Logical; d.Logical {
			logical = append(logical, p)
		} else {
			behind = append(behind, p)
		}
	}
	if s.Extended {
		logical = append(logical, Partition{Role: Unformatted, Type: typeNTFS, Logical: true, SizeBytes: unformattedMiB * mib})
	}
	recovery := Partition{Role: Recovery, Type: typeRecovery, Content: NTFS, SizeBytes: int64(s.RecoveryMiB) * mib}
	if recovery.Logical = s.RecoveryLogical; s.RecoveryLogical {
		logical = append(logical, recovery)
	} else if s.RecoveryFirst {
		front = append(front, recovery)
	}
	if len(logical) > 0 {
		extended := Partition{Role: Extended, Type: typeExtended}
		for _, p := range logical {
			extended.SizeBytes += mib + p.SizeBytes
		}
		behind = append(append(behind, extended), logical...)
	}
	if s.RecoveryMiB > 0 && !s.RecoveryLogical && !s.RecoveryFirst {
		behind = append(behind, recovery)
	}
	return s.place(front, behind)
}

// place gives partitions their places: front before C:, behind after it.
func (s Spec) place(front, behind []Partition) ([]Partition, error) {
	// The first MiB is the MBR's.
	left := s.SizeBytes - int64(1+s.FreeAfterWindowsMiB+s.FreeAtEndMiB)*mib
	for _, p := range append(front[:len(front):len(front)], behind...) {
		if !p.Logical {
			left -= p.SizeBytes
		}
	}
	if left < minimumMiB*mib {
		return nil, fmt.Errorf("%w: C: is left with %d MiB", ErrSpec, left/mib)
	}
	partitions := append(front, Partition{Role: Windows, Type: typeNTFS, Content: NTFS, SizeBytes: left})
	partitions = append(partitions, behind...)
	primaries, logicals := 0, 0
	at := int64(mib)
	for i := range partitions {
		p := &partitions[i]
		if p.Logical {
			at += mib // for the ebr
			p.Number = firstLogical + logicals
			logicals++
		} else {
			primaries++
			p.Number = primaries
		}
		p.StartBytes = at
		if p.Role != Extended {
			at += p.SizeBytes
		}
		if p.Role == Windows {
			at += int64(s.FreeAfterWindowsMiB) * mib
		}
	}
	if s.NoRoomInFront {
		first := frontSectors * int64(s.SectorSize)
		primaries++
		partitions = append(partitions, Partition{
			Role: InFront, Number: primaries, Type: typeMaker, Content: Raw, StartBytes: first, SizeBytes: mib - first,
		})
	}
	if primaries > maxPrimaries {
		return nil, fmt.Errorf("%w: %d partitions, an MBR has %d", ErrSpec, primaries, maxPrimaries)
	}
	s.mark(partitions)
	return partitions, nil
}

// mark makes partitions active, and what else the table says wrongly.
func (s Spec) mark(partitions []Partition) {
	system := System
	if s.SystemReservedMiB == 0 {
		system = Windows
	}
	for i := range partitions {
		p := &partitions[i]
		p.Active = !s.NoActive && !p.Logical && (p.Role == system || s.MultipleActive)
		if s.DynamicDisk {
			p.Type = typeDynamic
		}
	}
}
