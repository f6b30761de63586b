package ntfsmount

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// apart is a thread that has open files of its own, for work on files of the
// volume. Were this process killed during that, the thread would wait for
// ntfs-3g, and ntfs-3g for the file that this process shows: for ever, as the
// kernel closes the files of a process with its last thread. So the thread must
// not be among those that hold the descriptor by which the file is shown.
type apart struct {
	tid  int
	work chan func()
}

func newApart() (*apart, error) {
	a := &apart{work: make(chan func())}
	ready := make(chan error)
	go a.run(ready)
	if err := <-ready; err != nil {
		return nil, fmt.Errorf("open files of a thread's own: %w", err)
	}
	return a, nil
}

func (a *apart) run(ready chan error) {
	// Never unlocked: the thread ends with this goroutine. Only the first thread
	// of a process does not: while it is held here, it is another's turn.
	runtime.LockOSThread()
	if a.tid = unix.Gettid(); a.tid == os.Getpid() {
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			a.run(ready)
		}()
		<-ended
		runtime.UnlockOSThread()
		return
	}
	err := leaveFiles()
	ready <- err
	if err != nil {
		return
	}
	for f := range a.work {
		f()
	}
}

// do runs f there.
func (a *apart) do(f func()) {
	finished := make(chan struct{})
	a.work <- func() {
		defer close(finished)
		f()
	}
	<-finished
}

// stop ends the thread, and with it its hold on open files.
func (a *apart) stop() {
	close(a.work)
	for unix.Tgkill(os.Getpid(), a.tid, 0) == nil {
		time.Sleep(50 * time.Microsecond)
	}
}

// leaveFiles gives the calling thread a copy of the table of open files, and
// closes in it what must not be held by one thread more: what this process shows
// by FUSE; connections and pipes, whose other end would not see that they are
// closed; and directories, which may be locked. Others stay: what Go's runtime
// waits by is used on any thread.
func leaveFiles() error {
	if err := unix.Unshare(unix.CLONE_FILES); err != nil {
		return err
	}
	const table = "/proc/thread-self/fd"
	list, err := os.ReadDir(table)
	if err != nil {
		return err
	}
	var shown unix.Stat_t
	if err := unix.Stat("/dev/fuse", &shown); err != nil {
		return fmt.Errorf("/dev/fuse: %w", err)
	}
	for _, e := range list {
		fd, err := strconv.Atoi(e.Name())
		if err != nil || fd <= unix.Stderr {
			continue
		}
		var stat unix.Stat_t
		// One that has gone was that of the list.
		if err := unix.Fstat(fd, &stat); errors.Is(err, unix.EBADF) {
			continue
		} else if err != nil {
			return fmt.Errorf("fstat: %w", err)
		}
		switch stat.Mode & unix.S_IFMT {
		case unix.S_IFSOCK, unix.S_IFIFO, unix.S_IFDIR:
		case unix.S_IFCHR:
			if stat.Rdev != shown.Rdev {
				continue
			}
		default:
			continue
		}
		if err := unix.Close(fd); err != nil {
			return fmt.Errorf("close: %w", err)
		}
	}
	return nil
}
