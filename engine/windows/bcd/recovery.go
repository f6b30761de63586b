package bcd

import (
	"fmt"

	"imageport/engine/windows/hive"
)

const recoveryStorePath = `\EFI\Microsoft\Recovery\BCD`

// Recovery makes the second store of an EFI system partition, that Windows keeps
// as \EFI\Microsoft\Recovery\BCD, from the one that Convert made: a boot manager
// whose only entry is the recovery environment of the default entry. Windows
// opens it when it services its boot files.
//
// Its elements are those of the stores that Windows 10 makes, found the same on
// four computers. There its objects have identifiers of their own; here they are
// those of the other store, so that the same input gives the same bytes. If the
// default entry has no recovery environment, the boot manager has no entry, and
// Inspect says ErrNoDefaultEntry of the store.
//
// The errors are those of Read and ErrNoDefaultEntry.
func Recovery(converted []byte, opt ConvertOptions) ([]byte, error) {
	from, _, err := Read(converted)
	if err != nil {
		return nil, err
	}
	entry, err := from.defaultEntry()
	if err != nil {
		return nil, err
	}
	manager, _ := from.Object(BootMgr)
	device, ok := manager.Device(ElementDevice)
	if !ok {
		return nil, fmt.Errorf("%w: {bootmgr} has no readable device", ErrCorrupt)
	}

	root := &hive.Key{Name: "NewStoreRoot"}
	root.Create(descriptionKey).
		Set(hive.SZ("KeyName", "BCD00000001")).
		Set(hive.DWORD("FirmwareModified", 1))
	root.Create(objectsKey)
	to := &Store{root}
	for _, id := range []GUID{GlobalSettings, BootLoaderSettings, ResumeLoaderSettings, HypervisorSettings, DebuggerSettings, EMSSettings, BadMemory} {
		to.copyFrom(from, id)
	}
	var menu []GUID
	ids, _ := entry.ObjectList(ElementRecoverySequence)
	for _, id := range ids {
		if to.copyFrom(from, id) {
			menu = append(menu, id)
		}
	}

	o := to.AddObject(BootMgr, TypeBootMgr)
	o.SetDevice(ElementDevice, device)
	o.SetString(ElementPath, uefiBootMgrPath)
	o.SetString(ElementDescription, "Windows Boot Manager")
	if locale, ok := manager.String(ElementLocale); ok {
		o.SetString(ElementLocale, locale)
	}
	o.SetObjectList(ElementInherit, GlobalSettings)
	if len(menu) > 0 {
		o.SetObject(ElementDefault, menu[0])
		o.SetObjectList(ElementDisplayOrder, menu...)
	}
	o.SetInt(ElementTimeout, 30)

	out, err := hive.Build(root, hive.BuildOptions{Minor: 3, FileName: recoveryStorePath, Modified: opt.Modified})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return out, nil
}

// copyFrom copies an object of another store, what it inherits from and the
// options of its devices. It returns false if there is no such object.
func (s *Store) copyFrom(from *Store, id GUID) bool {
	if _, done := s.Object(id); done {
		return true
	}
	if id == BootMgr { // each store has its own
		return false
	}
	o, ok := from.Object(id)
	if !ok {
		return false
	}
	objects := s.root.Key(objectsKey)
	objects.Subkeys = append(objects.Subkeys, o.key)
	inherited, _ := o.ObjectList(ElementInherit)
	for _, id := range inherited {
		s.copyFrom(from, id)
	}
	for _, e := range o.Elements() {
		if d, ok := o.Device(e); ok && d.Options != (GUID{}) {
			s.copyFrom(from, d.Options)
		}
	}
	return true
}
