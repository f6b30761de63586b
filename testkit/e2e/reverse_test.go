package e2e

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"imageport/job"
	"imageport/testkit/ovmf"
	"imageport/testkit/proxy"
	"imageport/testkit/winimage"
)

// reversed is the output disk of reverse's requests.
const reversed = "images/reversed.raw"

// reverse is the specification's request for reverseImage on this site.
func (r rig) reverse(change func(map[string]any)) []byte {
	r.t.Helper()
	printed, err := os.ReadFile("../../job/testdata/reverseImage.json")
	if err != nil {
		r.t.Fatal(err)
	}
	b, err := r.Body(printed, func(b map[string]any) {
		b["outputDiskName"] = reversed
		delete(b, "outputSizeMb")
		if change != nil {
			change(b)
		}
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return b
}

// output is the path of an output disk.
func (r rig) output(name string) string { return filepath.Join(r.Outputs(), name) }

// outputs are all files in the place of output disks.
func (r rig) outputs() []string {
	r.t.Helper()
	var found []string
	err := filepath.WalkDir(r.Outputs(), func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return found
}

// sameBytes compares two files, of which the second may be longer by zeros.
func (r rig) sameBytes(want, got string) {
	r.t.Helper()
	a, err := os.Open(want)
	if err != nil {
		r.t.Fatal(err)
	}
	defer a.Close()
	b, err := os.Open(got)
	if err != nil {
		r.t.Fatal(err)
	}
	defer b.Close()
	const piece = 1 << 20
	p, q := make([]byte, piece), make([]byte, piece)
	for off := int64(0); ; off += piece {
		clear(p)
		n, errA := io.ReadFull(a, p)
		m, errB := io.ReadFull(b, q)
		if m < n || !bytes.Equal(p[:m], q[:m]) {
			r.t.Fatalf("%s differs from %s within the MiB at %#x", got, want, off)
		}
		if errB != nil {
			if !errors.Is(errB, io.EOF) && !errors.Is(errB, io.ErrUnexpectedEOF) || errA == nil {
				r.t.Fatalf("%s: %v, %s: %v", want, errA, got, errB)
			}
			return
		}
	}
}

// A vDisk with a version, which convertToUefi makes, becomes a raw disk: first to
// the bit, then one that starts.
func TestReverse(t *testing.T) {
	t.Parallel()
	r := newRig(t, winimage.Small())
	r.startWorker()
	child := r.completed(r.start(r.body(func(b map[string]any) {
		delete(b, "outputImageFilename")
		b["pvsVersion"] = "next"
	})), 2*time.Minute)
	before := r.files()
	expected := filepath.Join(r.Dir, "expected.raw")
	if err := r.Flatten(t.Context(), child, expected); err != nil {
		t.Fatal(err)
	}

	exact := r.completed(r.startOp(job.OpReverseImage, r.reverse(func(b map[string]any) {
		b["inputImageFilename"] = child.OutputFile
		b["fixups"], b["verify"] = "none", "full"
	})), 2*time.Minute)
	r.sameBytes(expected, r.output(reversed))
	if exact.Firmware != job.UEFI || exact.VerifiedBytes != exact.SizeBytes || len(exact.FixUps) > 0 || len(exact.Source) != 2 {
		t.Errorf("the result is %+v", exact)
	}

	id := r.startOp(job.OpReverseImage, r.reverse(func(b map[string]any) {
		b["inputImageFilename"] = child.OutputFile
		b["outputDiskName"] = "larger.raw"
		b["outputSizeMb"] = exact.SizeBytes>>20 + 100
	}))
	larger := r.completed(id, 2*time.Minute)
	r.record("reversed", id)
	if !slices.ContainsFunc(larger.FixUps, func(f job.FixUp) bool {
		return f.What == `HKLM\SYSTEM\ControlSet001\Services\storahci\StartOverride` && f.Old == "0=3" && f.New == ""
	}) {
		t.Errorf("the fix-ups are %+v", larger.FixUps)
	}
	if larger.SizeBytes != exact.SizeBytes+100<<20 || larger.CRC32C != exact.CRC32C {
		t.Errorf("the result is %+v", larger)
	}
	report, err := ovmf.Boot(t.Context(), ovmf.Options{Disk: r.output("larger.raw")})
	if err != nil || !report.Passed {
		t.Errorf("it does not start: %v\n%s", err, report)
	}

	// The vDisk without its version is one for a BIOS.
	bios := r.completed(r.startOp(job.OpReverseImage, r.reverse(func(b map[string]any) { b["outputDiskName"] = "bios/disk.raw" })), 2*time.Minute)
	if bios.Firmware != job.BIOS || len(bios.FixUps) == 0 {
		t.Errorf("the result is %+v", bios)
	}
	report, err = ovmf.Boot(t.Context(), ovmf.Options{Disk: r.output("bios/disk.raw"), BIOS: true})
	if err != nil || !report.Passed {
		t.Errorf("it does not start: %v\n%s", err, report)
	}
	if after := r.files(); !same(before, after) {
		t.Errorf("the share changed\nbefore %v\nafter  %v", before, after)
	}
	if left := r.outputs(); len(left) != 3 {
		t.Errorf("in the place of output disks are %q", left)
	}
	r.noCE()
}

// What can be refused is refused before there is a CE, and leaves nothing.
func TestReverseRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, winimage.Small())
	r.startWorker()
	if err := os.WriteFile(r.output("taken.raw"), []byte("somebody's"), 0o600); err != nil {
		t.Fatal(err)
	}
	before := r.files()
	for _, tc := range []struct {
		name   string
		change func(map[string]any)
		code   job.Code
	}{
		{"too small", func(b map[string]any) { b["outputSizeMb"] = "100" }, job.OutputTooSmall},
		{"taken", func(b map[string]any) { b["outputDiskName"] = "taken.raw" }, job.OutputExists},
		{"overwrite", func(b map[string]any) { b["overwriteOutput"] = true }, job.BadRequest},
		{"path", func(b map[string]any) { b["outputDiskName"] = "../out.raw" }, job.BadRequest},
		{"no image", func(b map[string]any) { b["inputImageFilename"] = "nobody" }, job.ImageNotFound},
		{"format", func(b map[string]any) { b["inputImageFilename"], b["inputImageFormat"] = "win10.vhdx", "VhdDiskFormat" }, job.WrongFormat},
		{"VM", func(b map[string]any) { b["createVm"] = true }, job.UnsupportedOperation},
	} {
		// Not through our client, which refuses some of it itself.
		id := "refused " + tc.name + r.ResourceLocation
		r.startOpAs(job.OpReverseImage, id, r.reverse(tc.change))
		if s := r.wait(id, time.Minute); s.Error == nil || s.Error.Code != tc.code || s.CE != "" {
			t.Errorf("%s: it ended as %s on CE %q with %v, want %s", tc.name, s.State, s.CE, s.Error, tc.code)
		}
	}
	if left := r.outputs(); len(left) != 1 {
		t.Errorf("in the place of output disks are %q", left)
	}
	if after := r.files(); !same(before, after) {
		t.Errorf("the share changed\nbefore %v\nafter  %v", before, after)
	}
	r.noCE()
}

// A job that is cancelled in the middle of the copy leaves nothing.
func TestReverseCancelled(t *testing.T) {
	t.Parallel()
	r := newRig(t, winimage.Small())
	r.startWorker()
	door := proxy.New(t, r.Samba.Addr())
	door.StallAfter(proxy.Down, 12<<20)
	id := r.startOp(job.OpReverseImage, r.reverse(func(b map[string]any) { b["inputStorageLocation"].(map[string]any)["port"] = door.Port() }))
	r.until("the copy is half done", door.Stalled)
	r.until("there is an output", func() bool { return len(r.outputs()) > 0 || !door.Stalled() })
	if err := r.Jobs.Cancel(t.Context(), id, "enough"); err != nil {
		t.Fatal(err)
	}
	door.Resume()
	if s := r.wait(id, time.Minute); s.State != job.StateCanceled {
		t.Errorf("it ended as %s with %v", s.State, s.Error)
	}
	r.record("reverseCanceled", id)
	if left := r.outputs(); len(left) > 0 {
		t.Errorf("in the place of output disks are %q", left)
	}
	r.noCE()
}

// The source changes while it is copied: the job fails, and leaves nothing.
func TestReverseSourceChanged(t *testing.T) {
	t.Parallel()
	r := newRig(t, winimage.Small())
	r.startWorker()
	door := proxy.New(t, r.Samba.Addr())
	door.StallAfter(proxy.Down, 12<<20)
	id := r.startOp(job.OpReverseImage, r.reverse(func(b map[string]any) { b["inputStorageLocation"].(map[string]any)["port"] = door.Port() }))
	r.until("the copy is half done", door.Stalled)
	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(filepath.Join(r.Store, "win10.vhdx"), later, later); err != nil {
		t.Fatal(err)
	}
	door.Resume()
	if s := r.wait(id, 2*time.Minute); s.Error == nil || s.Error.Code != job.SourceChanged {
		t.Errorf("it ended as %s with %v", s.State, s.Error)
	}
	r.record("reverseFailed", id)
	if left := r.outputs(); len(left) > 0 {
		t.Errorf("in the place of output disks are %q", left)
	}
	r.noCE()
}
