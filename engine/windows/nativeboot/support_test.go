package nativeboot

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"imageport/engine/disk"
	"imageport/engine/disk/overlay"
	"imageport/engine/windows/hive"
	"imageport/job"
	"imageport/testkit/winimage"
	"imageport/testkit/winimage/windisk"
)

const mib = 1 << 20

// small is a disk with one partition, for quick tests.
func small() winimage.Spec {
	return winimage.Spec{SizeBytes: 128 * mib, BootFiles: winimage.SmallBootFiles}
}

// plan plans twice, and checks the shape of the writes.
func plan(t *testing.T, src disk.Disk, platform string, size int64) *Plan {
	t.Helper()
	p, err := New(t.Context(), src, Target{Platform: platform, SizeBytes: size})
	if err != nil {
		t.Fatal(err)
	}
	again, err := New(t.Context(), src, Target{Platform: platform, SizeBytes: size})
	if err != nil || again.Digest() != p.Digest() || len(p.Digest()) != 64 {
		t.Fatalf("made again, the plan is another one (%v)", err)
	}
	end := int64(-1)
	for _, w := range p.Writes {
		before := end
		end = w.Offset + int64(len(w.Data))
		if w.Offset <= before || w.Offset%overlay.PageSize != 0 || len(w.Data) == 0 || end%overlay.PageSize != 0 && end != size {
			t.Errorf("a write of %d bytes at %d, after one to %d", len(w.Data), w.Offset, before)
		}
	}
	if end > size {
		t.Errorf("the last write ends at %d, the disk at %d", end, size)
	}
	for _, f := range p.FixUps {
		if f.What == "" || f.Old == f.New || f.Why == "" {
			t.Errorf("fix-up %+v", f)
		}
	}
	if (len(p.Writes) == 0) != (len(p.FixUps) == 0) {
		t.Errorf("%d writes, fix-ups %+v", len(p.Writes), p.FixUps)
	}
	return p
}

// apply gives the disk with the plan's writes, of which the second half is
// written twice; and checks that nothing is left to do then.
func apply(t *testing.T, src disk.Disk, p *Plan, platform string, size int64) *overlay.Overlay {
	t.Helper()
	out := overlay.New(longer{src, size})
	for _, w := range slices.Concat(p.Writes, p.Writes[len(p.Writes)/2:]) {
		if _, err := out.WriteAt(w.Data, w.Offset); err != nil {
			t.Fatal(err)
		}
	}
	done := plan(t, out, platform, size)
	if len(done.FixUps) != 0 || len(done.Writes) != 0 {
		t.Errorf("on a disk that is fixed up there is left to do %+v", done.FixUps)
	}
	if done.Firmware != p.Firmware || !slices.Equal(done.Controllers, p.Controllers) || done.Product != p.Product || !slices.Equal(done.Warnings, p.Warnings) {
		t.Errorf("fixed up, the disk is another one: %+v, it was %+v", done, p)
	}
	return out
}

// export writes a disk, or a part of one, to a file.
func export(t *testing.T, d io.ReaderAt, off, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "export")
	windisk.Export(t, path, d, off, size)
	return path
}

// edit changes a hive of C: in place.
func edit(t testing.TB, img winimage.Image, d *overlay.Overlay, path string, change func(h *editor)) {
	t.Helper()
	windisk.Edit(t, d, windisk.Windows(t, img), path, func(h *hive.Hive) error {
		change(&editor{t, h})
		return nil
	})
}

// editor changes a hive in tests.
type editor struct {
	t testing.TB
	h *hive.Hive
}

func (e *editor) must(err error) {
	e.t.Helper()
	if err != nil {
		e.t.Fatal(err)
	}
}

// set sets values of a key, which is made if it is not there.
func (e *editor) set(path string, values ...hive.Value) {
	e.t.Helper()
	e.must(e.h.CreateKey([]string{path}, time.Unix(1_600_000_000, 0)))
	for _, v := range values {
		e.must(e.h.SetValue([]string{path}, v))
	}
}

// driver adds a driver whose file is that of another one.
func (e *editor) driver(set, name string, start uint32, override bool) {
	e.t.Helper()
	path := set + `\Services\` + name
	e.set(path, hive.DWORD("Type", 1), hive.DWORD("Start", start), hive.ExpandSZ("ImagePath", `System32\drivers\storahci.sys`))
	if override {
		e.set(path+`\StartOverride`, hive.DWORD("0", 3))
	}
}

// drop deletes a key.
func (e *editor) drop(path string) {
	e.t.Helper()
	e.must(e.h.DeleteKey(path))
}

// brief gives fix-ups as text, with short names.
func brief(fixUps []job.FixUp) []string {
	var list []string
	for _, f := range fixUps {
		what := strings.NewReplacer(`HKLM\SYSTEM\ControlSet001\Services\`, "", `HKLM\SYSTEM\ControlSet002\Services\`, "2:").Replace(f.What)
		list = append(list, what+" "+f.Old+">"+f.New)
	}
	return list
}

// tool runs a program that must succeed.
func tool(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// reglookup gives what that reader of registries, which is not ours, finds in a
// hive, with the values of keys.
func reglookup(t *testing.T, b []byte) map[string]bool {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hive")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "reglookup", path).Output()
	if err != nil {
		t.Fatalf("reglookup: %v", err)
	}
	lines := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		lines[strings.TrimSpace(line)] = true
	}
	return lines
}

// differences are the lines that only one of two has, marked as diff does.
func differences(before, after map[string]bool) []string {
	var list []string
	for line := range before {
		if !after[line] {
			list = append(list, "-"+line)
		}
	}
	for line := range after {
		if !before[line] {
			list = append(list, "+"+line)
		}
	}
	slices.Sort(list)
	return list
}
