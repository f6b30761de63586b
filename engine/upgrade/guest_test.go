package upgrade

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"imageport/engine/catalogue"
	"imageport/engine/copyfile"
	"imageport/engine/disk/copier"
	"imageport/engine/disk/overlay"
	"imageport/engine/inject"
	"imageport/engine/reverse"
	"imageport/engine/source"
	"imageport/engine/windows/hive"
	"imageport/engine/windows/pvstarget"
	"imageport/firstboot/plan"
	"imageport/job"
	"imageport/testkit/winimage"
	"imageport/testkit/winimage/windisk"
)

// From the image to a disk that waits to be started, by the job's own steps. What
// an approval says goes through a workflow's history.
func TestInject(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.offer(t, func(in *catalogue.Installer) {
		in.Prerequisites = []catalogue.Prerequisite{{
			Name: "runtime", File: in.File, SHA256: in.SHA256, Args: "/q", OKCodes: []int{0}, RebootCodes: []int{3010}, TimeoutMinutes: 5, Session: plan.SessionService,
		}}
		in.Repair = []string{"cmd /c ver"}
	})
	a := s.admits(t).Approval
	b, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	a = Approval{}
	if err := json.Unmarshal(b, &a); err != nil {
		t.Fatal(err)
	}
	before := files(t, s.dir)
	path := filepath.Join(t.TempDir(), "disk.raw")
	f, err := copyfile.Create(path, a.Copy.SizeBytes)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	d, err := copyfile.OpenWhole(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := reverse.Copy(t.Context(), s.store, s.task.Copy, a.Copy, d, nil, quiet, func(copier.State) {}); err != nil {
		t.Fatal(err)
	}
	if err := reverse.FixUp(t.Context(), s.store, s.task.Copy, a.Copy, d, quiet); err != nil {
		t.Fatal(err)
	}

	// A file that has changed since the preflight is not what is installed.
	program := filepath.Join(s.catalogue.Dir, installerFile)
	swap := func() { change(t, program, func(b []byte) []byte { b[len(b)-1] ^= 1; return b }) }
	swap()
	_, err = Inject(t.Context(), noDial, s.task, a, d, quiet)
	refused(t, err, job.InstallerHashMismatch, a.Installer.SHA256)
	if err := os.Rename(program, program+".gone"); err != nil {
		t.Fatal(err)
	}
	_, err = Inject(t.Context(), noDial, s.task, a, d, quiet)
	refused(t, err, job.InstallerNotFound, installerFile)
	if err := os.Rename(program+".gone", program); err != nil {
		t.Fatal(err)
	}
	if left, err := inject.Traces(t.Context(), d, a.partition()); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	swap()
	done, err := Inject(t.Context(), noDial, s.task, a, d, quiet)
	if err != nil || len(done.Changes) == 0 || done.Undo.Current == "" {
		t.Fatalf("%+v, %v", done, err)
	}

	// It waits: a guest that did nothing is told from one that did.
	out, err := Judge(t.Context(), s.task, a, d, Ended{})
	if err != nil || !out.Again {
		t.Errorf("%+v, %v", out, err)
	}
	v := windisk.Volume(t, a.view(d), winimage.Partition{StartBytes: a.Before.Offset, SizeBytes: a.Before.SizeBytes})
	p, err := v.Open(home + plan.PlanFile)
	if err != nil {
		t.Fatal(err)
	}
	text, err := p.ReadAll(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := plan.ParsePlan(text); err != nil || len(got.Steps) != 3 || got.Job != s.task.Copy.Job || got.Steps[1].SHA256 != a.Installer.SHA256 {
		t.Errorf("%+v, %v", got, err)
	}
	// An image with that in it is refused from the start.
	if err := inject.Unused(t.Context(), d, a.partition()); job.CodeOf(err) != job.LeftoverRunner {
		t.Errorf("used, and %v", err)
	}
	_, err = Inject(t.Context(), noDial, s.task, a, d, quiet)
	refused(t, err, job.LeftoverRunner, plan.Service)

	if _, err := Clean(t.Context(), a, d, done.Undo, quiet); err != nil {
		t.Fatal(err)
	}
	if facts, err := pvstarget.Inspect(t.Context(), a.view(d)); err != nil || facts.Version != oldVersion || len(facts.Services) != 4 {
		t.Errorf("%+v, %v", facts, err)
	}
	if after := files(t, s.dir); after != before {
		t.Errorf("the folder changed\nbefore\n%safter\n%s", before, after)
	}
}

// A disk on which the new version is, is cleaned, written, proven and published;
// again, it is found clean.
func TestFromDiskToFile(t *testing.T) {
	t.Parallel()
	j := newJudged(t)
	dir := t.TempDir()
	store := opened(t, dir)
	_, err := Write(t.Context(), store, j.task, j.a, j, "ce-1", quiet)
	if err != nil {
		t.Fatal(err)
	}
	removed, err := Clean(t.Context(), j.a, j, inject.Undo{MadeParent: true}, quiet)
	if err != nil || !slices.ContainsFunc(removed, func(f job.FixUp) bool { return f.What == plan.Folder }) {
		t.Fatalf("%+v, %v", removed, err)
	}
	written := j.DirtyBytes()
	if again, err := Clean(t.Context(), j.a, j, inject.Undo{MadeParent: true}, quiet); err != nil || len(again) > 0 || j.DirtyBytes() != written {
		t.Errorf("again: %+v, %v", again, err)
	}
	out, err := Write(t.Context(), store, j.task, j.a, j, "ce-2", quiet)
	if err != nil {
		t.Fatal(err)
	}
	if err := Prove(t.Context(), store, j.a, out.Piece.Partial); err != nil {
		t.Fatal(err)
	}
	if names := exportNames(t, dir); !slices.Equal(names, []string{out.Piece.Partial}) {
		t.Errorf("in the folder are %q", names)
	}
	for range 2 {
		if err := Publish(t.Context(), store, j.task, out.Piece); err != nil {
			t.Fatal(err)
		}
	}
	if err := Finish(t.Context(), store, j.task, j.a, &out.Piece, true); err != nil {
		t.Fatal(err)
	}
	if names := exportNames(t, dir); !slices.Equal(names, []string{j.task.Output}) {
		t.Errorf("in the folder are %q", names)
	}
	if err := Prove(t.Context(), store, j.a, j.task.Output); err != nil {
		t.Error(err)
	}
	// A job that failed later takes it back.
	if err := Finish(t.Context(), store, j.task, j.a, &out.Piece, false); err != nil {
		t.Fatal(err)
	}
	if names := exportNames(t, dir); len(names) > 0 {
		t.Errorf("in the folder are %q", names)
	}
}

// A file whose time is none that a VHD can have does not keep it from being one.
func TestWriteVHDOfAnyTime(t *testing.T) {
	t.Parallel()
	for _, modified := range []time.Time{{}, time.Unix(0, 0), time.Date(2136, 2, 7, 6, 28, 15, 0, time.UTC), time.Date(2400, 1, 1, 0, 0, 0, 0, time.UTC)} {
		_, store := exportFolder(t)
		task := Task{Copy: reverse.Task{Job: "ips/h/disks/win10", Key: "0123456789ab", Format: job.FormatVHD}, Output: "new.vhd"}
		a := Approval{Copy: reverse.Approval{SizeBytes: 4 << 20, Source: []source.Layer{{File: source.FileID{Modified: modified}}}}}
		if _, err := Write(t.Context(), store, task, a, exportDisk{bytes: make([]byte, 4<<20)}, "ce-1", quiet); err != nil {
			t.Errorf("%s: %v", modified, err)
		}
	}
}

// What is written and not right, is found.
func TestProveFinds(t *testing.T) {
	t.Parallel()
	cleaned := newJudged(t)
	if _, err := Clean(t.Context(), cleaned.a, cleaned, inject.Undo{MadeParent: true}, quiet); err != nil {
		t.Fatal(err)
	}
	product := must(t, func() (pvstarget.Facts, error) { return pvstarget.Inspect(t.Context(), cleaned.a.view(cleaned)) }).ProductCode
	for _, c := range []struct {
		name   string
		change func(testing.TB, *overlay.Overlay, winimage.Partition)
		says   string
	}{
		{"nothing was cleaned", nil, "there still is " + plan.Folder},
		{"the service is there", in(system, set(`ControlSet001\Services\`+plan.Service, hive.DWORD("Start", 4))), "there still is HKLM"},
		{"old version", in(software, set(uninstall+product, hive.SZ("DisplayVersion", oldVersion))), oldVersion},
		{"no service", in(system, func(h *hive.Hive) error { return h.DeleteKey(`ControlSet001\Services\BNDevice`) }), "BNDevice is not there"},
		{"marked for chkdsk", func(t testing.TB, d *overlay.Overlay, p winimage.Partition) { forChkdsk(t, d, p) }, "marked dirty"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			j := newJudged(t)
			if c.change != nil { // of what is clean
				j.Overlay = overlay.New(cleaned)
				c.change(t, j.Overlay, j.windows)
			}
			store := opened(t, t.TempDir())
			out, err := Write(t.Context(), store, j.task, j.a, j, "ce-1", quiet)
			if err != nil {
				t.Fatal(err)
			}
			refused(t, Prove(t.Context(), store, j.a, out.Piece.Partial), job.UpgradeNotVerified, c.says)
		})
	}
	if err := Prove(t.Context(), opened(t, t.TempDir()), cleaned.a, "gone.vhdx"); job.CodeOf(err) != job.ImageNotFound {
		t.Errorf("no file: %v", err)
	}
}
