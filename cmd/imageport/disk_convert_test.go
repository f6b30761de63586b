package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imageport/engine/diskimage"
)

// TestDiskDigests are printed, and in JSON.
func TestDiskDigests(t *testing.T) {
	s := newDiskSite(t)
	image, out := filepath.Join(s.dir, "ntfs-differential.vhdx"), filepath.Join(s.dir, "out.raw")
	r := s.call("convert", image, out, "--sha256", "-o", "json")
	made := decode[diskimage.Made](t, r)
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	crc := fmt.Sprintf("%08x", crc32.Checksum(data, crc32.MakeTable(crc32.Castagnoli)))
	sum := fmt.Sprintf("%x", sha256.Sum256(data))
	if r.code != exitOK || made.CRC32C != crc || made.SHA256 != sum {
		t.Errorf("%+v, want %s and %s", r, crc, sum)
	}
	r = s.call("convert", image, filepath.Join(s.dir, "out.vhdx"), "--sha256", "--used-only")
	for _, part := range []string{"crc32c    ", "sha256    ", "of free clusters"} {
		if !strings.Contains(r.out, part) {
			t.Errorf("%q is missing in %+v", part, r)
		}
	}
}

// TestDiskChildren makes differencing images, locally and on a share.
func TestDiskChildren(t *testing.T) {
	s := newDiskSite(t)
	for where, dir := range map[string]string{s.dir + "/": s.dir, s.url: s.shared} {
		parent, image := where+"ntfs-parent.vhdx", where+"ntfs-differential.vhdx"
		for _, args := range [][]string{
			{"create", where + "empty.avhdx", "--parent", parent, "--block-size", "parent"},
			{"convert", image, where + "child.avhdx", "--parent", parent},
			{"diff", parent, where + "empty.avhdx"},
			{"diff", image, where + "child.avhdx"},
			{"check", where + "child.avhdx"},
		} {
			if r := s.call(append(args, "--credential", "files")...); r.code != exitOK {
				t.Errorf("%q: %+v", args, r)
			}
		}
		want, err := exec.Command("7zz", "e", "-so", "-tvhdx", filepath.Join(s.dir, "ntfs-differential.vhdx")).Output()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := exec.Command("7zz", "e", "-so", "-tvhdx", filepath.Join(dir, "child.avhdx")).Output(); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: 7zz reads something else, %v", where, err)
		}
		info := decode[diskimage.Info](t, s.call("info", where+"empty.avhdx", "--credential", "files", "-o", "json"))
		if len(info.Layers) != 2 || info.Layers[1].BlockBytes != info.Layers[0].BlockBytes || info.Layers[1].Parent.RelativePath != `.\ntfs-parent.vhdx` {
			t.Errorf("%s: %+v", where, info)
		}
	}
	for _, x := range []struct {
		code int
		says string
		args []string
	}{
		{exitFailed, "not in the folder of the output", []string{"create", filepath.Join(t.TempDir(), "a.avhdx"), "--parent", filepath.Join(s.dir, "ntfs-parent.vhdx")}},
		{exitFailed, "cannot have the vhdx", []string{"create", filepath.Join(s.dir, "a.avhd"), "--parent", filepath.Join(s.dir, "ntfs-parent.vhdx")}},
		{exitFailed, "there is no parent", []string{"create", filepath.Join(s.dir, "a.vhdx"), "--size", "1M", "--block-size", "parent"}},
		{exitUsage, "none of the others can be", []string{"create", filepath.Join(s.dir, "a.avhdx"), "--size", "1M", "--parent", "b.vhdx"}},
	} {
		if r := s.call(x.args...); r.code != x.code || !strings.Contains(r.err, x.says) {
			t.Errorf("%q: %+v", x.args, r)
		}
	}
}

// TestDiskInfoOfBrokenChain describes what is there.
func TestDiskInfoOfBrokenChain(t *testing.T) {
	s := newDiskSite(t)
	if err := os.Remove(filepath.Join(s.dir, "ntfs-parent.vhdx")); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(s.dir, "ntfs-differential.vhdx")
	r := s.call("info", image)
	for _, part := range []string{"differencing vhdx, disk of 4.0 MiB", `parent    not found: .\ntfs-parent.vhdx`, "1 that can be read"} {
		if !strings.Contains(r.out, part) {
			t.Errorf("%q is missing in %+v", part, r)
		}
	}
	if r.code != exitFailed || !strings.Contains(r.err, "IMAGE_NOT_FOUND") || !strings.Contains(r.err, "Put the parent beside the image") {
		t.Errorf("%+v", r)
	}
	r = s.call("info", image, "-o", "json")
	if info := decode[diskimage.Info](t, r); r.code != exitFailed || info.Problem == nil || info.Problem.Code != "IMAGE_NOT_FOUND" || len(info.Layers) != 1 {
		t.Errorf("%+v", r)
	}
}

// TestDiskToDevice overwrites a loop device.
func TestDiskToDevice(t *testing.T) {
	s := newDiskSite(t)
	backing := filepath.Join(s.dir, "device")
	s.write(backing, bytes.Repeat([]byte{1}, 6<<20))
	out, err := exec.Command("losetup", "--find", "--show", backing).Output()
	if err != nil {
		t.Fatal(err)
	}
	device := strings.TrimSpace(string(out))
	defer func() {
		if err := exec.Command("losetup", "--detach", device).Run(); err != nil {
			t.Error(err)
		}
	}()
	image := s.url + "ntfs-differential.vhdx"
	r := s.call("convert", image, "--to-device", device, "--credential", "files", "-o", "json")
	if made := decode[diskimage.Made](t, r); r.code != exitOK || made.Name != device || made.FileSizeBytes != 6<<20 {
		t.Errorf("%+v", r)
	}
	want, err := exec.Command("7zz", "e", "-so", "-tvhdx", filepath.Join(s.dir, "ntfs-differential.vhdx")).Output()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(device); err != nil || !bytes.Equal(got, append(want, bytes.Repeat([]byte{1}, 2<<20)...)) {
		t.Errorf("it differs, %v", err)
	}
	for _, x := range []struct {
		code int
		says string
		args []string
	}{
		{exitUsage, "more arguments than it takes", []string{"convert", image, "out.raw", "--to-device", device}},
		{exitUsage, "none of the others can be", []string{"convert", image, "--to-device", device, "--resume"}},
		{exitFailed, "gets a raw disk, not a vhdx", []string{"convert", image, "--to-device", device, "--to", "vhdx", "--credential", "files"}},
		{exitFailed, "OUTPUT_EXISTS", []string{"convert", image, device, "--to", "raw", "--credential", "files"}}, // never without the flag
		{exitFailed, "OUTPUT_EXISTS", []string{"convert", image, device, "--to", "raw", "--credential", "files", "--force"}},
	} {
		if r := s.call(x.args...); r.code != x.code || !strings.Contains(r.err, x.says) {
			t.Errorf("%q: %+v", x.args, r)
		}
	}
}

// TestDiskKilled kills the program in the middle, a little later each time,
// until it gets through.
func TestDiskKilled(t *testing.T) {
	dir := t.TempDir()
	image, output := filepath.Join(dir, "image.raw"), filepath.Join(dir, "out.raw")
	data := make([]byte, 130<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(data)
	if err := os.WriteFile(image, data, 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	killed := 0
	for wait := 40 * time.Millisecond; ; wait += wait / 2 {
		cmd := exec.Command(self, "disk", "convert", "--raw", image, output, "--resume")
		cmd.Env = append(os.Environ(), envMain+"=1")
		var said bytes.Buffer
		cmd.Stderr = &said
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(wait, func() { _ = cmd.Process.Kill() }) // it may have ended
		err := cmd.Wait()
		timer.Stop()
		if err == nil {
			break
		}
		if cmd.ProcessState.Exited() {
			t.Fatalf("%v: %s", err, said.Bytes())
		}
		killed++
		if _, err := os.Stat(output); err == nil {
			// Killed behind the rename: complete, with its state left.
			break
		}
	}
	got, err := os.ReadFile(output)
	if err != nil || !bytes.Equal(got, data) || killed == 0 {
		t.Errorf("the copy differs after %d times, %v", killed, err)
	}
}

// TestDiskResumeOnShare is refused: the files of a share cannot be opened
// again for writing.
func TestDiskResumeOnShare(t *testing.T) {
	s := newDiskSite(t)
	r := s.call("convert", filepath.Join(s.dir, "ntfs-parent.vhdx"), s.url+"out.raw", "--resume", "--credential", "files")
	if r.code != exitFailed || !strings.Contains(r.err, "cannot be resumed") {
		t.Errorf("%+v", r)
	}
}
