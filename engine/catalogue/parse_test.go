package catalogue_test

import (
	"reflect"
	"strings"
	"testing"

	"imageport/engine/catalogue"
	"imageport/firstboot/plan"
	"imageport/job"
)

const hashA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
const hashB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

// list makes a catalogue of installers that have all that is needed beside those
// keys.
func list(installers ...string) string {
	for i, in := range installers {
		s := "{" + in
		for key, value := range map[string]string{"version": "2311", "file": "2311/PVS_Device_x64.exe", "sha256": hashA, "productVersion": "7.41.100.62"} {
			if !strings.Contains(in, `"`+key+`"`) {
				s += `,"` + key + `":"` + value + `"`
			}
		}
		installers[i] = strings.Replace(s, "{,", "{", 1) + "}"
	}
	return `{"installers":[` + strings.Join(installers, ",\n") + `]}`
}

func parse(t *testing.T, text string) *catalogue.Catalogue {
	t.Helper()
	c, err := catalogue.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDefaults(t *testing.T) {
	want := catalogue.Installer{
		Product: "pvs-target", Version: "2311", Arch: "x64", File: "2311/PVS_Device_x64.exe", SHA256: hashA, ProductVersion: "7.41.100.62",
		Args:    `/S /v"/qn /norestart /l*v C:\ProgramData\imageport-firstboot\logs\pvs-msi.log"`,
		OKCodes: []int{0}, RebootCodes: []int{3010, 1641}, RetryCodes: []int{1618}, TimeoutMinutes: 45, Session: "console",
		Verify: catalogue.Verify{DisplayName: `^Citrix Provisioning( Services)? Target Device`},
	}
	c := parse(t, list(""))
	if len(c.Installers) != 1 || !reflect.DeepEqual(c.Installers[0], want) || len(c.Warnings) != 0 {
		t.Errorf("got %+v", c)
	}
	c = parse(t, list(`"file":"a.MSI"`))
	if args := c.Installers[0].Args; args != `/qn /norestart /l*v C:\ProgramData\imageport-firstboot\logs\pvs-msi.log` {
		t.Errorf("a package has the arguments %s", args)
	}
	if c := parse(t, list(`"args":"","okCodes":[0,-1],"rebootCodes":[],"retryCodes":null`)); c.Installers[0].Args != "" ||
		!reflect.DeepEqual(c.Installers[0].OKCodes, []int{0, 4294967295}) || len(c.Installers[0].RebootCodes) != 0 || len(c.Installers[0].RetryCodes) != 1 {
		t.Errorf("got %+v", c.Installers[0])
	}
}

// everything is a catalogue as somebody on Windows writes it.
const everything = "\ufeff" + `{
  "comment": "ours",
  "installers": [{
    "Product": "PVS-Target", "version": " 2311 ", "arch": "X64",
    "file": "2311\\Device\\setup.exe", "sha256": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "productVersion": "7.41",
    "args": "/S", "okCodes": [0, 5], "rebootCodes": [3010], "retryCodes": [],
    "timeoutMinutes": 20, "session": "service", "signer": "Citrix Systems, Inc.", "minFrom": "7.15",
    "verify": {"displayName": "^IPS Test", "services": ["bnistack"], "files": ["C:\\x.sys"], "sevices": []},
    "prerequisites": [
      {"name": "VC++", "file": "vc/setup.exe", "sha256": "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "args": "/q"},
      {"file": "dotnet/a.msi", "sha256": "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "okCodes": [0, 1618], "timeoutMinutes": 5}
    ],
    "repair": ["rundll32.exe setupapi.dll,InstallHinfSection DefaultInstall 132 %ProgramFiles%\\cfsdep2.inf"]
  }]
}
`

func TestEverything(t *testing.T) {
	c := parse(t, everything)
	in := c.Installers[0]
	if in.String() != "pvs-target 2311 (x64)" || in.File != "2311/Device/setup.exe" || in.SHA256 != hashA || in.MinFrom != "7.15" ||
		in.Verify.Services[0] != "bnistack" || in.Prerequisites[1].Name != "a.msi" || in.Prerequisites[0].TimeoutMinutes != 45 {
		t.Errorf("got %+v", in)
	}
	if want := []string{`line 2: the catalogue: the key "comment" is not known, and is ignored`, `line 9: installers[0].verify: the key "sevices" is not known, and is ignored`}; !reflect.DeepEqual(c.Warnings, want) {
		t.Errorf("warnings %q", c.Warnings)
	}
	files := []catalogue.File{{Path: "vc/setup.exe", Name: "setup.exe", SHA256: hashB}, {Path: "dotnet/a.msi", Name: "a.msi", SHA256: hashB}, {Path: "2311/Device/setup.exe", Name: "2-setup.exe", SHA256: hashA}}
	if got := catalogue.Files(in); !reflect.DeepEqual(got, files) {
		t.Errorf("files %+v", got)
	}
	const folder = `C:\ProgramData\imageport-firstboot\files\`
	want := []plan.Step{
		{Name: "prerequisite VC++", Command: `"` + folder + `setup.exe" /q`, File: "setup.exe", SHA256: hashB,
			OK: []int{0}, Reboot: []int{3010, 1641}, Retry: []int{1618}, TimeoutSeconds: 2700, Session: "console"},
		{Name: "prerequisite a.msi", Command: `"%SystemRoot%\System32\msiexec.exe" /i "` + folder + `a.msi"`, File: "a.msi", SHA256: hashB,
			OK: []int{0, 1618}, Reboot: []int{3010, 1641}, TimeoutSeconds: 300, Session: "console"},
		{Name: "install pvs-target 2311", Command: `"` + folder + `2-setup.exe" /S`, File: "2-setup.exe", SHA256: hashA,
			Detect: []plan.Detect{{Key: `SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall`, NamePattern: "^IPS Test", Version: "7.41"}},
			OK:     []int{0, 5}, Reboot: []int{3010}, Retry: []int{}, TimeoutSeconds: 1200, Session: "service"},
		{Name: "repair 1", Command: in.Repair[0], OK: []int{0}, TimeoutSeconds: 300, Session: "service", Optional: true},
	}
	if got := catalogue.Steps(in); !reflect.DeepEqual(got, want) {
		t.Errorf("steps\n%+v; want\n%+v", got, want)
	}
}

func TestRefused(t *testing.T) {
	for _, tc := range []struct{ text, says string }{
		{"", "line 1: it is not JSON"},
		{"{\n\"installers\": [\n}", "line 3: it is not JSON"},
		{"{} x", "it is not JSON"},
		{"[]", "line 1: the catalogue: it is not an object"},
		{"{}", "there is no list of installers"},
		{"\xff\xfe{", "UTF-8"},
		{`{"installers":{}}`, "installers: it is not a list"},
		{`{"installers":[7]}`, "installers[0]: it is not an object"},
		{`{"installers":[],"installers":[]}`, "twice"},
		{strings.Repeat(" ", 2<<20), "2097152 bytes, more than"},
		{list(`"product":"vda"`), `"vda" is not a product`},
		{list(`"version":""`), `installers[0].version: "" is not a version`},
		{list("\n\"version\":2311"), "line 2: installers[0].version: it is a number, and must be a text"},
		{list(`"version":"23/11"`), `"23/11" is not a version`},
		{list(`"arch":"amd64"`), `installers[0].arch: "amd64" is none of`},
		{list(`"file":"../a.exe"`), "leads somewhere else"},
		{list(`"file":"\\a.exe"`), "is absolute"},
		{list(`"file":"C:\\a.exe"`), "names a drive or a stream"},
		{list(`"file":"a.exe:b.exe"`), "names a drive or a stream"},
		{list(`"file":"a//b.exe"`), "has an empty name"},
		{list(`"file":"a /b.exe"`), "ends in a dot or a space"},
		{list(`"file":"%TEMP%/b.exe"`), "for a variable"},
		{list(`"file":"a\u0000.exe"`), "cannot be printed"},
		{list(`"file":"2311/nul.exe"`), `file "nul.exe": the name of a file`},
		{list(`"file":"a.cmd"`), "neither a program (.exe) nor a package (.msi)"},
		{list(`"sha256":"12"`), `"12" is not a hash`},
		{list(`"productVersion":"7.x"`), `"7.x" is not a version`},
		{list(`"minFrom":"old"`), "installers[0].minFrom"},
		{list(`"okCodes":["0"]`), "installers[0].okCodes"},
		{list(`"okCodes":[0,3010]`), "3010 is in okCodes already"},
		{list(`"okCodes":[4294967296]`), "not an exit code of 32 bits"},
		{list(`"okCodes":[],"rebootCodes":[]`), "no exit code is a success"},
		{list(`"timeoutMinutes":0`), "0 is not from 1 to 720"},
		{list(`"session":"desktop"`), `"desktop" is neither`},
		{list(`"args":"a\nb"`), "installers[0].args"},
		{list(`"verify":{"displayName":"("}`), "not a regular expression"},
		{list(`"verify":{"displayName":""}`), "would be any program"},
		{list(`"verify":{"services":["a\\b"]}`), "not the name of a service"},
		{list(`"verify":[]`), "installers[0].verify: it is not an object"},
		{list(`"repair":[" "]`), "not a command line"},
		{list(`"prerequisites":[{}]`), `installers[0].prerequisites[0].file: ""`},
		{list(`"prerequisites":[{"file":"a.exe","sha256":"` + hashA + `"},{"file":"A.exe","sha256":"` + hashB + `"}]`), "two of them have the name"},
		{list(`"prerequisites":[` + strings.Repeat("0,", 99) + `0]`), "there are 100, and the runner takes"},
		{list(`"args":"` + strings.Repeat("a", 9000) + `"`), "the runner in the guest would refuse it"},
		{list(``, `"version":"2311 "`), "line 2: installers[1] is pvs-target 2311 (x64), as is the one in line 1"},
	} {
		_, err := catalogue.Parse([]byte(tc.text))
		if job.CodeOf(err) != job.CatalogueInvalid || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%.200s: got %v; want %s", tc.text, err, tc.says)
		}
	}
	// All at once.
	_, err := catalogue.Parse([]byte("{\"installers\":[{\n\"version\":\"\",\n\"sha256\":\"\"}]}"))
	for _, part := range []string{"line 2: installers[0].version", "line 3: installers[0].sha256", "line 1: installers[0].file", "line 1: installers[0].productVersion"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q is missing in %v", part, err)
		}
	}
}

func TestFind(t *testing.T) {
	c := parse(t, list(`"version":"2311"`, `"version":"2402 LTSR","productVersion":"7.41.0"`, `"version":"2402 LTSR","arch":"x86"`, `"version":"1912","arch":"x86"`))
	for _, tc := range []struct {
		version, arch string
		want          int
		says          string
	}{
		{"2311", "x64", 0, ""},
		{" 2402 ltsr\t", "x64", 1, ""},
		{"2402 LTSR", "x86", 2, ""},
		{"7.41.100.62", "x64", 0, ""},
		{"7.41", "x64", 1, ""},
		{"2203", "x64", -1, `no installer of pvs-target "2203" for a Windows of x64; it has 2311, 2402 LTSR`},
		{"", "x64", -1, "it has 2311, 2402 LTSR"},
		{"1912", "x64", -1, "has pvs-target 1912 for x86 only; for a Windows of x64 it has 2311, 2402 LTSR"},
		{"2311", "arm64", -1, "for x64 only; for a Windows of arm64 it has none"},
	} {
		in, err := c.Find(catalogue.ProductPVSTarget, tc.version, tc.arch)
		switch {
		case tc.want >= 0 && (err != nil || !reflect.DeepEqual(in, c.Installers[tc.want])):
			t.Errorf("%q for %s: %v, %v", tc.version, tc.arch, in, err)
		case tc.want < 0 && (job.CodeOf(err) != job.InstallerNotFound || !strings.Contains(err.Error(), tc.says)):
			t.Errorf("%q for %s: %v", tc.version, tc.arch, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(everything))
	f.Add([]byte(list("", `"version":"2","file":"a.msi"`)))
	f.Add([]byte(`{"installers":[{"verify":null,"prerequisites":null,"okCodes":null}],"x":{}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := catalogue.Parse(text)
		if err != nil {
			if job.CodeOf(err) != job.CatalogueInvalid {
				t.Errorf("%v", err)
			}
			return
		}
		for _, in := range c.Installers {
			p := plan.Plan{Version: plan.Version, Job: "j", MaxBoots: 1, DeadlineSeconds: 1, Steps: catalogue.Steps(in)}
			if err := p.Validate(); err != nil {
				t.Errorf("%v: %v", in, err)
			}
			if got, err := c.Find(in.Product, in.Version, in.Arch); err != nil || !reflect.DeepEqual(got, in) {
				t.Errorf("%v is not found: %v", in, err)
			}
		}
	})
}
