package nativeboot

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"imageport/engine/windows/hive"
	"imageport/engine/windows/offline"
	"imageport/job"
	"imageport/testkit/winimage"
	"imageport/testkit/winimage/windisk"
)

// What a Windows has decides where it starts, and what is changed for that.
func TestDrivers(t *testing.T) {
	const services = `ControlSet001\Services\`
	xen := func(e *editor) {
		e.driver("ControlSet001", "xenbus", 0, false)
		e.set(services+"xenbus", hive.DWORD("Count", 0))
		e.driver("ControlSet001", "xenvbd", 0, true)
		e.driver("ControlSet001", "xenfilt", 3, true)
		e.driver("ControlSet001", "xenvif", 3, true)
		e.set(services+`xenfilt\Parameters`, hive.SZ("ActiveDeviceID", `PCI\VEN_5853&DEV_0001`), hive.SZ("ActiveInstanceID", "1&2"), hive.SZ("Other", "stays"))
		e.set(services+`XEN\Unplug`, hive.DWORD("DISKS", 1), hive.DWORD("NICS", 1))
		e.set(`DriverDatabase\DeviceIds\PCI\VEN_5853&DEV_0001&SUBSYS_00015853`)
	}
	vmware := []string{`pvscsi\StartOverride 0=3>`, `LSI_SAS\Start 3>0`, `storahci\StartOverride 0=3>`, `stornvme\StartOverride 0=3>`}
	inbox := []string{`storahci\StartOverride 0=3>`, `stornvme\StartOverride 0=3>`}
	vsphere := []job.Controller{job.PVSCSI, job.LSISAS, job.AHCI, job.NVMe}
	for _, c := range []struct {
		name     string
		platform string
		build    string
		change   func(e *editor)
		want     []job.Controller
		fixUps   []string
		warning  string // a part of the only one
	}{
		{"VMware Tools", job.PlatformVSphere, "", nil, vsphere, vmware, ""},
		{"Windows 11", job.PlatformVSphere, "22631", nil, []job.Controller{job.PVSCSI, job.AHCI, job.NVMe}, slices.Delete(slices.Clone(vmware), 1, 2), ""},
		{"not one of VMware's drivers", job.PlatformQEMU, "", nil, []job.Controller{job.AHCI, job.NVMe}, inbox, ""},
		{"local", job.PlatformLocal, "", nil, []job.Controller{job.AHCI, job.NVMe}, inbox, ""},
		{"no file", job.PlatformVSphere, "", func(e *editor) {
			e.set(services+"pvscsi", hive.ExpandSZ("ImagePath", `System32\drivers\gone.sys`))
		}, vsphere[1:], vmware[1:], ""},
		{"a folder, not a file", job.PlatformVSphere, "", func(e *editor) {
			e.set(services+"pvscsi", hive.ExpandSZ("ImagePath", `System32\drivers`))
		}, vsphere[1:], vmware[1:], ""},
		{"a program of that name", job.PlatformVSphere, "", func(e *editor) {
			e.set(services+"pvscsi", hive.DWORD("Type", 0x10))
		}, vsphere[1:], vmware[1:], ""},
		{"a key without what makes a driver", job.PlatformVSphere, "", func(e *editor) {
			e.drop(services + "pvscsi")
			e.set(services + "pvscsi")
		}, vsphere[1:], vmware[1:], ""},
		{"not installed for the device", job.PlatformVSphere, "", func(e *editor) {
			e.drop(`DriverDatabase\DeviceIds\PCI\VEN_15AD&DEV_07C0`)
		}, vsphere[1:], vmware[1:], "Windows connects no device VEN_15AD&DEV_07C0 with pvscsi"},
		{"no database of drivers", job.PlatformVSphere, "", func(e *editor) { e.drop("DriverDatabase") }, vsphere, vmware, "does not say for which devices"},
		{"Windows 7's database", job.PlatformVSphere, "7601", func(e *editor) {
			e.drop("DriverDatabase")
			e.driver("ControlSet001", "msahci", 3, false)
			e.driver("ControlSet001", "LSI_SCSI", 3, false)
			for _, id := range []string{"PCI#CC_010601", "pci#ven_1000&dev_0054&subsys_1f041028", "PCI#VEN_1000&DEV_0030", "ROOT#SYSTEM"} {
				e.set(`ControlSet001\Control\CriticalDeviceDatabase\` + id)
			}
			for _, later := range []string{"storahci", "stornvme", "pvscsi"} {
				e.drop(services + later)
			}
		}, []job.Controller{job.LSISAS, job.AHCI, job.LSI}, []string{`LSI_SAS\Start 3>0`, `msahci\Start 3>0`, `LSI_SCSI\Start 3>0`}, ""},
		{"disabled", job.PlatformVSphere, "", func(e *editor) {
			e.set(services+"storahci", hive.DWORD("Start", 4))
			e.set(services+`storahci\StartOverride`, hive.DWORD("1", 3), hive.SZ("x", "y"))
		}, vsphere, []string{vmware[0], vmware[1], `storahci\Start 4>0`, `storahci\StartOverride 0=3, 1=3, x=y>`, vmware[3]}, ""},
		{"an override without values", job.PlatformVSphere, "", func(e *editor) {
			e.must(e.h.DeleteValue([]string{services + `storahci\StartOverride`}, "0"))
		}, vsphere, []string{vmware[0], vmware[1], `storahci\StartOverride no values>`, vmware[3]}, ""},
		{"no path of the file", job.PlatformVSphere, "", func(e *editor) {
			e.must(e.h.DeleteValue([]string{services + "pvscsi"}, "ImagePath"))
		}, vsphere, vmware, ""},
		{"two control sets, of which it starts the second", job.PlatformVSphere, "", func(e *editor) {
			e.set("Select", hive.DWORD("Default", 2))
			e.driver("ControlSet002", "storahci", 3, true)
			e.set("ControlSet2x")
		}, []job.Controller{job.AHCI}, []string{vmware[2], `2:storahci\Start 3>0`, `2:storahci\StartOverride 0=3>`}, ""},
		{"two control sets, of which it starts the first", job.PlatformVSphere, "", func(e *editor) {
			e.driver("ControlSet002", "storahci", 0, true)
		}, vsphere, []string{vmware[0], vmware[1], vmware[2], `2:storahci\StartOverride 0=3>`, vmware[3]}, ""},
		{"XenServer VM Tools", job.PlatformXenServer, "", xen, []job.Controller{job.XenBD, job.AHCI, job.NVMe}, append([]string{
			`xenvbd\StartOverride 0=3>`, `xenfilt\Start 3>0`, `xenfilt\StartOverride 0=3>`, `xenvif\StartOverride 0=3>`}, append(slices.Clone(inbox),
			`xenbus\Count 0>1`, `xenfilt\Parameters\ActiveDeviceID PCI\VEN_5853&DEV_0001>`, `xenfilt\Parameters\ActiveInstanceID 1&2>`, `XEN\Unplug DISKS=1, NICS=1>`)...), ""},
		{"XenServer VM Tools, no other driver", job.PlatformXenServer, "", func(e *editor) {
			xen(e)
			e.set(services+"xenbus", hive.DWORD("Count", 2))
			e.drop(services + "storahci")
			e.drop(services + "stornvme")
		}, []job.Controller{job.XenBD}, nil, "-"},
		{"XenServer without tools", job.PlatformXenServer, "", func(e *editor) {
			e.set(services+`XEN\Unplug`, hive.DWORD("DISKS", 1))
		}, []job.Controller{job.AHCI, job.NVMe}, inbox, ""},
		{"only an IDE disk", job.PlatformXenServer, "", func(e *editor) {
			e.drop(services + "storahci")
			e.drop(services + "stornvme")
			e.drop("DriverDatabase")
			e.driver("ControlSet001", "intelide", 3, false)
			e.driver("ControlSet001", "atapi", 0, true)
		}, nil, []string{`intelide\Start 3>0`, `atapi\StartOverride 0=3>`}, "does not say"},
		{"Hyper-V's drivers", job.PlatformAzure, "", func(e *editor) {
			e.driver("ControlSet001", "vmbus", 0, true)
			e.driver("ControlSet001", "storvsc", 3, true)
			e.driver("ControlSet001", "storflt", 3, true)
		}, []job.Controller{job.VMBus}, []string{`vmbus\StartOverride 0=3>`, `storvsc\Start 3>0`, `storvsc\StartOverride 0=3>`, `storflt\StartOverride 0=3>`}, ""},
		{"virtio", job.PlatformGCP, "", func(e *editor) {
			e.driver("ControlSet001", "vioscsi", 0, true)
			e.set(`DriverDatabase\DeviceIds\PCI\VEN_1AF4&DEV_1048`)
		}, []job.Controller{job.VirtIO, job.NVMe}, []string{`vioscsi\StartOverride 0=3>`, inbox[1]}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			spec := small()
			spec.Build = c.build
			img, d := windisk.Cached(t, spec)
			if c.change != nil {
				edit(t, img, d, offline.PathSystem, c.change)
			}
			p := plan(t, d, c.platform, d.Size())
			if p.Firmware != job.BIOS || !slices.Equal(p.Controllers, c.want) {
				t.Errorf("%s, controllers %v, want %v", p.Firmware, p.Controllers, c.want)
			}
			if got := brief(p.FixUps); !slices.Equal(got, c.fixUps) && c.warning != "-" {
				t.Errorf("fix-ups\n%q, want\n%q", got, c.fixUps)
			} else if c.warning == "-" && strings.Contains(fmt.Sprint(got), "Unplug") {
				t.Errorf("fix-ups %q: the emulated disk is to be taken away still", got)
			}
			if c.warning == "" && len(p.Warnings) > 0 || len(c.warning) > 1 && (len(p.Warnings) != 1 || !strings.Contains(p.Warnings[0], c.warning)) {
				t.Errorf("warnings %q, want %q", p.Warnings, c.warning)
			}
			apply(t, d, p, c.platform, d.Size())
		})
	}
}

// Readers that are not ours find in the registry what is reported and nothing
// else, and the file system as sound as it was.
func TestReadersAgree(t *testing.T) {
	for name, change := range map[string]func(s *winimage.Spec){
		"clean":            func(*winimage.Spec) {},
		"hive with a log":  func(s *winimage.Spec) { s.DirtySystemHiveWithLogs = true },
		"sectors of 4 KiB": func(s *winimage.Spec) { s.SectorSize = 4096 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spec := small()
			change(&spec)
			img, d := windisk.Cached(t, spec)
			c := windisk.Windows(t, img)
			p := plan(t, d, job.PlatformVSphere, d.Size())
			if p.Build != 19045 || p.Server || p.Product != "Windows 10 Enterprise" {
				t.Errorf("it is %+v", p)
			}
			wantFixUps := 4
			if spec.DirtySystemHiveWithLogs {
				wantFixUps++
				if last := p.FixUps[4]; last.What != offline.PathSystem || !strings.Contains(last.New, "2 entries") {
					t.Errorf("%+v", last)
				}
			}
			if len(p.FixUps) != wantFixUps {
				t.Errorf("%d fix-ups: %q", len(p.FixUps), brief(p.FixUps))
			}
			out := apply(t, d, p, job.PlatformVSphere, d.Size())
			before := windisk.File(t, d, c, offline.PathSystem)
			after := windisk.File(t, out, c, offline.PathSystem)
			if spec.DirtySystemHiveWithLogs { // reglookup knows no logs
				spec.DirtySystemHiveWithLogs = false
				img, clean := windisk.Cached(t, spec)
				c := windisk.Windows(t, img)
				before = windisk.File(t, clean, c, offline.PathSystem)
			}
			want := []string{
				"+/ControlSet001/Services/LSI_SAS/Start,DWORD,0x00000000,",
				"-/ControlSet001/Services/LSI_SAS/Start,DWORD,0x00000003,",
			}
			for _, name := range []string{"pvscsi", "storahci", "stornvme"} {
				path := "/ControlSet001/Services/" + name + "/StartOverride"
				want = append(want, "-"+path+",KEY,,2021-02-12 09:30:00", "-"+path+"/0,DWORD,0x00000003,")
			}
			if got := differences(reglookup(t, before), reglookup(t, after)); !slices.Equal(got, want) {
				t.Errorf("reglookup sees the changes\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			volume := export(t, out, c.StartBytes, c.SizeBytes)
			// It has something against the copy of the boot sector before, too.
			was := export(t, d, c.StartBytes, c.SizeBytes)
			if got, want := ntfsfix(t, volume), ntfsfix(t, was); got != want || !strings.Contains(got, "MFTMirr completed successfully") {
				t.Errorf("ntfsfix: %s, before: %s", got, want)
			}
			if text := tool(t, "ntfscat", volume, "Windows/System32/config/SYSTEM"); text != string(after) {
				t.Errorf("ntfscat reads %d bytes, which are not SYSTEM", len(text))
			}
			written := 0
			for _, w := range p.Writes {
				written += len(w.Data)
				if w.Offset < c.StartBytes || w.Offset+int64(len(w.Data)) > c.StartBytes+c.SizeBytes {
					t.Errorf("a write of %d bytes at %d is not on C:", len(w.Data), w.Offset)
				}
			}
			t.Logf("%d bytes in %d writes", written, len(p.Writes))
		})
	}
}

// ntfsfix gives what that tool has against a volume.
func ntfsfix(t *testing.T, volume string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "ntfsfix", "-n", volume).CombinedOutput()
	if err != nil && len(out) == 0 {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(out), volume, "volume")
}

// Every Windows on the disk is fixed up, and said which one.
func TestSeveralWindows(t *testing.T) {
	spec := small()
	spec.SizeBytes, spec.Data = 256*mib, []winimage.Data{{Letter: "D", MiB: 64, Windows: true}}
	img, d := windisk.Cached(t, spec)
	p := plan(t, d, job.PlatformVSphere, d.Size())
	got := brief(p.FixUps)
	if len(got) != 8 || got[0] != `partition 1: pvscsi\StartOverride 0=3>` || got[4] != `partition 2: pvscsi\StartOverride 0=3>` {
		t.Errorf("fix-ups %q", got)
	}
	apply(t, d, p, job.PlatformVSphere, d.Size())

	edit(t, img, d, offline.PathSystem, func(e *editor) { e.drop(`ControlSet001\Services\pvscsi`) })
	if p := plan(t, d, job.PlatformVSphere, d.Size()); !slices.Equal(p.Controllers, []job.Controller{job.LSISAS, job.AHCI, job.NVMe}) {
		t.Errorf("controllers %v: the first Windows has no driver for all", p.Controllers)
	}
	edit(t, img, d, offline.PathSystem, func(e *editor) {
		e.drop("DriverDatabase")
		for _, name := range []string{"storahci", "stornvme", "LSI_SAS"} {
			e.drop(`ControlSet001\Services\` + name)
		}
		e.driver("ControlSet001", "LSI_SCSI", 0, false)
	})
	p = plan(t, d, job.PlatformVSphere, d.Size())
	if !slices.Equal(p.Controllers, []job.Controller{job.LSI}) || !strings.Contains(strings.Join(p.Warnings, "\n"), "has no driver for the controllers of the first one") {
		t.Errorf("controllers %v, warnings %q", p.Controllers, p.Warnings)
	}
}

func TestServer(t *testing.T) {
	img, d := windisk.Cached(t, small())
	edit(t, img, d, offline.PathSoftware, func(e *editor) {
		e.set(`Microsoft\Windows NT\CurrentVersion`, hive.SZ("InstallationType", "Server Core"), hive.SZ("ProductName", "Windows Server 2025 Standard"), hive.SZ("CurrentBuild", "26100"))
	})
	p := plan(t, d, job.PlatformVSphere, d.Size())
	if !p.Server || p.Build != 26100 || p.Product != "Windows Server 2025 Standard" || slices.Contains(p.Controllers, job.LSISAS) {
		t.Errorf("%+v", p)
	}
	for name, change := range map[string]func(e *editor){
		"no build": func(e *editor) { e.set(`Microsoft\Windows NT\CurrentVersion`, hive.SZ("CurrentBuild", "many")) },
		"no key":   func(e *editor) { e.drop(`Microsoft\Windows NT\CurrentVersion`) },
	} {
		edit(t, img, d, offline.PathSoftware, change)
		p := plan(t, d, job.PlatformVSphere, d.Size())
		if p.Build != 0 || len(p.Warnings) != 1 || slices.Contains(p.Controllers, job.LSISAS) {
			t.Errorf("%s: %+v", name, p)
		}
	}
}
