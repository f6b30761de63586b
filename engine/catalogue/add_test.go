package catalogue_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imageport/engine/catalogue"
	"imageport/engine/catalogue/peversion/petest"
	"imageport/engine/share"
	"imageport/job"
	"imageport/testkit/samba"
)

// site is a catalogue's folder.
type site struct {
	t    *testing.T
	dir  string
	dial catalogue.Dial
}

func local(t *testing.T) site {
	dir := t.TempDir()
	return site{t, dir, func(_ context.Context, folder string) (share.Store, error) {
		return share.Dir(filepath.Join(dir, filepath.FromSlash(folder)))
	}}
}

// onShare is the folder "pvs/installers" of a share.
func onShare(t *testing.T) site {
	server := samba.New(t)
	dir := filepath.Join(server.Shares[samba.DefaultShare], "pvs", "installers")
	if err := os.MkdirAll(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	lasting := t.Context()
	return site{t, dir, func(_ context.Context, folder string) (share.Store, error) {
		where := share.Location{Host: server.Host, Port: server.Port, Share: samba.DefaultShare, Folder: strings.TrimSuffix("pvs/installers/"+folder, "/")}
		return share.Dial(lasting, where, share.Credential{Username: server.Username, Password: server.Password}, share.Options{})
	}}
}

func (s site) write(name string, data []byte) {
	s.t.Helper()
	if err := os.MkdirAll(filepath.Dir(filepath.Join(s.dir, name)), 0o777); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, name), data, 0o666); err != nil {
		s.t.Fatal(err)
	}
}

func (s site) read(name string) string {
	s.t.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}

// files are the names in the folder.
func (s site) files() string {
	s.t.Helper()
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		s.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func (s site) add(ctx context.Context, file []byte, a catalogue.Addition) (catalogue.Added, error) {
	a.Source, a.SizeBytes = bytes.NewReader(file), int64(len(file))
	if a.Name == "" {
		a.Name = "PVS_Device_x64.exe"
	}
	return catalogue.Add(ctx, s.dial, a, nil)
}

func (s site) load() *catalogue.Catalogue {
	s.t.Helper()
	root, err := s.dial(s.t.Context(), "")
	if err != nil {
		s.t.Fatal(err)
	}
	defer root.Close()
	c, err := catalogue.Load(s.t.Context(), root)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

var (
	pvs740 = petest.Installer("7.40.0.50", bytes.Repeat([]byte("7.40"), 2<<20)) // more than a piece
	pvs741 = petest.Installer("7, 41, 100, 62", []byte("7.41"))
)

// TestAdd goes the way of an administrator, locally and over SMB.
func TestAdd(t *testing.T) {
	for name, newSite := range map[string]func(*testing.T) site{"local": local, "share": onShare} {
		t.Run(name, func(t *testing.T) { testAdd(t, newSite(t)) })
	}
}

func testAdd(t *testing.T, s site) {
	ctx := t.Context()
	var reported int64
	got, err := catalogue.Add(ctx, s.dial, catalogue.Addition{Source: bytes.NewReader(pvs740), SizeBytes: int64(len(pvs740)), Name: "PVS_Device_x64.exe", Version: " 2311"},
		func(done, total int64) { reported = done*1000 + total/int64(len(pvs740)) })
	if err != nil || !got.Copied || got.Installer.File != "2311-PVS_Device_x64.exe" || reported != int64(len(pvs740))*1000+1 {
		t.Fatalf("%+v, %v, %d", got, err, reported)
	}
	if in := s.load().Installers[0]; in.ProductVersion != "7.40.0.50" || in.SHA256 != sum(pvs740) || in.Arch != "x64" || s.read(in.File) != string(pvs740) {
		t.Errorf("%+v", in)
	}
	// Again: refused, and then nothing to copy.
	if _, err = s.add(ctx, pvs740, catalogue.Addition{Version: "2311"}); job.CodeOf(err) != job.OutputExists || !strings.Contains(err.Error(), "--replace") {
		t.Errorf("twice: %v", err)
	}
	// What somebody has put into the catalogue stays.
	text := strings.Replace(s.read("catalogue.json"), `"version": "2311"`, `"owner": "me & you", "repair": [ "x <y>" ], "args": "/S", "version": "2311"`, 1)
	s.write("catalogue.json", []byte(strings.Replace(text, "{", `{"about": [1.50],`, 1)))
	got, err = s.add(ctx, pvs740, catalogue.Addition{Version: "2311", Replace: true, MinFrom: "7.15"})
	if err != nil || got.Copied || got.Replaced != "" || got.Installer.Args != "/S" || got.Installer.MinFrom != "7.15" || len(got.Warnings) != 2 {
		t.Errorf("replaced by itself: %+v, %v", got, err)
	}
	text = s.read("catalogue.json")
	for _, part := range []string{`"owner": "me & you"`, `"x <y>"`, "1.50", "\n      \"file\": \"2311-PVS_Device_x64.exe\""} {
		if !strings.Contains(text, part) {
			t.Errorf("%s is missing in %s", part, text)
		}
	}
	// Another file under the same version goes beside the one that jobs may use.
	hotfix := petest.Installer("7.40.0.51", nil)
	got, err = s.add(ctx, hotfix, catalogue.Addition{Version: "2311", Replace: true})
	if want := "2311-" + sum(hotfix)[:8] + "-PVS_Device_x64.exe"; err != nil || got.Installer.File != want || got.Replaced != "2311-PVS_Device_x64.exe" {
		t.Errorf("%+v, %v; want %s", got, err, want)
	}
	// A file that is in the catalogue already, in a folder.
	s.write("2402/Device/PVS_Device_x64.exe", pvs741)
	args := ""
	got, err = s.add(ctx, pvs741, catalogue.Addition{Version: "2402", As: `2402\Device\PVS_Device_x64.exe`, Args: &args})
	if err != nil || got.Copied || got.Installer.File != "2402/Device/PVS_Device_x64.exe" || got.Installer.ProductVersion != "7.41.100.62" || got.Installer.Args != "" {
		t.Errorf("%+v, %v", got, err)
	}
	// A package, whose version nobody reads.
	if got, err = s.add(ctx, []byte("msi"), catalogue.Addition{Version: "2407", Name: "a.msi", ProductVersion: "7.42"}); err != nil || got.Installer.ProductVersion != "7.42" {
		t.Errorf("%+v, %v", got, err)
	}
	c := s.load()
	if findings := catalogue.Check(ctx, s.dial, c, true); len(findings) != 0 {
		t.Errorf("findings %+v", findings)
	}
	if files := s.files(); strings.Contains(files, ".new") || strings.Contains(files, ".partial") {
		t.Errorf("left behind: %s", files)
	}
	testFindings(t, s, c)
}

// testFindings spoils the catalogue of testAdd.
func testFindings(t *testing.T, s site, c *catalogue.Catalogue) {
	in := c.Installers[1] // 2402
	other := bytes.Clone(pvs741)
	other[len(other)-1]++
	s.write(in.File, other)
	check := func(c *catalogue.Catalogue, deep bool) (found []string) {
		for _, f := range catalogue.Check(t.Context(), s.dial, c, deep) {
			found = append(found, string(f.Code)+" "+f.Err().Error())
		}
		return found
	}
	expect := func(what string, got []string, parts ...string) {
		t.Helper()
		if len(got) != len(parts) {
			t.Errorf("%s: %q", what, got)
			return
		}
		for i, part := range parts {
			if !strings.Contains(got[i], part) {
				t.Errorf("%s: %q; want %s", what, got[i], part)
			}
		}
	}
	expect("one byte, not looked at", check(c, false))
	expect("one byte", check(c, true), "INSTALLER_HASH_MISMATCH 2402/Device/PVS_Device_x64.exe of pvs-target 2402 (x64) in the catalogue: its SHA-256 is "+sum(other)+", and the catalogue says "+sum(pvs741))
	for _, tc := range []struct {
		file []byte
		says string
	}{
		{petest.Installer("7.42.1", nil), "its product version is 7.42.1, and the catalogue says 7.41.100.62"},
		{petest.Program{Machine: petest.MachineARM64, NoResources: true}.Build(), "it is a program for arm64, which a Windows for x64 does not run"},
		{[]byte("MZ"), "CATALOGUE_INVALID 2402/Device/PVS_Device_x64.exe of pvs-target 2402 (x64) in the catalogue: it is no program"},
	} {
		s.write(in.File, tc.file)
		expect(tc.says, check(c, false), tc.says)
	}
	s.write(in.File, petest.Program{Machine: petest.MachineX86, Tables: map[string]map[string]string{"040904b0": {"ProductVersion": "LTSR"}}}.Build())
	expect("nothing to compare", check(c, false))
	if err := os.RemoveAll(filepath.Join(s.dir, "2402")); err != nil {
		t.Fatal(err)
	}
	expect("no folder", check(c, false), "INSTALLER_NOT_FOUND 2402/Device/PVS_Device_x64.exe of pvs-target 2402 (x64) in the catalogue: the file is not there")
	c.Installers[1].File = "gone.exe"
	c.Installers[1].Prerequisites = []catalogue.Prerequisite{{Name: "p", File: "p.exe", SHA256: hashA}}
	expect("no file", check(c, false), "p.exe", "gone.exe")
	c.Installers[1] = c.Installers[0]
	c.Installers[1].Version = "copy"
	expect("one file for two", check(c, false), "it has the hash of the file of pvs-target 2311 (x64)")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if found := catalogue.Check(ended, s.dial, c, true); len(found) < len(c.Installers) {
		t.Errorf("an ended context: %+v", found)
	}
}

func TestAddRefuses(t *testing.T) {
	s := local(t)
	s.write("taken.exe", []byte("x"))
	for _, tc := range []struct {
		file []byte
		a    catalogue.Addition
		code job.Code
		says string
	}{
		{[]byte("text"), catalogue.Addition{Version: "1"}, job.BadRequest, "not a Windows program"},
		{petest.Program{}.Build(), catalogue.Addition{Version: "1"}, job.BadRequest, "--product-version"},
		{petest.Installer("Release 7", nil), catalogue.Addition{Version: "1"}, job.BadRequest, `"Release 7"`},
		{[]byte("m"), catalogue.Addition{Version: "1", Name: "a.msi"}, job.BadRequest, "--product-version"},
		{pvs741, catalogue.Addition{Version: "1", Arch: "x86"}, job.BadRequest, "does not run"},
		{pvs741, catalogue.Addition{Version: "1", Arch: "mips"}, job.CatalogueInvalid, `"mips" is none of`},
		{pvs741, catalogue.Addition{Version: "a/b"}, job.BadRequest, `"a/b" cannot be the version`},
		{pvs741, catalogue.Addition{}, job.BadRequest, `"" cannot be the version`},
		{pvs741, catalogue.Addition{Version: "1", As: "../x.exe"}, job.BadRequest, "leads somewhere else"},
		{pvs741, catalogue.Addition{Version: "1", As: "taken.exe"}, job.OutputExists, "another file taken.exe"},
		{pvs741, catalogue.Addition{Version: "1", As: "a/x.exe"}, job.ShareNotFound, "no folder a"},
		{pvs741, catalogue.Addition{Version: "1", Name: "setup"}, job.CatalogueInvalid, "neither a program"},
		{pvs741, catalogue.Addition{Version: "1", MinFrom: "old"}, job.CatalogueInvalid, "minFrom"},
	} {
		_, err := s.add(t.Context(), tc.file, tc.a)
		if job.CodeOf(err) != tc.code || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%+v: %v", tc.a, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.add(ctx, pvs741, catalogue.Addition{Version: "1"}); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	if files := s.files(); files != "taken.exe" {
		t.Errorf("left behind: %s", files)
	}
	s.write("catalogue.json", []byte("{"))
	if _, err := s.add(t.Context(), pvs741, catalogue.Addition{Version: "1"}); job.CodeOf(err) != job.CatalogueInvalid {
		t.Errorf("broken: %v", err)
	}
	s.write("catalogue.json.new", nil)
	if _, err := s.add(t.Context(), pvs741, catalogue.Addition{Version: "1"}); job.CodeOf(err) != job.OutputInUse || !strings.Contains(err.Error(), "remove catalogue.json.new") {
		t.Errorf("claimed: %v", err)
	}
}

func TestLoad(t *testing.T) {
	s := local(t)
	root, err := s.dial(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := catalogue.Load(t.Context(), root); job.CodeOf(err) != job.CatalogueInvalid || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("none: %v", err)
	}
	// As somebody who adds leaves it for a moment, or for longer if cut off.
	s.write("catalogue.json.previous", []byte(list("")))
	if c := s.load(); len(c.Installers) != 1 {
		t.Errorf("%+v", c)
	}
	if _, err := s.add(t.Context(), pvs741, catalogue.Addition{Version: "2402"}); err != nil {
		t.Error(err)
	}
	if c := s.load(); len(c.Installers) != 2 || s.files() != "2402-PVS_Device_x64.exe catalogue.json catalogue.json.previous" {
		t.Errorf("%+v: %s", c, s.files())
	}
	s.write("catalogue.json", bytes.Repeat([]byte(" "), 2<<20))
	if _, err := catalogue.Load(t.Context(), root); job.CodeOf(err) != job.CatalogueInvalid {
		t.Errorf("large: %v", err)
	}
}

// broken is a folder whose calls of Rename fail, or are done and then fail.
type broken struct {
	share.Store
	failures map[string]bool // by old name: whether it is done
}

func (b broken) Rename(ctx context.Context, from, to string) error {
	done, fails := b.failures[from]
	if fails && !done {
		return job.Errorf(job.ShareIO, "", "the connection is lost")
	}
	if err := b.Store.Rename(ctx, from, to); err != nil || !fails {
		return err
	}
	return job.Errorf(job.ShareIO, "", "the connection is lost, and the answer with it")
}

// TestAddAtEveryRename: the catalogue is the old or the new one, and the file is
// there when it is the new one.
func TestAddAtEveryRename(t *testing.T) {
	for _, from := range []string{"2402-PVS_Device_x64.exe.partial", "catalogue.json", "catalogue.json.new"} {
		for _, done := range []bool{false, true} {
			s := local(t)
			if _, err := s.add(t.Context(), pvs740, catalogue.Addition{Version: "2311"}); err != nil {
				t.Fatal(err)
			}
			old := s.files() + s.read("catalogue.json")
			whole := s.dial
			s.dial = func(ctx context.Context, folder string) (share.Store, error) {
				store, err := whole(ctx, folder)
				return broken{store, map[string]bool{from: done}}, err
			}
			_, err := s.add(t.Context(), pvs741, catalogue.Addition{Version: "2402"})
			if (err == nil) != done {
				t.Errorf("%s, done %t: %v", from, done, err)
			}
			if now := s.files() + s.read("catalogue.json"); !done && now != old {
				t.Errorf("%s: %s; want %s", from, now, old)
			}
			if found := catalogue.Check(t.Context(), whole, s.load(), true); len(found) != 0 || len(s.load().Installers) == 2 != done {
				t.Errorf("%s, done %t: %+v", from, done, found)
			}
		}
	}
}
