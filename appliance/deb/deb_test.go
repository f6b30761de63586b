package deb_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"imageport/appliance/deb"
)

// pack has dpkg-deb make a package of a tree with all kinds of files.
func pack(t testing.TB, compression string) []byte {
	t.Helper()
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	files := map[string]string{
		"DEBIAN/control":           "Package: sample\nVersion: 1\nArchitecture: amd64\nMaintainer: Somebody <somebody@example.com>\nDescription: a sample\n",
		"usr/bin/program":          "#!/bin/true\n",
		"usr/lib/odd":              strings.Repeat("0123456789", 5000) + "!",
		"usr/share/doc/sample/big": strings.Repeat("x", 100000),
	}
	for name, contents := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(contents), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	err := errors.Join(
		os.Chmod(filepath.Join(root, "usr/bin/program"), 0o755),
		os.Symlink("program", filepath.Join(root, "usr/bin/alias")),
		os.Link(filepath.Join(root, "usr/bin/program"), filepath.Join(root, "usr/bin/program2")),
	)
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "sample.deb")
	if said, err := exec.Command("dpkg-deb", "--root-owner-group", "-Z"+compression, "--build", root, out).CombinedOutput(); err != nil {
		t.Fatalf("dpkg-deb: %v: %s", err, said)
	}
	raw, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func all(string) bool { return true }

func TestUnpack(t *testing.T) {
	for _, compression := range []string{"xz", "zstd", "gzip", "none"} {
		tree := deb.Tree{}
		keep := func(name string) bool { return !strings.HasPrefix(name, "/usr/share/doc/") }
		if err := tree.Unpack(pack(t, compression), keep); err != nil {
			t.Errorf("%s: %v", compression, err)
			continue
		}
		if len(tree) != 4 || string(tree["/usr/bin/program"].Data) != "#!/bin/true\n" || tree["/usr/bin/program"].Perm != 0o755 ||
			string(tree["/usr/bin/program2"].Data) != "#!/bin/true\n" || tree["/usr/bin/alias"].Link != "program" || len(tree["/usr/lib/odd"].Data) != 50001 {
			t.Errorf("%s: %v", compression, tree)
		}
		if file, at, ok := tree.Find("/bin/alias"); !ok || at != "/usr/bin/program" || len(file.Data) == 0 {
			t.Errorf("%s: /bin/alias is %q", compression, at)
		}
	}
}

func TestUnpackRefusals(t *testing.T) {
	whole := pack(t, "xz")
	control := bytes.Index(whole, []byte("control.tar"))
	data := bytes.Index(whole, []byte("data.tar"))
	changed := func(at int, text string) []byte {
		b := bytes.Clone(whole)
		copy(b[at:], text)
		return b
	}
	for name, c := range map[string]struct {
		pkg  []byte
		says string
	}{
		"empty":                {nil, `begins with ""`},
		"no archive":           {[]byte("PK\x03\x04 something"), "want \"!<arch>\\n\""},
		"no members":           {whole[:8], "there is no data.tar"},
		"other format":         {changed(8, "x"), "want debian-binary"},
		"version 3":            {changed(68, "3"), "want debian-binary of version 2"},
		"damaged ar header":    {changed(control+58, "xx"), "no ar header at offset"},
		"size beyond the end":  {changed(data+48, "9999999999"), `"9999999999" bytes, the file`},
		"negative size":        {changed(data+48, "-1        "), `"-1" bytes`},
		"no data":              {changed(data, "else.tar"), "there is no data.tar"},
		"unknown compression":  {changed(data, "data.tar.lzma"), "want .xz, .zst or .gz"},
		"truncated":            {whole[:len(whole)-20], "bytes, the file"},
		"damaged in the midst": {changed(data+60+200, "\x00\x01\x02\x03\x04\x05\x06\x07"), "data.tar.xz: "},
		"damaged checksum":     {changed(len(whole)-40, "\xff\xff\xff\xff\xff\xff"), "data.tar.xz: "},
		"dictionary of 4 GiB":  {changed(dictionaryAt(t, whole[data+60:])+data+60, "\x28"), "a dictionary of 4294967296 bytes"},
	} {
		err := deb.Tree{}.Unpack(c.pkg, all)
		if !errors.Is(err, deb.ErrFormat) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	tree := deb.Tree{}
	if err := tree.Unpack(whole, all); err != nil {
		t.Fatal(err)
	}
	if err := tree.Unpack(whole, all); !errors.Is(err, deb.ErrFormat) || !strings.Contains(err.Error(), "it is there twice") {
		t.Errorf("the same package twice: %v", err)
	}
	if err := (deb.Tree{}).Unpack(whole, func(name string) bool { return name == "/usr/bin/program2" }); err == nil {
		t.Error("a hard link to what is not kept is accepted")
	}
}

// dictionaryAt finds the properties of LZMA2 in the first block of an .xz file.
func dictionaryAt(t *testing.T, xz []byte) int {
	t.Helper()
	at := bytes.Index(xz[12:36], []byte{0x21, 1})
	if at < 0 {
		t.Fatal("no filter LZMA2")
	}
	return 12 + at + 2
}

func TestFind(t *testing.T) {
	tree := deb.Tree{
		"/usr/lib64/ld.so": {Link: "../lib/x/ld.so"},
		"/usr/lib/x/ld.so": {Data: []byte("ld")},
		"/usr/bin/a":       {Link: "/bin/b"},
		"/usr/bin/b":       {Link: "a"},
		"/usr/bin/broken":  {Link: "/nowhere"},
		"/usr/bin/outside": {Link: "../../../../usr/lib/x/ld.so"},
	}
	for name, want := range map[string]string{"/lib64/ld.so": "/usr/lib/x/ld.so", "/usr/lib/../lib/x/ld.so": "/usr/lib/x/ld.so", "/bin/a": "", "/usr/bin/broken": "", "/usr/bin/outside": "/usr/lib/x/ld.so", "/": ""} {
		if _, at, ok := tree.Find(name); ok != (want != "") || ok && at != want {
			t.Errorf("%s: %q, %v; want %q", name, at, ok, want)
		}
	}
}

// TestCompareVersions has dpkg say how versions are ordered.
func TestCompareVersions(t *testing.T) {
	versions := []string{"1", "1.0", "1.0-1", "1.0-1+b1", "1.0-1+deb13u1", "1.0~rc1-1", "1.0~~", "1:0.5", "0:1.0-1", "2022.10.3-5+deb13u3", "2022.10.3-5",
		"6.12.107-1", "6.12.9-1", "1.0a", "1.0+", "1.0.", "1.a0", "1.01", "257.13-1~deb13u1", "257.13-1", "10-2-3", "99999999999999999999999999"}
	for _, a := range versions {
		for _, b := range versions {
			got := deb.CompareVersions(a, b)
			relation := map[bool]string{true: "lt", false: map[bool]string{true: "eq", false: "gt"}[got == 0]}[got < 0]
			if err := exec.Command("dpkg", "--compare-versions", a, relation, b).Run(); err != nil {
				t.Errorf("dpkg says that %s %s %s is false", a, relation, b)
			}
		}
	}
}

func TestStanzas(t *testing.T) {
	long := strings.Repeat("x", 2<<20)
	for text, want := range map[string]string{
		"Package: a\nDepends: b,\n c\n\n\n# comment\nPACKAGE: d \r\n": "map[depends:b,\nc package:a] map[package:d]",
		"":                      "",
		"\n \n":                 "",
		" folded\n":             "line 1 continues no field",
		"Package a\n":           "line 1 is no field: \"Package a\"",
		": value\n":             "line 1 is no field: \": value\"",
		"A: 1\na: 2\n":          "line 2: a second field \"a\"",
		"A: 1\n\nB: " + long:    "map[a:1] line 3: bufio.Scanner: token too long",
		"A: http://x:80/\nB:\n": "map[a:http://x:80/ b:]",
	} {
		var got []string
		for fields, err := range deb.Stanzas(strings.NewReader(text)) {
			if err != nil {
				got = append(got, err.Error())
				break
			}
			got = append(got, fmt.Sprint(fields))
		}
		if said := strings.Join(got, " "); said != want {
			t.Errorf("%.40q: %.200s, want %s", text, said, want)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	for _, compression := range []string{"xz", "zstd", "gzip", "none"} {
		f.Add(pack(f, compression))
	}
	f.Fuzz(func(t *testing.T, pkg []byte) {
		tree := deb.Tree{}
		err := tree.Unpack(pkg, all)
		if err != nil && !errors.Is(err, deb.ErrFormat) {
			t.Errorf("%v", err)
		}
		for name := range tree {
			if !filepath.IsAbs(name) || filepath.Clean(name) != name {
				t.Errorf("a file at %q", name)
			}
			tree.Find(name)
		}
	})
}

func FuzzStanzas(f *testing.F) {
	f.Add("Package: a\nDepends: b,\n c\n\n# comment\nPackage: d\n")
	f.Fuzz(func(t *testing.T, text string) {
		for fields, err := range deb.Stanzas(strings.NewReader(text)) {
			if (err == nil) == (len(fields) == 0) {
				t.Errorf("%v, %v", fields, err)
			}
		}
	})
}

func FuzzCompareVersions(f *testing.F) {
	f.Add("1:1.0-1~", "1.0+b1")
	f.Fuzz(func(t *testing.T, a, b string) {
		if deb.CompareVersions(a, b) != -deb.CompareVersions(b, a) || deb.CompareVersions(a, a) != 0 {
			t.Errorf("%q and %q are not ordered", a, b)
		}
	})
}
