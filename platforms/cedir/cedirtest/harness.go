package cedirtest

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"imageport/job/seed"
	"imageport/platforms"
	"imageport/platforms/cedir"
	"imageport/platforms/platformtest"
)

// Harness is what harnesses of platforms on package cedir have in common. The
// driver's adds Open, OutputDisk, OtherDisks and Attached.
type Harness struct {
	// Dir has the state directory and the directory of output disks.
	Dir string
	// StartTimeout is that of the drivers to be opened, 0 for their own.
	StartTimeout time.Duration

	planted, plantedDisks []string
}

// New gives an empty platform.
func New(t testing.TB) *Harness {
	t.Helper()
	// As cedir spells it.
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{StateDir(dir), OutputDir(dir)} {
		if err := os.Mkdir(sub, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return &Harness{Dir: dir}
}

// StateDir and OutputDir are the directories in that of a Harness.
func StateDir(dir string) string  { return filepath.Join(dir, "state") }
func OutputDir(dir string) string { return filepath.Join(dir, "output") }

// CEDir is the directory of the CE of that name.
func (h *Harness) CEDir(name string) string { return filepath.Join(StateDir(h.Dir), name) }

// Agents counts the processes of the CE.
func (h *Harness) Agents(t testing.TB, name string) int { return len(Processes(t, h.CEDir(name))) }

// Kill kills the process of the CE, and waits until it is gone with all of its
// threads.
func (h *Harness) Kill(t testing.TB, name string) {
	t.Helper()
	pids := Processes(t, h.CEDir(name))
	if len(pids) != 1 {
		t.Fatalf("kill: %d processes", len(pids))
	}
	p, err := cedir.Identify(pids[0])
	if err == nil {
		err = p.Kill()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Seed reads the seed of the CE.
func (h *Harness) Seed(t testing.TB, name string) seed.Seed {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(h.CEDir(name), cedir.SeedFile))
	if err != nil {
		t.Fatal(err)
	}
	s, err := seed.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Plant puts a file in the CE's place, and a directory of nobody's beside it.
func (h *Harness) Plant(t testing.TB, name string) func() bool {
	t.Helper()
	other := filepath.Join(StateDir(h.Dir), "lost+found")
	if err := os.Mkdir(other, 0o755); err != nil {
		t.Fatal(err)
	}
	h.planted = append(h.planted, name, "lost+found")
	intact := plant(t, h.CEDir(name))
	return func() bool {
		_, err := os.Stat(other)
		return err == nil && intact()
	}
}

func plant(t testing.TB, path string) func() bool {
	t.Helper()
	if err := os.WriteFile(path, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	return func() bool {
		b, err := os.ReadFile(path)
		return err == nil && string(b) == "mine"
	}
}

// Leftovers gives what is in the state directory.
func (h *Harness) Leftovers(t testing.TB) []string {
	t.Helper()
	return slices.DeleteFunc(Entries(t, StateDir(h.Dir)), func(name string) bool { return slices.Contains(h.planted, name) })
}

// BadDiskNames gives names that are no paths below a directory.
func (h *Harness) BadDiskNames() []string {
	return []string{
		".", "..", "../win11.img", "/abs", "a/../../b", "a//b", "images/", "images/.hidden", "a\nb", strings.Repeat("x", 2000),
		"[lab] images/x.vmdk", "ds:///vmfs/volumes/1/x.vmdk", "ds://vmfs/volumes/1/x.vmdk",
	}
}

// Outputs gives the files in the directory of output disks, and the empty
// folders, with a slash.
func (h *Harness) Outputs(t testing.TB) []string {
	t.Helper()
	var found []string
	root := OutputDir(h.Dir)
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil || slices.Contains(h.plantedDisks, name) {
			return err
		}
		if !e.IsDir() {
			found = append(found, name)
		} else if len(Entries(t, path)) == 0 {
			found = append(found, name+"/")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(found)
	return found
}

// PlantOutput puts a file in the place of an output disk.
func (h *Harness) PlantOutput(t testing.TB, name string) func() bool {
	t.Helper()
	h.plantedDisks = append(h.plantedDisks, name)
	path := filepath.Join(OutputDir(h.Dir), name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	return plant(t, path)
}

// RemoveOutput removes an output disk, and the folders around it that are empty
// then.
func (h *Harness) RemoveOutput(t testing.TB, name string) {
	t.Helper()
	path := filepath.Join(OutputDir(h.Dir), name)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	for folder := filepath.Dir(path); folder != OutputDir(h.Dir) && len(Entries(t, folder)) == 0; folder = filepath.Dir(folder) {
		if err := os.Remove(folder); err != nil {
			t.Fatal(err)
		}
	}
}

// Fail makes what a call needs of the operating system fail, for good.
func (h *Harness) Fail(t testing.TB, call platformtest.Call, kind platforms.Kind) (heal func()) {
	t.Helper()
	dir := h.CEDir(call.CE.Name)
	switch {
	case kind == platforms.Full && call.Verb == platformtest.Create:
		return fillUp(t, filepath.Join(dir, cedir.SeedFile))
	case kind == platforms.Full && (call.Verb == platformtest.AddDisk || call.Verb == platformtest.KeepDisk):
		return fillUp(t, filepath.Join(dir, "disks.json"))
	case kind == platforms.Full && call.Verb == platformtest.StartGuest:
		return fillUp(t, filepath.Join(dir, "guest.json"))
	case kind == platforms.Busy && (call.Verb == platformtest.Create || call.Verb == platformtest.StartGuest):
		h.StartTimeout = 100 * time.Millisecond
		unlock := hold(t, filepath.Join(dir, cedir.LockFile))
		return func() {
			unlock()
			h.StartTimeout = 0
		}
	case kind == platforms.Denied && call.Verb == platformtest.Check:
		chmod(t, StateDir(h.Dir), 0o777) // not even root is to take that
		return func() { chmod(t, StateDir(h.Dir), 0o700) }
	}
	return nil
}

// fillUp makes writes to a file of a CE, which is replaced by renaming, end as
// on a file system that is full (full(4)).
func fillUp(t testing.TB, path string) (heal func()) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/full", path+".tmp"); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(path + ".tmp"); err != nil {
			t.Fatal(err)
		}
	}
}

// hold locks a file of a CE, as a process does that cannot be seen.
func hold(t testing.TB, path string) (unlock func()) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	fd, err := syscall.Open(path, syscall.O_RDWR|syscall.O_CREAT|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		t.Fatal(err)
	}
	return func() { cedir.Unlock(fd) }
}

func chmod(t testing.TB, path string, mode fs.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}
