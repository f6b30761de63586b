package winimage

import (
	"encoding/binary"
	"fmt"

	"imageport/engine/windows/hive"
)

// Names in SYSTEM\MountedDevices.
const (
	volumeWindows  = `\??\Volume{7a11c0de-0000-0000-0000-501f00000000}`
	volumeSystem   = `\??\Volume{7a11c0de-0000-0000-0000-100000000000}`
	volumeRecovery = `\??\Volume{7a11c0de-0000-0000-0000-90e000000000}`
	volumeCDROM    = `\??\Volume{5aae7825-77cb-11e9-bcf1-806e6f6e6963}`
	systemNoLetter = "#{5aae7822-77cb-11e9-bcf1-784f439fa657}"
	cdromDevice    = `\??\SCSI#CdRom&Ven_Msft&Prod_Virtual_DVD-ROM#5&394b69d0&0&000002#{53f5630d-b6bf-11d0-94f2-00a0c91efb8b}`
)

// A partition of another disk, which had the letter F: once.
const (
	foreignSignature = 0x002b1be5
	foreignStart     = 0x100000
)

// serviceCount makes the SYSTEM hive about as large as that of a small real one.
const serviceCount = 420

// systemHive is C:\Windows\System32\config\SYSTEM.
func systemHive(spec Spec, d disk) ([]byte, error) {
	root := &hive.Key{Name: "ROOT"}
	root.Create("Select").
		Set(hive.DWORD("Current", 1)).Set(hive.DWORD("Default", 1)).
		Set(hive.DWORD("Failed", 0)).Set(hive.DWORD("LastKnownGood", 1))
	root.Create("Setup").
		Set(hive.SZ("CmdLine", "")).Set(hive.DWORD("SetupType", 0)).
		Set(hive.DWORD("SystemSetupInProgress", 0)).Set(hive.DWORD("OOBEInProgress", 0)).
		Set(hive.SZ("SystemPartition", fmt.Sprintf(`\Device\HarddiskVolume%d`, d.system.Number)))
	mountedDevices(root.Create("MountedDevices"), spec, d)

	control := root.Create("ControlSet001", "Control")
	control.Set(hive.SZ("CurrentUser", "USERNAME")).
		Set(hive.SZ("SystemBootDevice", fmt.Sprintf("multi(0)disk(0)rdisk(0)partition(%d)", d.windows.Number))).
		Set(hive.SZ("FirmwareBootDevice", fmt.Sprintf("multi(0)disk(0)rdisk(0)partition(%d)", d.system.Number))).
		Set(hive.SZ("SystemStartOptions", " NOEXECUTE=OPTIN"))
	control.Create("ComputerName", "ComputerName").Set(hive.SZ("ComputerName", "PVS-GOLD"))
	control.Create("Session Manager").
		Set(hive.MultiSZ("BootExecute", "autocheck autochk *")).
		Set(hive.ExpandSZ("SystemRoot", "%SystemRoot%"))
	control.Create("Session Manager", "Environment").
		Set(hive.SZ("PROCESSOR_ARCHITECTURE", "AMD64")).
		Set(hive.ExpandSZ("Path", `%SystemRoot%\system32;%SystemRoot%;%SystemRoot%\System32\Wbem`))
	services(root.Create("ControlSet001", "Services"))

	data, err := hive.Build(root, hive.BuildOptions{
		FileName: `\SystemRoot\System32\Config\SYSTEM`, Modified: stamp, FreeBytes: 8192,
	})
	if err == nil && spec.DirtySystemHive {
		markDirty(data)
	}
	return data, err
}

// mountedDevices fills the table of drive letters and volume names.
func mountedDevices(key *hive.Key, spec Spec, d disk) {
	place := func(signature uint32, startBytes int64) []byte {
		b := binary.LittleEndian.AppendUint32(nil, signature)
		return binary.LittleEndian.AppendUint64(b, uint64(startBytes))
	}
	windows := place(spec.Signature, d.windows.StartBytes)
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
		Set(hive.Bytes(`\DosDevices\C:`, windows)).
		Set(hive.Bytes(`\DosDevices\D:`, cdrom)).
		Set(hive.Bytes(`\DosDevices\F:`, place(foreignSignature, foreignStart)))
}

// services fills ControlSet001\Services: the target device's drivers that make
// an image one of PVS, and many others.
func services(key *hive.Key) {
	service := func(name, image, group string, start uint32) {
		key.Create(name).
			Set(hive.DWORD("Type", 1)).Set(hive.DWORD("Start", start)).Set(hive.DWORD("ErrorControl", 1)).
			Set(hive.ExpandSZ("ImagePath", `\SystemRoot\System32\drivers\`+image)).
			Set(hive.SZ("DisplayName", name)).Set(hive.SZ("Group", group))
	}
	service("bnistack", "bnistack6.sys", "NDIS", 0)
	service("CVhdMp", "CVhdMp.sys", "SCSI Miniport", 0)
	service("CFsDep2", "CFsDep2.sys", "FSFilter Bottom", 0)
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

// markDirty makes a hive one that was not written to the end: its first
// sequence number is ahead of the second.
func markDirty(data []byte) {
	le := binary.LittleEndian
	le.PutUint32(data[4:], le.Uint32(data[4:])+1)
	var sum uint32
	for off := 0; off < 508; off += 4 {
		sum ^= le.Uint32(data[off:])
	}
	le.PutUint32(data[508:], sum)
}

// softwareHive is C:\Windows\System32\config\SOFTWARE.
func softwareHive(spec Spec) ([]byte, error) {
	root := &hive.Key{Name: "ROOT"}
	version := root.Create("Microsoft", "Windows NT", "CurrentVersion")
	version.Set(hive.SZ("ProductName", "Windows 10 Enterprise")).
		Set(hive.SZ("EditionID", "Enterprise")).
		Set(hive.SZ("InstallationType", "Client")).
		Set(hive.SZ("CurrentVersion", "6.3")).
		Set(hive.DWORD("CurrentMajorVersionNumber", 10)).
		Set(hive.DWORD("CurrentMinorVersionNumber", 0)).
		Set(hive.SZ("CurrentBuild", spec.Build)).
		Set(hive.SZ("CurrentBuildNumber", spec.Build)).
		Set(hive.DWORD("UBR", 2965)).
		Set(hive.SZ("DisplayVersion", "22H2")).
		Set(hive.SZ("BuildLabEx", "19041.1.amd64fre.vb_release.191206-1406")).
		Set(hive.SZ("SystemRoot", `C:\Windows`))
	root.Create("Microsoft", "Windows", "CurrentVersion").
		Set(hive.SZ("ProgramFilesDir", `C:\Program Files`))
	root.Create("Citrix", "ProvisioningServices").
		Set(hive.SZ("ProductVersion", "7.33.0")).
		Set(hive.SZ("InstallDir", `C:\Program Files\Citrix\Provisioning Services\`))
	return hive.Build(root, hive.BuildOptions{
		FileName: `\SystemRoot\System32\Config\SOFTWARE`, Modified: stamp, FreeBytes: 4096,
	})
}
