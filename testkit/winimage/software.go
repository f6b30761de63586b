package winimage

import "imageport/engine/windows/hive"

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
	if !spec.NoPVS {
		const folder = `C:\Program Files\Citrix\Provisioning Services\`
		root.Create("Citrix", "ProvisioningServices").
			Set(hive.SZ("ProductVersion", spec.PVSVersion)).
			Set(hive.SZ("InstallDir", folder))
		// Where programs look up what is installed.
		root.Create("Microsoft", "Windows", "CurrentVersion", "Uninstall", "{4F2C8B1E-6A0D-4E57-9B3C-2D1F5A7E9C40}").
			Set(hive.SZ("DisplayName", "Citrix Provisioning Target Device x64")).
			Set(hive.SZ("DisplayVersion", spec.PVSVersion)).
			Set(hive.SZ("Publisher", "Citrix Systems, Inc.")).
			Set(hive.SZ("InstallLocation", folder))
	}
	return hive.Build(root, hive.BuildOptions{
		FileName: `\SystemRoot\System32\Config\SOFTWARE`, Modified: stamp, FreeBytes: 4096,
	})
}
