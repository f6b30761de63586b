package winimage

import (
	"encoding/binary"
	"fmt"
	"strings"

	"imageport/engine/windows/hive"
)

// Names in SYSTEM\MountedDevices.
const (
	volumeWindows  = `\??\Volume{7a11c0de-0000-0000-0000-501f00000000}`
	volumeSystem   = `\??\Volume{7a11c0de-0000-0000-0000-100000000000}`
	volumeRecovery = `\??\Volume{7a11c0de-0000-0000-0000-90e000000000}`
	volumeData     = `\??\Volume{7a11c0de-0000-0000-0000-d%02d000000000}`
	volumeCDROM    = `\??\Volume{5aae7825-77cb-11e9-bcf1-806e6f6e6963}`
	systemNoLetter = "#{5aae7822-77cb-11e9-bcf1-784f439fa657}"
	cdromDevice    = `\??\SCSI#CdRom&Ven_Msft&Prod_Virtual_DVD-ROM#5&394b69d0&0&000002#{53f5630d-b6bf-11d0-94f2-00a0c91efb8b}`
)

// A partition of another disk, which had the letter F: once.
const (
	foreignSignature = 0x002b1be5
	foreignStart     = 0x100000
	foreignLetter    = "F"
)

// serviceCount makes the SYSTEM hive about as large as that of a small real one.
const serviceCount = 420

// hiveFiles are the registry of Windows, with its transaction logs.
func hiveFiles(t *tree, spec Spec, d disk) error {
	const folder = "Windows/System32/config/"
	software, err := softwareHive(spec)
	if err != nil {
		return fmt.Errorf("winimage: SOFTWARE: %w", err)
	}
	t.add(folder+"SOFTWARE", software, 0)
	states := make([][]byte, 1, 3) // the last one is what Windows knows
	if spec.DirtySystemHive || spec.DirtySystemHiveWithLogs || spec.DirtySystemHiveBadLogs {
		states = states[:3]
	}
	for i := range states {
		if states[i], err = systemHive(spec, d, len(states)-1-i); err != nil {
			return fmt.Errorf("winimage: SYSTEM: %w", err)
		}
	}
	system := states[0]
	if spec.CorruptSystemHive {
		breakFirstBin(system)
	}
	if len(states) > 1 {
		markDirty(system)
	}
	t.add(folder+"SYSTEM", system, 0)
	if spec.DirtySystemHiveWithLogs || spec.DirtySystemHiveBadLogs {
		for i, log := range hiveLogs(states) {
			if spec.DirtySystemHiveBadLogs {
				log[len(log)-1] ^= 0xff // what a hash is over
			}
			t.add(fmt.Sprintf("%sSYSTEM.LOG%d", folder, i+1), log, 0)
		}
	}
	return nil
}

// systemHive is C:\Windows\System32\config\SYSTEM as it was the given number of
// changes ago, see Spec.DirtySystemHive. All its states have the same layout.
func systemHive(spec Spec, d disk, ago int) ([]byte, error) {
	root := &hive.Key{Name: "ROOT"}
	root.Create("Select").
		Set(hive.DWORD("Current", 1)).Set(hive.DWORD("Default", 1)).
		Set(hive.DWORD("Failed", 0)).Set(hive.DWORD("LastKnownGood", 1))
	root.Create("Setup").
		Set(hive.SZ("CmdLine", "")).Set(hive.DWORD("SetupType", 0)).
		Set(hive.DWORD("SystemSetupInProgress", 0)).Set(hive.DWORD("OOBEInProgress", 0)).
		Set(hive.SZ("SystemPartition", fmt.Sprintf(`\Device\HarddiskVolume%d`, d.system.Number)))
	mountedDevices(root.Create("MountedDevices"), spec, d, ago)

	control := root.Create("ControlSet001", "Control")
	control.Set(hive.SZ("CurrentUser", "USERNAME")).
		Set(hive.SZ("SystemBootDevice", fmt.Sprintf("multi(0)disk(0)rdisk(0)partition(%d)", d.windows.Number))).
		Set(hive.SZ("FirmwareBootDevice", fmt.Sprintf("multi(0)disk(0)rdisk(0)partition(%d)", d.system.Number))).
		Set(hive.SZ("SystemStartOptions", " NOEXECUTE=OPTIN"))
	control.Create("ComputerName", "ComputerName").Set(hive.SZ("ComputerName", computerNames[ago]))
	control.Create("Session Manager").
		Set(hive.MultiSZ("BootExecute", "autocheck autochk *")).
		Set(hive.ExpandSZ("SystemRoot", "%SystemRoot%"))
	control.Create("Session Manager", "Environment").
		Set(hive.SZ("PROCESSOR_ARCHITECTURE", "AMD64")).
		Set(hive.ExpandSZ("Path", `%SystemRoot%\system32;%SystemRoot%;%SystemRoot%\System32\Wbem`))
	services(root.Create("ControlSet001", "Services"), spec)
	for _, n := range nativeDrivers {
		root.Create("DriverDatabase", "DeviceIds", "PCI", n.device)
	}

	return hive.Build(root, hive.BuildOptions{
		FileName: `\SystemRoot\System32\Config\SYSTEM`, Modified: stamp, FreeBytes: 8192,
	})
}

// computerNames are the names that the computer has, had before, and before
// that.
var computerNames = [3]string{"PVS-GOLD", "PVS-WORK", "WIN-TEST"}

// mountedDevices fills the table of drive letters and volume names. Two changes
// ago, C: was elsewhere.
func mountedDevices(key *hive.Key, spec Spec, d disk, ago int) {
	place := func(signature uint32, startBytes int64) []byte {
		b := binary.LittleEndian.AppendUint32(nil, signature)
		return binary.LittleEndian.AppendUint64(b, uint64(startBytes))
	}
	windows := place(spec.Signature, d.windows.StartBytes)
	letterC := windows
	if ago == 2 {
		letterC = place(spec.Signature, d.windows.StartBytes+mib)
	}
	// A device is named in UTF-16, without a NUL.
	cdrom := utf16String(cdromDevice)
	cdrom = cdrom[:len(cdrom)-2]
	key.Set(hive.Bytes(volumeWindows, windows))
	if d.system != d.windows {
		key.Set(hive.Bytes(volumeSystem, place(spec.Signature, d.system.StartBytes)))
		key.Set(hive.Bytes(systemNoLetter, place(spec.Signature, d.system.StartBytes)))
	}
	if d.recovery != d.windows && d.recovery != d.system {
		key.Set(hive.Bytes(volumeRecovery, place(spec.Signature, d.recovery.StartBytes)))
	}
	key.Set(hive.Bytes(volumeCDROM, cdrom)).
		Set(hive.Bytes(`\DosDevices\C:`, letterC)).
		Set(hive.Bytes(`\DosDevices\`+foreignLetter+`:`, place(foreignSignature, foreignStart)))
	taken := foreignLetter
	for i, data := range spec.Data {
		taken += data.Letter
		at := place(spec.Signature, d.data[i].StartBytes)
		key.Set(hive.Bytes(fmt.Sprintf(volumeData, i), at)).
			Set(hive.Bytes(`\DosDevices\`+data.Letter+`:`, at))
	}
	free := 'D'
	for strings.ContainsRune(taken, free) {
		free++
	}
	key.Set(hive.Bytes(fmt.Sprintf(`\DosDevices\%c:`, free), cdrom))
}

// nativeDrivers are those of storage controllers that a streamed Windows has and
// does not need, and the PCI devices that they are for.
var nativeDrivers = []struct {
	name     string
	start    uint32
	override bool
	device   string
}{
	{"storahci", 0, true, "CC_0106"},
	{"stornvme", 0, true, "CC_0108"},
	{"LSI_SAS", 3, false, "VEN_1000&DEV_0054"},
	{"pvscsi", 0, true, "VEN_15AD&DEV_07C0"}, // with VMware Tools
}

// services fills ControlSet001\Services: the target device's drivers that make
// an image one of PVS, and many others.
func services(key *hive.Key, spec Spec) {
	service := func(name, image, group string, start uint32) {
		key.Create(name).
			Set(hive.DWORD("Type", 1)).Set(hive.DWORD("Start", start)).Set(hive.DWORD("ErrorControl", 1)).
			Set(hive.ExpandSZ("ImagePath", `\SystemRoot\System32\drivers\`+image)).
			Set(hive.SZ("DisplayName", name)).Set(hive.SZ("Group", group))
	}
	if !spec.NoPVS {
		service("bnistack", "bnistack6.sys", "NDIS", 0)
		service("CVhdMp", "CVhdMp.sys", "SCSI Miniport", 0)
		service("CFsDep2", "CFsDep2.sys", "FSFilter Bottom", 0)
	}
	for _, n := range nativeDrivers {
		service(n.name, n.name+".sys", "SCSI Miniport", n.start)
		if n.override {
			// Windows found that it did not need the driver to start.
			key.Create(n.name, "StartOverride").Set(hive.DWORD("0", 3))
		}
	}
	service("disk", "disk.sys", "SCSI CDROM Class", 0)
	service("partmgr", "partmgr.sys", "Boot Bus Extender", 0)
	service("volmgr", "volmgr.sys", "System Bus Extender", 0)
	for i := range serviceCount {
		name := fmt.Sprintf("Driver%03d", i)
		service(name, name+".sys", "Extended Base", uint32(1+i%4))
		key.Create(name, "Parameters").Set(hive.DWORD("Timeout", uint32(i))).
			Set(hive.ExpandSZ("ServiceDll", `%SystemRoot%\System32\`+name+".dll"))
	}
}
