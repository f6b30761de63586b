package share

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"imageport/job"
)

// Dir opens a local directory as a store.
func Dir(path string) (Store, error) {
	const remedy = "Check the path of the directory"
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, job.Errorf(job.ShareNotFound, remedy, "there is no directory %s: %w", path, fs.ErrNotExist)
	case err != nil:
		return nil, localFault(err)
	case !info.IsDir():
		return nil, job.Errorf(job.ShareNotFound, remedy, "%s is a file, not a directory", path)
	}
	return localDir(path), nil
}

type localDir string

func (d localDir) path(name string) string { return filepath.Join(string(d), name) }

// enter checks what every operation checks.
func (d localDir) enter(ctx context.Context, op string, names ...string) error {
	for _, name := range names {
		if err := checkName(name); err != nil {
			return err
		}
	}
	return contextError(ctx, op+" in "+string(d))
}

func (d localDir) Close() error { return nil }

func (d localDir) Open(ctx context.Context, name string) (File, error) {
	// Asking first keeps us from opening what is not a file: a pipe would block.
	info, err := d.Stat(ctx, name)
	if errors.Is(err, fs.ErrExist) {
		return nil, job.Errorf(job.ImageNotFound, remedyFile, "%s is not a file", d.path(name))
	}
	if err != nil {
		return nil, err
	}
	f, err := os.Open(d.path(name))
	if err != nil {
		return nil, localFault(err)
	}
	return localFile{f, info}, nil
}

func (d localDir) CreateExcl(ctx context.Context, name string) (WritableFile, error) {
	if err := d.enter(ctx, "create", name); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(d.path(name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, localFault(err)
	}
	return localWriter{f}, nil
}

func (d localDir) Rename(ctx context.Context, from, to string) error {
	if err := d.enter(ctx, "rename", from, to); err != nil {
		return err
	}
	err := unix.Renameat2(unix.AT_FDCWD, d.path(from), unix.AT_FDCWD, d.path(to), unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		err = linkAndUnlink(d.path(from), d.path(to)) // the file system cannot; NFS for one
	}
	if errors.Is(err, fs.ErrExist) {
		return existsError(d.path(to), "rename "+from)
	}
	if err != nil {
		return localFault(&os.PathError{Op: "rename to " + to, Path: d.path(from), Err: err})
	}
	return d.sync()
}

// linkAndUnlink renames in two steps. A link never replaces either.
func linkAndUnlink(from, to string) error {
	if err := unix.Link(from, to); err != nil {
		return err
	}
	return unix.Unlink(from)
}

// sync makes a change of names durable, as a server is expected to.
func (d localDir) sync() error {
	f, err := os.Open(string(d))
	if err != nil {
		return localFault(err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil && !errors.Is(err, unix.EINVAL) {
		return localFault(err)
	}
	return nil
}

func (d localDir) Remove(ctx context.Context, name string) error {
	if err := d.enter(ctx, "remove", name); err != nil {
		return err
	}
	// Not os.Remove, which would take an empty directory as well.
	if err := unix.Unlink(d.path(name)); err != nil {
		return localFault(&os.PathError{Op: "remove", Path: d.path(name), Err: err})
	}
	return nil
}

func (d localDir) Stat(ctx context.Context, name string) (Info, error) {
	if err := d.enter(ctx, "stat", name); err != nil {
		return Info{}, err
	}
	info, err := os.Stat(d.path(name))
	if err != nil {
		return Info{}, localFault(err)
	}
	switch {
	case info.IsDir():
		return Info{}, inTheWayError(d.path(name), "a folder")
	case !info.Mode().IsRegular():
		return Info{}, inTheWayError(d.path(name), "a device or pipe")
	}
	return Info{Name: name, Size: info.Size(), ModTime: info.ModTime()}, nil
}

func (d localDir) List(ctx context.Context) ([]Info, error) {
	if err := d.enter(ctx, "list"); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return nil, localFault(err)
	}
	var infos []Info
	for _, e := range entries {
		info, err := os.Stat(d.path(e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // gone since, or a link to nowhere
		}
		if err != nil {
			return nil, localFault(err)
		}
		if info.Mode().IsRegular() {
			infos = append(infos, Info{Name: e.Name(), Size: info.Size(), ModTime: info.ModTime()})
		}
	}
	return infos, nil
}

func (d localDir) Writable(ctx context.Context) error {
	if err := d.enter(ctx, "open for writing"); err != nil {
		return err
	}
	if err := unix.Access(string(d), unix.W_OK); err != nil {
		return localFault(&os.PathError{Op: "access", Path: string(d), Err: err})
	}
	return nil
}

func (d localDir) Free(ctx context.Context) (int64, error) {
	if err := d.enter(ctx, "ask for the free space"); err != nil {
		return 0, err
	}
	var v unix.Statfs_t
	if err := unix.Statfs(string(d), &v); err != nil {
		return 0, localFault(&os.PathError{Op: "statfs", Path: string(d), Err: err})
	}
	return volumeBytes(v.Bavail, uint64(v.Bsize)), nil
}

type localFile struct {
	file *os.File
	info Info
}

func (f localFile) Size() int64        { return f.info.Size }
func (f localFile) ModTime() time.Time { return f.info.ModTime }
func (f localFile) Close() error       { return localFault(f.file.Close()) }

func (f localFile) ReadAt(p []byte, off int64) (int, error) {
	if off >= f.info.Size && off >= 0 {
		return 0, io.EOF
	}
	var end error
	if left := f.info.Size - off; off >= 0 && int64(len(p)) > left {
		p, end = p[:left], io.EOF
	}
	n, err := f.file.ReadAt(p, off)
	if err == io.EOF {
		return n, changedError(f.file.Name(), fmt.Sprintf("it ends at byte %d and had %d bytes", off+int64(n), f.info.Size))
	}
	if err != nil {
		return n, localFault(err)
	}
	return n, end
}

type localWriter struct{ file *os.File }

func (w localWriter) Sync() error  { return localFault(w.file.Sync()) }
func (w localWriter) Close() error { return localFault(w.file.Close()) }

func (w localWriter) WriteAt(p []byte, off int64) (int, error) {
	n, err := w.file.WriteAt(p, off)
	return n, localFault(err)
}

// localFault gives an error of the operating system its code. io.EOF, which is
// not one, and nil pass.
func localFault(err error) error {
	pe, ok := errors.AsType[*os.PathError](err)
	switch {
	case !ok:
		return err
	case errors.Is(err, fs.ErrNotExist):
		return missingError(pe.Path, pe.Op)
	case errors.Is(err, fs.ErrExist):
		return existsError(pe.Path, pe.Op)
	case errors.Is(err, fs.ErrClosed):
		return closedError(pe.Op + " " + pe.Path)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, unix.EROFS):
		return job.Errorf(job.ShareDenied, "Give this process permission on the directory", "%w", err)
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return job.Errorf(job.ShareFull, remedySpace, "%w", err)
	case errors.Is(err, unix.EFBIG):
		return job.Errorf(job.ShareFull, "Choose another file system, or a dynamic image", "the file system cannot hold a file that large: %w", err)
	case errors.Is(err, unix.EISDIR):
		return folderError(pe.Path)
	}
	return job.Errorf(job.ShareIO, "Look at the system's log and the disk", "%w", err)
}
