package pvs

import (
	"fmt"
	"path"
	"strconv"
	"strings"
	"unicode"

	"imageport/job"
)

// Output is the differencing disk that a conversion to UEFI has made.
type Output struct {
	Folder  string   // UNC path of the store's folder
	Input   string   // the file that was converted
	Version int      // of the output, 0 if its files are not those of a version
	File    string   // the output
	Files   []string // what else was written for the version
}

// Steps says what to do with the output in Citrix Provisioning. PowerShell is to
// be run in its order, after the placeholders in its first lines, in angle
// brackets, were replaced: a folder does not say which site and store it is.
//
// PVS boots a differencing disk only as a version of its vDisk. Of an output that
// is none, PowerShell makes one, and the comments say what else there is.
func Steps(o Output) job.PVSSteps {
	script := []string{
		comment("Run on a PVS server, with the PVS console installed. The store is the one with the folder " + o.Folder),
		"$site = '<SITE>'",
		"$store = '<STORE>'",
		"$server = '<PVS SERVER>'",
	}
	if o.Version == 0 {
		script = append(script, o.makeVersion()...)
	}
	return job.PVSSteps{
		Version:    o.Version,
		Files:      o.Files,
		PowerShell: append(script, o.addVersion()...),
		Targets:    targets(),
	}
}

// addVersion adds the version and puts it to the test.
func (o Output) addVersion() []string {
	on := fmt.Sprintf(" -Name %s -SiteName $site -StoreName $store", quote(o.name().Disk))
	return []string{
		`Import-Module "$env:ProgramFiles\Citrix\Provisioning Services Console\Citrix.PVS.SnapIn.dll"`,
		comment("Status 0 is good; 1: the properties file is missing, 4: the disk file is invalid, 5: the manifest is"),
		"Get-PvsNewDiskVersion -ServerName $server -StoreName $store",
		"Add-PvsDiskVersion" + on,
		"Invoke-PvsPromoteDiskVersion" + on + " -Test",
		comment("Access 7 is test"),
		"Get-PvsDiskVersion" + on,
		comment("After the test: Invoke-PvsPromoteDiskVersion" + on + " -TestVersion " + o.number()),
	}
}

// name is the output's as a version, or the input's where it has no such name.
func (o Output) name() Name {
	in, ok := ParseName(o.Input)
	if !ok {
		in = Name{Disk: "<VDISK>"} // a differencing disk that is no version
	}
	if out, ok := ParseName(o.File); ok && out.Differencing && (o.Version > 0 || fold(out.Disk) == fold(in.Disk)) {
		return out
	}
	return in
}

// number is the version's, or a placeholder.
func (o Output) number() string {
	if n := o.name(); fold(n.File()) == fold(o.File) {
		return strconv.Itoa(n.Number)
	}
	return "<N>"
}

// makeVersion gives the output what PVS asks of a version.
func (o Output) makeVersion() []string {
	ext := strings.ToLower(path.Ext(o.File))
	container := VHDX
	if strings.HasSuffix(ext, "vhd") {
		container = VHD
	}
	disk := o.name().Disk
	version := disk + "." + o.number()
	stem := strings.TrimSuffix(o.File, path.Ext(o.File)) + "-whole"
	locator := "New-PvsDiskLocator -Name " + quote(stem) + " -SiteName $site -StoreName $store"
	if container == VHDX {
		locator += " -VHDX"
	}
	lines := []string{
		comment(o.File + ` is a differencing disk, which PVS takes only as a version of its vDisk. With "pvsVersion": "next" in place of outputImageFilename the job makes it one.`),
		comment(fmt.Sprintf("Or make a whole disk of it, and a new vDisk of that: imageport disk convert %s %s, then %s", quote(o.File), quote(stem+container.extension(false)), locator)),
		comment("Or go on here, to make it a version by hand. <N> is the number after the vDisk's highest."),
	}
	if file := version + container.extension(true); fold(file) != fold(o.File) {
		lines = append(lines, fmt.Sprintf("Rename-Item -LiteralPath %s -NewName %s", quote(join(o.Folder, o.File)), quote(file)))
	}
	from := Name{Disk: disk}.Properties()
	if in, ok := ParseName(o.Input); ok {
		from = in.Properties()
	}
	return append(lines,
		fmt.Sprintf("Copy-Item -LiteralPath %s -Destination %s", quote(join(o.Folder, from)), quote(join(o.Folder, version+".pvp"))),
		comment(fmt.Sprintf("Add the version to the manifest, %s: type 1, access 1, with the file's size and its lastWriteTime in UTC", join(o.Folder, disk+".xml"))),
	)
}

// targets is what the vDisk's target devices need in order to boot by UEFI.
func targets() []string {
	return []string{
		"A version boots either by BIOS or by UEFI. Change one target device of type Test first (Set-PvsDevice -Type 1), all others when the version goes into production.",
		"Firmware: switch the target's virtual machine from BIOS to EFI. On vSphere, EFI with hardware version 20 or later changes the PCI slots (Broadcom KB 407595): if the network adapter gets another one, Windows takes it for a new one and may not boot from the network.",
		"PXE or TFTP: the bootstrap is pvsnbpx64.efi instead of ardbp32.bin, also where DHCP option 67 names it. Nothing can be embedded in it: it finds the login servers by DHCP option 11 or 17.",
		"Boot device or ISO (BDM): create it anew for UEFI (BdmType 2). A BDM partition of PVS 2402 or later is on a GPT disk, in a FAT EFI system partition, where PVSBOOTX64.efi is renamed to BOOTX64.efi (CTX692340).",
		"Secure Boot: leave it off for the first test. Citrix supports it on some platforms only: see \"Unified Extensible Firmware Interface (UEFI) pre-boot environments\" in the documentation of your PVS release.",
	}
}

// quote makes a PowerShell string that stands for itself: in single quotes, which
// are doubled inside it. PowerShell takes the typographic ones for the same.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('\'')
	for _, r := range s {
		if strings.ContainsRune("'\u2018\u2019\u201A\u201B", r) {
			b.WriteRune(r)
		}
		b.WriteRune(r)
	}
	b.WriteByte('\'')
	return b.String()
}

// comment makes a PowerShell comment, which a line break would end.
func comment(s string) string {
	return "# " + strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, s)
}
