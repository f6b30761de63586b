package bcd

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"imageport/engine/windows/hive"
)

// Mapping says what becomes of the disk that a store is on.
type Mapping struct {
	Signature        uint32          // of the MBR disk
	DiskGUID         GUID            // of the GPT disk that it becomes
	Partitions       map[uint64]GUID // byte offset in the MBR disk -> GUID
	ESP              GUID            // the EFI system partition
	OS               GUID            // the partition with Windows
	SystemOffset     uint64          // byte offset of the active partition, that the boot manager came from
	SystemBecomesESP bool            // its contents are replaced by the EFI system partition
}

// ConvertOptions says how to write the converted store.
type ConvertOptions struct {
	Modified time.Time // of the hive and the keys that change
}

// What the store is called in its hive, and the programs on the EFI system
// partition.
const (
	uefiStorePath   = `\EFI\Microsoft\Boot\BCD`
	uefiBootMgrPath = `\EFI\Microsoft\Boot\bootmgfw.efi`
	uefiMemDiagPath = `\EFI\Microsoft\Boot\memtest.efi`
)

// uefiPrograms are the programs of Windows that lie beside those for BIOS.
var uefiPrograms = map[string]string{
	"winload.exe":   "winload.efi",
	"winresume.exe": "winresume.efi",
}

// Convert makes the store for UEFI from src, the store of a BIOS installation,
// as the bytes of a clean hive.
//
// {bootmgr} and the memory test move to the EFI system partition; the Windows
// loaders become the EFI ones, and what named a partition of the disk, at any
// depth, names the same in its GPT. The boot device, which is another one after
// the conversion, is named explicitly. Entries that need a BIOS are dropped, also
// from all lists. Everything else stays.
//
// The errors are hive.ErrDirty, ErrCorrupt, ErrNoDefaultEntry,
// ErrDefaultOnOtherDisk, and ErrFileOnESP if the default entry, or the image of
// any entry, lies on a partition that is replaced.
func Convert(src []byte, m Mapping, opt ConvertOptions) (out []byte, rep Report, err error) {
	s, version, err := Read(src)
	if err != nil {
		return nil, Report{}, err
	}
	entry, err := s.defaultEntry()
	if err != nil {
		return nil, Report{}, err
	}
	c := &conversion{store: s, m: m, opt: opt, defaultEntry: entry.ID, inUse: s.deviceOptions()}
	c.description()
	c.dropLegacy()
	for _, o := range s.Objects() {
		if err := c.object(o); err != nil {
			return nil, Report{}, err
		}
	}
	minor := uint32(5)
	if version < minor {
		minor = 3
	}
	out, err = hive.Build(s.root, hive.BuildOptions{Minor: minor, FileName: uefiStorePath, Modified: opt.Modified})
	if err != nil {
		return nil, Report{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return out, c.rep, nil
}

type conversion struct {
	store        *Store
	m            Mapping
	opt          ConvertOptions
	defaultEntry GUID
	inUse        map[GUID]bool // objects with options that some device names
	rep          Report
}

// description drops the cache of the machine's identifiers, and says that the
// firmware does not know the boot manager yet.
func (c *conversion) description() {
	const cache, modified = "GuidCache", "FirmwareModified"
	k := c.store.root.Key(descriptionKey)
	before := descriptionText(k, cache)
	k.Delete(cache)
	c.rep.edit(descriptionKey, cache, before, "")
	before = descriptionText(k, modified)
	k.Set(hive.DWORD(modified, 1))
	c.rep.edit(descriptionKey, modified, before, "1")
	k.Modified = c.opt.Modified
}

// dropLegacy removes the objects that need a BIOS, and what refers to them.
func (c *conversion) dropLegacy() {
	dropped := map[GUID]bool{}
	for _, o := range c.store.Objects() {
		if o.Type.Legacy() || o.ID == NTLDR {
			description, _ := o.String(ElementDescription)
			what := fmt.Sprintf("%q, type %#x", description, uint32(o.Type))
			c.rep.warn(WarnLegacyDropped, "%s, %s, needs a BIOS", Name(o.ID), what)
			c.rep.edit(Name(o.ID), "", what, "")
			dropped[o.ID] = true
			c.store.RemoveObject(o.ID)
		}
	}
	if len(dropped) == 0 {
		return
	}
	isDropped := func(text string) bool {
		id, err := parseBraced(text)
		return err == nil && dropped[id]
	}
	for _, o := range c.store.Objects() {
		for _, e := range o.Elements() {
			if e.Format() != FormatObject && e.Format() != FormatObjectList {
				continue
			}
			v, ok := o.value(e, hive.String, hive.MultiString)
			if !ok || !slices.ContainsFunc(v.Strings(), isDropped) {
				continue
			}
			left := slices.DeleteFunc(v.Strings(), isDropped)
			c.change(o, e, func() {
				if len(left) == 0 {
					o.Remove(e)
				} else {
					o.set(e, hive.MultiSZ(elementValue, left...))
				}
			})
		}
	}
}

// change makes a change of one element and reports it.
func (c *conversion) change(o Object, e ElementID, f func()) {
	before := o.text(e)
	f()
	after := o.text(e)
	if k := o.key.Key(elementsKey, e.String()); k != nil && before != after {
		k.Modified = c.opt.Modified
	}
	c.rep.edit(Name(o.ID), e.Name(o.Type), before, after)
}

func (c *conversion) object(o Object) error {
	esp := PartitionDevice(GPTPartition(c.m.DiskGUID, c.m.ESP))
	program := ""
	switch {
	case o.ID == BootMgr:
		program = uefiBootMgrPath
	case o.ID == MemDiag || o.Type == TypeMemDiag:
		program = uefiMemDiagPath
	}
	for _, e := range o.Elements() {
		if e.Format() == FormatDevice && (program == "" || e != ElementDevice) {
			if err := c.device(o, e); err != nil {
				return err
			}
		}
	}
	if program != "" {
		c.change(o, ElementDevice, func() { o.SetDevice(ElementDevice, esp) })
		c.change(o, ElementPath, func() { o.SetString(ElementPath, program) })
		return nil
	}
	if o.Type.image() == imageWindows {
		if err := c.path(o); err != nil {
			return err
		}
	}
	if winPE, _ := o.Bool(ElementWinPE); !winPE && (o.Type == TypeOSLoader || o.Type == TypeResume) {
		c.change(o, ElementIsolatedContext, func() { o.SetBool(ElementIsolatedContext, true) })
	}
	return nil
}

// path makes an EFI program of the one that an object starts. Only the default
// entry's must be one that it knows.
func (c *conversion) path(o Object) error {
	path, ok := o.String(ElementPath)
	if !ok {
		return nil
	}
	dir, file := "", path
	if i := strings.LastIndexByte(path, '\\'); i >= 0 {
		dir, file = path[:i+1], path[i+1:]
	}
	if program, ok := uefiPrograms[strings.ToLower(file)]; ok {
		c.change(o, ElementPath, func() { o.SetString(ElementPath, dir+program) })
	} else if !strings.HasSuffix(strings.ToLower(file), ".efi") {
		if o.ID == c.defaultEntry {
			return fmt.Errorf("%w: %s starts %.200q, for which there is no EFI program", ErrNoDefaultEntry, Name(o.ID), path)
		}
		c.rep.warn(WarnPathNotConverted, "%s starts %s, which is not an EFI program", Name(o.ID), path)
	}
	return nil
}

// Why a device cannot be rewritten.
var (
	errOtherDisk   = errors.New("is on another disk")
	errNoPartition = errors.New("is not a partition of the disk")
)

// device rewrites one device element. Only the default entry's must succeed.
func (c *conversion) device(o Object, e ElementID) error {
	where := Name(o.ID) + " " + e.Name(o.Type)
	isDefault := o.ID == c.defaultEntry
	old, ok := o.Device(e)
	if !ok {
		c.rep.warn(WarnUnknownDevice, "%s is not a device; kept as it is", where)
		return nil
	}
	// An object with options of a device names the device that a file is on. The
	// one that Windows Setup leaves, {ramdiskoptions}, is of use to nobody until
	// an entry names it, and what it names is often not there.
	isOptions := o.Type.class() == TypeDevice.class()
	holdsFile := isOptions && c.inUse[o.ID]
	d, err := c.rewrite(o, old, holdsFile)
	switch {
	case errors.Is(err, ErrFileOnESP):
		return fmt.Errorf("%s, %s: %w", where, old, err)
	case errors.Is(err, errOtherDisk) && isDefault:
		return fmt.Errorf("%w: %s is %s", ErrDefaultOnOtherDisk, where, old)
	case errors.Is(err, errNoPartition) && isDefault:
		return fmt.Errorf("%w: %s is %s, where no partition begins", ErrNoDefaultEntry, where, old)
	case errors.Is(err, errOtherDisk):
		c.rep.warn(WarnOtherDisk, "%s, %s, %v; kept as it is", where, old, err)
		return nil
	case err != nil:
		c.rep.warn(WarnNoPartition, "%s, %s, %v; kept as it is", where, old, err)
		return nil
	}
	if d.Kind == KindPartition && d.Ref == c.esp() && (isOptions || o.Type.loads()) {
		if isDefault {
			return fmt.Errorf("%s, %s: %w", where, old, ErrFileOnESP)
		}
		if isOptions {
			c.rep.warn(WarnOnESP, "boot store: %s named the old system partition, which is the EFI system partition now; no boot entry uses it", where)
		} else {
			c.rep.warn(WarnOnESP, "boot store: %s was %s, which becomes the EFI system partition: the entry will not boot", where, old)
		}
	}
	if d.innermost().Kind == KindUnknown && bytes.Equal(d.Encode(), old.Encode()) {
		if isDefault && (e == ElementDevice || e == ElementOSDevice) {
			return fmt.Errorf("%w: %s is %s", ErrNoDefaultEntry, where, old)
		}
		c.rep.warn(WarnUnknownDevice, "%s is of an unknown kind; kept as it is", where)
	}
	c.change(o, e, func() { o.SetDevice(e, d) })
	return nil
}

func (c *conversion) esp() PartitionRef { return GPTPartition(c.m.DiskGUID, c.m.ESP) }

// rewrite returns the device in terms of the GPT. holdsFile says that a file on
// the device is meant, so that the device's contents must survive.
func (c *conversion) rewrite(o Object, d Device, holdsFile bool) (Device, error) {
	var err error
	switch d.Kind {
	case KindPartition:
		d.Ref, err = c.partition(d.Ref, holdsFile)
	case KindBoot:
		ref := GPTPartition(c.m.DiskGUID, c.m.OS)
		if holdsFile || !o.Type.loads() {
			ref, err = c.partition(MBRPartition(c.m.Signature, c.m.SystemOffset), holdsFile)
		}
		d = Device{Kind: KindPartition, Options: d.Options, Ref: ref}
	case KindLocate:
		if d.On != nil {
			d.On, err = c.rewriteOn(o, *d.On)
		}
	case KindRAMDisk, KindFile, KindVHD:
		d.On, err = c.rewriteOn(o, *d.On)
	default:
		d.Raw, err = c.rewriteRaw(d.Raw, holdsFile)
	}
	return d, err
}

func (c *conversion) rewriteOn(o Object, on Device) (*Device, error) {
	d, err := c.rewrite(o, on, true)
	return &d, err
}

// rewriteRaw replaces the partitions in a descriptor of unknown kind: itself, or
// inside of it.
func (c *conversion) rewriteRaw(raw []byte, holdsFile bool) ([]byte, error) {
	raw = bytes.Clone(raw)
	refs, at := rawRefs(raw)
	for i, ref := range refs {
		ref, err := c.partition(ref, holdsFile || at[i] > headerSize)
		if err != nil {
			return nil, err
		}
		copy(raw[at[i]:], ref.encode())
	}
	return raw, nil
}

func (c *conversion) partition(ref PartitionRef, holdsFile bool) (PartitionRef, error) {
	switch {
	case ref.Style == StyleGPT && ref.Disk == c.m.DiskGUID:
		return ref, nil
	case ref.Style == StyleGPT || ref.Signature != c.m.Signature:
		return ref, errOtherDisk
	case ref.Offset == c.m.SystemOffset && c.m.SystemBecomesESP:
		if holdsFile {
			return ref, ErrFileOnESP
		}
		return c.esp(), nil
	}
	id, ok := c.m.Partitions[ref.Offset]
	if !ok {
		return ref, errNoPartition
	}
	return GPTPartition(c.m.DiskGUID, id), nil
}
