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
)

// Object types.
const (
	typeBootMgr         = 0x10100002
	typeOSLoader        = 0x10200003
	typeResume          = 0x10200004
	typeMemDiag         = 0x10200005
	typeNTLdr           = 0x10300006
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

// bootStore is the store of a Windows 10 that was installed on a BIOS machine.
func bootStore(spec Spec, d disk) ([]byte, error) {
	root := &hive.Key{Name: "NewStoreRoot"}
	root.Create("Description").
		Set(hive.SZ("KeyName", "BCD00000000")).
		Set(hive.DWORD("System", 1)).
		Set(hive.DWORD("TreatAsSystem", 1)).
		Set(hive.Bytes("GuidCache", make([]byte, 16)))
	object := func(guid string, kind uint32, elements ...element) {
		key := root.Create("Objects", guid)
		key.Create("Description").Set(hive.DWORD("Type", kind))
		for _, e := range elements {
			key.Create("Elements", fmt.Sprintf("%08x", e.id)).Set(e.hiveValue())
		}
		key.Create("Elements")
	}
	system := partitionDevice(spec.Signature, d.system.StartBytes)
	windows := partitionDevice(spec.Signature, d.windows.StartBytes)
	winRE := ramdiskDevice(objRecoveryOptions, spec.Signature, d.recovery.StartBytes, recoveryFolder+`\Winre.wim`)

	menu := []string{objOSLoader}
	if spec.LegacyLoader {
		menu = append(menu, objNTLdr)
		object(objNTLdr, typeNTLdr,
			element{0x11000001, system}, element{0x12000002, `\ntldr`},
			element{0x12000004, "Earlier Version of Windows"})
	}
	object(objBootMgr, typeBootMgr,
		element{0x11000001, system},
		element{0x12000004, "Windows Boot Manager"}, element{0x12000005, "en-US"},
		element{0x14000006, []string{objGlobalSettings}},
		element{0x23000003, objOSLoader}, element{0x23000006, objResume},
		element{0x24000001, menu}, element{0x24000010, []string{objMemDiag}},
		element{0x25000004, 30})
	object(objOSLoader, typeOSLoader,
		element{0x11000001, windows}, element{0x12000002, `\WINDOWS\system32\winload.exe`},
		element{0x12000004, "Windows 10"}, element{0x12000005, "en-US"},
		element{0x14000006, []string{objLoaderSettings}}, element{0x14000008, []string{objRecoveryLoader}},
		element{0x15000065, 3}, element{0x16000009, true}, element{0x17000077, 0x15000075},
		element{0x21000001, windows}, element{0x22000002, `\WINDOWS`},
		element{0x23000003, objResume},
		element{0x25000020, 0}, element{0x250000c2, 1}, element{0x26000010, false})
	object(objResume, typeResume,
		element{0x11000001, windows}, element{0x12000002, `\WINDOWS\system32\winresume.exe`},
		element{0x12000004, "Windows Resume Application"}, element{0x12000005, "en-US"},
		element{0x14000006, []string{objResumeSettings}}, element{0x14000008, []string{objRecoveryLoader}},
		element{0x16000009, true}, element{0x17000077, 0x15000075},
		element{0x21000001, windows}, element{0x22000002, `\hiberfil.sys`},
		element{0x25000008, 1}, element{0x26000006, false})
	object(objMemDiag, typeMemDiag,
		element{0x11000001, system}, element{0x12000002, `\boot\memtest.exe`},
		element{0x12000004, "Windows Memory Diagnostic"}, element{0x12000005, "en-US"},
		element{0x14000006, []string{objGlobalSettings}}, element{0x1600000b, true})
	object(objRecoveryLoader, typeOSLoader,
		element{0x11000001, winRE}, element{0x12000002, `\windows\system32\winload.exe`},
		element{0x12000004, "Windows Recovery Environment"}, element{0x12000005, "en-us"},
		element{0x14000006, []string{objLoaderSettings}},
		element{0x15000065, 3}, element{0x15000066, 3},
		element{0x21000001, winRE}, element{0x22000002, `\windows`},
		element{0x25000020, 0}, element{0x250000c2, 1},
		element{0x26000022, true}, element{0x46000010, true})
	object(objRecoveryOptions, typeDeviceOptions,
		element{0x12000004, "Windows Recovery"},
		element{0x31000003, partitionDevice(spec.Signature, d.recovery.StartBytes)},
		element{0x32000004, recoveryFolder + `\boot.sdi`})
	object(objRamdiskOptions, typeDeviceOptions,
		element{0x12000004, "Ramdisk Options"},
		element{0x31000003, system}, element{0x32000004, `\boot\boot.sdi`})
	object(objGlobalSettings, typeInheritAny, element{0x14000006, []string{objDebugger, objEMS, objBadMemory}})
	object(objDebugger, typeInheritAny, element{0x15000011, 4})
	object(objEMS, typeInheritAny, element{0x16000020, true})
	object(objBadMemory, typeInheritAny)
	object(objHypervisor, typeInheritOSLoader,
		element{0x250000f3, 0}, element{0x250000f4, 1}, element{0x250000f5, 115200})
	object(objLoaderSettings, typeInheritOSLoader, element{0x14000006, []string{objGlobalSettings, objHypervisor}})
	object(objResumeSettings, typeInheritResume, element{0x14000006, []string{objGlobalSettings}})
	return hive.Build(root, hive.BuildOptions{
		Minor: 3, FileName: `\Device\HarddiskVolume1\Boot\BCD`, Modified: stamp, FreeBytes: 2048,
	})
}
