package winimage

import (
	"encoding/binary"
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

// trees gives what each partition contains.
func trees(spec Spec, partitions []Partition, programs oracle.Paths) (map[Role]*tree, error) {
	result := map[Role]*tree{}
	for _, p := range partitions {
		result[p.Role] = &tree{}
	}
	d := rolesOf(spec, partitions)
	if err := systemFiles(result[d.system.Role], spec, d); err != nil {
		return nil, err
	}
	if err := windowsFiles(result[Windows], spec, d, programs); err != nil {
		return nil, err
	}
	recoveryFiles(result[d.recovery.Role], spec)
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
	return nil
}

// windowsFiles are the files of C: that the conversion has to do with, and a
// few that it has not.
func windowsFiles(t *tree, spec Spec, d disk, programs oracle.Paths) error {
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
		// What is behind a program in its file, the firmware does not load.
		t.add("Windows/Boot/EFI/bootmgfw.efi", bootMgr, size.program)
		(*t)[len(*t)-1].wof = spec.WOFBootFile
		t.add("Windows/Boot/EFI/bootmgr.efi", bootMgr, size.program)
		t.add("Windows/Boot/EFI/memtest.efi", winLoad, size.program)
		t.add("Windows/Boot/EFI/boot.stl", nil, 9<<10)
		t.add("Windows/Boot/EFI/winsipolicy.p7b", nil, 10<<10)
		for _, locale := range locales {
			for _, program := range []string{"bootmgfw", "bootmgr", "memtest"} {
				t.add("Windows/Boot/EFI/"+locale+"/"+program+".efi.mui", nil, size.mui)
			}
		}
		t.add("Windows/System32/winload.efi", winLoad, size.program)
		t.add("Windows/System32/winresume.efi", winLoad, size.program)
	}
	for _, font := range largeFonts {
		t.add("Windows/Boot/Fonts/"+font+".ttf", nil, size.largeFont)
	}
	for _, font := range smallFonts {
		t.add("Windows/Boot/Fonts/"+font+".ttf", nil, size.smallFont)
	}
	t.add("Windows/Boot/Resources/bootres.dll", portableExecutable(machine), 90<<10)
	t.add("Windows/Boot/Resources/en-US/bootres.dll.mui", nil, 12<<10)
	t.add("Windows/Boot/PCAT/bootmgr", nil, size.program/4)
	t.add("Windows/Boot/PCAT/memtest.exe", portableExecutable(machineI386), size.program/2)
	for _, program := range []string{"winload.exe", "winresume.exe", "ntoskrnl.exe", "hal.dll"} {
		t.add("Windows/System32/"+program, portableExecutable(machine), size.program)
	}

	system, err := systemHive(spec, d)
	if err != nil {
		return fmt.Errorf("winimage: SYSTEM: %w", err)
	}
	software, err := softwareHive(spec)
	if err != nil {
		return fmt.Errorf("winimage: SOFTWARE: %w", err)
	}
	t.add("Windows/System32/config/SYSTEM", system, 0)
	t.add("Windows/System32/config/SOFTWARE", software, 0)
	t.add("Windows/System32/Recovery/ReAgent.xml", reAgent(spec, d), 0)
	t.add("Program Files/desktop.ini", []byte("[.ShellClassInfo]\r\n"), 0)
	t.add("Users/Public/Documents/data.bin", nil, int64(spec.UserDataMiB)*mib)
	if spec.Hibernated {
		t.add("hiberfil.sys", []byte("HIBR"), 256<<10)
	}
	return nil
}

// recoveryFiles are Windows RE.
func recoveryFiles(t *tree, spec Spec) {
	t.add("Recovery/WindowsRE/Winre.wim", []byte("MSWIM\x00\x00\x00"), spec.BootFiles.sizes().winRE)
	t.add("Recovery/WindowsRE/boot.sdi", append([]byte("$SDI0001"), make([]byte, 3170304-8)...), 0)
}

// reAgent is Windows' note of where Windows RE is; an MBR partition is named by
// the disk's signature, as a decimal number, and its place on the disk.
func reAgent(spec Spec, d disk) []byte {
	const none = `path="" id="0" offset="0" guid="{00000000-0000-0000-0000-000000000000}"`
	return []byte(strings.ReplaceAll(`<?xml version='1.0' encoding='utf-8'?>

<WindowsRE version="2.0">
  <WinreBCD id="`+objRecoveryLoader+`"/>
  <WinreLocation path="`+recoveryFolder+fmt.Sprintf(`" id="%d" offset="%d"`, spec.Signature, d.recovery.StartBytes)+
		` guid="{00000000-0000-0000-0000-000000000000}"/>
  <ImageLocation `+none+`/>
  <PBRImageLocation `+none+`/>
  <PBRCustomImageLocation `+none+` index="0"/>
  <InstallState state="1"/>
  <OsInstallAvailable state="0"/>
  <CustomImageAvailable state="0"/>
  <IsAutoRepairOn state="1"/>
  <WinREStaged state="0"/>
  <OperationParam path=""/>
  <OperationPermanent state="0"/>
  <OsBuildVersion path="19041.1.amd64fre.vb_release.191206-1406"/>
  <OemTool state="0"/>
  <IsServer state="0"/>
  <DownlevelWinreLocation `+none+`/>
  <IsWimBoot state="0"/>
  <NarratorScheduled/>
  <ScheduledOperation state="4"/>
</WindowsRE>
`, "\n", "\r\n"))
}

const (
	machineI386  = 0x14c
	machineAMD64 = 0x8664
)

// portableExecutable is the beginning of a program for a machine: its headers
// and nothing that could run.
func portableExecutable(machine uint16) []byte {
	const peAt = 0x80
	le := binary.LittleEndian
	b := make([]byte, 1024)
	copy(b, "MZ")
	le.PutUint32(b[0x3c:], peAt)
	copy(b[peAt:], "PE\x00\x00")
	le.PutUint16(b[peAt+4:], machine)
	le.PutUint16(b[peAt+20:], 0xf0) // size of the optional header
	le.PutUint16(b[peAt+22:], 0x22) // executable, large addresses
	magic := uint16(0x20b)          // PE32+
	if machine == machineI386 {
		magic = 0x10b
	}
	le.PutUint16(b[peAt+24:], magic)
	return b
}
