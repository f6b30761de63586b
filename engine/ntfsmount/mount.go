package ntfsmount

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"imageport/engine/fusefile"
)

// File is the disk. Both methods are called concurrently.
type File = fusefile.File

// part is the partition.
type part struct {
	File
	offset int64
}

func (p part) ReadAt(b []byte, off int64) (int, error)  { return p.File.ReadAt(b, p.offset+off) }
func (p part) WriteAt(b []byte, off int64) (int, error) { return p.File.WriteAt(b, p.offset+off) }

// Mounted is a volume that is mounted.
type Mounted struct {
	ctx    context.Context
	shown  *fusefile.Mounted
	place  *place
	tool   *running
	thread *apart
	root   *os.Root // of the thread
	stop   func() bool

	closing sync.Once
	closed  error
	mu      sync.RWMutex // is held for writing by Close
	over    bool
}

// Mount mounts the volume in size bytes of d from offset on. When ctx ends, the
// mount ends: what is under way fails, and Close gives the context's cause.
// The errors are those of this package, of the disk, or the context's cause.
func Mount(ctx context.Context, t Tool, d File, offset, size int64) (*Mounted, error) {
	program, err := t.program()
	if err != nil {
		return nil, err
	}
	dir := t.dir()
	place, err := newPlace(dir)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTool, err)
	}
	shown, err := fusefile.Mount(ctx, dir, "volume", part{d, offset}, size)
	if err != nil {
		if ctx.Err() == nil {
			err = fmt.Errorf("%w: %w", ErrTool, err)
		}
		return nil, errors.Join(err, place.remove())
	}
	m := &Mounted{ctx: ctx, shown: shown, place: place}
	if err := m.mount(program); err != nil {
		return nil, errors.Join(err, place.remove())
	}
	return m, nil
}

// mount has ntfs-3g mount the file that is shown. If it fails, only the place is
// left.
func (m *Mounted) mount(program string) error {
	var before unix.Stat_t
	if err := unix.Stat(m.place.point(), &before); err != nil {
		return errors.Join(fmt.Errorf("%w: %w", ErrTool, err), m.shown.Close())
	}
	var err error
	if m.tool, err = start(program, m.shown.Path(), m.place.point()); err != nil {
		return errors.Join(err, m.shown.Close())
	}
	there, err := m.tool.appeared(m.ctx, m.place.point(), before.Dev)
	switch {
	case err != nil:
		m.detach()
		m.tool.kill()
		// It may have come that far in between.
		m.detach()
		return cmp.Or(m.shown.Close(), err)
	case !there:
		// The cause of an EIO says more than a tool that met one.
		if broken := m.shown.Close(); broken != nil {
			return broken
		}
		return refusal(m.tool.Wait(), m.tool.output.String(), m.shown.Path())
	}
	m.stop = context.AfterFunc(m.ctx, m.detach)
	if err := m.enter(); err != nil {
		if broken := m.unmount(); broken != nil {
			return broken
		}
		if errors.Is(err, ErrReadOnly) { // why, is only complete now
			return readOnly(m.tool.output.String(), m.shown.Path())
		}
		return err
	}
	return nil
}

// enter opens the root directory on a thread apart, and makes sure that the
// volume can be written: where it must not be, ntfs-3g mounts it for reading.
func (m *Mounted) enter() error {
	var stat unix.Statfs_t
	if err := unix.Statfs(m.Dir(), &stat); err != nil {
		return fmt.Errorf("%w: %w", ErrTool, err)
	}
	if stat.Flags&unix.ST_RDONLY != 0 {
		return ErrReadOnly
	}
	var err error
	if m.thread, err = newApart(); err != nil {
		return fmt.Errorf("%w: %w", ErrTool, err)
	}
	m.thread.do(func() { m.root, err = os.OpenRoot(m.Dir()) })
	if err != nil {
		return fmt.Errorf("%w: %w", ErrTool, err)
	}
	return nil
}

// Dir is where the volume is mounted. Who opens files below it in this process
// should do so in Do.
func (m *Mounted) Dir() string { return m.place.point() }

// Do calls f with the root directory of the volume, on a thread that has open
// files of its own. So f must close all that it opens before it returns: closed
// elsewhere, also by the garbage collector, the number would be that of another
// file. Nor may it use what was opened elsewhere, such as a connection, or call
// Do. If the disk has failed, the error is the cause of that, or that of the
// context's end, although f was called; otherwise that of f.
func (m *Mounted) Do(f func(root *os.Root) error) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.over {
		return ErrClosed
	}
	var err error
	m.thread.do(func() { err = f(m.root) })
	if m.ctx.Err() != nil {
		return context.Cause(m.ctx)
	}
	return cmp.Or(m.shown.Err(), err)
}

// Close unmounts the volume, and waits until all of it has arrived at the disk
// and ntfs-3g has ended. It gives the first error of the disk, the cause of the
// context's end, or ErrBusy. Calling it again gives the same.
func (m *Mounted) Close() error {
	m.closing.Do(func() {
		m.mu.Lock()
		m.over = true
		m.mu.Unlock()
		m.closed = errors.Join(m.unmount(), m.place.remove())
	})
	return m.closed
}

// unmountPatience is how long the end of what others do on the volume is waited
// for.
const unmountPatience = 2 * time.Second

func (m *Mounted) unmount() error {
	var err error
	if m.thread != nil {
		if m.root != nil {
			m.thread.do(func() { err = m.root.Close() })
		}
		m.thread.stop()
	}
	busy := m.release()
	// Without the file below, ntfs-3g cannot go on: this ends with the context.
	ended := m.tool.Wait()
	m.stop()
	if broken := m.shown.Close(); broken != nil {
		return broken
	}
	switch {
	case m.ctx.Err() != nil:
		return context.Cause(m.ctx)
	case ended != nil:
		return refusal(ended, m.tool.output.String(), m.shown.Path())
	}
	return errors.Join(busy, err)
}

// release ends the mount, by force if it stays in use.
func (m *Mounted) release() error {
	deadline := time.Now().Add(unmountPatience)
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		err := unix.Unmount(m.Dir(), unix.UMOUNT_NOFOLLOW)
		switch {
		case err == nil, errors.Is(err, unix.EINVAL): // it is not mounted any more
			return nil
		case errors.Is(err, unix.EBUSY) && time.Now().Before(deadline) && m.ctx.Err() == nil:
			time.Sleep(wait)
		default:
			m.detach()
			return fmt.Errorf("%w: unmount %s: %w", ErrBusy, m.Dir(), err)
		}
	}
}

// detach takes the volume away at once: pending operations on it fail, and
// ntfs-3g ends. Close reports the failure.
func (m *Mounted) detach() {
	_ = unix.Unmount(m.Dir(), unix.MNT_FORCE|unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
}

// place is a private directory with a mount point in it. It belongs to the
// process that has it locked: a lock does not outlive its process.
type place struct {
	dir  string
	lock *os.File
}

const (
	placePrefix = "imageport-ntfs-"
	pointName   = "volume"
)

func newPlace(parent string) (*place, error) {
	dir, err := os.MkdirTemp(parent, placePrefix)
	if err != nil {
		return nil, err
	}
	p := &place{dir: dir}
	if p.lock, err = lock(dir); err != nil {
		return nil, errors.Join(err, os.Remove(dir))
	}
	if err := os.Mkdir(p.point(), 0o700); err != nil {
		return nil, errors.Join(err, p.remove())
	}
	return p, nil
}

func (p *place) point() string { return filepath.Join(p.dir, pointName) }

func (p *place) remove() error {
	err := os.Remove(p.point())
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, os.Remove(p.dir), p.lock.Close())
}

// errOthers is for what is no directory of this user, although it is called like
// one of this package.
var errOthers = errors.New("not a directory of ours")

// lock gives the directory open and locked; unix.EWOULDBLOCK if it is another
// process's, and errOthers if it is somebody else's: where everybody may write, a
// link or a pipe may have the name.
func lock(dir string) (*os.File, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.EACCES) {
		return nil, errOthers
	}
	if err != nil {
		return nil, err
	}
	var stat unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &stat); err != nil {
		return nil, errors.Join(fmt.Errorf("fstat %s: %w", dir, err), f.Close())
	}
	if int(stat.Uid) != os.Geteuid() {
		return nil, errors.Join(errOthers, f.Close())
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), f.Close())
	}
	return f, nil
}

// CleanStale removes from dir what killed processes have left there, of this
// package and of fusefile. It touches nothing of a process that lives, or of
// another user, and never waits for a file system.
func CleanStale(dir string) error {
	errs := []error{fusefile.CleanStale(dir)}
	list, err := filepath.Glob(filepath.Join(dir, placePrefix+"*"))
	errs = append(errs, err)
	for _, found := range list {
		owned, err := lock(found)
		if errors.Is(err, errOthers) || errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		p := &place{found, owned}
		// EINVAL and ENOENT: nothing is mounted there.
		err = unix.Unmount(p.point(), unix.MNT_FORCE|unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("unmount %s: %w", p.point(), err), owned.Close())
			continue
		}
		errs = append(errs, p.remove())
	}
	return errors.Join(errs...)
}
