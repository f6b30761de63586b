package pvstarget

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"imageport/engine/disk"
	"imageport/engine/windows/ntfs"
	"imageport/engine/windows/offline"
	"imageport/job"
)

// Inspect reads the disk of an image and tells what it found of Citrix's software.
func Inspect(ctx context.Context, d disk.Disk) (Facts, error) {
	return InspectFor(ctx, d, Options{})
}

// InspectFor is Inspect for what the options say. Its errors are job.Errors about
// what keeps it from reading the image: a partition table, volume or registry that
// only Windows can put right, no Windows or more than one, a pattern that is none;
// or they are those of the disk.
func InspectFor(ctx context.Context, d disk.Disk, o Options) (Facts, error) {
	in := inspector{ctx: ctx, options: o}
	var err error
	if in.name, err = pattern(o.NamePattern); err != nil {
		return Facts{}, err
	}
	w, err := in.openWindows(d)
	if err != nil {
		return Facts{}, err
	}
	in.Partition, in.Offset, in.SizeBytes = w.Number, w.Offset, w.Size
	software, err := w.OpenHive(offline.PathSoftware)
	if errors.Is(err, ntfs.ErrNotFound) {
		return Facts{}, job.Errorf(job.MissingBootFile, "Check that this is the vDisk of a complete Windows", "%w", err)
	}
	if err != nil {
		return Facts{}, err
	}
	if in.Arch, err = arch(w.Volume); err != nil {
		return Facts{}, err
	}
	if in.FreeBytes, err = w.FreeBytes(); err != nil {
		return Facts{}, err
	}
	in.hasFile = w.HasFile
	if err := in.readRegistry(w, software); err != nil {
		return Facts{}, err
	}
	if err := in.findFiles(); err != nil {
		return Facts{}, err
	}
	return in.Facts, nil
}

// pattern compiles the one for names of programs.
func pattern(s string) (*regexp.Regexp, error) {
	if s == "" {
		s = DefaultNamePattern
	}
	re, err := regexp.Compile(s)
	if err != nil {
		return nil, job.Errorf(job.CatalogueInvalid, "Correct the pattern in the catalogue", "the pattern %q for the name of the software: %w", shorten(s), err)
	}
	return re, nil
}

// inspector is Facts in the making.
type inspector struct {
	Facts
	ctx     context.Context
	options Options
	name    *regexp.Regexp
	hasFile func(path string) (bool, error) // on the volume of Windows
}

func (in *inspector) warn(format string, args ...any) {
	if len(in.Warnings) < maxListed {
		in.Warnings = append(in.Warnings, fmt.Sprintf(format, args...))
	}
}

// openWindows opens the only Windows on the disk.
func (in *inspector) openWindows(d disk.Disk) (*offline.Windows, error) {
	table, err := offline.ReadTable(d)
	if err != nil {
		return nil, err
	}
	if table.Dynamic {
		return nil, job.Errorf(job.DynamicDisk, "Convert the disk to a basic disk first", "the disk has partitions of a dynamic disk")
	}
	volumes, err := table.Volumes(in.ctx, d)
	if err != nil {
		return nil, err
	}
	var found, encrypted []*offline.Volume
	var places []string
	var unreadable error
	for _, v := range volumes {
		switch {
		case v.HasWindows:
			found, places = append(found, v), append(places, v.String())
		case v.Kind == ntfs.BitLocker:
			encrypted = append(encrypted, v)
		case v.Err != nil && unreadable == nil:
			unreadable = v.Err
		}
	}
	switch {
	case len(found) > 1:
		return nil, job.Errorf(job.MultipleWindows, "Remove the installation that is not used", "Windows is on %s", strings.Join(places, " and "))
	case len(found) == 1:
		for _, v := range encrypted {
			in.warn("%s is encrypted with BitLocker: what is on it was not looked at, and in another VM it wants its recovery key", v)
		}
		if unreadable != nil {
			in.warn("a volume that is not that of Windows cannot be read: %s", unreadable)
		}
		return found[0].OpenWindows()
	case len(encrypted) > 0:
		return nil, job.Errorf(job.BitLocker, "Decrypt it completely (manage-bde -off) in a maintenance version; to suspend is not enough", "%s is encrypted with BitLocker", encrypted[0])
	case unreadable != nil:
		return nil, unreadable
	case table.Style == offline.NoTable:
		return nil, job.Errorf(job.NoWindows, "Check that this is the right vDisk", "the disk has no partition table")
	}
	return nil, job.Errorf(job.NoWindows, "Check that this is the right vDisk", "no partition holds %s", offline.PathSystem)
}

// findFiles looks for the files asked for.
func (in *inspector) findFiles() error {
	for _, f := range in.options.Files {
		there, err := in.hasFile(offline.OnVolume(f))
		if err != nil {
			return err
		}
		if there {
			in.Files = append(in.Files, f)
		}
	}
	return nil
}

// pathKernel is the program that every Windows has for its processor.
const pathKernel = `\Windows\System32\ntoskrnl.exe`

// The machines of programs (PE 3.3.1) that a Windows runs on.
var machines = map[uint16]string{0x8664: "x64", 0x014c: "x86", 0xaa64: "arm64"}

// arch reads what processor the kernel is for; "" if there is no program.
func arch(v *offline.Volume) (string, error) {
	f, err := v.NTFS.Open(pathKernel)
	if errors.Is(err, ntfs.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", v.Fault(err)
	}
	machine, err := readMachine(f)
	if err != nil {
		return "", v.Fault(err)
	}
	return machine, nil
}

// readMachine reads the machine of a program: the place of the PE header is at
// 0x3c of the DOS header (PE 3.1). It is "" if there are no such headers. Errors
// are those of the file.
func readMachine(f io.ReaderAt) (string, error) {
	dos := make([]byte, 64)
	if n, err := f.ReadAt(dos, 0); n < len(dos) {
		return "", unlessEnd(err)
	}
	pe := make([]byte, 6)
	if n, err := f.ReadAt(pe, int64(binary.LittleEndian.Uint32(dos[0x3c:]))); n < len(pe) {
		return "", unlessEnd(err)
	}
	if string(dos[:2]) != "MZ" || string(pe[:4]) != "PE\x00\x00" {
		return "", nil
	}
	machine := binary.LittleEndian.Uint16(pe[4:])
	if name, ok := machines[machine]; ok {
		return name, nil
	}
	return fmt.Sprintf("0x%04x", machine), nil
}

func unlessEnd(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}
