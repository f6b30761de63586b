package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"imageport/engine/diskimage"
	"imageport/testkit/samba"
)

// diskSite is a share, a configuration with a credential for it, and a local
// directory, both with a chain of two images made by Windows.
type diskSite struct {
	t           *testing.T
	config      string
	dir, shared string // directories
	url         string // of the share
}

func newDiskSite(t *testing.T) diskSite {
	t.Helper()
	server := samba.New(t)
	s := diskSite{t, filepath.Join(t.TempDir(), "config.toml"), t.TempDir(), server.Shares[samba.DefaultShare],
		fmt.Sprintf("smb://%s/%s/", server.Addr(), samba.DefaultShare)}
	secret, err := json.Marshal(map[string]string{"username": server.Username, "password": server.Password})
	if err != nil {
		t.Fatal(err)
	}
	wallet := filepath.Join(filepath.Dir(s.config), "wallet")
	if err := os.Mkdir(wallet, 0o700); err != nil {
		t.Fatal(err)
	}
	s.write(s.config, nil)
	s.write(filepath.Join(wallet, "files.json"), secret)
	for _, name := range []string{"ntfs-parent.vhdx", "ntfs-differential.vhdx"} {
		data, err := exec.Command("xz", "-dkc", filepath.Join("..", "..", "engine", "disk", "vhdx", "testdata", name+".xz")).Output()
		if err != nil {
			t.Fatal(err)
		}
		s.write(filepath.Join(s.dir, name), data)
		s.write(filepath.Join(s.shared, name), data)
	}
	return s
}

func (s diskSite) write(path string, data []byte) {
	s.t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s diskSite) call(args ...string) result {
	return call(s.t.Context(), "", append([]string{"disk", "--config", s.config}, args...)...)
}

// TestDiskOnShare goes through all commands, locally and on a share.
func TestDiskOnShare(t *testing.T) {
	s := newDiskSite(t)
	local := filepath.Join(s.dir, "ntfs-differential.vhdx")
	remote := s.url + "ntfs-differential.vhdx"
	for _, image := range []string{local, remote} {
		for _, x := range []struct {
			command string
			parts   []string
		}{
			{"info", []string{"differencing vhdx, disk of 4.0 MiB (4194304 bytes)", "layer 0: ntfs-parent.vhdx, fixed vhdx", `ntfs-parent.vhdx, by its relative path .\ntfs-parent.vhdx`, "Microsoft Windows 10.0.19041.0"}},
			{"map", []string{"OFFSET", "212992             4096     1          5455872  ntfs-differential.vhdx"}},
			{"check", []string{"nothing is wrong with ntfs-parent.vhdx, ntfs-differential.vhdx"}},
		} {
			r := s.call(x.command, image, "--credential", "files")
			if r.code != exitOK || r.err != "" {
				t.Errorf("%s %s: %+v", x.command, image, r)
			}
			for _, part := range x.parts {
				if !strings.Contains(r.out, part) {
					t.Errorf("%s %s: %q is missing in %+v", x.command, image, part, r)
				}
			}
		}
	}
	want, err := exec.Command("7zz", "e", "-so", "-tvhdx", local).Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range [][2]string{
		{local, filepath.Join(s.dir, "a.raw")}, {remote, filepath.Join(s.dir, "b.raw")},
		{local, s.url + "c.raw"}, {remote, s.url + "d.raw"}, {remote, s.url + "e.vhd"},
	} {
		if r := s.call("convert", x[0], x[1], "--credential", "files"); r.code != exitOK {
			t.Errorf("%+v", r)
		}
		if r := s.call("diff", remote, x[1], "--raw", "--credential", "files"); r.code != exitOK || !strings.Contains(r.out, "the same contents") {
			t.Errorf("%+v", r)
		}
	}
	for _, path := range []string{filepath.Join(s.dir, "b.raw"), filepath.Join(s.shared, "c.raw"), filepath.Join(s.shared, "d.raw")} {
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s differs, %v", path, err)
		}
	}
	// Replaced, on the share.
	if r := s.call("create", s.url+"e.vhd", "--size", "1G", "--credential", "files"); r.code != exitFailed || !strings.Contains(r.err, "OUTPUT_EXISTS") {
		t.Errorf("%+v", r)
	}
	r := s.call("create", s.url+"e.vhd", "--size", "1GiB", "--credential", "files", "--force", "-o", "json")
	if made := decode[diskimage.Made](t, r); r.code != exitOK || made.VirtualSizeBytes != 1<<30 || made.Type != "dynamic" || made.ID == "" {
		t.Errorf("%+v", r)
	}
	if left, err := filepath.Glob(filepath.Join(s.shared, "*.*.*")); err != nil || len(left) != 0 {
		t.Errorf("left %q, %v", left, err)
	}
}

func TestDiskJSON(t *testing.T) {
	s := newDiskSite(t)
	child, parent := filepath.Join(s.dir, "ntfs-differential.vhdx"), filepath.Join(s.dir, "ntfs-parent.vhdx")
	if info := decode[diskimage.Info](t, s.call("info", child, "-o", "json")); len(info.Layers) != 2 || info.Layers[1].Parent.Name != "ntfs-parent.vhdx" {
		t.Errorf("%+v", info)
	}
	r := s.call("map", child, "-o", "json")
	line, _, _ := strings.Cut(r.out, "\n")
	if line != `{"offsetBytes":0,"lengthBytes":212992,"kind":"data","layer":0,"file":"ntfs-parent.vhdx","fileOffsetBytes":4194304}` {
		t.Errorf("%+v", r)
	}
	r = s.call("diff", child, parent, "-o", "json")
	if d := decode[diskimage.Difference](t, r); r.code != exitFailed || d.Same || *d.FirstOffsetBytes != 213000 || d.DifferentBytes != 26850 || len(d.Ranges) != 13 {
		t.Errorf("%+v", r)
	}
	if err := os.Remove(parent); err != nil {
		t.Fatal(err)
	}
	r = s.call("check", child, "-o", "json")
	if c := decode[diskimage.Checked](t, r); r.code != exitFailed || len(c.Problems) != 1 || c.Problems[0].Code != "IMAGE_NOT_FOUND" || !strings.Contains(r.err, "has problems: 1") {
		t.Errorf("%+v", r)
	}
}

func TestDiskRefusals(t *testing.T) {
	s := newDiskSite(t)
	image := filepath.Join(s.dir, "ntfs-parent.vhdx")
	for _, x := range []struct {
		code int
		says string
		args []string
	}{
		{exitFailed, "IMAGE_NOT_FOUND", []string{"info", filepath.Join(s.dir, "none.vhdx")}},
		{exitFailed, "SHARE_NOT_FOUND", []string{"info", filepath.Join(s.dir, "none", "none.vhdx")}},
		{exitFailed, "WRONG_FORMAT", []string{"info", s.config}},
		{exitFailed, "Give --credential id", []string{"check", s.url + "ntfs-parent.vhdx"}},
		{exitFailed, "UNKNOWN_CREDENTIAL", []string{"check", s.url + "ntfs-parent.vhdx", "--credential", "other"}},
		{exitFailed, "IMAGE_NOT_FOUND", []string{"check", s.url + "none.vhdx", "--credential", "files"}},
		{exitFailed, "names a folder", []string{"map", s.url, "--credential", "files"}},
		{exitFailed, "must not carry a password", []string{"info", "smb://me:secret@host/share/a.vhdx", "--credential", "files"}},
		{exitFailed, "does not tell the format", []string{"convert", image, filepath.Join(s.dir, "out")}},
		{exitFailed, "differencing disk", []string{"convert", image, filepath.Join(s.dir, "out.avhdx")}},
		{exitFailed, "OUTPUT_EXISTS", []string{"convert", image, image}},
		{exitFailed, "part of the image itself", []string{"convert", image, image, "--force"}},
		{exitUsage, "[size parent] is required", []string{"create", filepath.Join(s.dir, "out.vhdx")}},
		{exitUsage, "not a number of bytes", []string{"create", filepath.Join(s.dir, "out.vhdx"), "--size", "10Q"}},
		{exitUsage, "not a number of bytes", []string{"create", filepath.Join(s.dir, "out.vhdx"), "--size", "9999999T"}},
		{exitUsage, "unknown command", []string{"resize"}},
	} {
		if r := s.call(x.args...); r.code != x.code || !strings.Contains(r.err, x.says) || strings.Contains(r.err, "secret") {
			t.Errorf("%q: %+v", x.args, r)
		}
	}
}

// TestDiskInterrupted is ^C: the exit code tells, and nothing is left.
func TestDiskInterrupted(t *testing.T) {
	s := newDiskSite(t)
	image := filepath.Join(s.dir, "ntfs-differential.vhdx")
	for where, dir := range map[string]string{s.dir + "/": s.dir, s.url: s.shared} {
		ctx, cancel := context.WithCancel(t.Context())
		stderr := writerFunc(func(p []byte) (int, error) {
			cancel() // with the first line of progress
			return len(p), nil
		})
		var out bytes.Buffer
		code := run(ctx, []string{"disk", "--config", s.config, "convert", image, where + "out.vhdx", "--credential", "files"}, strings.NewReader(""), &out, stderr)
		if code != exitInterrupted {
			t.Errorf("%s: exit code %d", where, code)
		}
		if left, err := filepath.Glob(filepath.Join(dir, "out*")); err != nil || len(left) != 0 {
			t.Errorf("left %q, %v", left, err)
		}
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
