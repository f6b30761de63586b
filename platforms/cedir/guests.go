package cedir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"imageport/job"
	"imageport/job/seed"
	"imageport/platforms"
)

// EnvGuest is the variable, inherited by all that the process of a CE's guest
// starts, whose value is the CE's directory. It is not EnvMark: the guest is no
// process of the CE.
const EnvGuest = "IMAGEPORT_GUEST_DIR"

// The files of a guest in its CE's directory.
const (
	guestFile     = "guest.json" // guest: there is one
	guestLockFile = "guest.lock" // locked by the guest's processes for their lives
	guestRoom     = "guest"      // the directory of the guest's own files
)

// The files of a guest in its own directory. A driver adds its own.
const (
	// GuestErrors is what the guest's process prints on its standard error.
	GuestErrors = "stderr.log"

	guestOutput = "stdout.log"
	endFile     = "end.json" // guestEnd
)

// guest is the content of guest.json.
type guest struct {
	Guest platforms.Guest `json:"guest"`
	// Process is the machine. It may be not recorded yet, or never be.
	Process Process `json:"process"`
	// Started says that the machine was switched on, or is about to be.
	Started bool `json:"started"`
	// Stopped says that it was us who switched it off.
	Stopped bool `json:"stopped"`
}

// guestEnd is how a guest's process ended, as the worker saw that started it.
type guestEnd struct {
	Status string `json:"status"`
}

// Guests are the guests of the CEs of a store: platforms.Guests but for the
// pictures. A guest is a process that outlives the worker.
type Guests struct {
	Store *Store
	// Check refuses a guest that the platform cannot make, beyond what is refused
	// of all platforms' guests.
	Check func(ctx context.Context, guest platforms.Guest) error
	// Command gives the process that is the machine, for the guest of the CE in
	// dir. The guest's own files go to room, which is empty. The process gets its
	// standard output and error, a session, and EnvGuest in its environment
	// afterwards. If the CE has not got the disk, the kind of the error is NotFound.
	Command func(ctx context.Context, dir, room string, guest platforms.Guest) (*exec.Cmd, error)

	// SetUp waits until the machine is set up, after its process was started. How
	// that ends, if it does, comes from exited.
	SetUp func(ctx context.Context, room string, exited <-chan error) error
	// SwitchOn switches the machine on that is set up, if it has not been. Without
	// it, and without SetUp, a machine is on when its process is started.
	SwitchOn func(ctx context.Context, room string) error
	// Describe adds to what is known of a guest that is on. It may be nil.
	Describe func(ctx context.Context, room string, g *platforms.GuestState)
}

// noGuest says that there is none.
type noGuest struct{}

func (noGuest) Error() string { return "the CE has no guest" }
func (noGuest) Unwrap() error { return platforms.ErrNotFound }

// hasGuest reports whether the CE in dir has a guest, on or off, or the
// beginning of one.
func hasGuest(dir string) (bool, error) {
	_, err := os.Lstat(filepath.Join(dir, guestFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// NoGuest fails with Busy if the CE in dir has a guest. The caller holds the CE's
// directory, or the lock of its process.
func NoGuest(dir string) error {
	has, err := hasGuest(dir)
	if has {
		err = platforms.Errorf(platforms.Busy, "the CE has a guest, which is to be removed first")
	}
	return err
}

// Room is the directory of the files of the guest of the CE of that name.
func (g *Guests) Room(ce string) string { return filepath.Join(g.Store.Dir(ce), guestRoom) }

// CheckGuest does what platforms.Guests asks for.
func (g *Guests) CheckGuest(ctx context.Context, guest platforms.Guest) error {
	return Fail("check", "guest", g.check(ctx, guest))
}

// controllers are those that disks may be at.
var controllers = []job.Controller{
	"", job.PVSCSI, job.LSISAS, job.LSI, job.AHCI, job.NVMe, job.VirtIO, job.XenBD, job.VMBus,
}

func (g *Guests) check(ctx context.Context, guest platforms.Guest) error {
	refuse := func(format string, args ...any) error {
		return platforms.Errorf(platforms.BadRequest, "guest of disk %q: %s", guest.Disk, fmt.Sprintf(format, args...))
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case guest.Disk == "":
		return refuse("want the name of one")
	case guest.Firmware != job.BIOS && guest.Firmware != job.UEFI:
		return refuse("firmware %q: want %s or %s", guest.Firmware, job.BIOS, job.UEFI)
	case !slices.Contains(controllers, guest.Controller):
		return refuse("controller %q is none that we know", guest.Controller)
	case guest.MemoryMB <= 0:
		return refuse("%d MiB of memory: want some", guest.MemoryMB)
	case guest.CPUs <= 0:
		return refuse("%d processors: want 1 or more", guest.CPUs)
	}
	return g.Check(ctx, guest)
}

// read gives the guest of the CE in dir, if there is one. One whose file is
// spoilt is one that was never switched on: the file is on stable storage before
// that.
func read(dir string) (g guest, there bool, err error) {
	if there, err = hasGuest(dir); there {
		_, err = ReadJSON(filepath.Join(dir, guestFile), &g)
	}
	return g, there, err
}

func (g *Guests) record(dir string, is guest) error {
	err := ReplaceDurable(filepath.Join(dir, guestFile), is)
	g.Store.Step("wrote " + guestFile)
	return err
}

// FindGuest does what platforms.Guests asks for.
func (g *Guests) FindGuest(ctx context.Context, ce string) (platforms.GuestState, error) {
	st, err := g.find(ctx, ce)
	return st, Fail("find the guest of", ce, err)
}

func (g *Guests) find(ctx context.Context, ce string) (platforms.GuestState, error) {
	if !seed.ValidName(ce) {
		return platforms.GuestState{}, platforms.Errorf(platforms.BadRequest, "%q is no name for a CE", ce)
	}
	if err := ctx.Err(); err != nil {
		return platforms.GuestState{}, err
	}
	dir := g.Store.Dir(ce)
	is, there, err := read(dir)
	if err != nil {
		return platforms.GuestState{}, err
	}
	if !there {
		return platforms.GuestState{}, &platforms.Error{Kind: platforms.NotFound, Err: noGuest{}}
	}
	if is, err = seek(dir, is); err != nil {
		return platforms.GuestState{}, err
	}
	room := filepath.Join(dir, guestRoom)
	st := platforms.GuestState{Started: is.Started, On: is.Started && is.Process.Alive(), Ref: room}
	if is.Process.PID != 0 {
		st.Ref = fmt.Sprintf("process %d", is.Process.PID)
	}
	switch {
	case st.On && g.Describe != nil:
		g.Describe(ctx, room, &st)
	case !st.On && st.Started && !is.Stopped:
		if end, ok := endOf(room); ok && end.Status != exitedWell {
			st.Fault = Cut(end.Status)
			if words := LastLine(filepath.Join(room, GuestErrors)); words != "" {
				st.Fault = Cut(end.Status + ": " + words)
			}
		}
	}
	return st, nil
}

// seek finds the process of a guest that was started, if the worker that did so
// did not come to record it.
func seek(dir string, is guest) (guest, error) {
	if !is.Started || is.Process.PID != 0 {
		return is, nil
	}
	found, err := belonging(EnvGuest+"="+dir, Process{})
	for _, p := range found {
		// It leads its session. What it has started may, too, but later.
		if st, err := readStat(p.PID); err == nil && st.session == p.PID && (is.Process.PID == 0 || p.Start < is.Process.Start) {
			is.Process = p
		}
	}
	return is, err
}

const (
	exitedWell = "exit status 0"
	// endPatience is how long the worker that started a guest may take to tell how
	// it ended.
	endPatience = time.Second
)

// endOf tells how the process of a guest ended. Nobody knows if the worker that
// started it was gone by then.
func endOf(room string) (end guestEnd, ok bool) {
	path := filepath.Join(room, endFile)
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return guestEnd{}, false
	}
	defer Unlock(fd)
	for began := time.Now(); time.Since(began) < endPatience; time.Sleep(vacantPoll) {
		if written, err := TryLock(fd, path); written || err != nil {
			break
		}
	}
	ok, err = ReadJSON(path, &end)
	return end, ok && err == nil
}

// StopGuest does what platforms.Guests asks for.
func (g *Guests) StopGuest(ctx context.Context, ce string) error {
	return Fail("stop the guest of", ce, g.hold(ctx, ce, func(dir string, is guest) error {
		is, err := seek(dir, is)
		if err != nil {
			return err
		}
		if is.Process.Alive() {
			is.Stopped = true
			if err := g.record(dir, is); err != nil {
				return err
			}
		}
		return g.end(ctx, dir)
	}))
}

// RemoveGuest does what platforms.Guests asks for.
func (g *Guests) RemoveGuest(ctx context.Context, ce string) error {
	return Fail("remove the guest of", ce, g.hold(ctx, ce, func(dir string, _ guest) error {
		if err := g.end(ctx, dir); err != nil {
			return err
		}
		return g.forget(dir)
	}))
}

// forget removes the files of a guest whose processes are gone. The one that says
// that there is a guest goes last.
func (g *Guests) forget(dir string) error {
	if err := os.RemoveAll(filepath.Join(dir, guestRoom)); err != nil {
		return err
	}
	g.Store.Step("removed the guest's files")
	err := remove(dir, guestFile)
	g.Store.Step("removed " + guestFile)
	return err
}

// hold does something to the guest of a CE, if there is one, and keeps everybody
// else from the CE meanwhile.
func (g *Guests) hold(ctx context.Context, ce string, do func(dir string, is guest) error) error {
	if !seed.ValidName(ce) {
		return platforms.Errorf(platforms.BadRequest, "%q is no name for a CE", ce)
	}
	dir := g.Store.Dir(ce)
	release, err := lockDir(ctx, dir, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer release()
	is, there, err := read(dir)
	if err != nil || !there {
		return err
	}
	return do(dir, is)
}

// end ends all processes of the guest of the CE in dir.
func (g *Guests) end(ctx context.Context, dir string) error {
	fd, err := g.Store.endGuest(ctx, dir)
	if err == nil {
		Unlock(fd)
		g.Store.Step("the guest's processes are gone")
	}
	return err
}

// endGuest ends all processes of the guest of the CE in dir, and gives the lock
// that the next one is to have.
func (s *Store) endGuest(ctx context.Context, dir string) (lock int, err error) {
	path := filepath.Join(dir, guestLockFile)
	fd, err := syscall.Open(path, syscall.O_RDWR|syscall.O_CREAT|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	err = s.end(ctx, crew{
		mark: EnvGuest + "=" + dir, lock: fd, lockPath: path,
		leader: func() (Process, error) {
			is, _, err := read(dir)
			return is.Process, err
		},
	})
	if err != nil {
		syscall.Close(fd)
		return -1, err
	}
	return fd, nil
}
