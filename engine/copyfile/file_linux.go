package copyfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// The kinds of refusal; errors of the file system are wrapped as they are.
var (
	// ErrKind: the path is neither a regular file nor a block device.
	ErrKind = errors.New("neither a regular file nor a block device")
	// ErrSize: the target does not have the size that was asked for.
	ErrSize = errors.New("target has another size")
	// ErrInUse: something else has the block device for itself.
	ErrInUse = errors.New("block device is mounted or in use")
	// ErrOutOfRange: a write behind the size of the target.
	ErrOutOfRange = errors.New("write outside the target")
)

// File is a raw file or block device. It is safe for concurrent use and
// serves as copier.Target and copier.ZeroRanger.
type File struct {
	f      *os.File
	size   int64
	device bool
	// noBlocks is set once the file system has refused to allocate blocks.
	noBlocks atomic.Bool
}

// Create makes a new sparse file of size bytes, which reads as zeros. A file
// that exists is fs.ErrExist.
func Create(path string, size int64) (*File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("copyfile: %w", err)
	}
	t := &File{f: f, size: size}
	if err := t.lay(path); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(path))
	}
	return t, nil
}

// lay gives a new file its size, and its name a place that survives a crash.
func (t *File) lay(path string) error {
	if err := t.f.Truncate(t.size); err != nil {
		return fmt.Errorf("copyfile: sizing the file: %w", err)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("copyfile: %w", err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("copyfile: %w", err)
	}
	return nil
}

// Open opens what exists: a file of exactly size bytes, or a block device of at
// least as many, of which the first are the target. What they hold is unknown.
func Open(path string, size int64) (*File, error) {
	// Without O_NONBLOCK, opening a named pipe by mistake would hang.
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("copyfile: %w", err)
	}
	t := &File{f: f, size: size}
	found, err := t.verify(path)
	if err == nil && (found < size || !t.device && found > size) {
		err = fmt.Errorf("copyfile: %s has %d bytes, expected %d: %w", path, found, size, ErrSize)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return t, nil
}

// OpenWhole opens what exists, as large as it is. A block device is opened
// exclusively: one that is mounted, part of another device, or opened in the
// same way by somebody else is ErrInUse.
func OpenWhole(path string) (*File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("copyfile: %w", err)
	}
	t := &File{f: f}
	if t.size, err = t.verify(path); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if t.device {
		// O_EXCL has a meaning for devices only, and what it is is known now.
		excl, err := os.OpenFile(path, os.O_RDWR|os.O_EXCL|unix.O_NONBLOCK, 0)
		if errors.Is(err, unix.EBUSY) {
			err = fmt.Errorf("%w: %w", ErrInUse, err)
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("copyfile: %w", err)
		}
		t.f = excl
	}
	return t, nil
}

// DropCache forgets what the system keeps of the target in memory, as far as it
// lets us: what is read afterwards comes from the disk. What is not durable yet
// is kept.
func (t *File) DropCache() error {
	conn, err := t.f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		failed = unix.Fadvise(int(fd), 0, 0, unix.FADV_DONTNEED)
		if t.device && failed == nil {
			_ = unix.IoctlSetInt(int(fd), unix.BLKFLSBUF, 0) // for root only
		}
	})
	return errors.Join(err, failed)
}

// verify finds out what the file is, and how large.
func (t *File) verify(path string) (size int64, err error) {
	info, err := t.f.Stat()
	if err != nil {
		return 0, fmt.Errorf("copyfile: %w", err)
	}
	kind := info.Mode().Type()
	t.device = kind&fs.ModeDevice != 0 && kind&fs.ModeCharDevice == 0
	if kind != 0 && !t.device {
		return 0, fmt.Errorf("copyfile: %s: %w (%s)", path, ErrKind, kind)
	}
	// The size of a device is not in its Stat.
	if size, err = t.f.Seek(0, io.SeekEnd); err != nil {
		return 0, fmt.Errorf("copyfile: %w", err)
	}
	return size, nil
}

// Size is the size of the target in bytes.
func (t *File) Size() int64 { return t.size }

// ReadAt implements io.ReaderAt.
func (t *File) ReadAt(p []byte, off int64) (int, error) { return t.f.ReadAt(p, off) }

// WriteAt implements io.WriterAt, inside the size.
func (t *File) WriteAt(p []byte, off int64) (int, error) {
	if err := t.inside(off, int64(len(p))); err != nil {
		return 0, err
	}
	if len(p) >= allocateFrom && !t.device && !t.noBlocks.Load() {
		// Without blocks, ext4 finds them page by page while it copies, which
		// takes half as long again. A file system that is full says so here.
		if err := t.fallocate(0, off, int64(len(p))); err != nil {
			if !errors.Is(err, errors.ErrUnsupported) {
				return 0, err
			}
			t.noBlocks.Store(true)
		}
	}
	return t.f.WriteAt(p, off)
}

// allocateFrom is the size from which a write is worth a call of its own for
// its blocks.
const allocateFrom = 256 << 10

// ZeroRange makes a range read as zeros. A file gets a hole, a device is told
// to zero its blocks. What cannot do it is errors.ErrUnsupported.
func (t *File) ZeroRange(off, n int64) error {
	if err := t.inside(off, n); err != nil || n == 0 {
		return err
	}
	mode := uint32(unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE)
	if t.device {
		mode = unix.FALLOC_FL_ZERO_RANGE | unix.FALLOC_FL_KEEP_SIZE
	}
	if err := t.fallocate(mode, off, n); err != nil {
		return fmt.Errorf("copyfile: zeroing %d bytes at offset %#x of %s: %w", n, off, t.f.Name(), err)
	}
	return nil
}

// fallocate is fallocate(2).
func (t *File) fallocate(mode uint32, off, n int64) error {
	conn, err := t.f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		for failed = unix.EINTR; failed == unix.EINTR; {
			failed = unix.Fallocate(int(fd), mode, off, n)
		}
	})
	if err := errors.Join(err, failed); err != nil {
		return &fs.PathError{Op: "fallocate", Path: t.f.Name(), Err: err}
	}
	return nil
}

func (t *File) inside(off, n int64) error {
	if off < 0 || n < 0 || off > t.size || n > t.size-off {
		return fmt.Errorf("copyfile: %d bytes at offset %#x of %s, which has %d: %w", n, off, t.f.Name(), t.size, ErrOutOfRange)
	}
	return nil
}

// Sync returns when everything written is durable.
func (t *File) Sync() error { return t.f.Sync() }

// Close closes the target without a Sync.
func (t *File) Close() error { return t.f.Close() }
