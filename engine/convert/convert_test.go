package convert

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"imageport/engine/disk/vhdx"
	"imageport/engine/share"
	"imageport/engine/source"
	"imageport/job"
	"imageport/testkit/ovmf"
	"imageport/testkit/winimage"
)

// folder is a directory with one image in it, behind the share interface.
type folder struct {
	path  string
	store share.Store
}

func newFolder(t *testing.T, spec winimage.Spec) folder {
	t.Helper()
	return folderWith(t, spec, winimage.Dynamic)
}

func folderWith(t *testing.T, spec winimage.Spec, subformat winimage.Subformat) folder {
	t.Helper()
	img, err := winimage.Cached(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	f := emptyFolder(t)
	if err := img.VHDX(t.Context(), filepath.Join(f.path, "win10.vhdx"), subformat); err != nil {
		t.Fatal(err)
	}
	return f
}

func emptyFolder(t *testing.T) folder {
	t.Helper()
	path := t.TempDir()
	store, err := share.Dir(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return folder{path, store}
}

func newTask() Task {
	return Task{
		Job: "ips/h/disks/win10.vhdx", Key: "0123456789ab",
		Storage: job.StorageLocation{Host: "h", SharePath: "disks"},
		Input:   "win10.vhdx", Output: "win10-uefi.avhdx", Format: job.FormatVHDX,
	}
}

// state is names, sizes, hashes and modification times of all files.
func (f folder) state(t *testing.T) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(f.path)
	if err != nil {
		t.Fatal(err)
	}
	state := make(map[string]string)
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		state[e.Name()] = fmt.Sprintf("%d bytes %x of %s", info.Size(), f.sha256(t, e.Name()), info.ModTime())
	}
	return state
}

func (f folder) sha256(t *testing.T, name string) []byte {
	t.Helper()
	file, err := os.Open(filepath.Join(f.path, name))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	h := sha256.New()
	if _, err := io.Copy(h, file); err != nil {
		t.Fatal(err)
	}
	return h.Sum(nil)
}

func (f folder) unchanged(t *testing.T, before map[string]string) {
	t.Helper()
	if after := f.state(t); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("the folder changed\nbefore %v\nafter  %v", before, after)
	}
}

func quiet(job.Progress) {}

// admit gives the approval of a preflight.
func admit(ctx context.Context, store share.Store, task Task) (Approval, error) {
	admitted, err := Preflight(ctx, store, task)
	return admitted.Approval, err
}

// run does what a job does.
func (f folder) run(t *testing.T, task Task) (Composed, error) {
	t.Helper()
	a, err := admit(t.Context(), f.store, task)
	if err != nil {
		return Composed{}, err
	}
	return f.publish(t, task, a)
}

// publish does what a job does after its preflight.
func (f folder) publish(t *testing.T, task Task, a Approval) (Composed, error) {
	t.Helper()
	ctx := t.Context()
	c, err := Compose(ctx, f.store, task, a, "try", quiet)
	if err != nil {
		return c, err
	}
	if err := Publish(ctx, f.store, task, a, c); err != nil {
		return c, err
	}
	return c, Finish(ctx, f.store, task, a, &c, true)
}

func TestConvert(t *testing.T) {
	gap := winimage.Small()
	gap.FreeAtEndMiB = 200
	small50 := winimage.Small()
	small50.SystemReservedMiB = 50
	middle := winimage.Small()
	middle.FreeAfterWindowsMiB = 120
	for _, c := range []struct {
		name      string
		spec      winimage.Spec
		subformat winimage.Subformat
		placement job.ESPPlacement
	}{
		{"reuse", winimage.Default(), winimage.Dynamic, "reuse"},
		{"C: shrunk", small50, winimage.Dynamic, "shrink"},
		{"gap at the end", gap, winimage.Dynamic, "gap"},
		{"gap behind C:, fixed", middle, winimage.Fixed, "gap"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f, task := folderWith(t, c.spec, c.subformat), newTask()
			before := f.state(t)
			composed, err := f.run(t, task)
			if err != nil {
				t.Fatal(err)
			}
			r := composed.Result
			if r.ESPPlacement != c.placement {
				t.Errorf("placement %s, want %s", r.ESPPlacement, c.placement)
			}
			if limit := 2*r.ChangedBytes + 8<<20; c.spec.BootFiles != winimage.SmallBootFiles && r.SizeBytes > limit {
				t.Errorf("output of %d bytes for %d changed ones, more than %d", r.SizeBytes, r.ChangedBytes, limit)
			}
			after := f.state(t)
			if len(after) != 2 || after[task.Input] != before[task.Input] {
				t.Errorf("left behind: %v\nat first: %v", after, before)
			}
			if !strings.Contains(after[task.Output], r.SHA256) {
				t.Errorf("the output is %s, its result says %s", after[task.Output], r.SHA256)
			}
			f.decodesAlike(t, task, "vhdx")
			raw := f.flat(t, task)
			accepted(t, raw, r)
			report, err := ovmf.Boot(t.Context(), ovmf.Options{Disk: raw})
			if err != nil {
				t.Fatalf("%v\n%s", err, report.Serial)
			}
			if !report.Passed {
				t.Errorf("firmware does not reach Windows:\n%s", report)
			}
		})
	}
}

// Every refusal of preflight has its code and a remedy, and leaves the folder
// as it was.
func TestPreflightRefuses(t *testing.T) {
	small := func(change func(*winimage.Spec)) *winimage.Spec {
		s := winimage.Small()
		change(&s)
		return &s
	}
	ordinary := small(func(*winimage.Spec) {})
	type refusal struct {
		name   string
		spec   *winimage.Spec // nil: no image
		change func(t *testing.T, f folder, task *Task)
		code   job.Code
	}
	cases := []refusal{
		{"missing image", nil, nil, job.ImageNotFound},
		{"placement that does not go", ordinary, func(_ *testing.T, _ folder, task *Task) {
			task.Options.ESPPlacement = []job.ESPPlacement{job.PlaceGap}
		}, job.NoSpaceForESP},
		{"boot manager that is not there", ordinary, func(_ *testing.T, _ folder, task *Task) {
			task.Options.BootManager = job.BootManager2023
		}, job.MissingBootFile},
		{"in use by PVS", ordinary, func(t *testing.T, f folder, task *Task) { f.write(t, "win10.lok", "") }, job.ImageLocked},
		{"output in use by PVS", ordinary, func(t *testing.T, f folder, task *Task) {
			if _, err := f.run(t, *task); err != nil {
				t.Fatal(err)
			}
			task.Overwrite, task.IgnoreLock = true, true
			f.write(t, "win10-uefi.lok", "")
		}, job.ImageLocked},
		{"version in the manifest under the output's name", ordinary, func(t *testing.T, f folder, task *Task) {
			next := *task
			next.Output = ""
			a, err := admit(t.Context(), f.store, next)
			if err != nil {
				t.Fatal(err)
			}
			next.Output = a.Output
			if _, err := f.publish(t, next, a); err != nil {
				t.Fatal(err)
			}
			task.Output, task.Overwrite = a.Output, true
		}, job.OutputExists},
		{"VHD whose geometry shows less than it holds", nil, func(t *testing.T, f folder, task *Task) {
			task.Input, task.Output, task.Format = "win10.vhd", "win10-uefi.avhd", job.FormatVHD
			f.geometryVHD(t, task.Input)
		}, job.UnsupportedDisk},
		{"not the latest version", ordinary, func(t *testing.T, f folder, task *Task) {
			task.Output = ""
			f.write(t, "win10.1.avhdx", "")
		}, job.NotLatestVersion},
		{"damaged manifest", ordinary, func(t *testing.T, f folder, task *Task) {
			task.Output = ""
			f.write(t, "win10.xml", "<versionManifest>")
		}, job.ManifestInvalid},
		{"output exists", ordinary, func(t *testing.T, f folder, task *Task) { f.write(t, task.Output, "theirs") }, job.OutputExists},
		{"another vDisk under the output's name", ordinary, func(t *testing.T, f folder, task *Task) {
			task.Overwrite = true
			qemuImg(t, "create", "-f", "vhdx", filepath.Join(f.path, task.Output), "64M")
		}, job.OutputExists},
		{"anything under the output's name", ordinary, func(t *testing.T, f folder, task *Task) {
			task.Overwrite = true
			f.write(t, task.Output, "not a disk")
		}, job.OutputExists},
		{"another image's differencing disk under the output's name", ordinary, func(t *testing.T, f folder, task *Task) {
			other := *task
			other.Input = "other.vhdx"
			if err := os.Link(filepath.Join(f.path, task.Input), filepath.Join(f.path, other.Input)); err != nil {
				t.Fatal(err)
			}
			if _, err := f.run(t, other); err != nil {
				t.Fatal(err)
			}
			task.Overwrite = true
		}, job.OutputExists},
		{"VHD by name, VHDX by signature", ordinary, func(_ *testing.T, _ folder, task *Task) { task.Format = job.FormatVHD }, job.WrongFormat},
		{"not a disk at all", nil, func(t *testing.T, f folder, task *Task) { f.write(t, task.Input, "PK\x03\x04 not a disk") }, job.WrongFormat},
		{"empty file", nil, func(t *testing.T, f folder, task *Task) { f.write(t, task.Input, "") }, job.WrongFormat},
		{"empty disk", nil, func(t *testing.T, f folder, task *Task) {
			qemuImg(t, "create", "-f", "vhdx", filepath.Join(f.path, task.Input), "64M")
		}, job.NoMBR},
		{"truncated", ordinary, func(t *testing.T, f folder, task *Task) {
			if err := os.Truncate(filepath.Join(f.path, task.Input), 5<<20); err != nil {
				t.Fatal(err)
			}
		}, job.DiskCorrupt},
		{"version without its parent", ordinary, func(t *testing.T, f folder, task *Task) {
			if _, err := f.run(t, *task); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(filepath.Join(f.path, task.Input), filepath.Join(f.path, "elsewhere.vhdx")); err != nil {
				t.Fatal(err)
			}
			task.Input, task.Output = task.Output, "again.avhdx"
		}, job.ImageNotFound},
		{"already converted version", ordinary, func(t *testing.T, f folder, task *Task) {
			if _, err := f.run(t, *task); err != nil {
				t.Fatal(err)
			}
			task.Input, task.Output = task.Output, "again.avhdx"
		}, job.AlreadyGPT},
	}
	for _, r := range winimage.Refusals() { // all that can be wrong with what is on the disk
		cases = append(cases, refusal{r.Name, &r.Spec, nil, job.Code(r.Code)})
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f, task := emptyFolder(t), newTask()
			if c.spec != nil {
				f = newFolder(t, *c.spec)
			}
			if c.change != nil {
				c.change(t, f, &task)
			}
			before := f.state(t)
			_, err := Preflight(t.Context(), f.store, task)
			if job.CodeOf(err) != c.code {
				t.Errorf("got %q: %v; want %s", job.CodeOf(err), err, c.code)
			}
			var e *job.Error
			if !errors.As(err, &e) || e.Message == "" || e.Remedy == "" {
				t.Errorf("the refusal lacks a message or a remedy: %#v", err)
			}
			f.unchanged(t, before)
		})
	}
}

func (f folder) write(t *testing.T, name, contents string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(f.path, name), []byte(contents), 0o600); err != nil {
		t.Fatal(err)
	}
}

// geometryVHD makes a VHD as Virtual PC does, which shows a guest no more than
// cylinders, heads and sectors come to.
func (f folder) geometryVHD(t *testing.T, name string) {
	t.Helper()
	img, err := winimage.Cached(t.Context(), winimage.Small())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(f.path, name)
	qemuImg(t, "convert", "-f", "raw", "-O", "vpc", "-o", "force_size", img.Path, path)
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{0, info.Size() - 512} { // the footer's copy, and the footer
		footer := make([]byte, 512)
		if _, err := file.ReadAt(footer, at); err != nil {
			t.Fatal(err)
		}
		copy(footer[28:], "vpc ") // creator application
		binary.BigEndian.PutUint16(footer[56:], uint16(img.Spec.SizeBytes/(16*63*512)))
		footer[58], footer[59] = 16, 63
		clear(footer[64:68]) // checksum
		sum := uint32(0)
		for _, b := range footer {
			sum += uint32(b)
		}
		binary.BigEndian.PutUint32(footer[64:], ^sum)
		if _, err := file.WriteAt(footer, at); err != nil {
			t.Fatal(err)
		}
	}
}

func qemuImg(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "qemu-img", args...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// Two runs of one job write the same bytes; other jobs and outputs share no
// identity with it.
func TestDeterministic(t *testing.T) {
	f, task := newFolder(t, winimage.Small()), newTask()
	first, err := f.run(t, task)
	if err != nil {
		t.Fatal(err)
	}
	task.Overwrite = true
	task.Key = "ba9876543210" // another run of the workflow
	second, err := f.run(t, task)
	if err != nil {
		t.Fatal(err)
	}
	if first.Result.SHA256 != second.Result.SHA256 {
		t.Errorf("two runs wrote %s and %s", first.Result.SHA256, second.Result.SHA256)
	}
	task.Job = "another"
	third, err := f.run(t, task)
	if err != nil {
		t.Fatal(err)
	}
	if third.Result.ID == first.Result.ID || third.Result.DiskGUID == first.Result.DiskGUID {
		t.Error("another job has the same GUIDs")
	}
}

// cutStore fails every operation after a number of them, like a connection
// that is gone or a process that was killed.
type cutStore struct {
	share.Store
	left atomic.Int64
}

var errCut = errors.New("cut")

func (s *cutStore) cut() error {
	if s.left.Add(-1) < 0 {
		return errCut
	}
	return nil
}

func (s *cutStore) CreateExcl(ctx context.Context, name string) (share.WritableFile, error) {
	if err := s.cut(); err != nil {
		return nil, err
	}
	f, err := s.Store.CreateExcl(ctx, name)
	return &cutFile{f, s}, err
}

func (s *cutStore) Rename(ctx context.Context, from, to string) error {
	if err := s.cut(); err != nil {
		return err
	}
	if err := s.Store.Rename(ctx, from, to); err != nil {
		return err
	}
	return s.cut() // done, but nobody hears of it
}

func (s *cutStore) Remove(ctx context.Context, name string) error {
	if err := s.cut(); err != nil {
		return err
	}
	if err := s.Store.Remove(ctx, name); err != nil {
		return err
	}
	return s.cut()
}

type cutFile struct {
	share.WritableFile
	s *cutStore
}

func (f *cutFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.s.cut(); err != nil {
		n, _ := f.WritableFile.WriteAt(p[:len(p)/2], off) // torn
		return n, err
	}
	return f.WritableFile.WriteAt(p, off)
}

func (f *cutFile) Sync() error {
	if err := f.s.cut(); err != nil {
		return err
	}
	return f.WritableFile.Sync()
}

// Cut off after any number of changes to the share, and run again from there:
// the output is never seen incomplete, the second run gives the same bytes, and
// nothing else is left. The same for a cancel instead of a second run, which
// restores what was there.
func TestCutAnywhere(t *testing.T) {
	task := newTask()
	task.Overwrite = true
	old := Task{Job: "older job", Key: "0", Storage: task.Storage, Input: task.Input, Output: task.Output, Format: task.Format, Overwrite: true}
	for _, existing := range []bool{false, true} {
		for _, keep := range []bool{true, false} {
			t.Run(fmt.Sprintf("existing output %v, keep %v", existing, keep), func(t *testing.T) {
				t.Parallel()
				f := newFolder(t, winimage.Small())
				want, err := f.run(t, task)
				if err != nil {
					t.Fatal(err)
				}
				os.Remove(filepath.Join(f.path, task.Output))
				if existing {
					if _, err := f.run(t, old); err != nil {
						t.Fatal(err)
					}
				}
				before := f.state(t)
				// Points are spread: the writes of the payload are all alike.
				for cut := int64(0); ; cut += max(1, cut/6) {
					done := f.cutAt(t, task, cut, keep, want)
					if !keep {
						f.unchanged(t, before)
					} else {
						after := f.state(t)
						if len(after) != 2 || !strings.Contains(after[task.Output], want.Result.SHA256) {
							t.Fatalf("cut after %d: %v", cut, after)
						}
						if existing { // lay the old one down again
							f.reset(t, old)
						} else {
							os.Remove(filepath.Join(f.path, task.Output))
						}
					}
					if done || t.Failed() {
						break
					}
				}
			})
		}
	}
}

func (f folder) reset(t *testing.T, old Task) {
	t.Helper()
	if _, err := f.run(t, old); err != nil {
		t.Fatal(err)
	}
}

// cutAt runs a job that is cut off after n changes, then again, as the workflow
// would, until it gets through. It reports whether the first run was not cut.
func (f folder) cutAt(t *testing.T, task Task, n int64, keep bool, want Composed) (uncut bool) {
	t.Helper()
	ctx := t.Context()
	a, err := admit(ctx, f.store, task)
	if err != nil {
		t.Fatal(err)
	}
	cut := &cutStore{Store: f.store}
	cut.left.Store(n)
	var composed *Composed
	for attempt := 1; attempt < 4; attempt++ {
		err = func() error {
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
		f.wholeOrAbsent(t, task, want)
		if err == nil {
			return attempt == 1
		}
		if !errors.Is(err, errCut) {
			t.Fatalf("cut after %d, attempt %d: %v", n, attempt, err)
		}
		cut.left.Store(1 << 40) // the connection is back
		if !keep {              // cancelled after the first attempt
			if err := Finish(ctx, cut, task, a, composed, false); err != nil {
				t.Fatal(err)
			}
			return false
		}
	}
	t.Fatalf("cut after %d: %v", n, err)
	return false
}

// wholeOrAbsent: whatever has the output's name is a complete disk.
func (f folder) wholeOrAbsent(t *testing.T, task Task, want Composed) {
	t.Helper()
	file, err := os.Open(filepath.Join(f.path, task.Output))
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	im, err := vhdx.Open(file, info.Size())
	if err != nil {
		t.Fatalf("an incomplete output is visible: %v", err)
	}
	if im.Info().DataWriteGUID.String() == want.Result.ID && info.Size() != want.Result.SizeBytes {
		t.Fatalf("the output has %d bytes, not %d", info.Size(), want.Result.SizeBytes)
	}
}

// earlierOutput puts what another job has made under the output's name.
func (f folder) earlierOutput(t *testing.T, task Task) {
	t.Helper()
	task.Job, task.Key = "an earlier job", "eeeeeeeeeeee"
	if _, err := f.run(t, task); err != nil {
		t.Fatal(err)
	}
}

// What appears or changes under the output's name while the job runs is not
// replaced, even with overwriteOutput.
func TestPublishNeverReplacesWhatItDidNotSee(t *testing.T) {
	for _, existing := range []bool{false, true} {
		t.Run(fmt.Sprintf("existing %v", existing), func(t *testing.T) {
			f, task := newFolder(t, winimage.Small()), newTask()
			task.Overwrite = true
			if existing {
				f.earlierOutput(t, task)
			}
			ctx := t.Context()
			a, err := admit(ctx, f.store, task)
			if err != nil {
				t.Fatal(err)
			}
			c, err := Compose(ctx, f.store, task, a, "try", quiet)
			if err != nil {
				t.Fatal(err)
			}
			f.write(t, task.Output, "written by somebody else meanwhile")
			before, err := os.ReadFile(filepath.Join(f.path, task.Output))
			if err != nil {
				t.Fatal(err)
			}
			if err := Publish(ctx, f.store, task, a, c); job.CodeOf(err) != job.OutputExists {
				t.Errorf("published over another's file: %v", err)
			}
			if err := Finish(ctx, f.store, task, a, &c, false); err != nil {
				t.Error(err)
			}
			after, err := os.ReadFile(filepath.Join(f.path, task.Output))
			if err != nil || !bytes.Equal(before, after) {
				t.Errorf("the other's file is %q, %v", after, err)
			}
			if names := slices.Sorted(maps.Keys(f.state(t))); len(names) != 2 {
				t.Errorf("left behind: %v", names)
			}
		})
	}
}

// An image that changes between preflight and the CE's work is refused.
func TestSourceChanged(t *testing.T) {
	f, task := newFolder(t, winimage.Small()), newTask()
	a, err := admit(t.Context(), f.store, task)
	if err != nil {
		t.Fatal(err)
	}
	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(filepath.Join(f.path, task.Input), later, later); err != nil {
		t.Fatal(err)
	}
	if _, err := Compose(t.Context(), f.store, task, a, "try", quiet); job.CodeOf(err) != job.SourceChanged {
		t.Errorf("got %v", err)
	}
}

// looseStore renames like Samba: it looks, and then renames, whatever has come
// in between.
type looseStore struct {
	share.Store
	path string
}

func (s looseStore) Rename(ctx context.Context, from, to string) error {
	if _, err := s.Stat(ctx, to); err == nil {
		return fs.ErrExist
	}
	time.Sleep(20 * time.Millisecond)
	return os.Rename(filepath.Join(s.path, from), filepath.Join(s.path, to))
}

// Of jobs that publish the same output at once, exactly one succeeds, even
// where the server's rename does not tell them apart.
func TestOneOfManyPublishes(t *testing.T) {
	f := newFolder(t, winimage.Small())
	store := looseStore{f.store, f.path}
	const jobs = 4
	tasks, approvals, composed := make([]Task, jobs), make([]Approval, jobs), make([]Composed, jobs)
	for i := range jobs {
		tasks[i] = newTask()
		tasks[i].Job, tasks[i].Key = fmt.Sprint("job ", i), fmt.Sprintf("%012x", i)
		var err error
		if approvals[i], err = admit(t.Context(), store, tasks[i]); err != nil {
			t.Fatal(err)
		}
		if composed[i], err = Compose(t.Context(), store, tasks[i], approvals[i], "try", quiet); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 {
		var wg sync.WaitGroup
		results := make([]error, jobs)
		for i := range jobs {
			wg.Go(func() {
				results[i] = Publish(t.Context(), store, tasks[i], approvals[i], composed[i])
			})
		}
		wg.Wait()
		winner := -1
		for i, err := range results {
			switch code := job.CodeOf(err); {
			case err == nil && winner < 0:
				winner = i
			case err == nil:
				t.Fatalf("jobs %d and %d both published", winner, i)
			case code != job.OutputInUse && code != job.OutputExists:
				t.Fatalf("job %d: %v", i, err)
			}
		}
		if winner < 0 {
			t.Fatalf("nobody published: %v", results)
		}
		if output, err := source.Stat(t.Context(), store, tasks[winner].Output); err != nil || output == nil || *output != composed[winner].Pieces[0].File {
			t.Fatalf("the output is not that of job %d, which published it: %v", winner, err)
		}
		// Lay it back for the next round.
		if err := os.Rename(filepath.Join(f.path, tasks[winner].Output), filepath.Join(f.path, composed[winner].Pieces[0].Partial)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range jobs {
		if err := Finish(t.Context(), store, tasks[i], approvals[i], &composed[i], false); err != nil {
			t.Error(err)
		}
	}
	if left := f.state(t); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}

// Two runs of one job write the same bytes. The one that comes too late must
// not take the other one's output for its own, neither to keep nor to remove.
func TestSecondRunLeavesTheFirstOnesOutput(t *testing.T) {
	f, task := newFolder(t, winimage.Small()), newTask()
	ctx := t.Context()
	late := task
	late.Key = "ba9876543210"
	a, err := admit(ctx, f.store, late)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Compose(ctx, f.store, late, a, "try", quiet)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.run(t, task); err != nil {
		t.Fatal(err)
	}
	published := f.state(t)[task.Output]
	if err := Publish(ctx, f.store, late, a, c); job.CodeOf(err) != job.OutputExists {
		t.Errorf("published over the first run's output: %v", err)
	}
	for range 2 { // Finish, too, may run twice
		if err := Finish(ctx, f.store, late, a, &c, false); err != nil {
			t.Fatal(err)
		}
		if now := f.state(t); now[task.Output] != published || len(now) != 2 {
			t.Fatalf("left %v, published was %s", now, published)
		}
	}
}

// swapStore puts another file under the output's name just before it is set aside.
type swapStore struct {
	share.Store
	swap func()
}

func (s *swapStore) Rename(ctx context.Context, from, to string) error {
	if s.swap != nil {
		s.swap()
		s.swap = nil
	}
	return s.Store.Rename(ctx, from, to)
}

func TestWhatIsSetAsideIsWhatPreflightSaw(t *testing.T) {
	f, task := newFolder(t, winimage.Small()), newTask()
	task.Overwrite = true
	f.earlierOutput(t, task)
	ctx := t.Context()
	a, err := admit(ctx, f.store, task)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Compose(ctx, f.store, task, a, "try", quiet)
	if err != nil {
		t.Fatal(err)
	}
	store := &swapStore{Store: f.store, swap: func() { f.write(t, task.Output, "put there in the last moment") }}
	if err := Publish(ctx, store, task, a, c); job.CodeOf(err) != job.OutputExists {
		t.Errorf("got %v", err)
	}
	if err := Finish(ctx, f.store, task, a, &c, false); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(filepath.Join(f.path, task.Output)); err != nil || string(b) != "put there in the last moment" {
		t.Errorf("the file put there is %q, %v", b, err)
	}
	if left := f.state(t); len(left) != 2 {
		t.Errorf("left behind: %v", left)
	}
}

// heldStore cannot remove partial files: a Compositing Engine that was lost
// still has them open on the server.
type heldStore struct{ share.Store }

var errHeld = errors.New("held open")

func (s heldStore) Remove(ctx context.Context, name string) error {
	if strings.HasSuffix(name, ".partial") {
		return errHeld
	}
	return s.Store.Remove(ctx, name)
}

// A partial file that cannot be removed yet keeps neither the next Compositing
// Engine from its work nor the replaced output from getting its name back.
func TestHeldPartial(t *testing.T) {
	f, task := newFolder(t, winimage.Small()), newTask()
	task.Overwrite = true
	f.earlierOutput(t, task)
	before := f.state(t)
	ctx := t.Context()
	a, err := admit(ctx, f.store, task)
	if err != nil {
		t.Fatal(err)
	}
	f.write(t, task.names().Partial("lost"), "of the one that was lost")
	c, err := Compose(ctx, heldStore{f.store}, task, a, "try", quiet)
	if err != nil {
		t.Fatal(err)
	}
	if err := Publish(ctx, f.store, task, a, c); err != nil {
		t.Fatal(err)
	}
	if err := Finish(ctx, heldStore{f.store}, task, a, &c, false); !errors.Is(err, errHeld) {
		t.Errorf("got %v", err)
	}
	if now := f.state(t); now[task.Output] != before[task.Output] {
		t.Errorf("the old output did not get its name back: %v", now)
	}
	if err := Finish(ctx, f.store, task, a, &c, false); err != nil { // the server has let go
		t.Error(err)
	}
	f.unchanged(t, before)
}

func TestPreflightSeesClaimsAndAliases(t *testing.T) {
	f, task := newFolder(t, winimage.Small()), newTask()
	f.write(t, task.Output+".00000000ffff.claim", "")
	if _, err := Preflight(t.Context(), f.store, task); job.CodeOf(err) != job.OutputInUse {
		t.Errorf("with another job's claim: %v", err)
	}
	if err := os.Remove(filepath.Join(f.path, task.Output+".00000000ffff.claim")); err != nil {
		t.Fatal(err)
	}
	// A second name of the image, as 8.3 names are.
	if err := os.Link(filepath.Join(f.path, task.Input), filepath.Join(f.path, task.Output)); err != nil {
		t.Fatal(err)
	}
	task.Overwrite = true
	if _, err := Preflight(t.Context(), f.store, task); job.CodeOf(err) != job.OutputExists {
		t.Errorf("with the image under the output's name: %v", err)
	}
}
