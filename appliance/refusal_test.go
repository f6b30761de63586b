package appliance_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"imageport/appliance"
	"imageport/appliance/deb"
	"imageport/appliance/initramfs"
	"imageport/appliance/lock"
	"imageport/job"
)

func TestBuildRefusals(t *testing.T) {
	without := func(name string) func(*appliance.Options) {
		return func(o *appliance.Options) {
			i := slices.IndexFunc(o.Lock.Packages, func(p lock.Package) bool { return strings.HasPrefix(p.Name, name) })
			o.Lock.Packages = slices.Delete(slices.Clone(o.Lock.Packages), i, i+1)
			o.Packages = slices.Delete(slices.Clone(o.Packages), i, i+1)
		}
	}
	damaged := func(name string) func(*appliance.Options) {
		return func(o *appliance.Options) {
			i := slices.IndexFunc(o.Lock.Packages, func(p lock.Package) bool { return strings.HasPrefix(p.Name, name) })
			o.Packages = slices.Clone(o.Packages)
			o.Packages[i] = o.Packages[i][:1000]
		}
	}
	agent := func(contents string) func(*appliance.Options) {
		return func(o *appliance.Options) {
			o.Agent = filepath.Join(t.TempDir(), "agent")
			if err := os.WriteFile(o.Agent, []byte(contents), 0o700); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		change func(*appliance.Options)
		kind   error
		code   job.Code
		says   string
	}{
		"no agent":              {change: func(o *appliance.Options) { o.Agent += ".absent" }, code: job.BadRequest, says: "there is no agent for the appliance"},
		"a script":              {change: agent("#!/bin/sh\n"), kind: initramfs.ErrProgram, says: "it is no ELF file"},
		"a dynamic agent":       {change: func(o *appliance.Options) { o.Agent = "/bin/true" }, kind: initramfs.ErrProgram, says: "build it with CGO_ENABLED=0"},
		"a version with " + `"`: {change: func(o *appliance.Options) { o.Version = `1"` }, code: job.BadRequest, says: "is no version"},
		"no kernel":             {change: without("linux-image"), kind: initramfs.ErrKernel, says: "no /boot/vmlinuz-"},
		"no stub":               {change: without("systemd-boot-efi"), says: "linuxx64.efi.stub is in none of the packages"},
		"no library":            {change: without("libntfs"), kind: initramfs.ErrProgram, says: "libntfs-3g.so.89 is in none of the packages: pin the one that has it"},
		"a damaged package":     {change: damaged("linux-image"), kind: deb.ErrFormat, says: "linux-image-6."},
		"one package less":      {change: func(o *appliance.Options) { o.Packages = o.Packages[1:] }, says: "4 packages for a lock of 5"},
		"an unknown format":     {change: func(o *appliance.Options) { o.Formats = append(o.Formats, "qcow2") }, says: "qcow2"},
	} {
		o := options(t)
		c.change(&o)
		_, err := appliance.Build(t.Context(), o)
		if err == nil || c.kind != nil && !errors.Is(err, c.kind) || job.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPinned has the lock of this release pin what a new one would.
func TestPinned(t *testing.T) {
	l, err := appliance.Pinned()
	if err != nil {
		t.Fatal(err)
	}
	if l.Suite != appliance.Suite || len(l.Packages) != len(appliance.Packages()) {
		t.Errorf("%+v, want %+v of %s", l, appliance.Packages(), appliance.Suite)
	}
}
