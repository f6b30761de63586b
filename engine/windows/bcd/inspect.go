package bcd

import (
	"fmt"
	"strings"
)

// Summary is what the planner of a conversion needs to know of a store.
type Summary struct {
	Default            GUID
	DefaultDescription string
	DefaultPath        string // of the loader, on its device
	DefaultSystemRoot  string // such as \Windows, on DefaultDevice

	// DefaultKind is the kind of the default entry's osdevice. DefaultDevice is
	// the partition it is, or has its file on; it means nothing for KindBoot (the
	// partition the boot manager is loaded from), KindLocate and KindUnknown.
	DefaultKind   Kind
	DefaultDevice PartitionRef

	// Recovery is the recovery environment that the default entry names, the
	// zero GUID if there is none, and RecoveryDevice and RecoveryPath its image;
	// RecoveryKind is the kind of what the image lies on.
	Recovery       GUID
	RecoveryKind   Kind
	RecoveryDevice PartitionRef
	RecoveryPath   string

	IsUEFI     bool // the default entry's loader is an EFI program
	Partitions []PartitionUse
	// MBR are those of Partitions that are in MBR disks: of this disk, none may
	// be left after a conversion.
	MBR []PartitionUse

	Chain Chain // from the boot manager to the default entry's Windows
}

// Inspect summarises the store in the bytes of a hive. The errors are
// hive.ErrDirty, ErrCorrupt and ErrNoDefaultEntry.
func Inspect(src []byte) (Summary, error) {
	s, _, err := Read(src)
	if err != nil {
		return Summary{}, err
	}
	entry, err := s.defaultEntry()
	if err != nil {
		return Summary{}, err
	}
	sum := Summary{Default: entry.ID, Partitions: s.PartitionRefs(), Chain: s.chain(entry)}
	for _, use := range sum.Partitions {
		if use.Ref.Style == StyleMBR {
			sum.MBR = append(sum.MBR, use)
		}
	}
	sum.DefaultDescription, _ = entry.String(ElementDescription)
	sum.DefaultPath, _ = entry.String(ElementPath)
	sum.DefaultSystemRoot, _ = entry.String(ElementSystemRoot)
	sum.IsUEFI = strings.HasSuffix(strings.ToLower(sum.DefaultPath), ".efi")
	d, _ := entry.Device(ElementOSDevice)
	sum.DefaultKind = d.Kind
	sum.DefaultDevice = d.innermost().Ref

	if list := sum.Chain.Recovery; len(list) > 0 {
		image := list[0].Device
		sum.Recovery = list[0].ID
		sum.RecoveryPath = image.Path
		sum.RecoveryKind = image.innermost().Kind
		sum.RecoveryDevice = image.innermost().Ref
	}
	return sum, nil
}

// defaultEntry is the entry that the boot manager starts by itself. It has a
// device, a path and an osdevice.
func (s *Store) defaultEntry() (Object, error) {
	manager, ok := s.Object(BootMgr)
	if !ok {
		return Object{}, fmt.Errorf("%w: no object {bootmgr}", ErrNoDefaultEntry)
	}
	id, ok := manager.Object(ElementDefault)
	if !ok {
		return Object{}, fmt.Errorf("%w: {bootmgr} names none", ErrNoDefaultEntry)
	}
	entry, ok := s.Object(id)
	if !ok {
		return Object{}, fmt.Errorf("%w: {bootmgr} names %s, which is not in the store", ErrNoDefaultEntry, Name(id))
	}
	if entry.Type != TypeOSLoader {
		return Object{}, fmt.Errorf("%w: %s is of type %#x, want a Windows loader, %#x",
			ErrNoDefaultEntry, Name(id), uint32(entry.Type), uint32(TypeOSLoader))
	}
	for _, e := range []ElementID{ElementDevice, ElementOSDevice} {
		if _, ok := entry.Device(e); !ok {
			return Object{}, fmt.Errorf("%w: %s has no readable %s", ErrNoDefaultEntry, Name(id), e.Name(entry.Type))
		}
	}
	if _, ok := entry.String(ElementPath); !ok {
		return Object{}, fmt.Errorf("%w: %s has no path", ErrNoDefaultEntry, Name(id))
	}
	return entry, nil
}

// innermost is the device that everything else lies on.
func (d Device) innermost() Device {
	for d.On != nil {
		d = *d.On
	}
	return d
}
