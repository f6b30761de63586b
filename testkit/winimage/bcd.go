package winimage

import (
	"encoding/binary"
	"fmt"
	"time"

	"imageport/engine/windows/hive"
)

// Well-known objects of a boot configuration store.
const (
	objBootMgr         = "{9dea862c-5cdd-4e70-acc1-f32b344d4795}"
	objMemDiag         = "{b2721d73-1db4-4c62-bf78-c548a880142d}"
	objNTLdr           = "{466f5a88-0af2-4f76-9038-095b170dc21c}"
	objGlobalSettings  = "{7ea2e1ac-2e61-4728-aaa3-896d9d0a9f0e}"
	objDebugger        = "{4636856e-540f-4170-a130-a84776f4c654}"
	objEMS             = "{0ce4991b-e6b3-4b16-b23c-5e0d9250e5d9}"
	objBadMemory       = "{5189b25c-5558-4bf2-bca4-289b11bd29e2}"
	objHypervisor      = "{7ff607e0-4395-11db-b0de-0800200c9a66}"
	objLoaderSettings  = "{6efb52bf-1766-41db-a6b3-0ee5eff72bd7}"
	objResumeSettings  = "{1afa9c49-16ab-4a5c-901b-212802da9460}"
	objRamdiskOptions  = "{ae5534e0-a924-466c-b836-758539a3ee3a}"
	objOSLoader        = "{c77a260f-6d5b-11eb-9ff2-e9f459e1e131}" // this and the next: of this Windows
	objResume          = "{c77a260e-6d5b-11eb-9ff2-e9f459e1e131}"
	objRecoveryLoader  = "{c77a2611-6d5b-11eb-9ff2-e9f459e1e131}"
	objRecoveryOptions = "{c77a2612-6d5b-11eb-9ff2-e9f459e1e131}"
	objSecondLoader    = "{5e1f7a20-90ab-11e9-8c3d-b42e99112233}" // these: of the others in the menu
	objForeignLoader   = "{5e1f7a24-90ab-11e9-8c3d-b42e99112233}"
	objBootSector      = "{5e1f7a28-90ab-11e9-8c3d-b42e99112233}"
)

// Object types.
const (
	typeBootMgr         = 0x10100002
	typeOSLoader        = 0x10200003
	typeResume          = 0x10200004
	typeMemDiag         = 0x10200005
	typeNTLdr           = 0x10300006
	typeBootSector      = 0x10400008
	typeInheritAny      = 0x20100000
	typeInheritOSLoader = 0x20200003
	typeInheritResume   = 0x20200004
	typeDeviceOptions   = 0x30000000
)

const recoveryFolder = `\Recovery\WindowsRE`

// stamp is when everything was last written that bears a time of our making.
var stamp = time.Date(2021, 2, 12, 9, 30, 0, 0, time.UTC)

// element is one element of an object; the identifier's second digit says how
// it is stored.
type element struct {
	id    uint32
	value any // []byte, string, []string, int or bool
}

func (e element) hiveValue() hive.Value {
	const name = "Element"
	switch v := e.value.(type) {
	case []byte:
		return hive.Bytes(name, v)
	case string:
		return hive.SZ(name, v)
	case []string:
		return hive.MultiSZ(name, v...)
	case int:
		return hive.Bytes(name, binary.LittleEndian.AppendUint64(nil, uint64(v)))
	case bool:
		if v {
			return hive.Bytes(name, []byte{1})
		}
		return hive.Bytes(name, []byte{0})
	}
	panic(fmt.Sprintf("winimage: element %08x of type %T", e.id, e.value)) // our own constants only
}

// The elements that say where a program and its Windows are.
const (
	elementDevice     = 0x11000001
	elementPath       = 0x12000002
	elementOSDevice   = 0x21000001
	elementSystemRoot = 0x22000002
)

// store is a boot configuration store in the making.
type store struct {
	spec Spec
	d    disk
	root *hive.Key
}

// object adds an object with its elements.
func (s store) object(guid string, kind uint32, elements ...element) {
	key := s.root.Create("Objects", guid)
	key.Create("Description").Set(hive.DWORD("Type", kind))
	for _, e := range elements {
		key.Create("Elements", fmt.Sprintf("%08x", e.id)).Set(e.hiveValue())
	}
	key.Create("Elements")
}

// on describes a partition the way that the Spec wants it.
func (s store) on(p Partition) []byte {
	if s.spec.Devices != PartitionDevices && p == s.d.system {
		return bootDescriptor()
	}
	return partitionDescriptor(s.spec.Signature, p.StartBytes)
}

// windows is the device of Windows, or of the program that starts it: of what
// the element names.
func (s store) windows(element uint32) []byte {
	if s.spec.Devices == LocateDevices {
		return device(locateDescriptor(element))
	}
	return device(s.on(s.d.windows))
}

// bootStore is the store of a Windows 10 that was installed on a BIOS machine.
func bootStore(spec Spec, d disk) ([]byte, error) {
	s := store{spec: spec, d: d, root: &hive.Key{Name: "NewStoreRoot"}}
	s.root.Create("Description").
		Set(hive.SZ("KeyName", "BCD00000000")).
		Set(hive.DWORD("System", 1)).
		Set(hive.DWORD("TreatAsSystem", 1)).
		Set(hive.Bytes("GuidCache", make([]byte, 16)))
	s.bootManager(append([]string{objOSLoader}, s.otherSystems()...))
	s.ofWindows()
	s.ofRecovery()
	s.settings()
	data, err := hive.Build(s.root, hive.BuildOptions{
		Minor: 3, FileName: `\Device\HarddiskVolume1\Boot\BCD`, Modified: stamp, FreeBytes: 2048,
	})
	if err == nil && spec.CorruptBCD {
		breakFirstBin(data)
	}
	return data, err
}

func (s store) bootManager(menu []string) {
	system := device(s.on(s.d.system))
	elements := []element{
		{elementDevice, system},
		{0x12000004, "Windows Boot Manager"}, {0x12000005, "en-US"},
		{0x14000006, []string{objGlobalSettings}},
		{0x23000006, objResume},
		{0x24000001, menu}, {0x24000010, []string{objMemDiag}},
		{0x25000004, 30},
	}
	switch {
	case s.spec.NoDefault:
	case s.spec.DefaultOnForeignDisk:
		elements = append(elements, element{0x23000003, objForeignLoader})
	default:
		elements = append(elements, element{0x23000003, objOSLoader})
	}
	s.object(objBootMgr, typeBootMgr, elements...)
	s.object(objMemDiag, typeMemDiag,
		element{elementDevice, system}, element{elementPath, `\boot\memtest.exe`},
		element{0x12000004, "Windows Memory Diagnostic"}, element{0x12000005, "en-US"},
		element{0x14000006, []string{objGlobalSettings}}, element{0x1600000b, true})
}

// ofWindows are the loader of this Windows, and what wakes it.
func (s store) ofWindows() {
	loader := []element{
		{elementDevice, s.windows(elementPath)}, {elementPath, `\WINDOWS\system32\winload.exe`},
		{0x12000004, "Windows 10"}, {0x12000005, "en-US"},
		{0x14000006, []string{objLoaderSettings}}, {0x14000008, []string{objRecoveryLoader}},
		{0x15000065, 3}, {0x16000009, true}, {0x17000077, 0x15000075},
		{elementOSDevice, s.windows(elementSystemRoot)}, {elementSystemRoot, `\WINDOWS`},
		{0x23000003, objResume},
		{0x25000020, 0}, {0x250000c2, 1}, {0x26000010, false},
	}
	if s.spec.CustomElements {
		loader = append(loader,
			element{0x12000030, "/NOVGA"}, // options of the kernel
			element{0x16000049, true},     // test signing
			element{0x250000e0, 1},        // boot status policy
			element{0x250000f0, 1},        // hypervisor launch type
			element{0x42000124, "of no program that we know"},
			element{0x45000123, 0x1122334455667788})
	}
	s.object(objOSLoader, typeOSLoader, loader...)
	s.object(objResume, typeResume,
		element{elementDevice, s.windows(elementPath)}, element{elementPath, `\WINDOWS\system32\winresume.exe`},
		element{0x12000004, "Windows Resume Application"}, element{0x12000005, "en-US"},
		element{0x14000006, []string{objResumeSettings}}, element{0x14000008, []string{objRecoveryLoader}},
		element{0x16000009, true}, element{0x17000077, 0x15000075},
		element{elementOSDevice, s.windows(elementSystemRoot)}, element{elementSystemRoot, `\hiberfil.sys`},
		element{0x25000008, 1}, element{0x26000006, false})
}

func (s store) ofRecovery() {
	winRE := ramdiskDevice(objRecoveryOptions, s.on(s.d.recovery), recoveryFolder+`\Winre.wim`)
	s.object(objRecoveryLoader, typeOSLoader,
		element{elementDevice, winRE}, element{elementPath, `\windows\system32\winload.exe`},
		element{0x12000004, "Windows Recovery Environment"}, element{0x12000005, "en-us"},
		element{0x14000006, []string{objLoaderSettings}},
		element{0x15000065, 3}, element{0x15000066, 3},
		element{elementOSDevice, winRE}, element{elementSystemRoot, `\windows`},
		element{0x25000020, 0}, element{0x250000c2, 1},
		element{0x26000022, true}, element{0x46000010, true})
	s.object(objRecoveryOptions, typeDeviceOptions,
		element{0x12000004, "Windows Recovery"},
		element{0x31000003, device(s.on(s.d.recovery))},
		element{0x32000004, recoveryFolder + `\boot.sdi`})
	s.object(objRamdiskOptions, typeDeviceOptions,
		element{0x12000004, "Ramdisk Options"},
		element{0x31000003, device(s.on(s.d.system))}, element{0x32000004, `\boot\boot.sdi`})
}

// otherSystems adds what else can be started, and gives its place in the menu.
func (s store) otherSystems() (menu []string) {
	system := device(s.on(s.d.system))
	add := func(guid string, kind uint32, elements ...element) {
		menu = append(menu, guid)
		s.object(guid, kind, elements...)
	}
	loader := func(guid, name string, at []byte) {
		add(guid, typeOSLoader,
			element{elementDevice, at}, element{elementPath, `\Windows\system32\winload.exe`},
			element{0x12000004, name}, element{0x12000005, "en-US"},
			element{0x14000006, []string{objLoaderSettings}},
			element{elementOSDevice, at}, element{elementSystemRoot, `\Windows`},
			element{0x25000020, 1})
	}
	if s.spec.SecondLoader {
		loader(objSecondLoader, "Windows 10 (maintenance)", device(partitionDescriptor(s.spec.Signature, s.d.data[0].StartBytes)))
	}
	if s.spec.ForeignLoader {
		loader(objForeignLoader, "Windows 8.1", device(partitionDescriptor(foreignSignature, foreignStart)))
	}
	if s.spec.LegacyLoader {
		add(objNTLdr, typeNTLdr,
			element{elementDevice, system}, element{elementPath, `\ntldr`},
			element{0x12000004, "Earlier Version of Windows"})
	}
	if s.spec.BootSectorEntry {
		add(objBootSector, typeBootSector,
			element{elementDevice, system}, element{elementPath, `\bootsect.lnx`},
			element{0x12000004, "Another system"})
	}
	return menu
}

// settings are the objects that others inherit from.
func (s store) settings() {
	s.object(objGlobalSettings, typeInheritAny, element{0x14000006, []string{objDebugger, objEMS, objBadMemory}})
	s.object(objDebugger, typeInheritAny, element{0x15000011, 4})
	s.object(objEMS, typeInheritAny, element{0x16000020, true})
	s.object(objBadMemory, typeInheritAny)
	s.object(objHypervisor, typeInheritOSLoader,
		element{0x250000f3, 0}, element{0x250000f4, 1}, element{0x250000f5, 115200})
	s.object(objLoaderSettings, typeInheritOSLoader, element{0x14000006, []string{objGlobalSettings, objHypervisor}})
	s.object(objResumeSettings, typeInheritResume, element{0x14000006, []string{objGlobalSettings}})
}
