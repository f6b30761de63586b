package fusefile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

var (
	// ErrMount: the operating system does not mount the file: no /dev/fuse, or
	// no right to.
	ErrMount = errors.New("cannot mount a FUSE file")
	// ErrBusy: a process still had the file open when it was closed, so that
	// what it has written may be incomplete.
	ErrBusy = errors.New("FUSE file is still in use")
	// ErrOutOfRange: a tool has written beyond the end of the file, which
	// cannot grow.
	ErrOutOfRange = errors.New("write beyond the end of the FUSE file")
)

// File is what can be shown for reading and writing. Both methods are called
// concurrently.
type File interface {
	io.ReaderAt
	io.WriterAt
}

// Mount shows size bytes of file as the regular file name, in a new directory
// below dir that nobody else can enter. When ctx ends, the file ends: pending
// and further operations of the tool fail, and Close gives the context's cause.
func Mount(ctx context.Context, dir, name string, file File, size int64) (*Mounted, error) {
	return mount(ctx, dir, name, &node{reader: file, writer: file, size: size})
}

// MountReadOnly is Mount for a tool that must not write: its attempts fail with
// EROFS.
func MountReadOnly(ctx context.Context, dir, name string, file io.ReaderAt, size int64) (*Mounted, error) {
	return mount(ctx, dir, name, &node{reader: file, size: size})
}

// Mounted is a file that is being shown.
type Mounted struct {
	dir, path string
	node      *node
	server    *fuse.Server
	served    chan struct{} // closed when no operation is or will be under way
	stop      func() bool   // no abort on the end of the context any more

	closing sync.Once
	closed  error

	detaching sync.Once
	detached  error
}

// maxRequest is the largest read or write in bytes that the kernel sends. Small
// ones cost a round trip each: ntfs-3g writes 4 KiB at a time.
const maxRequest = 1 << 20

// The kernel may keep what it knows of the file: only the tool changes it.
const cacheTime = time.Hour

func mount(ctx context.Context, parent, name string, n *node) (*Mounted, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if n.size < 0 || name == "" || name != filepath.Base(name) || name == "." || name == ".." {
		return nil, fmt.Errorf("%w: name %q, %d bytes", ErrMount, name, n.size)
	}
	parent, err := resolve(parent)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMount, err)
	}
	dir, err := os.MkdirTemp(parent, dirPrefix)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMount, err)
	}
	m := &Mounted{dir: dir, path: filepath.Join(dir, name), node: n, served: make(chan struct{})}
	if err := m.serve(name); err != nil {
		return nil, fmt.Errorf("%w in %s: %w", ErrMount, dir, errors.Join(err, os.Remove(dir)))
	}
	m.stop = context.AfterFunc(ctx, func() {
		n.fail(context.Cause(ctx))
		// Close reports the failure; the directory is its business too.
		_ = m.detach()
	})
	return m, nil
}

// serve mounts and starts answering. It mounts by itself and hands the library
// the descriptor: one that the library opens is inherited by every subprocess,
// and as long as any process has it open, the mount outlives us.
func (m *Mounted) serve(name string) error {
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("/dev/fuse: %w", err)
	}
	owner, err := thisProcess()
	if err != nil {
		unix.Close(fd)
		return err
	}
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC)
	if m.node.writer == nil {
		flags |= unix.MS_RDONLY
	}
	data := fmt.Sprintf("fd=%d,rootmode=%o,user_id=%d,group_id=%d,max_read=%d", fd, unix.S_IFDIR, os.Geteuid(), os.Getegid(), maxRequest)
	if err := unix.Mount(owner.source(), m.dir, fsType, flags, data); err != nil {
		unix.Close(fd)
		return fmt.Errorf("mount: %w", err)
	}
	keep := cacheTime
	options := &fs.Options{
		AttrTimeout:  &keep,
		EntryTimeout: &keep,
		MountOptions: fuse.MountOptions{
			MaxWrite:     maxRequest,
			MaxReadAhead: maxRequest,
			// Without these two the kernel asks for security.capability before
			// every single write.
			DisableXAttrs:        true,
			IgnoreSecurityLabels: true,
			ExtraCapabilities:    fuse.CAP_WRITEBACK_CACHE,
			Logger:               log.New(io.Discard, "", 0),
		},
	}
	raw := fs.NewNodeFS(&root{name: name, file: m.node}, options)
	// This special path is the library's word for "it is mounted already".
	m.server, err = fuse.NewServer(raw, fmt.Sprintf("/dev/fd/%d", fd), &options.MountOptions)
	if err != nil {
		return errors.Join(err, m.detach())
	}
	go func() {
		defer close(m.served)
		m.server.Serve()
	}()
	return nil
}

// Path is where the tool finds the file.
func (m *Mounted) Path() string { return m.path }

// Err is the first error that the file has given, or the cause of the context's
// end; nil if there was none.
func (m *Mounted) Err() error { return m.node.err() }

// unmountPatience is how long Close waits for a process that has just ended to
// be rid of the file.
const unmountPatience = 2 * time.Second

// Close ends the file. The tool must have ended. It waits for operations under
// way on the underlying file, and for all that was written to arrive there. It
// gives what Err gives, or ErrBusy if it had to take the file away from a
// process. Calling it again gives the same.
func (m *Mounted) Close() error {
	m.closing.Do(func() { m.closed = m.close() })
	return m.closed
}

func (m *Mounted) close() error {
	m.stop()
	var err error
	if m.Err() == nil {
		err = m.unmount()
	} else {
		// Nothing is left to save; what still has it open must not hold us.
		err = m.detach()
	}
	if m.detached != nil {
		return errors.Join(m.Err(), err) // it is still there, and may be served
	}
	<-m.served
	return errors.Join(m.Err(), err, os.Remove(m.dir))
}

// unmount writes back what the kernel holds and ends the mount. It does so by
// force if the file stays open.
func (m *Mounted) unmount() error {
	deadline := time.Now().Add(unmountPatience)
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		err := unix.Unmount(m.dir, 0)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EBUSY) && time.Now().Before(deadline):
			time.Sleep(wait)
		case errors.Is(err, unix.EBUSY):
			return errors.Join(fmt.Errorf("%w: %s", ErrBusy, m.path), m.detach())
		default:
			return m.detach()
		}
	}
}

// detach takes the file away at once: pending operations of processes fail, and
// so does all that they try on files that they have open.
func (m *Mounted) detach() error {
	m.detaching.Do(func() {
		err := unix.Unmount(m.dir, unix.MNT_FORCE|unix.MNT_DETACH)
		// EINVAL: it is not mounted any more.
		if err != nil && !errors.Is(err, unix.EINVAL) {
			m.detached = fmt.Errorf("unmount %s: %w", m.dir, err)
		}
	})
	return m.detached
}
