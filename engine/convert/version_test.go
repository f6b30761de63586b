package convert

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"imageport/engine/disk/chain"
	"imageport/engine/diskimage"
	"imageport/engine/pvs"
	"imageport/job"
	"imageport/testkit/disktest"
	"imageport/testkit/winimage"
)

// nextVersionTask is the task that makes the vDisk's next version.
func nextVersionTask() Task {
	task := newTask()
	task.Output = ""
	return task
}

// runVersion does what a job does, whose output preflight names.
func (f folder) runVersion(t *testing.T, task Task) (Composed, error) {
	t.Helper()
	ctx := t.Context()
	a, err := admit(ctx, f.store, task)
	if err != nil {
		return Composed{}, err
	}
	task.Output = a.Output
	c, err := Compose(ctx, f.store, task, a, "try", quiet)
	if err != nil {
		return c, err
	}
	if err := Publish(ctx, f.store, task, a, c); err != nil {
		return c, err
	}
	return c, Finish(ctx, f.store, task, a, &c, true)
}

// TestNextVersion makes versions with manifest and properties, beside a vDisk
// that has none, and then beside one that does.
func TestNextVersion(t *testing.T) {
	for _, manifest := range []bool{false, true} {
		t.Run(fmt.Sprintf("manifest there %v", manifest), func(t *testing.T) {
			f := newFolder(t, winimage.Small())
			f.write(t, "win10.pvp", "properties\x00of the vDisk")
			if manifest {
				f.writeManifest(t)
			}
			before := f.state(t)
			c, err := f.runVersion(t, nextVersionTask())
			if err != nil {
				t.Fatal(err)
			}
			after := f.state(t)
			for _, name := range []string{"win10.vhdx", "win10.pvp"} {
				if after[name] != before[name] {
					t.Errorf("%s changed", name)
				}
			}
			want := []string{"win10.1.avhdx", "win10.1.pvp", "win10.pvp", "win10.vhdx", "win10.xml"}
			var names []string
			for name := range after {
				names = append(names, name)
			}
			slices.Sort(names)
			if !slices.Equal(names, want) {
				t.Fatalf("the folder holds %q, want %q", names, want)
			}
			if b := f.read(t, "win10.1.pvp"); !bytes.Equal(b, f.read(t, "win10.pvp")) {
				t.Errorf("the properties are %q", b)
			}
			m, err := pvs.ParseManifest(f.read(t, "win10.xml"))
			if err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(filepath.Join(f.path, "win10.1.avhdx"))
			if err != nil {
				t.Fatal(err)
			}
			last := m.Latest()
			if last.Number != 1 || last.File != "win10.1.avhdx" || last.Size != info.Size() || !last.Modified.Equal(info.ModTime().Truncate(time.Second)) {
				t.Errorf("the manifest's last entry is %+v of %d bytes, %s", last, info.Size(), info.ModTime())
			}
			steps := c.Result.PVS
			if steps == nil || steps.Version != 1 || !strings.Contains(strings.Join(steps.PowerShell, "\n"), "Add-PvsDiskVersion -Name 'win10'") {
				t.Errorf("steps %+v", steps)
			}
		})
	}
}

func (f folder) read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(f.path, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// writeManifest makes the manifest of the vDisk without versions.
func (f folder) writeManifest(t *testing.T) {
	t.Helper()
	info, err := os.Stat(filepath.Join(f.path, "win10.vhdx"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := pvs.NewManifest("win10", pvs.VHDX, []pvs.File{{Name: "win10.vhdx", Size: info.Size(), Modified: info.ModTime()}})
	if err != nil {
		t.Fatal(err)
	}
	f.write(t, "win10.xml", string(m.Encode()))
}

// Cut off anywhere, a version is there as a whole or not at all: the manifest,
// which makes it one, comes last and goes first.
func TestVersionCutAnywhere(t *testing.T) {
	for _, keep := range []bool{true, false} {
		t.Run(fmt.Sprint("keep ", keep), func(t *testing.T) {
			t.Parallel()
			f := newFolder(t, winimage.Small())
			f.write(t, "win10.pvp", "properties")
			f.writeManifest(t)
			ctx := t.Context()
			before := f.state(t)
			for cut := int64(0); ; cut += max(1, cut/3) {
				task := nextVersionTask()
				a, err := admit(ctx, f.store, task)
				if err != nil {
					t.Fatal(err)
				}
				task.Output = a.Output
				done := f.cutVersion(t, task, a, cut, keep)
				after := f.state(t)
				if !keep {
					f.unchanged(t, before)
				} else if len(after) != len(before)+2 || after["win10.xml"] == before["win10.xml"] {
					t.Fatalf("cut after %d: %v", cut, after)
				}
				for _, name := range []string{"win10.1.avhdx", "win10.1.pvp"} {
					os.Remove(filepath.Join(f.path, name))
				}
				if keep { // as before, with the same time
					f.write(t, "win10.xml", "")
					f.writeManifest(t)
					before = f.state(t)
				}
				if done || t.Failed() {
					break
				}
			}
		})
	}
}

// cutVersion runs a job that is cut off after n changes, and then again or not,
// as cutAt does. It reports whether it was not cut.
func (f folder) cutVersion(t *testing.T, task Task, a Approval, n int64, keep bool) (uncut bool) {
	t.Helper()
	ctx := t.Context()
	cut := &cutStore{Store: f.store}
	cut.left.Store(n)
	var composed *Composed
	for attempt := 1; ; attempt++ {
		err := func() error {
			if composed == nil {
				c, err := Compose(ctx, cut, task, a, fmt.Sprint(attempt), quiet)
				if err != nil {
					return err
				}
				composed = &c
			}
			if err := Publish(ctx, cut, task, a, *composed); err != nil {
				return err
			}
			return Finish(ctx, cut, task, a, composed, keep)
		}()
		if err == nil {
			return attempt == 1
		}
		if attempt > 2 {
			t.Fatalf("cut after %d: %v", n, err)
		}
		if _, err := os.Stat(filepath.Join(f.path, "win10.xml")); err == nil {
			m, err := pvs.ParseManifest(f.read(t, "win10.xml"))
			if err != nil {
				t.Fatalf("cut after %d: %v", n, err)
			}
			if _, err := os.Stat(filepath.Join(f.path, m.Latest().File)); err != nil {
				t.Fatalf("cut after %d: the manifest names %s: %v", n, m.Latest().File, err)
			}
		}
		cut.left.Store(1 << 40)
		if !keep {
			if err := Finish(ctx, f.store, task, a, composed, false); err != nil {
				t.Fatal(err)
			}
			return false
		}
	}
}

// TestContainers converts a VHD, a chain of VHDs and a chain of VHDXs, and has
// 7-Zip decode what comes out.
func TestContainers(t *testing.T) {
	for _, c := range []struct {
		name   string
		format job.ImageFormat
		ext    string
		chain  bool
	}{
		{"VHD", job.FormatVHD, "vhd", false},
		{"chain of VHDs", job.FormatVHD, "vhd", true},
		{"chain of VHDXs", job.FormatVHDX, "vhdx", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f, task := emptyFolder(t), newTask()
			img, err := winimage.Cached(t.Context(), winimage.Small())
			if err != nil {
				t.Fatal(err)
			}
			task.Input, task.Output, task.Format = "win10."+c.ext, "win10-uefi.a"+c.ext, c.format
			kind := map[string]string{"vhd": "vpc", "vhdx": "vhdx"}[c.ext]
			args := []string{"convert", "-f", "raw", "-O", kind}
			if c.ext == "vhd" {
				args = append(args, "-o", "force_size")
			}
			qemuImg(t, append(args, img.Path, filepath.Join(f.path, task.Input))...)
			if c.chain { // an empty version, and one on top of it
				for i := 1; i <= 2; i++ {
					name := fmt.Sprintf("win10.%d.a%s", i, c.ext)
					f.emptyChild(t, task.Input, name)
					task.Input = name
				}
			}
			before := f.state(t)
			composed, err := f.run(t, task)
			if err != nil {
				t.Fatal(err)
			}
			after := f.state(t)
			for name := range before {
				if after[name] != before[name] {
					t.Errorf("%s changed", name)
				}
			}
			if len(after) != len(before)+1 || composed.Result.Verification == nil {
				t.Errorf("left %v", after)
			}
			f.decodesAlike(t, task, c.ext)
			// The result can be converted no more, and says why.
			task.Input, task.Output = task.Output, "again.a"+c.ext
			if _, err := f.run(t, task); job.CodeOf(err) != job.AlreadyGPT {
				t.Errorf("converted again: %v", err)
			}
		})
	}
}

// openImage opens an image with its parents.
func (f folder) openImage(t *testing.T, name string) *chain.Chain {
	t.Helper()
	c, err := diskimage.Open(t.Context(), diskimage.Input{Folder: diskimage.Local(f.store), Name: name})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// emptyChild makes a version without changes.
func (f folder) emptyChild(t *testing.T, parent, name string) {
	t.Helper()
	c := f.openImage(t, parent)
	container, err := diskimage.ContainerOf(name, true)
	if err != nil {
		t.Fatal(err)
	}
	out := diskimage.Output{
		Store: f.store, Name: name, Parent: c, Format: diskimage.Format{Container: container},
		Identity: diskimage.Identity{ID: uuid.NewSHA1(uuid.NameSpaceURL, []byte(name)), Created: time.Unix(1_700_000_000, 0)},
	}
	if _, err := diskimage.Create(t.Context(), out, c.Size(), c.SectorSize()); err != nil {
		t.Fatal(err)
	}
}

// decodesAlike compares what we read of the output with what 7-Zip reads.
func (f folder) decodesAlike(t *testing.T, task Task, kind string) {
	t.Helper()
	disktest.Same7zz(t, kind, f.openImage(t, task.Output), filepath.Join(f.path, task.Output))
}
