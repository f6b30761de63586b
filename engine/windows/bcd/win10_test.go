package bcd

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"imageport/engine/windows/hive"
)

// The disk of the Windows 10 store below: System Reserved, Windows, recovery.
const (
	signature      = 0x76a4a23d
	systemOffset   = 1 << 20
	osOffset       = 0x24400000
	recoveryOffset = 0x1e8f00000
)

var (
	loaderID   = uuid.MustParse("733b62e5-f608-11eb-825c-c112f60133ab")
	resumeID   = uuid.MustParse("733b62e4-f608-11eb-825c-c112f60133ab")
	recoveryID = uuid.MustParse("733b62e6-f608-11eb-825c-c112f60133ab")
	ramdiskID  = uuid.MustParse("733b62e7-f608-11eb-825c-c112f60133ab")

	diskGUID     = uuid.MustParse("0b2394a9-095e-487d-8d48-719ecd4d78ca")
	espGUID      = uuid.MustParse("36be3955-63bf-4068-a6ab-00195cca3a22")
	osGUID       = uuid.MustParse("8e0f2c38-e4ea-47ba-b7fc-9d8c74dccf0b")
	recoveryGUID = uuid.MustParse("6cdfcd69-de75-4490-8f99-5a84bf264917")
	systemGUID   = uuid.MustParse("11111111-2222-4333-8444-555555555555")

	systemRef   = MBRPartition(signature, systemOffset)
	osRef       = MBRPartition(signature, osOffset)
	recoveryRef = MBRPartition(signature, recoveryOffset)

	espGPT    = GPTPartition(diskGUID, espGUID)
	osGPT     = GPTPartition(diskGUID, osGUID)
	systemGPT = GPTPartition(diskGUID, systemGUID)

	convertTime = time.Date(2024, 3, 1, 12, 0, 0, 0, time.UTC)
)

// reuse is the mapping when System Reserved becomes the EFI system partition,
// keep the one when that is a new partition.
func reuse() Mapping {
	return Mapping{
		Signature: signature, DiskGUID: diskGUID, ESP: espGUID, OS: osGUID,
		Partitions:   map[uint64]GUID{osOffset: osGUID, recoveryOffset: recoveryGUID},
		SystemOffset: systemOffset, SystemBecomesESP: true,
	}
}

func keep() Mapping {
	m := reuse()
	m.SystemBecomesESP = false
	m.Partitions[systemOffset] = systemGUID
	return m
}

// win10BIOS is a store as Windows 10 setup leaves it in an MBR disk.
func win10BIOS() *Store {
	s := New()
	s.Root().Key(descriptionKey).Set(hive.Bytes("GuidCache", make([]byte, 24)))

	manager := s.AddObject(BootMgr, TypeBootMgr)
	manager.SetDevice(ElementDevice, PartitionDevice(systemRef))
	manager.SetString(ElementDescription, "Windows Boot Manager")
	manager.SetString(ElementLocale, "en-US")
	manager.SetObjectList(ElementInherit, GlobalSettings)
	manager.SetObject(ElementDefault, loaderID)
	manager.SetObject(ElementManagerResume, resumeID)
	manager.SetObjectList(ElementDisplayOrder, loaderID)
	manager.SetObjectList(ElementToolsOrder, MemDiag)
	manager.SetInt(ElementTimeout, 30)

	loader := s.AddObject(loaderID, TypeOSLoader)
	loader.SetDevice(ElementDevice, PartitionDevice(osRef))
	loader.SetString(ElementPath, `\WINDOWS\system32\winload.exe`)
	loader.SetString(ElementDescription, "Windows 10")
	loader.SetString(ElementLocale, "en-US")
	loader.SetObjectList(ElementInherit, BootLoaderSettings)
	loader.SetObjectList(ElementRecoverySequence, recoveryID)
	loader.SetInt(ElementDisplayOverride, 3)
	loader.SetBool(ElementRecoveryEnabled, true)
	loader.SetIntList(ElementAllowedInMemory, 0x15000075)
	loader.SetDevice(ElementOSDevice, PartitionDevice(osRef))
	loader.SetString(ElementSystemRoot, `\WINDOWS`)
	loader.SetObject(ElementResumeObject, resumeID)
	loader.SetInt(ElementNX, 0)
	loader.SetInt(ElementBootMenuPolicy, 1)

	resume := s.AddObject(resumeID, TypeResume)
	resume.SetDevice(ElementDevice, PartitionDevice(osRef))
	resume.SetString(ElementPath, `\WINDOWS\system32\winresume.exe`)
	resume.SetString(ElementDescription, "Windows Resume Application")
	resume.SetString(ElementLocale, "en-US")
	resume.SetObjectList(ElementInherit, ResumeLoaderSettings)
	resume.SetObjectList(ElementRecoverySequence, recoveryID)
	resume.SetBool(ElementRecoveryEnabled, true)
	resume.SetIntList(ElementAllowedInMemory, 0x15000075)
	resume.SetDevice(ElementFileDevice, PartitionDevice(osRef))
	resume.SetString(ElementFilePath, `\hiberfil.sys`)
	resume.SetInt(ElementResumeMenu, 1)
	resume.SetBool(ElementDebugOption, false)

	image := RAMDiskDevice(ramdiskID, PartitionDevice(recoveryRef), `\Recovery\WindowsRE\Winre.wim`)
	recovery := s.AddObject(recoveryID, TypeOSLoader)
	recovery.SetDevice(ElementDevice, image)
	recovery.SetString(ElementPath, `\windows\system32\winload.exe`)
	recovery.SetString(ElementDescription, "Windows Recovery Environment")
	recovery.SetString(ElementLocale, "en-us")
	recovery.SetObjectList(ElementInherit, BootLoaderSettings)
	recovery.SetInt(ElementDisplayMessage, 3)
	recovery.SetDevice(ElementOSDevice, image)
	recovery.SetString(ElementSystemRoot, `\windows`)
	recovery.SetInt(ElementNX, 0)
	recovery.SetInt(ElementBootMenuPolicy, 1)
	recovery.SetBool(ElementWinPE, true)
	recovery.SetBool(0x46000010, true)

	options := s.AddObject(ramdiskID, TypeDevice)
	options.SetString(ElementDescription, "Windows Recovery")
	options.SetDevice(ElementSDIDevice, PartitionDevice(recoveryRef))
	options.SetString(ElementSDIPath, `\Recovery\WindowsRE\boot.sdi`)

	memory := s.AddObject(MemDiag, TypeMemDiag)
	memory.SetDevice(ElementDevice, PartitionDevice(systemRef))
	memory.SetString(ElementPath, `\boot\memtest.exe`)
	memory.SetString(ElementDescription, "Windows Memory Diagnostic")
	memory.SetString(ElementLocale, "en-US")
	memory.SetObjectList(ElementInherit, GlobalSettings)
	memory.SetBool(ElementBadMemoryAccess, true)

	s.AddObject(GlobalSettings, TypeInherit).SetObjectList(ElementInherit, DebuggerSettings, EMSSettings, BadMemory)
	s.AddObject(BootLoaderSettings, TypeInheritOSLoader).SetObjectList(ElementInherit, GlobalSettings, HypervisorSettings)
	s.AddObject(ResumeLoaderSettings, TypeInheritResume).SetObjectList(ElementInherit, GlobalSettings)
	s.AddObject(DebuggerSettings, TypeInherit).SetInt(ElementDebugType, 4)
	s.AddObject(EMSSettings, TypeInherit).SetBool(ElementBootEMS, false)
	s.AddObject(BadMemory, TypeInherit)
	hypervisor := s.AddObject(HypervisorSettings, TypeInheritOSLoader)
	hypervisor.SetInt(ElementHypervisorType, 0)
	hypervisor.SetInt(ElementHypervisorPort, 1)
	hypervisor.SetInt(ElementHypervisorBaud, 115200)
	return s
}

func encode(t testing.TB, s *Store) []byte {
	t.Helper()
	b, err := hive.Build(s.Root(), hive.BuildOptions{Minor: 3, FileName: `\Boot\BCD`, Modified: convertTime.Add(-time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// textOf lists all elements of a store, and its description, in words.
func textOf(s *Store) map[string]string {
	m := map[string]string{}
	for _, v := range s.Root().Key(descriptionKey).Values {
		m["Description "+v.Name] = v.String() + descriptionText(s.Root().Key(descriptionKey), v.Name)
		if v.Type == hive.String {
			m["Description "+v.Name] = v.String()
		}
	}
	for _, o := range s.Objects() {
		m[Name(o.ID)] = ElementID(o.Type).String()
		for _, e := range o.Elements() {
			m[Name(o.ID)+" "+e.String()] = o.text(e)
		}
	}
	return m
}

func sameText(t testing.TB, got, want map[string]string) {
	t.Helper()
	for k, w := range want {
		if g, ok := got[k]; !ok || g != w {
			t.Errorf("%s is %q (%v), want %q", k, g, ok, w)
		}
	}
	for k, g := range got {
		if _, ok := want[k]; !ok {
			t.Errorf("%s, %q, should not be there", k, g)
		}
	}
}
