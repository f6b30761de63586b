package share

import (
	"strings"
	"testing"

	"imageport/job"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		text string
		loc  Location
		file string
	}{
		{"smb://fs1/pvs/win10.vhdx", Location{Host: "fs1", Share: "pvs"}, "win10.vhdx"},
		{"SMB://fs1/pvs/win10.vhdx", Location{Host: "fs1", Share: "pvs"}, "win10.vhdx"},
		{"smb://me@fs1/pvs/a/b/win10.vhdx", Location{Host: "fs1", Share: "pvs", Folder: "a/b", User: "me"}, "win10.vhdx"},
		{"smb://CORP;me@fs1/pvs/x", Location{Host: "fs1", Share: "pvs", User: `CORP\me`}, "x"},
		{`smb://CORP%5Cme@fs1/pvs/x`, Location{Host: "fs1", Share: "pvs", User: `CORP\me`}, "x"},
		{`smb://CORP\me@fs1/pvs/x`, Location{Host: "fs1", Share: "pvs", User: `CORP\me`}, "x"},
		{"smb://me%40corp.example@fs1/pvs/x", Location{Host: "fs1", Share: "pvs", User: "me@corp.example"}, "x"},
		{"smb://me@corp.example@fs1/pvs/x", Location{Host: "fs1", Share: "pvs", User: "me@corp.example"}, "x"},
		{"smb://fs1:4450/pvs/a%20b/100%25%23.vhdx", Location{Host: "fs1", Port: 4450, Share: "pvs", Folder: "a b"}, "100%#.vhdx"},
		{"smb://fs1:445/pvs/a b/c d", Location{Host: "fs1", Share: "pvs", Folder: "a b"}, "c d"},
		{"smb://fs1/pvs", Location{Host: "fs1", Share: "pvs"}, ""},
		{"smb://fs1/pvs/", Location{Host: "fs1", Share: "pvs"}, ""},
		{"smb://fs1/pvs//a//b/", Location{Host: "fs1", Share: "pvs", Folder: "a/b"}, ""},
		{"smb://[fd00::1]:4450/pvs/x", Location{Host: "fd00::1", Port: 4450, Share: "pvs"}, "x"},
		{"smb://[fd00::1]/pvs/x", Location{Host: "fd00::1", Share: "pvs"}, "x"},
		{`\\fs1.corp.example\pvs$\a\b\win10.vhdx`, Location{Host: "fs1.corp.example", Share: "pvs$", Folder: "a/b"}, "win10.vhdx"},
		{`\\10.0.0.1\pvs\100%.vhdx`, Location{Host: "10.0.0.1", Share: "pvs"}, "100%.vhdx"},
		{`\\fs1\pvs\me@home#1.vhdx`, Location{Host: "fs1", Share: "pvs"}, "me@home#1.vhdx"},
		{`\\fd00::1\pvs\a\`, Location{Host: "fd00::1", Share: "pvs", Folder: "a"}, ""},
		{"//fs1/pvs/a/b", Location{Host: "fs1", Share: "pvs", Folder: "a"}, "b"},
		{"fs1/pvs/a/é 日本.vhdx", Location{Host: "fs1", Share: "pvs", Folder: "a"}, "é 日本.vhdx"},
		{`fs1\pvs\a\b`, Location{Host: "fs1", Share: "pvs", Folder: "a"}, "b"},
		{"fs_1:4450/pvs/x", Location{Host: "fs_1", Port: 4450, Share: "pvs"}, "x"},
	} {
		loc, file, err := Parse(c.text)
		if err != nil || loc != c.loc || file != c.file {
			t.Errorf("%s: %+v, %q, %v", c.text, loc, file, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for text, why := range map[string]string{
		"":                                  "no server",
		"smb://":                            "no server",
		"/var/lib/x.vhdx":                   "no server",
		`\\`:                                "no server",
		"///fs1/pvs/x":                      "no server",
		"fs1":                               "no share",
		"smb://fs1/":                        "no share",
		"http://fs1/pvs/x":                  "not smb",
		"smb://me:hunter2@fs1/pvs/x":        "password",
		"smb://CORP;me:hunter2@fs1/pvs/x":   "password",
		"smb://me:hunter2/x@fs1/pvs/x":      "port",
		"smb://me:hunter2%zz@fs1/pvs/x":     "password",
		"smb://@fs1/pvs/x":                  "user name",
		"smb://%zz@fs1/pvs/x":               "user name",
		"smb://fs1/pvs/x?y":                 "%23",
		"smb://fs1/pvs/x#y":                 "%23",
		"smb://fs1/pvs/100%.vhdx":           "%25",
		"smb://fs1/pvs/a%2Fb/x":             "separator",
		"smb://fs1/pvs/a%5Cb":               "separator",
		"smb://fs1/p%2Fvs/b":                "separator",
		"smb://fs1:0/pvs/x":                 "port",
		"smb://fs1:/pvs/x":                  "port",
		"smb://fs1:+445/pvs/x":              "port",
		"smb://fs1:65536/pvs/x":             "port",
		"smb://[fs1]/pvs/x":                 "IPv6",
		"smb://[fd00::1/pvs/x":              "IPv6",
		"smb://[fd00::1]x/pvs/x":            "IPv6",
		"smb://fs 1/pvs/x":                  "server",
		`\\me@fs1\pvs\x`:                    "user name",
		`\\?\UNC\fs1\pvs\x`:                 "server",
		`\\fs1\pvs\..\x`:                    "folder",
		`\\fs1\pvs\a\..`:                    "folder",
		`\\fs1\pvs\x:stream`:                "stream",
		`\\fs1\pvs\a?`:                      "reserves",
		`C:\disks\x.vhdx`:                   "port",
		"smb://fs1/pvs/" + "\xff" + "/x":    "UTF-8",
		"smb://fs1/pvs/%00":                 "control",
		`\\fs1\` + strings.Repeat("x", 256): "longer",
	} {
		loc, file, err := Parse(text)
		if job.CodeOf(err) != job.BadRequest || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %+v, %q, %v; want an error that says %q", text, loc, file, err, why)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: the error repeats the password: %v", text, err)
		}
	}
}

// FuzzParse: what is accepted is a place that Dial would accept, and its URL is
// read back as the same.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"smb://CORP;me@fs1:4450/pvs/a%20b/win10.vhdx", `\\fs1\pvs\a\b`, "fs1/pvs/x/", "smb://[fd00::1]:1/a/b",
		`\\fd00::1\pvs`, "smb://a%5Cb%40c@h/s/%25%23", "//h/s//a//", "smb://1.2.3.4/a/b",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		loc, file, err := Parse(s)
		if err != nil {
			if job.CodeOf(err) != job.BadRequest {
				t.Fatalf("%q: %v has no code", s, err)
			}
			return
		}
		if err := loc.check(); err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		if file != "" && checkName(file) != nil {
			t.Fatalf("%q: file %q", s, file)
		}
		again, none, err := Parse(loc.URL() + "/")
		if err != nil || again != loc || none != "" {
			t.Fatalf("%q: %+v has the URL %s, which is %+v, %q, %v", s, loc, loc.URL(), again, none, err)
		}
	})
}
