package bootconv

import (
	"errors"
	"fmt"

	"imageport/engine/disk"
	"imageport/engine/disk/gpt"
	"imageport/engine/windows/ntfs"
	"imageport/job"
)

// Description is what can be told of any disk, whether it can be converted or
// not.
type Description struct {
	// PartitionStyle is "mbr", "gpt" or, if there is no table, "none".
	PartitionStyle string `json:"partitionStyle"`
	// BootMode is how the disk boots: "bios", "uefi" or, if it does not, "".
	BootMode    string `json:"bootMode,omitempty"`
	SizeBytes   int64  `json:"sizeBytes"`
	SectorBytes int    `json:"sectorBytes"`
	// Signature is of an MBR disk, DiskGUID of a GPT disk.
	Signature  string               `json:"signature,omitempty"`
	DiskGUID   string               `json:"diskGuid,omitempty"`
	Partitions []DescribedPartition `json:"partitions"`
	Windows    *Windows             `json:"windows,omitempty"` // nil if none was found
	// Problems are what keeps Windows or a conversion from going on well.
	Problems []string `json:"problems"`
	// Convertible tells whether Inspect takes the disk; Refusal is why not. That
	// there is room for the EFI system partition is for Plan to find.
	Convertible bool       `json:"convertible"`
	Refusal     *job.Error `json:"refusal,omitempty"`
}

// DescribedPartition is one partition of a Description.
type DescribedPartition struct {
	Number     int    `json:"number"` // from 1
	Type       string `json:"type"`   // 0x07, or a GUID
	Name       string `json:"name,omitempty"`
	ID         string `json:"id,omitempty"` // GUID
	Active     bool   `json:"active,omitempty"`
	Logical    bool   `json:"logical,omitempty"`
	Attributes string `json:"attributes,omitempty"` // of GPT, hexadecimal
	StartBytes int64  `json:"startBytes"`
	SizeBytes  int64  `json:"sizeBytes"`
	// FileSystem is by its boot sector, such as "NTFS"; Label is NTFS's.
	FileSystem string `json:"fileSystem,omitempty"`
	Label      string `json:"label,omitempty"`
	// Role is "extended", "esp", "system", "windows", "recovery" or "".
	Role string `json:"role,omitempty"`
}

// The roles of partitions.
const (
	RoleExtended = "extended"
	RoleESP      = "esp"
	RoleSystem   = "system"
	RoleWindows  = "windows"
	RoleRecovery = "recovery"
)

// Describe looks at a disk without judging it, and says what Inspect would.
// Its errors are those of the disk.
func Describe(d disk.Disk) (Description, error) {
	out := Description{PartitionStyle: "none", SizeBytes: d.Size(), SectorBytes: d.SectorSize(), Partitions: []DescribedPartition{}, Problems: []string{}}
	volumes, err := out.readTable(d)
	if err != nil {
		return out, err
	}
	for i, v := range volumes {
		if v == nil { // an extended partition
			continue
		}
		if err := out.addVolume(&out.Partitions[i], v); err != nil {
			return out, err
		}
	}
	out.bootMode()
	_, err = Inspect(d)
	refusal, coded := errors.AsType[*job.Error](err)
	switch {
	case err == nil:
		out.Convertible = true
	case coded:
		out.Refusal = refusal
	default:
		return out, err
	}
	return out, nil
}

// readTable reads whichever partition table there is. The volumes are those of
// the partitions, nil for extended ones.
func (out *Description) readTable(d disk.Disk) ([]*volume, error) {
	var volumes []*volume
	add := func(p gpt.Partition, described DescribedPartition) error {
		out.Partitions = append(out.Partitions, described)
		if p.Extended() {
			volumes = append(volumes, nil)
			return nil
		}
		v, err := openVolume(d, p)
		volumes = append(volumes, v)
		return err
	}
	mbr, err := gpt.ReadMBR(d)
	if err == nil {
		out.PartitionStyle, out.Signature = "mbr", fmt.Sprintf("%#08x", mbr.Signature)
		for _, p := range mbr.Partitions {
			if err := add(p, describeMBR(p, d.SectorSize())); err != nil {
				return nil, err
			}
		}
		return volumes, nil
	}
	if !errors.Is(err, gpt.ErrProtective) {
		return nil, out.problem(err, gpt.ErrNoMBR, gpt.ErrBadTable)
	}
	out.PartitionStyle = "gpt"
	table, err := gpt.Read(d)
	if err != nil {
		return nil, out.problem(err, gpt.ErrCorrupt, gpt.ErrNotGPT)
	}
	out.DiskGUID = table.DiskGUID.String()
	for _, e := range table.Entries {
		if err := add(gpt.Partition{Index: e.Index, FirstLBA: e.FirstLBA, Sectors: e.Sectors()}, describeGPT(e, int64(d.SectorSize()))); err != nil {
			return nil, err
		}
	}
	return volumes, nil
}

func describeMBR(p gpt.Partition, sectorSize int) DescribedPartition {
	d := DescribedPartition{
		Number: p.Index + 1, Type: fmt.Sprintf("%#02x", p.Type), Active: p.Active, Logical: p.Logical(),
		StartBytes: int64(p.FirstLBA) * int64(sectorSize), SizeBytes: int64(p.Sectors) * int64(sectorSize),
	}
	if p.Extended() {
		d.Role = RoleExtended
	}
	return d
}

func describeGPT(e gpt.Entry, sectorSize int64) DescribedPartition {
	d := DescribedPartition{
		Number: e.Index + 1, Type: e.Type.String(), Name: e.Name, ID: e.ID.String(),
		StartBytes: int64(e.FirstLBA) * sectorSize, SizeBytes: int64(e.Sectors()) * sectorSize,
	}
	if e.Attributes != 0 {
		d.Attributes = fmt.Sprintf("%#016x", e.Attributes)
	}
	if e.Type == gpt.TypeESP {
		d.Role = RoleESP
	}
	return d
}

// problem notes an error of the kinds given; others are returned.
func (out *Description) problem(err error, kinds ...error) error {
	for _, kind := range kinds {
		if errors.Is(err, kind) {
			out.Problems = append(out.Problems, err.Error())
			return nil
		}
	}
	return err
}

// addVolume describes what a partition holds.
func (out *Description) addVolume(p *DescribedPartition, v *volume) error {
	if v.Kind != ntfs.Unknown {
		p.FileSystem = v.Kind.String()
	}
	if v.Err != nil {
		out.Problems = append(out.Problems, v.Err.Error())
	}
	if v.NTFS == nil {
		return nil
	}
	p.Label = v.NTFS.State().Label
	if err := v.Settled(); job.CodeOf(err) != "" {
		out.Problems = append(out.Problems, err.Error())
	} else if err != nil {
		return err
	}
	switch {
	case v.HasWindows:
		p.Role = RoleWindows
		w, err := v.readWindows()
		if job.CodeOf(err) != "" {
			out.Problems = append(out.Problems, err.Error())
		} else if err != nil {
			return err
		}
		out.Windows = &w
	case v.Active:
		p.Role = RoleSystem
	case v.hasWinRE:
		p.Role = RoleRecovery
	}
	return nil
}

// bootMode tells how the disk boots: by its active partition, or its EFI
// system partition.
func (out *Description) bootMode() {
	for _, p := range out.Partitions {
		switch {
		case p.Active:
			out.BootMode = "bios"
		case p.Role == RoleESP:
			out.BootMode = "uefi"
		}
	}
}
