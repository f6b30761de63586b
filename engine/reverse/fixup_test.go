package reverse

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"imageport/engine/copyfile"
	"imageport/engine/disk/chain"
	"imageport/engine/share"
	"imageport/engine/source"
	"imageport/engine/windows/nativeboot"
	"imageport/job"
	"imageport/testkit/disktest"
	"imageport/testkit/winimage"
)

// windows is a folder with a Windows in a VHDX.
func windows(t *testing.T, spec winimage.Spec) *site {
	t.Helper()
	s := &site{dir: t.TempDir(), task: Task{Job: "ips/h/disks/win", Key: "0123456789ab", Input: "win.vhdx", Format: job.FormatVHDX, Platform: job.PlatformVSphere}}
	img, err := winimage.Cached(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := img.VHDX(t.Context(), filepath.Join(s.dir, s.task.Input), winimage.Dynamic); err != nil {
		t.Fatal(err)
	}
	raw, err := os.Open(img.Path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	s.image = raw
	if s.store, err = share.Dir(s.dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.store.Close() })
	return s
}

// planned gives the fix-ups that the approval is about.
func (s *site) planned(t *testing.T, a Approval) *nativeboot.Plan {
	t.Helper()
	im, err := s.task.reopen(t.Context(), s.store, a, source.Scattered)
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	plan, err := s.task.plan(t.Context(), im, a.SizeBytes)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// The engine is killed between any two writes, with the power or without.
func TestFixUp(t *testing.T) {
	s := windows(t, winimage.Small())
	admitted, err := Preflight(t.Context(), s.store, s.task)
	if err != nil {
		t.Fatal(err)
	}
	a, r := admitted.Approval, admitted.Preview
	if a.PlanDigest == "" || len(r.FixUps) == 0 || r.Firmware != job.BIOS || len(r.Controllers) == 0 || r.WindowsBuild == 0 || len(r.Source) != 1 {
		t.Fatalf("%+v", admitted)
	}
	for _, f := range r.FixUps {
		if f.What == "" || f.Why == "" || f.Old == f.New {
			t.Errorf("%+v", f)
		}
	}
	plan := s.planned(t, a)
	d := newDisk(a.SizeBytes)
	if _, err := Copy(t.Context(), s.store, s.task, a, d, nil, quiet, forget); err != nil {
		t.Fatal(err)
	}
	s.is(t, d)
	var before [][]byte
	for _, w := range plan.Writes {
		p := make([]byte, len(w.Data))
		d.now.read(p, w.Offset)
		before = append(before, p)
	}
	fixed := func() {
		t.Helper()
		for _, w := range plan.Writes {
			p := make([]byte, len(w.Data))
			if d.durable.read(p, w.Offset); !bytes.Equal(p, w.Data) {
				t.Fatalf("the %d bytes at offset %d are not as planned", len(w.Data), w.Offset)
			}
		}
	}
	rng := rand.New(rand.NewPCG(7, 8))
	kills := 0
	for failAt := 1; ; failAt++ {
		for i, w := range plan.Writes {
			d.put(w.Offset, before[i])
		}
		d.failAt, d.ops = failAt, 0
		err := FixUp(t.Context(), s.store, s.task, a, d, quiet)
		if err == nil {
			break
		}
		if !errors.Is(err, errPower) {
			t.Fatal(err)
		}
		kills++
		d.crash(rng)
		for range 2 { // and once more, for nothing
			if err := FixUp(t.Context(), s.store, s.task, a, d, quiet); err != nil {
				t.Fatal(err)
			}
			fixed()
		}
	}
	s.is(t, d, plan.Writes...)
	t.Logf("%d fix-ups, %d writes, %d kills", len(r.FixUps), len(plan.Writes), kills)
	if kills != len(plan.Writes)+1 {
		t.Errorf("%d kills for %d writes", kills, len(plan.Writes))
	}
}

// A GPT disk that became larger is right for others, too.
func TestLargerGPT(t *testing.T) {
	gpt := winimage.Small()
	gpt.AlreadyGPT = true
	s := windows(t, gpt)
	s.task.SizeMB = 3 << 10
	a := s.approval(t)
	path := filepath.Join(t.TempDir(), "disk.raw")
	d, err := copyfile.Create(path, a.SizeBytes)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := Copy(t.Context(), s.store, s.task, a, d, nil, quiet, forget); err != nil {
		t.Fatal(err)
	}
	if out := string(disktest.Run(t, "sgdisk", "-v", path)); strings.Contains(out, "No problems found") {
		t.Errorf("before: %s", out)
	}
	for range 2 {
		if err := FixUp(t.Context(), s.store, s.task, a, d, quiet); err != nil {
			t.Fatal(err)
		}
	}
	if out := string(disktest.Run(t, "sgdisk", "-v", path)); !strings.Contains(out, "No problems found") {
		t.Errorf("after: %s", out)
	}
}

func TestFixUpRefuses(t *testing.T) {
	s := windows(t, winimage.Small())
	a := s.approval(t)
	// What was planned is not there any more.
	if err := FixUp(t.Context(), s.store, s.task, a, newDisk(a.SizeBytes), quiet); job.CodeOf(err) != job.VerifyFailed {
		t.Errorf("empty disk: %v", err)
	}
	other := a
	other.PlanDigest = strings.Repeat("0", 64)
	d := newDisk(a.SizeBytes)
	if _, err := Copy(t.Context(), s.store, s.task, a, d, nil, quiet, forget); err != nil {
		t.Fatal(err)
	}
	d.ops = 0
	if err := FixUp(t.Context(), s.store, s.task, other, d, quiet); job.CodeOf(err) != job.SourceChanged {
		t.Errorf("another plan: %v", err)
	}
	other = a
	other.Source = slices.Clone(a.Source)
	other.Source[0].File.SizeBytes++
	if err := FixUp(t.Context(), s.store, s.task, other, d, quiet); job.CodeOf(err) != job.SourceChanged {
		t.Errorf("another image: %v", err)
	}
	if d.ops != 0 {
		t.Errorf("%d operations on the disk", d.ops)
	}
	bad := s.planned(t, a).Writes[0].Offset
	d.spoil = func(off int64, p []byte) {
		if off == bad {
			p[0] ^= 1
		}
	}
	if err := FixUp(t.Context(), s.store, s.task, a, d, quiet); job.CodeOf(err) != job.VerifyFailed {
		t.Errorf("spoilt write: %v", err)
	}
	// To the bit means that there is nothing to do.
	s.task.FixUps = job.FixUpsNone
	a = s.approval(t)
	if err := FixUp(t.Context(), s.store, s.task, a, newDisk(a.SizeBytes), quiet); err != nil || a.PlanDigest != "" {
		t.Errorf("fixups none: %v, %+v", err, a)
	}
}

func TestPreflightRefuses(t *testing.T) {
	small := func(change func(*winimage.Spec)) *winimage.Spec {
		s := winimage.Small()
		change(&s)
		return &s
	}
	for _, c := range []struct {
		name string
		spec *winimage.Spec // nil: a chain without Windows
		task func(s *site)
		code job.Code
		says []string
	}{
		{"too small", nil, func(s *site) { s.task.SizeMB = 41 }, job.OutputTooSmall, []string{"41 MiB", "42 MiB", "Set outputSizeMb to 42 or more"}},
		{"another format", nil, func(s *site) { s.task.Format = job.FormatVHD }, job.WrongFormat, []string{"base.2.avhdx"}},
		{"not there", nil, func(s *site) { s.task.Input = "no.vhdx" }, job.ImageNotFound, []string{"no.vhdx"}},
		{"parent not there", nil, func(s *site) { _ = os.Remove(filepath.Join(s.dir, "base.1.avhdx")) }, job.ImageNotFound, []string{"base.1.avhdx"}},
		{"in use", nil, func(s *site) { _ = os.WriteFile(filepath.Join(s.dir, "base.2.lok"), nil, 0o600) }, job.ImageLocked, []string{"base.2.lok"}},
		{"sectors of 4096 bytes", small(func(s *winimage.Spec) { s.SectorSize = 4096 }), nil, job.UnsupportedDisk, []string{"4096"}},
		{"hibernated", small(func(s *winimage.Spec) { s.Hibernated = true }), nil, job.Hibernated, []string{`"fixups": "none"`}},
		{"dirty NTFS", small(func(s *winimage.Spec) { s.DirtyNTFS = true }), nil, job.NTFSDirty, []string{`"fixups": "none"`}},
		{"no drivers", small(func(*winimage.Spec) {}), func(s *site) { s.task.Platform = job.PlatformGCP }, job.NativeDriversMissing, []string{"none"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s *site
			if c.spec == nil {
				s = newSite(t, chain.VHDX)
			} else {
				s = windows(t, *c.spec)
			}
			if c.task != nil {
				c.task(s)
			}
			_, err := Preflight(t.Context(), s.store, s.task)
			if job.CodeOf(err) != c.code {
				t.Fatalf("%v, want %s", err, c.code)
			}
			for _, word := range c.says {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%q does not say %s", err, word)
				}
			}
			if c.code == job.Hibernated || c.code == job.ImageLocked {
				s.task.FixUps, s.task.IgnoreLock = job.FixUpsNone, true
				if _, err := Preflight(t.Context(), s.store, s.task); err != nil {
					t.Errorf("as it is: %v", err)
				}
			}
		})
	}
}

// A disk without Windows, or with one that cannot be looked into, is copied.
func TestPreflightAdmits(t *testing.T) {
	locked := winimage.Small()
	locked.BitLocker = true
	gpt := winimage.Small()
	gpt.AlreadyGPT = true
	plain := newSite(t, chain.VHD)
	plain.task.FixUps = ""
	big := windows(t, gpt)
	big.task.FixUps, big.task.SizeMB = job.FixUpsNone, 100<<10
	cloud := newSite(t, chain.VHDX)
	cloud.task.FixUps, cloud.task.Platform = job.FixUpsNone, job.PlatformAzure
	for name, c := range map[string]struct {
		site     *site
		firmware job.Firmware
		warning  string
	}{
		"no partitions":         {plain, job.BIOS, ""},
		"BitLocker":             {windows(t, locked), job.BIOS, "BitLocker"},
		"GPT, larger, no fixup": {big, job.UEFI, "backup"},
		"whole GiB":             {cloud, job.BIOS, "1024 MiB in place of 42"},
	} {
		got, err := Preflight(t.Context(), c.site.store, c.site.task)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		r := got.Preview
		if r.Firmware != c.firmware || len(r.Warnings) == 0 || !strings.Contains(strings.Join(r.Warnings, "\n"), c.warning) {
			t.Errorf("%s: %+v", name, r)
		}
		if got.Approval.SizeBytes%job.DiskUnit(c.site.task.Platform) != 0 || r.SizeBytes != got.Approval.SizeBytes || r.VirtualSizeBytes > r.SizeBytes {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
