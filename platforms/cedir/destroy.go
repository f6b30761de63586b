package cedir

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"imageport/job/seed"
	"imageport/platforms"
)

const (
	// vacantPoll is how often Vacant looks whether a process has given up its lock.
	vacantPoll = 5 * time.Millisecond
	// exitPoll is the first pause before destroy looks again whether the
	// processes are gone. The pauses grow with the time that it takes.
	exitPoll = 20 * time.Millisecond
	// killWait is how long a process may take to vanish after SIGKILL.
	killWait = 10 * time.Second
)

// Vacant waits until no process holds the CE in dir, and gives its LockFile,
// locked, to be given up by Unlock or passed on to a process; or until one is
// recorded that lives, and gives false. A dead process may hold the CE for a
// moment longer: its main thread is a zombie before the others have ended, and
// closed its files.
func (s *Store) Vacant(ctx context.Context, dir string) (lock int, vacant bool, err error) {
	path := filepath.Join(dir, LockFile)
	fd, err := syscall.Open(path, syscall.O_RDWR|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0)
	if err != nil {
		return -1, false, &os.PathError{Op: "open", Path: path, Err: err}
	}
	for began := time.Now(); ; {
		if free, err := TryLock(fd, path); free {
			return fd, true, nil
		} else if err != nil {
			syscall.Close(fd)
			return -1, false, err
		}
		taken, err := s.taken(dir)
		if elapsed := time.Since(began); err == nil && !taken && elapsed > s.StartTimeout {
			err = stuck(nil, elapsed)
		}
		if err == nil && !taken {
			err = Sleep(ctx, vacantPoll)
		}
		if err != nil || taken {
			syscall.Close(fd)
			return -1, false, err
		}
	}
}

// taken reports whether the CE has a process, which is recorded then.
func (s *Store) taken(dir string) (bool, error) {
	p, err := Recorded(dir)
	if err != nil || p.Alive() || !s.Adopt {
		return err == nil && p.Alive(), err
	}
	found, err := belonging(EnvMark+"="+dir, Process{})
	if err != nil || len(found) == 0 {
		return false, err
	}
	return true, Record(dir, found[0])
}

// Destroy does what platforms.Driver asks for.
func (s *Store) Destroy(ctx context.Context, name string) error {
	if !seed.ValidName(name) {
		return platforms.Errorf(platforms.BadRequest, "destroy: %q is no name for a CE", name)
	}
	dir := s.Dir(name)
	release, err := lockDir(ctx, dir, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return Fail("destroy", name, err)
	}
	defer release()
	return Fail("destroy", name, s.destroy(ctx, dir))
}

// Stop does what platforms.Driver asks for.
func (s *Store) Stop(ctx context.Context, name string) error {
	if !seed.ValidName(name) {
		return platforms.Errorf(platforms.BadRequest, "stop: %q is no name for a CE", name)
	}
	dir := s.Dir(name)
	release, err := lockDir(ctx, dir, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return Fail("stop", name, err)
	}
	defer release()
	path := filepath.Join(dir, LockFile)
	fd, err := syscall.Open(path, syscall.O_RDWR|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0)
	if errors.Is(err, fs.ErrNotExist) { // its creation did not get so far
		return nil
	}
	if err != nil {
		return Fail("stop", name, &os.PathError{Op: "open", Path: path, Err: err})
	}
	defer Unlock(fd)
	return Fail("stop", name, s.endCE(ctx, dir, fd))
}

// destroy ends all processes of the CE and of its guest and removes its
// directory, under the lock of the directory.
func (s *Store) destroy(ctx context.Context, dir string) error {
	if err := ReplaceFile(filepath.Join(dir, doomFile), nil); err != nil {
		return err
	}
	s.Step("wrote " + doomFile)
	// The process's lock is what makes "all gone" last: with it, no late
	// process can come up any more.
	path := filepath.Join(dir, LockFile)
	fd, err := syscall.Open(path, syscall.O_RDWR|syscall.O_CREAT|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer Unlock(fd)
	if err := s.endCE(ctx, dir, fd); err != nil {
		return err
	}
	guestLock, err := s.endGuest(ctx, dir)
	if err != nil {
		return err
	}
	defer Unlock(guestLock)
	s.Step("the processes are gone")
	if s.Discard != nil {
		if err := s.Discard(dir); err != nil {
			return err
		}
		s.Step("discarded")
	}
	return s.removeDir(dir)
}

// endCE ends all processes of the CE, and takes the lock of its process, the
// open file fd.
func (s *Store) endCE(ctx context.Context, dir string, fd int) error {
	if p, err := Recorded(dir); err != nil {
		return err
	} else if s.Quit != nil && p.Alive() {
		s.Quit(ctx, dir)
		s.Step("asked to quit")
	}
	return s.end(ctx, crew{
		mark: EnvMark + "=" + dir, lock: fd, lockPath: filepath.Join(dir, LockFile),
		leader: func() (Process, error) { return Recorded(dir) },
	})
}

// crew are the processes of a CE, or those of its guest.
type crew struct {
	mark     string // "NAME=value", which they have in their environment
	leader   func() (Process, error)
	lock     int // which they hold, an open file
	lockPath string
}

// end ends all processes of a crew, and takes their lock.
func (s *Store) end(ctx context.Context, c crew) error {
	began := time.Now()
	asked := map[Process]bool{} // those that have got SIGTERM
	for {
		left, err := c.processes(asked)
		if err != nil {
			return err
		}
		elapsed := time.Since(began)
		if len(left) == 0 {
			if free, err := TryLock(c.lock, c.lockPath); free || err != nil {
				return err
			}
		}
		if elapsed > s.Grace+killWait {
			return stuck(left, elapsed)
		}
		for _, p := range left {
			sig := syscall.SIGTERM
			if asked[p] {
				if elapsed < s.Grace {
					continue
				}
				sig = syscall.SIGKILL
			}
			if err := p.Signal(sig); err != nil {
				return err
			}
			asked[p] = true
		}
		s.Step("signalled")
		if err := Sleep(ctx, max(exitPoll, min(elapsed/8, 250*time.Millisecond))); err != nil {
			return err
		}
	}
}

func stuck(left []Process, elapsed time.Duration) error {
	if len(left) == 0 {
		return platforms.Errorf(platforms.Busy, "a process that cannot be seen from here holds the lock after %v", elapsed.Round(time.Millisecond))
	}
	return platforms.Errorf(platforms.Busy, "process %d does not end after %v", left[0].PID, elapsed.Round(time.Millisecond))
}

// processes gives the live processes of the crew: the recorded one, what belongs
// to it, and those of known.
func (c crew) processes(known map[Process]bool) ([]Process, error) {
	main, err := c.leader()
	if err != nil {
		return nil, err
	}
	found, err := belonging(c.mark, main)
	if err != nil {
		return nil, err
	}
	all := map[Process]bool{main: true}
	for _, p := range found {
		all[p] = true
	}
	for p := range known {
		all[p] = true
	}
	var live []Process
	for p := range all {
		if p.Alive() {
			live = append(live, p)
		}
	}
	return live, nil
}

// removeDir removes a CE's directory. The caller holds the locks of the
// directory and of the process. The process's lock goes first, so that no late
// process can claim the rest. The marks go last, so that what a crash leaves can
// still be told whose it is, and that it is to go.
func (s *Store) removeDir(dir string) error {
	if err := remove(dir, LockFile); err != nil {
		return err
	}
	s.Step("removed " + LockFile)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == markFile || e.Name() == doomFile {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
		s.Step("removed " + e.Name())
	}
	for _, name := range []string{markFile, doomFile} {
		if err := remove(dir, name); err != nil {
			return err
		}
		s.Step("removed " + name)
	}
	return os.Remove(dir)
}
