package winimage

import (
	"fmt"
	"os"
	"strings"

	"imageport/testkit/oracle"
)

// locales are the languages that Windows' boot files come in.
var locales = strings.Fields(`ar-SA bg-BG cs-CZ da-DK de-DE el-GR en-GB en-US
	es-ES es-MX et-EE fi-FI fr-CA fr-FR he-IL hr-HR hu-HU it-IT ja-JP ko-KR lt-LT lv-LV
	nb-NO nl-NL pl-PL pt-BR pt-PT qps-ploc ro-RO ru-RU sk-SK sl-SI sr-Latn-RS sv-SE
	th-TH tr-TR uk-UA zh-CN zh-TW`)

var (
	largeFonts = []string{"chs_boot", "cht_boot", "jpn_boot", "kor_boot"}
	smallFonts = strings.Fields(`malgun_boot malgunn_boot meiryo_boot meiryon_boot msjh_boot msjhn_boot
		msyh_boot msyhn_boot segmono_boot segoe_slboot segoen_slboot wgl4_boot`)
)

// sizes of files, in bytes.
type sizes struct {
	program, mui, largeFont, smallFont, winRE int64
}

func (b BootFiles) sizes() sizes {
	if b == SmallBootFiles {
		return sizes{program: 180 << 10, mui: 6 << 10, largeFont: 60 << 10, smallFont: 10 << 10, winRE: 256 << 10}
	}
	return sizes{program: 1500 << 10, mui: 78 << 10, largeFont: 3700 << 10, smallFont: 170 << 10, winRE: 4 << 20}
}

// disk is the partitions by what is on them; several may be the same one.
type disk struct {
	system, windows, recovery Partition
	data                      []Partition
}

func rolesOf(spec Spec, partitions []Partition) disk {
	var d disk
	for _, p := range partitions {
		switch p.Role {
		case System:
			d.system = p
		case Windows:
			d.windows = p
		case Recovery:
			d.recovery = p
		}
	}
	for _, data := range spec.Data { // in the order of the Spec
		for _, p := range partitions {
			if p.Letter == data.Letter {
				d.data = append(d.data, p)
			}
		}
	}
	if spec.SystemReservedMiB == 0 {
		d.system = d.windows
	}
	if spec.WinREInSystem {
		d.recovery = d.system
	} else if spec.RecoveryMiB == 0 {
		d.recovery = d.windows
	}
	return d
}

// trees gives what each partition contains, by its number.
func trees(spec Spec, partitions []Partition, programs oracle.Paths) (map[int]*tree, error) {
	result := map[int]*tree{}
	for _, p := range partitions {
		result[p.Number] = &tree{}
	}
	d := rolesOf(spec, partitions)
	if err := systemFiles(result[d.system.Number], spec, d); err != nil {
		return nil, err
	}
	if err := windowsFiles(result[d.windows.Number], spec, d, programs); err != nil {
		return nil, err
	}
	recoveryFiles(result[d.recovery.Number], spec)
	for i, data := range spec.Data {
		t := result[d.data[i].Number]
		// The boot oracle looks for this file on every volume, and for the
		// letter in the registry.
		t.add("drive-letter.txt", []byte(data.Letter+":"), 0)
		t.add("Projects/data.bin", nil, 256<<10)
		if data.Windows || spec.SecondLoader && i == 0 {
			if err := secondWindowsFiles(t, spec, d, data.Windows); err != nil {
				return nil, err
			}
		}
	}
	return result, nil
}

// systemFiles are the files that a BIOS machine boots from.
func systemFiles(t *tree, spec Spec, d disk) error {
	size := spec.BootFiles.sizes()
	t.add("bootmgr", nil, size.program/4)
	t.add("BOOTNXT", []byte{1}, 0)
	t.add("Boot/BOOTSTAT.DAT", make([]byte, 65536), 0)
	t.add("Boot/memtest.exe", portableExecutable(machineI386), size.program/2)
	t.add("Boot/en-US/bootmgr.exe.mui", nil, size.mui)
	t.add("Boot/Fonts/wgl4_boot.ttf", nil, size.smallFont)
	if spec.NoBCD {
		return nil
	}
	store, err := bootStore(spec, d)
	if err != nil {
		return fmt.Errorf("winimage: BCD: %w", err)
	}
	t.add("Boot/BCD", store, 0)
	t.add("Boot/BCD.LOG", nil, 0)
	if spec.LegacyLoader {
		t.add("ntldr", nil, 250<<10)
	}
	if spec.BootSectorEntry {
		t.add("bootsect.lnx", nil, 512)
	}
	return nil
}

// windowsFiles are the files of C: that the conversion has to do with, and a
// few that it has not.
func windowsFiles(t *tree, spec Spec, d disk, programs oracle.Paths) error {
	t.add("Program Files/desktop.ini", []byte("[.ShellClassInfo]\r\n"), 0)
	t.add("Users/Public/Documents/data.bin", nil, int64(spec.UserDataMiB)*mib)
	t.last().late = spec.Fragmented
	if spec.NoWindows {
		return nil
	}
	size := spec.BootFiles.sizes()
	bootMgr, err := os.ReadFile(programs.BootMgr)
	if err != nil {
		return fmt.Errorf("winimage: %w", err)
	}
	winLoad, err := os.ReadFile(programs.WinLoad)
	if err != nil {
		return fmt.Errorf("winimage: %w", err)
	}
	machine := uint16(machineAMD64)
	if spec.Windows32Bit {
		machine = machineI386
	}
	if !spec.NoEFIFiles {
		efiFiles(t, spec, "", bootMgr, winLoad)
		if spec.EFIEX {
			efiFiles(t, spec, "_EX", bootMgr, winLoad)
		}
		t.add("Windows/System32/winload.efi", winLoad, size.program)
		t.add("Windows/System32/winresume.efi", winLoad, size.program)
	}
	t.add("Windows/Boot/Resources/bootres.dll", portableExecutable(machine), 90<<10)
	t.add("Windows/Boot/Resources/en-US/bootres.dll.mui", nil, 12<<10)
	t.add("Windows/Boot/PCAT/bootmgr", nil, size.program/4)
	t.add("Windows/Boot/PCAT/memtest.exe", portableExecutable(machineI386), size.program/2)
	for _, program := range []string{"winload.exe", "winresume.exe", "ntoskrnl.exe", "hal.dll"} {
		t.add("Windows/System32/"+program, portableExecutable(machine), size.program)
	}
	driverFiles(t, machine)
	if err := hiveFiles(t, spec, d); err != nil {
		return err
	}
	t.add("Windows/System32/Recovery/ReAgent.xml", reAgent(spec, d), 0)
	if spec.Hibernated {
		t.add("hiberfil.sys", []byte("HIBR"), 256<<10)
	}
	return nil
}

// noiseBehind is the least noise in a program, so that no two are the same.
const noiseBehind = 4 << 10

// efiFiles are the files that an EFI system partition is filled with. The
// suffix is that of the names of those which the authority of 2023 signed; here
// they only differ in the noise.
func efiFiles(t *tree, spec Spec, suffix string, bootMgr, winLoad []byte) {
	size := spec.BootFiles.sizes()
	folder := "Windows/Boot/EFI" + suffix + "/"
	program := func(name string, data []byte) {
		// What is behind a program in its file, the firmware does not load.
		t.add(folder+name+suffix+".efi", data, max(size.program, int64(len(data)+noiseBehind)))
		t.last().wof = spec.WOFBootFiles
	}
	program("bootmgfw", bootMgr)
	t.last().wofLost = spec.WOFBootFile
	program("bootmgr", bootMgr)
	names := []string{"bootmgfw", "bootmgr"}
	if suffix == "" {
		program("memtest", winLoad)
		names = append(names, "memtest")
		t.add(folder+"boot.stl", nil, 9<<10)
		t.add(folder+"winsipolicy.p7b", nil, 10<<10)
	}
	for _, locale := range locales {
		for _, name := range names {
			t.add(folder+locale+"/"+name+suffix+".efi.mui", nil, size.mui)
		}
	}
	for _, font := range largeFonts {
		t.add("Windows/Boot/Fonts"+suffix+"/"+font+suffix+".ttf", nil, size.largeFont)
	}
	for _, font := range smallFonts {
		t.add("Windows/Boot/Fonts"+suffix+"/"+font+suffix+".ttf", nil, size.smallFont)
	}
}

// driverFiles are those of the native drivers.
func driverFiles(t *tree, machine uint16) {
	for _, n := range nativeDrivers {
		t.add("Windows/System32/drivers/"+n.name+".sys", portableExecutable(machine), 20<<10)
	}
}

// secondWindowsFiles are those of a Windows on a data partition; without the
// registry it is one that could be started, but is not installed.
func secondWindowsFiles(t *tree, spec Spec, d disk, registry bool) error {
	size := spec.BootFiles.sizes()
	for _, program := range []string{"winload.exe", "winload.efi", "ntoskrnl.exe"} {
		t.add("Windows/System32/"+program, portableExecutable(machineAMD64), size.program)
	}
	if !registry {
		return nil
	}
	driverFiles(t, machineAMD64)
	return hiveFiles(t, spec, d)
}
