package bcd

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
)

func convert(t testing.TB, src []byte, m Mapping) (*Store, Report) {
	t.Helper()
	before := bytes.Clone(src)
	out, rep, err := Convert(src, m, ConvertOptions{Modified: convertTime})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(src, before) {
		t.Error("Convert changed its input")
	}
	again, _, err := Convert(src, m, ConvertOptions{Modified: convertTime})
	if err != nil || !bytes.Equal(out, again) {
		t.Error("two conversions differ", err)
	}
	return read(t, out), rep
}

// checkUEFI checks what is left of a store when nothing of BIOS is.
func checkUEFI(t testing.TB, s *Store) {
	t.Helper()
	for path, v := range valuesOf(s) { // not as this package decodes devices
		for _, sig := range []uint32{signature, 0x3ee7c, 0x36234da4} {
			if bytes.Contains([]byte(v), fmt.Appendf(nil, "01 00 00 00 % x", le.AppendUint32(nil, sig))) {
				t.Errorf("%s still has the signature %08x", path, sig)
			}
		}
	}
	for _, use := range s.PartitionRefs() {
		if use.Ref.Style == StyleMBR {
			t.Errorf("%s %s names %s", Name(use.Object), use.Element, use.Ref)
		}
	}
	for k, text := range textOf(s) {
		if strings.Contains(strings.ToLower(text), ".exe") {
			t.Errorf("%s is %s", k, text)
		}
	}
}

// TestConvertWindows10 is the whole table of what differs between the store of
// a Windows 10 in an MBR disk and that of the same one in a GPT disk.
func TestConvertWindows10(t *testing.T) {
	src := win10BIOS()
	want := textOf(src)
	s, rep := convert(t, encode(t, src), reuse())
	checkUEFI(t, s)

	const (
		esp   = "partition {36be3955-63bf-4068-a6ab-00195cca3a22} of GPT disk {0b2394a9-095e-487d-8d48-719ecd4d78ca}"
		os    = "partition {8e0f2c38-e4ea-47ba-b7fc-9d8c74dccf0b} of GPT disk {0b2394a9-095e-487d-8d48-719ecd4d78ca}"
		re    = "partition {6cdfcd69-de75-4490-8f99-5a84bf264917} of GPT disk {0b2394a9-095e-487d-8d48-719ecd4d78ca}"
		winre = "ramdisk=[" + re + `]\Recovery\WindowsRE\Winre.wim`

		loader   = "{733b62e5-f608-11eb-825c-c112f60133ab}"
		resume   = "{733b62e4-f608-11eb-825c-c112f60133ab}"
		recovery = "{733b62e6-f608-11eb-825c-c112f60133ab}"
		options  = "{733b62e7-f608-11eb-825c-c112f60133ab}"
	)
	delete(want, "Description GuidCache")
	maps.Copy(want, map[string]string{
		"Description FirmwareModified": "1",

		"{bootmgr} 11000001": esp,
		"{bootmgr} 12000002": `\EFI\Microsoft\Boot\bootmgfw.efi`,
		"{memdiag} 11000001": esp,
		"{memdiag} 12000002": `\EFI\Microsoft\Boot\memtest.efi`,

		loader + " 11000001": os,
		loader + " 12000002": `\WINDOWS\system32\winload.efi`,
		loader + " 16000060": "true",
		loader + " 21000001": os,

		resume + " 11000001": os,
		resume + " 12000002": `\WINDOWS\system32\winresume.efi`,
		resume + " 16000060": "true",
		resume + " 21000001": os,

		recovery + " 11000001": winre,
		recovery + " 12000002": `\windows\system32\winload.efi`,
		recovery + " 21000001": winre,

		options + " 31000003": re,
	})
	sameText(t, textOf(s), want)
	if len(rep.Warnings) > 0 {
		t.Error(rep.Warnings)
	}

	// The report says the same.
	before := textOf(src)
	if len(rep.Edits) != 18 {
		t.Errorf("%d edits, want 18: %q", len(rep.Edits), rep.Edits)
	}
	for _, want := range []Edit{
		{"{bootmgr}", "device", mustText(t, before, "{bootmgr} 11000001"), esp},
		{"{bootmgr}", "path", "", `\EFI\Microsoft\Boot\bootmgfw.efi`},
		{loader, "isolatedcontext", "", "true"},
		{resume, "filedevice", mustText(t, before, resume+" 21000001"), os},
	} {
		if !slices.Contains(rep.Edits, want) {
			t.Errorf("not reported: %+v", want)
		}
	}
}

func mustText(t *testing.T, m map[string]string, k string) string {
	t.Helper()
	if m[k] == "" {
		t.Fatal("no", k)
	}
	return m[k]
}

// TestConvertedHasTheElementsOfAGenuineStore compares the converted store with
// one that Windows 10 setup made in a GPT disk. What firmware adds is not ours.
func TestConvertedHasTheElementsOfAGenuineStore(t *testing.T) {
	elements := func(s *Store) map[string]string {
		m := map[string]string{}
		for _, o := range s.Objects() {
			if o.Type == TypeFirmwareApp || o.Type == TypeFirmwareBootMgr {
				continue
			}
			for _, e := range o.Elements() {
				text := o.text(e)
				if e.Format() == FormatString {
					text = strings.ToLower(text)
				}
				m[Name(o.ID)+" "+e.String()] = text
			}
		}
		return m
	}
	s, _ := convert(t, encode(t, win10BIOS()), reuse())
	sameText(t, elements(s), elements(read(t, corpusFile(t, "win10-uefi.BCD"))))
}

// TestConvertWindows8 converts a real store: one partition for everything.
func TestConvertWindows8(t *testing.T) {
	src := corpusFile(t, "win8-bios.BCD")
	sum, err := Inspect(src)
	if err != nil {
		t.Fatal(err)
	}
	all := MBRPartition(0x3ee7c, 0x124f900000)
	if sum.DefaultDevice != all || sum.DefaultKind != KindPartition || sum.IsUEFI ||
		sum.DefaultPath != `\WINDOWS\system32\winload.exe` || sum.DefaultDescription != "Windows 8.1 Preview" ||
		sum.DefaultSystemRoot != `\WINDOWS` || sum.RecoveryDevice != all || len(sum.Partitions) != 9 ||
		sum.RecoveryPath != `\Recovery\WindowsRE\Winre.wim` {
		t.Errorf("%+v", sum)
	}
	m := Mapping{
		Signature: all.Signature, DiskGUID: diskGUID, ESP: espGUID, OS: osGUID,
		Partitions: map[uint64]GUID{all.Offset: osGUID}, SystemOffset: all.Offset,
	}
	s, rep := convert(t, src, m)
	checkUEFI(t, s)
	if len(rep.Warnings) > 0 {
		t.Error(rep.Warnings)
	}
	before, after := textOf(read(t, src)), textOf(s)
	if len(after) != len(before)+4 { // FirmwareModified, bootmgr's path, two isolatedcontext
		t.Errorf("%d elements become %d", len(before), len(after))
	}
	for k, text := range after {
		switch {
		case strings.HasSuffix(k, "12000002") && !strings.HasSuffix(text, ".efi"):
			t.Errorf("%s is %s", k, text)
		case strings.HasPrefix(text, "partition"):
			want := osGPT
			if strings.HasPrefix(k, "{bootmgr}") || strings.HasPrefix(k, "{memdiag}") {
				want = espGPT
			}
			if text != want.String() {
				t.Errorf("%s is %s, want %s", k, text, want)
			}
		}
	}
	b := encode(t, s)
	after2, err := Inspect(b)
	if err != nil || !after2.IsUEFI || after2.DefaultDevice != osGPT || after2.RecoveryDevice != osGPT {
		t.Errorf("%+v %v", after2, err)
	}
	m.SystemBecomesESP = true // but Windows is on it
	if _, _, err := Convert(src, m, ConvertOptions{}); !errors.Is(err, ErrFileOnESP) {
		t.Error(err)
	}
}

// TestConvertAllKinds converts a store that was made by hand to have devices of
// every kind, most of them in each other, and gets a boot manager here.
func TestConvertAllKinds(t *testing.T) {
	src := corpusFile(t, "BCDTest")
	if _, _, err := Convert(src, reuse(), ConvertOptions{}); !errors.Is(err, ErrNoDefaultEntry) {
		t.Error(err)
	}
	s := read(t, src)
	entry := uuid.MustParse("33238d8c-8333-11e3-a0d2-000c2994873a")
	object(t, s, entry).SetString(ElementPath, `\Windows\system32\winload.exe`)
	s.AddObject(BootMgr, TypeBootMgr).SetObject(ElementDefault, entry)
	m := keep()
	m.Signature = 0x36234da4
	m.Partitions = map[uint64]GUID{1 << 20: systemGUID, 0xb13300000: osGUID}
	before := s.PartitionRefs()
	out, rep := convert(t, encode(t, s), m)
	checkUEFI(t, out)
	// The boot devices and {bootmgr} are named now.
	if after := out.PartitionRefs(); len(after) != len(before)+4 {
		t.Errorf("%d partitions become %d", len(before), len(after))
	}
	if len(rep.Warnings) != 1 || rep.Warnings[0].Code != WarnOtherDisk { // the store names a GPT disk too
		t.Error(rep.Warnings)
	}
}

func TestConvertDevices(t *testing.T) {
	const wim = `\Recovery\WindowsRE\Winre.wim`
	foreign := MBRPartition(0x11112222, osOffset)
	second := GUID{2}
	unknown := PartitionDevice(osRef)
	unknown = Device{Kind: KindUnknown, Raw: unknown.Encode()[16:]}
	unknown.Raw[4] = 1 // flags
	converted := Device{Kind: KindUnknown, Raw: PartitionDevice(osGPT).Encode()[16:]}
	converted.Raw[4] = 1
	network := Device{Kind: KindUnknown, Raw: []byte{4, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0}}
	inVHD := LocateDevice(ElementPath)
	inVHD.On = &Device{Kind: KindVHD, On: &Device{Kind: KindFile, Path: `\a.vhd`, On: &Device{Kind: KindPartition, Ref: osRef}}}
	inVHDAfter := LocateDevice(ElementPath)
	inVHDAfter.On = &Device{Kind: KindVHD, On: &Device{Kind: KindFile, Path: `\a.vhd`, On: &Device{Kind: KindPartition, Ref: osGPT}}}

	tests := []struct {
		what    string
		m       Mapping
		object  GUID
		element ElementID
		before  Device
		after   Device
		err     error
		warning string
	}{
		{"loader on the boot device", reuse(), loaderID, ElementOSDevice, BootDevice(), PartitionDevice(osGPT), nil, ""},
		{"resume on the boot device", reuse(), resumeID, ElementDevice, BootDevice(), PartitionDevice(osGPT), nil, ""},
		{"boot manager on the boot device", reuse(), BootMgr, ElementDevice, BootDevice(), PartitionDevice(espGPT), nil, ""},
		{"memory test on the boot device", keep(), MemDiag, ElementDevice, BootDevice(), PartitionDevice(espGPT), nil, ""},
		{"boot manager on another disk", reuse(), BootMgr, ElementDevice, PartitionDevice(foreign), PartitionDevice(espGPT), nil, ""},
		{"memory test on another disk", reuse(), MemDiag, ElementDevice, PartitionDevice(foreign), PartitionDevice(espGPT), nil, ""},
		{"boot manager by its file", reuse(), BootMgr, ElementDevice, LocateDevice(ElementPath), PartitionDevice(espGPT), nil, ""},
		{"loader by its file", reuse(), loaderID, ElementDevice, LocateDevice(ElementPath), LocateDevice(ElementPath), nil, ""},
		{"loader by its directory", reuse(), loaderID, ElementOSDevice, LocateDevice(ElementSystemRoot), LocateDevice(ElementSystemRoot), nil, ""},
		{"loader in a virtual disk", reuse(), loaderID, ElementOSDevice, VHDDevice(PartitionDevice(osRef), `\a.vhd`), VHDDevice(PartitionDevice(osGPT), `\a.vhd`), nil, ""},
		{"loader by its file in a virtual disk", reuse(), loaderID, ElementOSDevice, inVHD, inVHDAfter, nil, ""},
		{"image on the kept boot device", keep(), recoveryID, ElementDevice, RAMDiskDevice(ramdiskID, BootDevice(), wim), RAMDiskDevice(ramdiskID, PartitionDevice(systemGPT), wim), nil, ""},
		{"image on the kept system partition", keep(), recoveryID, ElementDevice, RAMDiskDevice(ramdiskID, PartitionDevice(systemRef), wim), RAMDiskDevice(ramdiskID, PartitionDevice(systemGPT), wim), nil, ""},
		{"image on the lost boot device", reuse(), recoveryID, ElementDevice, RAMDiskDevice(ramdiskID, BootDevice(), wim), Device{}, ErrFileOnESP, ""},
		{"image on the lost system partition", reuse(), recoveryID, ElementDevice, RAMDiskDevice(ramdiskID, PartitionDevice(systemRef), wim), Device{}, ErrFileOnESP, ""},
		{"boot.sdi on the lost boot device", reuse(), ramdiskID, ElementSDIDevice, BootDevice(), Device{}, ErrFileOnESP, ""},
		{"boot.sdi on the lost system partition", reuse(), ramdiskID, ElementSDIDevice, PartitionDevice(systemRef), Device{}, ErrFileOnESP, ""},
		{"boot.sdi on the kept boot device", keep(), ramdiskID, ElementSDIDevice, BootDevice(), PartitionDevice(systemGPT), nil, ""},
		{"default on another disk", reuse(), loaderID, ElementOSDevice, PartitionDevice(foreign), Device{}, ErrDefaultOnOtherDisk, ""},
		{"default's loader on another disk", reuse(), loaderID, ElementDevice, PartitionDevice(foreign), Device{}, ErrDefaultOnOtherDisk, ""},
		{"default in a file on another disk", reuse(), loaderID, ElementOSDevice, VHDDevice(PartitionDevice(foreign), `\a.vhd`), Device{}, ErrDefaultOnOtherDisk, ""},
		{"default on another GPT disk", reuse(), loaderID, ElementOSDevice, PartitionDevice(GPTPartition(GUID{9}, GUID{8})), Device{}, ErrDefaultOnOtherDisk, ""},
		{"default where no partition is", reuse(), loaderID, ElementOSDevice, PartitionDevice(MBRPartition(signature, 512)), Device{}, ErrNoDefaultEntry, ""},
		{"default on the lost system partition", reuse(), loaderID, ElementOSDevice, PartitionDevice(systemRef), Device{}, ErrFileOnESP, ""},
		{"second on another disk", reuse(), second, ElementOSDevice, PartitionDevice(foreign), PartitionDevice(foreign), nil, WarnOtherDisk},
		{"image on another disk", reuse(), recoveryID, ElementDevice, RAMDiskDevice(ramdiskID, PartitionDevice(foreign), wim), RAMDiskDevice(ramdiskID, PartitionDevice(foreign), wim), nil, WarnOtherDisk},
		{"second where no partition is", reuse(), second, ElementOSDevice, PartitionDevice(MBRPartition(signature, 512)), PartitionDevice(MBRPartition(signature, 512)), nil, WarnNoPartition},
		{"second on the lost system partition", reuse(), second, ElementOSDevice, PartitionDevice(systemRef), PartitionDevice(espGPT), nil, WarnOnESP},
		{"of unknown kind with a partition", reuse(), loaderID, ElementOSDevice, unknown, converted, nil, ""},
		{"default of unknown kind", reuse(), loaderID, ElementOSDevice, network, Device{}, ErrNoDefaultEntry, ""},
		{"default's loader of unknown kind", reuse(), loaderID, ElementDevice, network, Device{}, ErrNoDefaultEntry, ""},
		{"another device of the default of unknown kind", reuse(), loaderID, 0x21000026, network, network, nil, WarnUnknownDevice},
		{"another device of the default", reuse(), loaderID, 0x21000026, PartitionDevice(osRef), PartitionDevice(osGPT), nil, ""},
		{"image in a file", reuse(), recoveryID, ElementDevice, RAMDiskDevice(ramdiskID, VHDDevice(PartitionDevice(osRef), `\a.vhd`), wim), RAMDiskDevice(ramdiskID, VHDDevice(PartitionDevice(osGPT), `\a.vhd`), wim), nil, ""},
		{"virtual disk on the boot device", keep(), second, ElementOSDevice, VHDDevice(BootDevice(), `\a.vhd`), VHDDevice(PartitionDevice(systemGPT), `\a.vhd`), nil, ""},
		{"virtual disk on the lost boot device", reuse(), second, ElementOSDevice, VHDDevice(BootDevice(), `\a.vhd`), Device{}, ErrFileOnESP, ""},
		{"boot.sdi by its file", reuse(), ramdiskID, ElementSDIDevice, LocateDevice(ElementSDIPath), LocateDevice(ElementSDIPath), nil, ""},
		{"of unknown kind", reuse(), second, ElementOSDevice, network, network, nil, WarnUnknownDevice},
		{"in this GPT disk already", reuse(), loaderID, ElementOSDevice, PartitionDevice(osGPT), PartitionDevice(osGPT), nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			src := win10BIOS()
			o := src.AddObject(second, TypeOSLoader)
			o.SetString(ElementPath, `\Windows\system32\winload.exe`)
			object(t, src, tt.object).SetDevice(tt.element, tt.before)
			b := encode(t, src)
			if tt.err != nil {
				if _, _, err := Convert(b, tt.m, ConvertOptions{}); !errors.Is(err, tt.err) {
					t.Errorf("%v, want %v", err, tt.err)
				}
				return
			}
			s, rep := convert(t, b, tt.m)
			d, ok := object(t, s, tt.object).Device(tt.element)
			if !ok || !bytes.Equal(d.Encode(), tt.after.Encode()) {
				t.Errorf("becomes %s, want %s", d, tt.after)
			}
			if tt.warning == "" {
				checkUEFI(t, s)
			}
			codes := ""
			for _, w := range rep.Warnings {
				codes += w.Code
			}
			if codes != tt.warning {
				t.Errorf("warnings %v, want %q", rep.Warnings, tt.warning)
			}
		})
	}
}

func TestConvertDropsLegacyEntries(t *testing.T) {
	src := win10BIOS()
	sector, startup := GUID{3}, GUID{4}
	src.AddObject(NTLDR, TypeNTLDR).SetString(ElementDescription, "Windows XP")
	src.AddObject(sector, TypeBootSector).SetString(ElementPath, `\linux.bin`)
	src.AddObject(startup, TypeStartup)
	manager := object(t, src, BootMgr)
	manager.SetObjectList(ElementDisplayOrder, NTLDR, loaderID, sector)
	manager.SetObjectList(ElementBootSequence, sector)
	manager.SetObjectList(ElementToolsOrder, startup, MemDiag)
	object(t, src, resumeID).SetObject(0x23000007, startup)

	s, rep := convert(t, encode(t, src), reuse())
	for _, id := range []GUID{NTLDR, sector, startup} {
		if _, ok := s.Object(id); ok {
			t.Errorf("%s is still there", Name(id))
		}
	}
	for k, text := range textOf(s) {
		for _, id := range []GUID{NTLDR, sector, startup} {
			if strings.Contains(text, Name(id)) {
				t.Errorf("%s is %s", k, text)
			}
		}
	}
	clean, _ := convert(t, encode(t, win10BIOS()), reuse())
	sameText(t, textOf(s), textOf(clean))
	if len(rep.Warnings) != 3 {
		t.Error(rep.Warnings)
	}
	if !slices.ContainsFunc(rep.Edits, func(e Edit) bool { return e == Edit{"{bootmgr}", "bootsequence", Name(sector), ""} }) {
		t.Errorf("%+v", rep.Edits)
	}
}

func TestConvertPaths(t *testing.T) {
	second := GUID{2}
	tests := []struct {
		path, want string
		warning    bool // the default entry is refused
	}{
		{`\Windows\System32\WinLoad.EXE`, `\Windows\System32\winload.efi`, false},
		{`\windows\system32\boot\winload.exe`, `\windows\system32\boot\winload.efi`, false},
		{`winload.exe`, `winload.efi`, false},
		{`\windows\system32\winload.efi`, `\windows\system32\winload.efi`, false},
		{`\tools\mywinload.exe`, `\tools\mywinload.exe`, true},
		{`\Windows\System32\`, `\Windows\System32\`, true},
	}
	for _, tt := range tests {
		for _, id := range []GUID{loaderID, second} {
			src := win10BIOS()
			src.AddObject(second, TypeOSLoader)
			object(t, src, id).SetString(ElementPath, tt.path)
			if tt.warning && id == loaderID {
				if _, _, err := Convert(encode(t, src), reuse(), ConvertOptions{}); !errors.Is(err, ErrNoDefaultEntry) {
					t.Errorf("%s: %v", tt.path, err)
				}
				continue
			}
			s, rep := convert(t, encode(t, src), reuse())
			if got, _ := object(t, s, id).String(ElementPath); got != tt.want {
				t.Errorf("%s becomes %s, want %s", tt.path, got, tt.want)
			}
			if warned := slices.ContainsFunc(rep.Warnings, func(w Warning) bool { return w.Code == WarnPathNotConverted }); warned != tt.warning || len(rep.Warnings) > 1 {
				t.Errorf("%s: warnings %v", tt.path, rep.Warnings)
			}
		}
	}
}
