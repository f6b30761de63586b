package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imageport/job"
	"imageport/testkit/winimage"
)

func (s diskSite) image(args ...string) result {
	return call(s.t.Context(), "", append([]string{"image", "--config", s.config}, args...)...)
}

// newImageSite has a vDisk with Windows, locally and on the share.
func newImageSite(t *testing.T, spec winimage.Spec) diskSite {
	t.Helper()
	s := newDiskSite(t)
	img, err := winimage.Cached(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{s.dir, s.shared} {
		if err := img.VHDX(t.Context(), filepath.Join(dir, "win10.vhdx"), winimage.Dynamic); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// TestImage goes through all commands, locally and on a share.
func TestImage(t *testing.T) {
	s := newImageSite(t, winimage.Small())
	for _, folder := range []string{s.dir + "/", s.url} {
		image := folder + "win10.vhdx"
		for _, x := range []struct {
			args  []string
			parts []string
		}{
			{[]string{"inspect", image}, []string{"boots     by BIOS (MBR", "Windows 10", "target device software 7.33", "can be converted"}},
			{[]string{"plan", image}, []string{"would become uefi-preview.avhdx", "before:", "after:", "reuse: in place of System Reserved", `winload.exe -> \WINDOWS\system32\winload.efi`, `\DosDevices\C:`, "warning"}},
			{[]string{"convert", image, "new", "--esp", "shrink"}, []string{"new.avhdx", "verified", "shrink: behind C:"}},
			{[]string{"verify", folder + "new.avhdx"}, []string{"GPT", "both copies are valid and equal", "Boot manager", "BCD, default entry"}},
			{[]string{"inspect", folder + "new.avhdx"}, []string{"by UEFI (GPT", "no conversion: ALREADY_GPT"}},
			{[]string{"convert", image, "--next-version"}, []string{"win10.1.avhdx"}},
		} {
			r := s.image(append(x.args, "--credential", "files")...)
			if r.code != exitOK {
				t.Errorf("%v: %+v", x.args, r)
			}
			for _, part := range x.parts {
				if !strings.Contains(r.out, part) {
					t.Errorf("%v: %q is missing in %+v", x.args, part, r)
				}
			}
		}
	}
	for _, dir := range []string{s.dir, s.shared} {
		for _, name := range []string{"new.avhdx", "win10.1.avhdx", "win10.xml"} {
			if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
				t.Error(err)
			}
		}
		if left, err := filepath.Glob(filepath.Join(dir, "*.partial")); err != nil || len(left) > 0 {
			t.Errorf("left %q, %v", left, err)
		}
	}
}

func TestImageJSON(t *testing.T) {
	s := newImageSite(t, winimage.Small())
	image := filepath.Join(s.dir, "win10.vhdx")
	about := decode[inspected](t, s.image("inspect", image, "-o", "json"))
	if about.PartitionStyle != "mbr" || about.BootMode != "bios" || !about.Convertible || about.Windows.Build != 19045 || len(about.Partitions) != 3 || about.Image.Container != "vhdx" {
		t.Errorf("%+v", about)
	}
	plan := decode[job.Result](t, s.image("plan", image, "-o", "json"))
	if !plan.DryRun || len(plan.Plan) == 0 || plan.ESPPlacement != job.PlaceReuse {
		t.Errorf("%+v", plan)
	}
	done := decode[job.Result](t, s.image("convert", image, "new", "-o", "json"))
	if done.DryRun || done.SHA256 == "" || done.DiskGUID == plan.DiskGUID || done.Verification == nil {
		t.Errorf("%+v", done)
	}
	if v := decode[verified](t, s.image("verify", filepath.Join(s.dir, "new.avhdx"), "-o", "json")); len(v.Checks) == 0 || len(v.ESPFiles) == 0 {
		t.Errorf("%+v", v)
	}
}

func TestImageRefusals(t *testing.T) {
	s := newImageSite(t, winimage.Small())
	image := filepath.Join(s.dir, "win10.vhdx")
	for _, x := range []struct {
		part string
		args []string
	}{
		{"BAD_REQUEST", []string{"convert", image}},
		{"BAD_REQUEST", []string{"convert", image, "new", "--next-version"}},
		{"BAD_REQUEST", []string{"convert", image, "sub/new"}},
		{"BAD_REQUEST", []string{"convert", image, "new", "--esp", "somewhere"}},
		{"BAD_REQUEST", []string{"convert", image, "new", "--partition-type", "0x1c=unknown"}},
		{"MISSING_BOOT_FILE", []string{"convert", image, "new", "--boot-manager", "2023"}},
		{"NO_SPACE_FOR_ESP", []string{"plan", image, "--esp", "gap"}},
		{"OUTPUT_EXISTS", []string{"convert", image, "win10.vhdx"}},
		{"VERIFY_FAILED", []string{"verify", image}},
		{"IMAGE_NOT_FOUND", []string{"inspect", filepath.Join(s.dir, "missing.vhdx")}},
		{"no conversion: NO_ACTIVE_PARTITION", []string{"inspect", filepath.Join(s.dir, "ntfs-parent.vhdx")}},
	} {
		r := s.image(x.args...)
		if !strings.Contains(r.err+r.out, x.part) || (r.code == exitOK) != strings.HasPrefix(x.part, "no conversion") {
			t.Errorf("%v: %+v", x.args, r)
		}
	}
	files, err := os.ReadDir(s.dir)
	if err != nil || len(files) != 3 {
		t.Errorf("left %v, %v", files, err)
	}
}
