package pvstarget

import (
	"slices"
	"strings"
	"testing"

	"imageport/engine/windows/hive"
	"imageport/job"
)

// What speaks against an upgrade.
func TestRefuse(t *testing.T) {
	for _, c := range []struct {
		name    string
		change  func(f *Facts)
		want    job.Code
		message string
	}{
		{"nothing", func(*Facts) {}, "", ""},
		{"the oldest", func(f *Facts) { f.Build = 14393 }, "", ""},
		{"a pending reboot", func(f *Facts) { f.PendingReboot = []string{"RebootPending"} }, "", ""},
		{"x86", func(f *Facts) { f.Arch = "x86" }, job.NotX64, "is for x86"},
		{"arm64", func(f *Facts) { f.Arch = "arm64" }, job.NotX64, "is for arm64"},
		{"no kernel", func(f *Facts) { f.Arch = "" }, job.NotX64, "ntoskrnl.exe"},
		{"Windows 7", func(f *Facts) { f.Product, f.Build = "Windows 7 Enterprise", 7601 }, job.OSTooOld, "Windows 7 Enterprise is build 7601"},
		{"no build", func(f *Facts) { f.Product, f.Build = "", 0 }, job.OSTooOld, "cannot be told"},
		{"sysprep", func(f *Facts) { f.SetupPending = "SetupType=2" }, job.SetupPending, "SetupType=2"},
		{"contradictions", func(f *Facts) { f.Broken = "there is no product" }, job.PVSRegistrationBroken, "there is no product"},
		{"not installed", func(f *Facts) { f.DisplayName, f.Version, f.Services = "", "", nil }, job.PVSNotInstalled, "Windows 10"},
		{"what an installer left without files", func(f *Facts) {
			f.DisplayName, f.Version, f.Services = "", "", []Service{{Name: "CFsDep2"}, {Name: "BNDevice", HasFile: true, Deleted: true}}
		}, job.PVSNotInstalled, "Windows 10"},
		{"not listed, with services", func(f *Facts) { f.DisplayName, f.Version = "", "" }, job.PVSRegistrationBroken, "bnistack, BNDevice, CFsDep2, CVhdMp"},
	} {
		f := installed(t, "7.33").inspect(Options{})
		c.change(&f)
		err := Refuse(f)
		if c.want == "" && err == nil {
			continue
		}
		t.Run(c.name, func(t *testing.T) { refused(t, err, c.want, c.message) })
	}
}

// Everything that is not as it was wanted is told.
func TestVerify(t *testing.T) {
	const program = `C:\Program Files\Citrix\Provisioning Services\StatusTray.exe`
	want := Want{ProductVersion: "7.40", Services: []string{"bnistack", "BNDevice", "CFsDep2", "CVhdMp", "MyService"}, Files: []string{program}}
	for _, c := range []struct {
		name   string
		change func(r *registry)
		want   func(w *Want)
		wrong  []string // a part of each
	}{
		{"all is well", nil, nil, nil},
		{"no services asked for", nil, func(w *Want) { w.Services, w.Files = nil, nil }, nil},
		{"the installer lied", func(r *registry) {
			r.software.Key(pathUninstall, code).Set(hive.SZ("DisplayVersion", "7.33.0.100"))
		}, nil, []string{`version "7.33.0.100" of ` + name + " is installed, and not 7.40"}},
		{"nothing was wanted", nil, func(w *Want) { w.ProductVersion = "" }, []string{"and not "}},
		{"uninstalled", func(r *registry) {
			r.software.Key(pathUninstall).DeleteKey(code)
			r.software.Key("Classes", "Installer").DeleteKey("Products")
			r.software.Key("Microsoft", "Windows", "CurrentVersion").DeleteKey("Installer")
		}, nil, []string{"not in the list"}},
		{"half uninstalled", func(r *registry) { r.software.Key(pathUninstall).DeleteKey(code) }, nil, []string{"not in the list", "contradicts itself"}},
		{"of another name", nil, func(w *Want) { w.NamePattern = "^IPS" }, []string{"not in the list"}},
		{"no pattern", nil, func(w *Want) { w.NamePattern = "(" }, []string{"the pattern"}},
		{"services", func(r *registry) {
			r.system.Key(`ControlSet001\Services`).DeleteKey("CVhdMp")
			r.system.Key(`ControlSet001\Services\bnistack`).Set(hive.DWORD("DeleteFlag", 1))
			r.system.Key(`ControlSet001\Services\MyService`).Delete("ImagePath")
			delete(r.files, `\Windows\System32\drivers\CfsDep2.sys`)
		}, nil, []string{"bnistack is to be removed", `CFsDep2 has no \Windows\System32\drivers\CfsDep2.sys`, "CVhdMp is not there", "MyService does not say"}},
		{"a file", func(r *registry) { clear(r.files) }, func(w *Want) { w.Services = nil }, []string{"there is no " + program}},
		{"set-up", func(r *registry) { r.system.Key("Setup").Set(hive.DWORD("OOBEInProgress", 1)) }, nil, []string{"OOBEInProgress"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := installed(t, "7.40.0.50")
			r.service("MyService", 0x10, `C:\my.exe`, `\my.exe`)
			r.files[program[2:]] = true
			w := want
			if c.want != nil {
				c.want(&w)
			}
			if c.change != nil {
				c.change(r)
			}
			o := w.Options()
			if o.NamePattern == "(" { // which Inspect refuses
				o.NamePattern = ""
			}
			got := Verify(r.inspect(o), w)
			if len(got) != len(c.wrong) {
				t.Fatalf("%q", got)
			}
			for i := range got {
				if !strings.Contains(got[i], c.wrong[i]) {
					t.Errorf("%q does not tell of %q", got[i], c.wrong[i])
				}
			}
		})
	}
	// Facts that were not read for what is wanted do not pass.
	got := Verify(installed(t, "7.40.0.50").inspect(Options{}), want)
	if len(got) != 2 || !slices.Contains(got, "the service MyService is not there") {
		t.Errorf("%q", got)
	}
	if got := Verify(installed(t, "7.40.0.50").inspect(Options{}), Want{ProductVersion: "7.40", NamePattern: "^IPS"}); len(got) != 1 {
		t.Errorf("%q", got)
	}
}

func TestCompare(t *testing.T) {
	ascending := []string{
		"", "7", "7.6.300", "7.9", "7.10", "7.33.0.100", "7.41", "7.41.100.7", "7.41.100.62", "7.41.100.62a", "7.041.101", "8",
		"18446744073709551616", "18446744073709551617.1",
	}
	for i, a := range ascending {
		for j, b := range ascending {
			want := 0
			if i != j {
				want = 1
				if i < j {
					want = -1
				}
			}
			if got := Compare(a, b); got != want {
				t.Errorf("%q and %q: %d", a, b, got)
			}
		}
	}
	for _, same := range [][2]string{{"7.40", "7.40.0.0"}, {"7.040", "7.40"}, {" 7.40 ", "7.40"}, {"", "0"}, {"7. 40", "7.40"}} {
		if Compare(same[0], same[1]) != 0 || Compare(same[1], same[0]) != 0 {
			t.Errorf("%q are not the same", same)
		}
	}
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		have, want string
		is         bool
	}{
		{"7.40.0.50", "7.40", true}, {"7.40.0.50", "7.40.0.50", true}, {"7.40", "7.40.0", true}, {"7.41.100.62", "7.41.100.062", true},
		{"7.40.0.50", "7.4", false}, {"7.4", "7.40", false}, {"7.40", "7.40.0.50", false}, {"7.33.0.100", "7.40", false},
		{"", "", false}, {"", "7.40", false}, {"7.40", "", false}, {"7.40", "latest", false}, {"", "0", false},
	} {
		if got := Matches(c.have, c.want); got != c.is {
			t.Errorf("%q is a %q: %t", c.have, c.want, got)
		}
	}
}
