package bcd

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"imageport/engine/windows/hive"
)

// files lists the files of a whole chain in words.
func files(c Chain) []string {
	programs := []Program{c.Manager, c.Loader}
	if c.Resume != nil {
		programs = append(programs, *c.Resume)
	}
	var list []string
	for _, p := range append(programs, c.Recovery...) {
		for _, f := range p.Files() {
			what := "file"
			if f.Folder {
				what = "folder"
			}
			list = append(list, fmt.Sprintf("%s %s: %s %s on %s", Name(f.Object), f.Element, what, f.Path, f.On))
		}
	}
	return list
}

func TestChain(t *testing.T) {
	b, _, err := Convert(encode(t, win10BIOS()), reuse(), ConvertOptions{})
	if err != nil {
		t.Fatal(err)
	}
	sum, err := Inspect(b)
	if err != nil {
		t.Fatal(err)
	}
	esp, os, re := espGPT.String(), osGPT.String(), GPTPartition(diskGUID, recoveryGUID).String()
	loader, resume, recovery, options := Braced(loaderID), Braced(resumeID), Braced(recoveryID), Braced(ramdiskID)
	want := []string{
		`{bootmgr} 12000002: file \EFI\Microsoft\Boot\bootmgfw.efi on ` + esp,
		loader + ` 12000002: file \WINDOWS\system32\winload.efi on ` + os,
		loader + ` 22000002: folder \WINDOWS on ` + os,
		resume + ` 12000002: file \WINDOWS\system32\winresume.efi on ` + os,
		recovery + ` 12000002: file \Recovery\WindowsRE\Winre.wim on ` + re,
		options + ` 32000004: file \Recovery\WindowsRE\boot.sdi on ` + re,
	}
	if got := files(sum.Chain); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if c := sum.Chain; c.Loader.ID != sum.Default || c.Resume.Root != `\hiberfil.sys` || !c.Recovery[0].WinPE || c.Loader.WinPE ||
		c.Recovery[0].Path != `\windows\system32\winload.efi` || c.Loader.Description != "Windows 10" || c.Missing != nil {
		t.Errorf("%+v", c)
	}
	if len(sum.MBR) != 0 {
		t.Error(sum.MBR)
	}

	// Before the conversion, everything names the MBR.
	sum, err = Inspect(encode(t, win10BIOS()))
	if err != nil || len(sum.MBR) != 9 || sum.Chain.Manager.Path != "" || sum.Chain.Manager.Device.Ref != systemRef {
		t.Errorf("%v %+v", err, sum.MBR)
	}
	if got, want := fmt.Sprint(sum.MBR[0]), loader+" device: "+osRef.String(); !slices.ContainsFunc(sum.MBR, func(u PartitionUse) bool { return u.String() == want }) {
		t.Errorf("%s, and no %s", got, want)
	}
}

// TestChainOdd follows chains that are not as Windows Setup makes them.
func TestChainOdd(t *testing.T) {
	gone := GUID{5}
	tests := []struct {
		what    string
		change  func(s *Store)
		want    []string // of the loader, the resume application and the recovery environment
		missing int
	}{
		{"in a virtual disk", func(s *Store) {
			o := object(t, s, loaderID)
			o.SetDevice(ElementDevice, VHDDevice(PartitionDevice(osRef), `\a.vhd`))
			o.SetDevice(ElementOSDevice, VHDDevice(PartitionDevice(osRef), `\a.vhd`))
			o.Remove(ElementResumeObject)
			o.Remove(ElementRecoverySequence)
		}, []string{Braced(loaderID) + ` 12000002: file \a.vhd on ` + osRef.String()}, 0},
		{"image inside of a virtual disk", func(s *Store) {
			o := object(t, s, loaderID)
			o.SetDevice(ElementDevice, RAMDiskDevice(GUID{}, VHDDevice(PartitionDevice(osRef), `\a.vhd`), `\b.wim`))
			o.SetDevice(ElementOSDevice, BootDevice())
			o.Remove(ElementResumeObject)
			o.Remove(ElementRecoverySequence)
		}, []string{Braced(loaderID) + ` 12000002: file \a.vhd on ` + osRef.String(), Braced(loaderID) + ` 22000002: folder \WINDOWS on boot`}, 0},
		{"located, and what it names is gone", func(s *Store) {
			o := object(t, s, loaderID)
			o.SetDevice(ElementDevice, LocateDevice(ElementPath))
			o.SetDevice(ElementOSDevice, LocateDevice(ElementSystemRoot))
			o.SetObject(ElementResumeObject, gone)
			o.SetObjectList(ElementRecoverySequence, gone, recoveryID)
			s.RemoveObject(ramdiskID)
		}, []string{
			Braced(loaderID) + ` 12000002: file \WINDOWS\system32\winload.exe on locate=path`,
			Braced(loaderID) + ` 22000002: folder \WINDOWS on locate=systemroot`,
			Braced(recoveryID) + ` 12000002: file \Recovery\WindowsRE\Winre.wim on ` + recoveryRef.String(),
		}, 2},
	}
	for _, tt := range tests {
		src := win10BIOS()
		tt.change(src)
		sum, err := Inspect(encode(t, src))
		if err != nil {
			t.Fatal(tt.what, err)
		}
		if got := files(sum.Chain); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got\n%s\nwant\n%s", tt.what, strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
		}
		if len(sum.Chain.Missing) != tt.missing {
			t.Errorf("%s: missing %v", tt.what, sum.Chain.Missing)
		}
	}
}

// TestRecovery compares the recovery store made from a genuine Windows 10 store
// with what Windows 10 makes itself, as it was found on four computers.
func TestRecovery(t *testing.T) {
	b, err := Recovery(corpusFile(t, "win10-uefi.BCD"), ConvertOptions{Modified: convertTime})
	if err != nil {
		t.Fatal(err)
	}
	const (
		loader  = "{733b62e6-f608-11eb-825c-c112f60133ab}"
		options = "{733b62e7-f608-11eb-825c-c112f60133ab}"
		esp     = "partition {36be3955-63bf-4068-a6ab-00195cca3a22} of GPT disk {0b2394a9-095e-487d-8d48-719ecd4d78ca}"
		re      = "partition {6cdfcd69-de75-4490-8f99-5a84bf264917} of GPT disk {0b2394a9-095e-487d-8d48-719ecd4d78ca}"
		winre   = "ramdisk=[" + re + `]\Recovery\WindowsRE\Winre.wim`
	)
	want := map[string]string{
		"Description KeyName":          "BCD00000001",
		"Description FirmwareModified": "1",

		"{bootmgr}":          "10100002",
		"{bootmgr} 11000001": esp,
		"{bootmgr} 12000002": `\EFI\Microsoft\Boot\bootmgfw.efi`,
		"{bootmgr} 12000004": "Windows Boot Manager",
		"{bootmgr} 12000005": "en-US",
		"{bootmgr} 14000006": "{globalsettings}",
		"{bootmgr} 23000003": loader,
		"{bootmgr} 24000001": loader,
		"{bootmgr} 25000004": "30",

		loader:               "10200003",
		loader + " 11000001": winre,
		loader + " 12000002": `\windows\system32\winload.efi`,
		loader + " 12000004": "Windows Recovery Environment",
		loader + " 12000005": "en-us",
		loader + " 14000006": "{bootloadersettings}",
		loader + " 15000065": "3",
		loader + " 21000001": winre,
		loader + " 22000002": `\windows`,
		loader + " 25000020": "0",
		loader + " 250000c2": "1",
		loader + " 26000022": "true",
		loader + " 46000010": "true",

		options:               "30000000",
		options + " 12000004": "Windows Recovery",
		options + " 31000003": re,
		options + " 32000004": `\Recovery\WindowsRE\boot.sdi`,

		"{globalsettings}":                "20100000",
		"{globalsettings} 14000006":       "{dbgsettings} {emssettings} {badmemory}",
		"{bootloadersettings}":            "20200003",
		"{bootloadersettings} 14000006":   "{globalsettings} {hypervisorsettings}",
		"{resumeloadersettings}":          "20200004",
		"{resumeloadersettings} 14000006": "{globalsettings}",
		"{hypervisorsettings}":            "20200003",
		"{hypervisorsettings} 250000f3":   "0",
		"{hypervisorsettings} 250000f4":   "1",
		"{hypervisorsettings} 250000f5":   "115200",
		"{dbgsettings}":                   "20100000",
		"{dbgsettings} 15000011":          "4",
		"{emssettings}":                   "20100000",
		"{emssettings} 16000020":          "false",
		"{badmemory}":                     "20100000",
	}
	sameText(t, textOf(read(t, b)), want)

	h, err := hive.Parse(b)
	if err != nil || h.Dirty() || h.Version() != 3 {
		t.Error(err, h.Dirty(), h.Version())
	}
	sum, err := Inspect(b)
	if err != nil || sum.Default != uuid.MustParse(loader[1:37]) || !sum.IsUEFI || len(sum.MBR) != 0 {
		t.Errorf("%+v %v", sum, err)
	}
	if again, err := Recovery(corpusFile(t, "win10-uefi.BCD"), ConvertOptions{Modified: convertTime}); err != nil || string(again) != string(b) {
		t.Error("two stores differ", err)
	}
}

func TestRecoveryWithoutEnvironment(t *testing.T) {
	src := win10BIOS()
	object(t, src, loaderID).Remove(ElementRecoverySequence)
	converted, _, err := Convert(encode(t, src), reuse(), ConvertOptions{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := Recovery(converted, ConvertOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s := read(t, b)
	if o := object(t, s, BootMgr); len(s.Objects()) != 8 || len(o.Elements()) != 6 {
		t.Error(s.Objects(), o.Elements())
	}
}
