package pvstarget

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"imageport/engine/windows/hive"
	"imageport/job"
)

// The software as its installer registers it.
func TestInstalled(t *testing.T) {
	f := installed(t, "7.41.100.62").inspect(Options{})
	if f.Version != "7.41.100.62" || f.DisplayName != name || f.ProductCode != code || f.Broken != "" || len(f.Warnings) > 0 {
		t.Errorf("%+v", f)
	}
	const citrix = `\Program Files\Citrix\Provisioning Services\`
	want := []Service{
		{"bnistack", 2, `\Windows\System32\drivers\bnistack6.sys`, true, false},
		{"BNDevice", 2, citrix + "BNDevice.exe", true, false},
		{"CFsDep2", 2, `\Windows\System32\drivers\CfsDep2.sys`, true, false},
		{"CVhdMp", 2, `\Windows\System32\drivers\CVhdMp.sys`, true, false},
	}
	if !slices.Equal(f.Services, want) {
		t.Errorf("services %+v", f.Services)
	}
	if f.SetupPending != "" || len(f.PendingReboot) > 0 || f.Product != "Windows 10 Enterprise" || f.Build != 19045 || f.Server {
		t.Errorf("%+v", f)
	}
	if err := Refuse(f); err != nil {
		t.Error(err)
	}
}

// How the software is found in the list of installed programs, and how what
// Windows Installer knows agrees with that.
func TestProgram(t *testing.T) {
	unterminated := hive.SZ("DisplayName", name)
	unterminated.Data = unterminated.Data[:len(unterminated.Data)-2]
	odd := hive.SZ("DisplayName", name)
	odd.Data = append(odd.Data, 'x')
	version := hive.SZ("DisplayVersion", "7.33.0.100")
	for _, c := range []struct {
		name    string
		change  func(r *registry)
		options Options
		version string
		code    string
		broken  string // a part of it
		warning string // a part of the only one
	}{
		{"not installed", func(*registry) {}, Options{}, "", "", "", ""},
		{"7.x called it Services", func(r *registry) {
			r.install(code, "Citrix Provisioning Services Target Device x64", "7.6.300")
		}, Options{}, "7.6.300", code, "", ""},
		{"the console, not the target device", func(r *registry) { r.install(code, "Citrix Provisioning Console", "7.33") }, Options{}, "", "", "", ""},
		{"no terminator", func(r *registry) { r.list("", code, unterminated, version); r.register(code, name, "7.33") }, Options{}, "7.33.0.100", code, "", ""},
		{"half a character", func(r *registry) { r.list("", code, odd, version); r.register(code, name, "7.33") }, Options{}, "7.33.0.100", code, "", ""},
		{"a name that is no text", func(r *registry) { r.list("", code, hive.Bytes("DisplayName", []byte(name)), version) }, Options{}, "", "", "", ""},
		{"32-bit program", func(r *registry) {
			r.list(path32Bit, code, hive.SZ("DisplayName", "Citrix Provisioning Services Target Device"), version)
			r.register(code, name, "7.33")
		}, Options{}, "7.33.0.100", code, "", ""},
		{"listed by InstallShield, too", func(r *registry) {
			r.install(code, name, "7.33.0.100")
			r.list("", "InstallShield_"+strings.ToLower(code), hive.SZ("DisplayName", name), version)
		}, Options{}, "7.33.0.100", code, "", ""},
		{"two of them", func(r *registry) {
			r.install(code, name, "7.9")
			r.install(otherCode, name, "7.33.0.100")
		}, Options{}, "7.33.0.100", otherCode, "", "2 times: " + name + " 7.33.0.100; " + name + " 7.9"},
		{"another name", func(r *registry) { r.install(code, "IPS Test", "1.2") }, Options{NamePattern: "^IPS"}, "1.2", code, "", ""},
		{"a pattern for everything", func(r *registry) {
			r.software.DeleteKey("Microsoft")
			r.software.Create(`Microsoft\Windows NT\CurrentVersion`).Set(hive.SZ("CurrentBuild", "17763"))
			r.software.Create(pathProducts, "00112233445566778899AABBCCDDEEFF")
		}, Options{NamePattern: ""}, "", "", "", ""},
		{"a key below the list that is a value's", func(r *registry) { r.list("", code) }, Options{}, "", "", "", ""},
		{"huge values", func(r *registry) {
			r.list("", "{}", hive.SZ("DisplayName", strings.Repeat("x", 300_000)), hive.SZ("DisplayVersion", strings.Repeat("9", 300_000)))
			r.install(code, name+strings.Repeat(" x", 100_000), "7.33.0.100")
		}, Options{}, "7.33.0.100", code, "", ""},

		{"no version", func(r *registry) { r.list("", code, hive.SZ("DisplayName", name)); r.register(code, name, "7.33") }, Options{}, "", code, "without a version", ""},
		{"not a package", func(r *registry) { r.list("", "PVS", hive.SZ("DisplayName", name), version) }, Options{}, "7.33.0.100", "", "not as a package", ""},
		{"no product", func(r *registry) {
			r.install(code, name, "7.33")
			r.software.Key(pathProducts).DeleteKey(pack(code))
		}, Options{}, "7.33", code, `there is no SOFTWARE\Classes\Installer\Products\0E7B5A9FD2C1F3E4A8B9C0D1E2F3A4B5`, ""},
		{"no properties", func(r *registry) {
			r.install(code, name, "7.33")
			r.software.Key(pathUserData, pack(code)).DeleteKey("InstallProperties")
		}, Options{}, "7.33", code, `\InstallProperties`, ""},
		{"a product that is not listed", func(r *registry) { r.register(code, name, "7.33") }, Options{}, "", "", name + " (" + code + "), which is not in the list", ""},
		{"a product beside one that is listed", func(r *registry) {
			r.install(code, name, "7.33")
			r.software.Create(pathProducts, pack(otherCode)).Set(hive.SZ("ProductName", name))
		}, Options{}, "7.33", code, otherCode, ""},
		{"listed without a name", func(r *registry) { r.list("", code, version); r.register(code, name, "7.33") }, Options{}, "", "", code, ""},
		{"keys that are no packed GUIDs", func(r *registry) {
			r.install(code, name, "7.33")
			for _, key := range []string{"ıııııııııııııııı", strings.Repeat("g", 32), strings.Repeat("ſ", 16), "{" + strings.Repeat("0", 30) + "}"} {
				r.software.Create(pathProducts, key).Set(hive.SZ("ProductName", name))
			}
		}, Options{}, "7.33", code, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRegistry(t)
			c.change(r)
			f := r.inspect(c.options)
			if f.Version != c.version || f.ProductCode != c.code || (c.version != "") && f.DisplayName == "" {
				t.Errorf("%+v", f)
			}
			if c.broken == "" && f.Broken != "" || !strings.Contains(f.Broken, c.broken) {
				t.Errorf("broken: %q", f.Broken)
			}
			if c.warning == "" && len(f.Warnings) > 0 || c.warning != "" && (len(f.Warnings) != 1 || !strings.Contains(f.Warnings[0], c.warning)) {
				t.Errorf("warnings %q", f.Warnings)
			}
			if b, err := json.Marshal(f); err != nil || len(b) > 8<<10 {
				t.Errorf("%d bytes of JSON, %v", len(b), err)
			}
		})
	}
}

func TestPattern(t *testing.T) {
	if _, err := InspectFor(t.Context(), nil, Options{NamePattern: "("}); job.CodeOf(err) != job.CatalogueInvalid {
		t.Error(err)
	}
}

// Names of keys as Windows Installer packs them: Microsoft Office's is known from
// its documentation of product codes.
func TestPack(t *testing.T) {
	const office, packed = "{90160000-008C-0000-1000-0000000FF1CE}", "00006109C80000000100000000F01FEC"
	if got := pack(office); got != packed {
		t.Errorf("%s is packed as %s", office, got)
	}
	if got := unpack(strings.ToLower(packed)); got != office {
		t.Errorf("%s is unpacked to %s", packed, got)
	}
}

// What Windows still has to do.
func TestPending(t *testing.T) {
	const servicing = `Microsoft\Windows\CurrentVersion\Component Based Servicing\RebootPending`
	manager := func(r *registry) *hive.Key { return r.system.Key("ControlSet001", "Control", "Session Manager") }
	for _, c := range []struct {
		name   string
		change func(r *registry)
		reboot []string
		setup  string
	}{
		{"nothing", func(*registry) {}, nil, ""},
		{"renames", func(r *registry) {
			manager(r).Set(hive.MultiSZ("PendingFileRenameOperations", `\??\C:\a`, `\??\C:\b`))
		}, []string{"PendingFileRenameOperations"}, ""},
		{"an empty list of renames", func(r *registry) { manager(r).Set(hive.MultiSZ("PendingFileRenameOperations")) }, nil, ""},
		{"in another control set", func(r *registry) {
			r.system.Create("ControlSet002", "Control", "Session Manager").Set(hive.MultiSZ("PendingFileRenameOperations", "a"))
		}, nil, ""},
		{"huge", func(r *registry) {
			manager(r).Set(hive.Bytes("PendingFileRenameOperations2", make([]byte, 100_000)))
			manager(r).Set(hive.MultiSZ("PendingFileRenameOperations", strings.Repeat("a", 1<<20)))
		}, []string{"PendingFileRenameOperations"}, ""},
		{"servicing and updates", func(r *registry) {
			r.software.Create(servicing)
			r.software.Create(`Microsoft\Windows\CurrentVersion\WindowsUpdate\Auto Update\RebootRequired`)
		}, []string{"RebootPending", "RebootRequired"}, ""},
		{"no control set", func(r *registry) { r.system.DeleteKey("ControlSet001") }, nil, ""},
		{"sysprep", func(r *registry) {
			r.software.Key(`Microsoft\Windows\CurrentVersion\Setup\State`).Set(hive.SZ("ImageState", "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE"))
			r.system.Key("Setup").Set(hive.DWORD("SetupType", 2))
		}, nil, `SYSTEM\Setup has SetupType=2, ImageState is IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE`},
		{"out of the box", func(r *registry) {
			r.system.Key("Setup").Set(hive.DWORD("SystemSetupInProgress", 1)).Set(hive.DWORD("OOBEInProgress", 1))
		}, nil, `SYSTEM\Setup has SystemSetupInProgress=1, SYSTEM\Setup has OOBEInProgress=1`},
		{"no word of set-up", func(r *registry) {
			r.system.DeleteKey("Setup")
			r.software.Key(`Microsoft\Windows\CurrentVersion\Setup`).DeleteKey("State")
		}, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := installed(t, "7.33")
			c.change(r)
			f := r.inspect(Options{})
			if !slices.Equal(f.PendingReboot, c.reboot) || f.SetupPending != c.setup {
				t.Errorf("reboot %q, set-up %q", f.PendingReboot, f.SetupPending)
			}
		})
	}
}

func TestServices(t *testing.T) {
	const program = `\Program Files\My Service\a.exe`
	for _, c := range []struct {
		name   string
		change func(r *registry)
		want   Service
	}{
		{"unquoted, with spaces", func(r *registry) { r.service("x", 0x10, `C:\Program Files\My Service\a.exe -x`, program) },
			Service{Name: "x", Start: 2, File: program, HasFile: true}},
		{"by a variable", func(r *registry) { r.service("x", 0x110, `"%ProgramFiles%\My Service\a.exe" -x`, program) },
			Service{Name: "x", Start: 2, File: program, HasFile: true}},
		{"no file", func(r *registry) { r.service("x", 0x10, `"C:\gone.exe"`, "") }, Service{Name: "x", Start: 2, File: `\gone.exe`}},
		{"a driver without a path", func(r *registry) { r.service("x", 1, "", `\Windows\System32\drivers\x.sys`) },
			Service{Name: "x", Start: 2, File: `\Windows\System32\drivers\x.sys`, HasFile: true}},
		{"a program without a path", func(r *registry) { r.service("x", 0x10, "", "") }, Service{Name: "x", Start: 2}},
		{"an empty key", func(r *registry) { r.system.Create(`ControlSet001\Services\x`) }, Service{Name: "x", Start: -1}},
		{"no numbers", func(r *registry) {
			r.system.Create(`ControlSet001\Services\X`).Set(hive.SZ("Type", "1")).Set(hive.SZ("Start", "1"))
		}, Service{Name: "x", Start: -1}},
		{"to be deleted", func(r *registry) {
			r.service("x", 0x10, program, program)
			r.system.Key(`ControlSet001\Services\x`).Set(hive.DWORD("DeleteFlag", 1)).Set(hive.DWORD("Start", 0xffffffff))
		}, Service{Name: "x", Start: 255, File: program, HasFile: true, Deleted: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRegistry(t)
			c.change(r)
			if f := r.inspect(Options{Services: []string{"x", "BNISTACK", "absent"}}); len(f.Services) != 1 || f.Services[0] != c.want {
				t.Errorf("%+v", f.Services)
			}
		})
	}
}

func TestNICs(t *testing.T) {
	r := newRegistry(t)
	nic := func(device, instance string, v hive.Value) {
		r.system.Create(`ControlSet001\Enum\PCI`, device, instance).Set(v)
	}
	nic("VEN_15AD&DEV_07B0&SUBSYS_07B015AD&REV_01", "4&2b0b1&0&00A8", hive.SZ("ClassGUID", strings.ToUpper(classNet)))
	nic("VEN_15AD&DEV_07B0&SUBSYS_07B015AD&REV_01", "4&2b0b1&0&00B0", hive.SZ("ClassGUID", classNet))
	nic("VEN_8086&DEV_100F", "0", hive.SZ("Class", "Net"))
	nic("VEN_15AD&DEV_07C0", "0", hive.SZ("ClassGUID", "{4d36e97b-e325-11ce-bfc1-08002be10318}"))
	r.system.Create(`ControlSet001\Enum\PCI\VEN_1000`)
	want := []string{
		`VEN_15AD&DEV_07B0&SUBSYS_07B015AD&REV_01\4&2b0b1&0&00A8`, `VEN_15AD&DEV_07B0&SUBSYS_07B015AD&REV_01\4&2b0b1&0&00B0`, `VEN_8086&DEV_100F\0`,
	}
	if f := r.inspect(Options{}); !slices.Equal(f.NICs, want) || len(f.Warnings) > 0 {
		t.Errorf("%q, %q", f.NICs, f.Warnings)
	}
	for i := range 300 {
		nic("VEN_8086&DEV_100F", fmt.Sprint(i), hive.SZ("Class", "Net"))
	}
	if f := r.inspect(Options{}); len(f.NICs) != maxListed || len(f.Warnings) != 1 || !strings.Contains(f.Warnings[0], "46 network adapters more") {
		t.Errorf("%d, %q", len(f.NICs), f.Warnings)
	}
}

// A list that no Windows has is looked at in part, and said so.
func TestManyPrograms(t *testing.T) {
	r := newRegistry(t)
	list := r.software.Create(pathProducts)
	for i := range maxKeys + 10 {
		list.Subkeys = append(list.Subkeys, &hive.Key{Name: fmt.Sprintf("x%d", i)})
	}
	if f := r.inspect(Options{}); len(f.Warnings) != 1 || !strings.Contains(f.Warnings[0], fmt.Sprintf(`%d keys in Classes\Installer\Products`, maxKeys+10)) {
		t.Errorf("%q", f.Warnings)
	}
}

// The SYSTEM hive that a Windows 10 wrote; see hive/testdata.
func TestRealSystem(t *testing.T) {
	b, err := exec.CommandContext(t.Context(), "xz", "-dc", "../hive/testdata/win10-mbr.SYSTEM.xz").Output()
	if err != nil {
		t.Fatal(err)
	}
	f, err := read(t.Context(), parse(t, b), parse(t, build(t, installed(t, "7.33").software)), nil, Options{Services: []string{"disk", "Dhcp"}})
	if err != nil {
		t.Fatal(err)
	}
	want := []Service{
		{Name: "disk", File: `\Windows\System32\drivers\disk.sys`},
		{Name: "Dhcp", Start: 2, File: `\Windows\system32\svchost.exe -k LocalServiceNetworkRestricted -p`},
	}
	if !slices.Equal(f.Services, want) {
		t.Errorf("services %+v", f.Services)
	}
	if !slices.Equal(f.NICs, []string{`VEN_8086&DEV_10D3&SUBSYS_07D015AD&REV_00\000C29FFFFF3FFDE00`}) || !slices.Equal(f.PendingReboot, []string{"PendingFileRenameOperations"}) || f.SetupPending != "" {
		t.Errorf("%+v", f)
	}
}
