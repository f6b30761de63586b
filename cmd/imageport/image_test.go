package main

import (
	"bytes"
	"context"
	"fmt"
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
	t.Parallel()
	s := newImageSite(t, winimage.Small())
	for _, folder := range []string{s.dir + "/", s.url} {
		image := folder + "win10.vhdx"
		for _, x := range []struct {
			args  []string
			parts []string
		}{
			{[]string{"inspect", image}, []string{"boots     by BIOS (MBR", "Windows 10", "target device software 7.33", "nothing is seen that forbids a conversion"}},
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
			if n := strings.Count(r.out, "on a PVS server, in PowerShell:"); n > 1 || n == 1 && !strings.HasPrefix(image, "smb:") {
				t.Errorf("%v: says %d times what to do in PVS: %+v", x.args, n, r)
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
	t.Parallel()
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
	t.Parallel()
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
		{"BAD_REQUEST", []string{"convert", image, "--next-version", "--overwrite"}},
		{"is the input image itself", []string{"convert", image, "WIN10.VHDX"}},
		{"the output has the format of the input", []string{"convert", image, "new.vhd"}},
		{"not ASCII", []string{"convert", image, "größe"}},
		{"53 characters long", []string{"convert", image, strings.Repeat("n", 53)}},
		{"is not a file name on Windows", []string{"plan", image, "."}},
		{"BAD_REQUEST", []string{"convert", image, "new", "--screenshot", filepath.Join(s.dir, "boot.png")}},
		{"OUTPUT_EXISTS", []string{"convert", image, "new", "--boot", "--screenshot", image}},
		{"no such file", []string{"verify", image, "--boot", "--screenshot", filepath.Join(s.dir, "none", "boot.png")}},
		{"VERIFY_FAILED", []string{"verify", image, "--boot", "--screenshot", filepath.Join(s.dir, "boot.png")}},
		{"MISSING_BOOT_FILE", []string{"convert", image, "new", "--boot-manager", "2023"}},
		{"NO_SPACE_FOR_ESP", []string{"plan", image, "--esp", "gap"}},
		{"OUTPUT_EXISTS", []string{"convert", image, "ntfs-parent.vhdx"}},
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

// TestImageInterrupted is ^C at several moments: the exit code tells, and the
// message says what is left, which is nothing.
func TestImageInterrupted(t *testing.T) {
	t.Parallel()
	s := newImageSite(t, winimage.Small())
	for where, dir := range map[string]string{s.dir + "/": s.dir, s.url: s.shared} {
		for _, at := range []string{"inspect", "read boot files", "write", "verify"} {
			ctx, cancel := context.WithCancel(t.Context())
			var out, shown bytes.Buffer
			stderr := writerFunc(func(p []byte) (int, error) {
				if bytes.Contains(p, []byte("convert: "+at)) {
					cancel()
				}
				return shown.Write(p)
			})
			code := run(ctx, []string{"image", "--config", s.config, "convert", where + "win10.vhdx", "out", "--credential", "files"}, strings.NewReader(""), &out, stderr)
			cancel()
			if code != exitInterrupted || out.Len() > 0 || !strings.HasSuffix(shown.String(), "imageport: interrupted: nothing of the conversion is left, and the image is as it was\n") {
				t.Errorf("%s, at %s: exit code %d, %s%s", where, at, code, shown.String(), out.String())
			}
			if left, err := filepath.Glob(filepath.Join(dir, "out*")); err != nil || len(left) != 0 {
				t.Errorf("%s, at %s: left %q, %v", where, at, left, err)
			}
		}
	}
}

// TestImageLeft is what a conversion that was killed has left: named, and
// neither in the way nor touched, but for a claim, which has to be removed.
func TestImageLeft(t *testing.T) {
	t.Parallel()
	s := newImageSite(t, winimage.Small())
	image := filepath.Join(s.dir, "win10.vhdx")
	left := []string{"new.avhdx.0123456789abcdef.1.partial", "new.avhdx.0123456789abcdef.replaced"}
	for _, name := range append(left, "other.avhdx.0123456789abcdef.1.partial") {
		s.write(filepath.Join(s.dir, name), nil)
	}
	r := s.image("convert", image, "new")
	for _, name := range left {
		if _, err := os.Stat(filepath.Join(s.dir, name)); err != nil || strings.Count(r.err, "warning: "+name+" ") != 1 {
			t.Errorf("%s, %v: %+v", name, err, r)
		}
	}
	if r.code != exitOK || strings.Count(r.err, "warning: ") != len(left) {
		t.Errorf("%+v", r)
	}
	claim := "more.avhdx.0123456789abcdef.claim"
	s.write(filepath.Join(s.dir, claim), nil)
	if r := s.image("convert", image, "more"); r.code != exitFailed || !strings.Contains(r.err, "OUTPUT_IN_USE") || !strings.Contains(r.err, "remove "+claim) {
		t.Errorf("%+v", r)
	}
}

// TestImageBoot boots a result, and keeps the picture.
func TestImageBoot(t *testing.T) {
	t.Parallel()
	s := newImageSite(t, winimage.Small())
	picture := filepath.Join(s.dir, "boot.png")
	r := s.image("convert", filepath.Join(s.dir, "win10.vhdx"), "new", "--boot", "--screenshot", picture)
	if r.code != exitOK || !strings.Contains(r.out, "booted    Windows loader read, after ") || strings.Count(r.out, "\n            - ") < 4 {
		t.Errorf("%+v", r)
	}
	if png, err := os.ReadFile(picture); err != nil || !bytes.HasPrefix(png, []byte("\x89PNG")) {
		t.Errorf("screenshot of %d bytes, %v", len(png), err)
	}
}

// TestScreenOfAFailure keeps the picture of a boot that failed, and says so.
func TestScreenOfAFailure(t *testing.T) {
	var said bytes.Buffer
	a := &app{err: &said}
	path := filepath.Join(t.TempDir(), "boot.png")
	p := picture(path)
	if err := a.keepScreen(p, job.BootProof{Screenshot: []byte("PNG")}, context.Canceled); err != context.Canceled {
		t.Error(err)
	}
	failed := job.Errorf(job.BootFailed, "", "it did not boot")
	if err := a.keepScreen(p, job.BootProof{Screenshot: []byte("PNG")}, failed); err != failed {
		t.Error(err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "PNG" || !strings.Contains(said.String(), path) {
		t.Errorf("%q, %v, said %q", b, err, said.String())
	}
}

func TestPrintStatus(t *testing.T) {
	proven := job.Status{
		Operation: job.OpConvertToUEFI, State: job.StateCompleted, Warnings: []string{"w1"},
		Result: &job.Result{
			Boot: &job.BootProof{Reached: "far", Stages: []string{"s1", "s2"}, Screenshot: []byte("PNG")},
			PVS:  &job.PVSSteps{Files: []string{"a.1.pvp", "a.xml"}, PowerShell: []string{"p1"}, Targets: []string{"t1"}},
		},
	}
	dry := proven
	dry.Result = &job.Result{DryRun: true, Plan: []byte(`{"bcd": [{"object": "{ntldr}", "before": "x"}]}`), PVS: proven.Result.PVS}
	for _, x := range []struct {
		status job.Status
		parts  []string // in this order
	}{
		{proven, []string{"beside    a.1.pvp, a.xml\n", "booted    far, after 0 s\n            - s1\n            - s2\n", "warning   w1\non a PVS server, in PowerShell:\n  p1\non the target devices:\n  - t1\n"}},
		{dry, []string{": a dry run, nothing was written\n", "BCD       {ntldr}: x -> (none)\n", "beside    a.1.pvp, a.xml\n", "warning   w1\nafter the conversion, on a PVS server, in PowerShell:\n"}},
	} {
		var out bytes.Buffer
		a := &app{out: &out, output: outputText}
		if err := a.printStatus(x.status); err != nil {
			t.Error(err)
		}
		rest := out.String()
		for _, part := range x.parts {
			_, after, ok := strings.Cut(rest, part)
			if !ok {
				t.Errorf("%q is missing or out of order in %s", part, out.String())
				continue
			}
			rest = after
		}
	}

	path := filepath.Join(t.TempDir(), "boot.png")
	if err := saveScreen(proven, path); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "PNG" {
		t.Errorf("%q, %v", b, err)
	}
	if err := saveScreen(proven, path); job.CodeOf(err) != job.OutputExists {
		t.Error(err)
	}
	if err := saveScreen(dry, fmt.Sprint(path, "2")); job.CodeOf(err) != job.BadRequest {
		t.Error(err)
	}
}
