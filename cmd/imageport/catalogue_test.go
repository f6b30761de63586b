package main

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imageport/engine/catalogue"
	"imageport/engine/catalogue/peversion/petest"
)

func (s diskSite) catalogue(args ...string) result {
	return call(s.t.Context(), "", append([]string{"catalogue", "--config", s.config}, args...)...)
}

// TestCatalogue goes through all commands, with a catalogue in a directory and on
// a share, given and configured.
func TestCatalogue(t *testing.T) {
	s := newDiskSite(t)
	setup := filepath.Join(s.dir, "PVS_Device_x64.exe")
	s.write(setup, petest.Installer("7.40.0.50", make([]byte, 5000)))
	newer := filepath.Join(s.dir, "PVS_Device_x64.new.exe")
	s.write(newer, petest.Installer("7.41.100.62", nil))
	given, local := filepath.Join(s.dir, "given"), filepath.Join(filepath.Dir(s.config), "installers")
	for _, dir := range []string{given, local, filepath.Join(s.shared, "in stallers"), filepath.Join(s.shared, "configured")} {
		if err := os.Mkdir(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	server, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		config string
		flags  []string
		dir    string
	}{
		{"", []string{"--catalogue", given}, given},
		{"[catalogue]\ndir = 'installers'", nil, local},
		{"", []string{"--catalogue", s.url + "in%20stallers", "--credential", "files"}, filepath.Join(s.shared, "in stallers")},
		{fmt.Sprintf("[catalogue]\nhost = %q\nport = %s\nshare_path = '%s/configured'\ncredential = 'files'", server.Hostname(), server.Port(), strings.Trim(server.Path, "/")), nil, filepath.Join(s.shared, "configured")},
	} {
		s.write(s.config, []byte(tc.config))
		call := func(args ...string) result { return s.catalogue(append(args, tc.flags...)...) }
		if r := call("list"); r.code != exitFailed || !strings.Contains(r.err, "CATALOGUE_INVALID") || !strings.Contains(r.err, "imageport catalogue add") {
			t.Errorf("no catalogue: %+v", r)
		}
		r := call("add", setup, "--version", "2311")
		for _, part := range []string{"pvs-target 2311 (x64) is in the catalogue", "2311-PVS_Device_x64.exe", "7.40.0.50", `/S /v"/qn`} {
			if r.code != exitOK || !strings.Contains(r.out, part) {
				t.Errorf("%q is missing in %+v", part, r)
			}
		}
		if r := call("add", setup, "--version", "2311"); r.code != exitFailed || !strings.Contains(r.err, "--replace") {
			t.Errorf("twice: %+v", r)
		}
		if added := decode[catalogue.Added](t, call("add", newer, "--version", "2402", "--args", "/S /x", "--min-from", "7.15", "-o", "json")); !added.Copied || added.Installer.Args != "/S /x" || added.Installer.MinFrom != "7.15" {
			t.Errorf("%+v", added)
		}
		r = call("list")
		for _, part := range []string{"VERSION  ARCH", "2311     x64   7.40.0.50        any", "2402     x64   7.41.100.62      7.15  2402-PVS_Device_x64.new.exe"} {
			if r.code != exitOK || !strings.Contains(r.out, part) {
				t.Errorf("%q is missing in %+v", part, r)
			}
		}
		if c := decode[catalogue.Catalogue](t, call("list", "-o", "json")); len(c.Installers) != 2 || c.Installers[0].TimeoutMinutes != 45 {
			t.Errorf("%+v", c)
		}
		if r := call("check"); r.code != exitOK || !strings.Contains(r.out, "nothing is wrong with the installers in") || !strings.Contains(r.out, "--deep does") {
			t.Errorf("%+v", r)
		}
		s.write(filepath.Join(tc.dir, "2311-PVS_Device_x64.exe"), petest.Installer("7.40.0.50", make([]byte, 6000)))
		if r := call("check"); r.code != exitOK {
			t.Errorf("%+v", r)
		}
		r = call("check", "--deep", "-o", "json")
		if got := decode[checkedCatalogue](t, r); r.code != exitFailed || len(got.Findings) != 1 || got.Findings[0].Code != "INSTALLER_HASH_MISMATCH" || !strings.Contains(r.err, "has problems: 1") {
			t.Errorf("%+v", r)
		}
	}
}

func TestCatalogueRefusals(t *testing.T) {
	s := newDiskSite(t)
	broken := filepath.Join(s.dir, "broken")
	if err := os.Mkdir(broken, 0o700); err != nil {
		t.Fatal(err)
	}
	s.write(filepath.Join(broken, "catalogue.json"), []byte("{\n\"installers\": [{\"version\": \"2311\"}]}"))
	text := filepath.Join(s.dir, "setup.exe")
	s.write(text, []byte("text"))
	for _, x := range []struct {
		code int
		says string
		args []string
	}{
		{exitFailed, "section [catalogue]", []string{"list"}},
		{exitFailed, "there is no directory", []string{"list", "--catalogue", filepath.Join(s.dir, "none")}},
		{exitFailed, "Give --credential id", []string{"list", "--catalogue", s.url}},
		{exitFailed, "line 2: installers[0].sha256", []string{"check", "--catalogue", broken}},
		{exitUsage, `required flag(s) "version"`, []string{"add", text}},
		{exitFailed, "not a Windows program", []string{"add", text, "--version", "1", "--catalogue", s.dir}},
		{exitFailed, "is not a file", []string{"add", s.dir, "--version", "1", "--catalogue", s.dir}},
		{exitFailed, "no such file", []string{"add", text + "x", "--version", "1", "--catalogue", s.dir}},
		{exitUsage, "unknown command", []string{"remove"}},
	} {
		if r := s.catalogue(x.args...); r.code != x.code && x.code != exitUsage || r.code == exitOK || !strings.Contains(r.err, x.says) {
			t.Errorf("%q: %+v", x.args, r)
		}
	}
	if _, err := os.Stat(filepath.Join(s.dir, "catalogue.json.new")); err == nil {
		t.Error("a claim is left behind")
	}
}
