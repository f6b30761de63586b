package fusefile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// root is the private directory. It holds one file and never another.
type root struct {
	fs.Inode
	name string
	file *node
}

var (
	_ fs.NodeOnAdder  = (*root)(nil)
	_ fs.NodeUnlinker = (*root)(nil)
	_ fs.NodeRenamer  = (*root)(nil)
)

func (r *root) OnAdd(ctx context.Context) {
	child := r.NewPersistentInode(ctx, r.file, fs.StableAttr{Mode: syscall.S_IFREG})
	r.AddChild(r.name, child, false)
}

// Unlink and Rename refuse what the library would otherwise do by itself.

func (r *root) Unlink(context.Context, string) syscall.Errno { return syscall.EPERM }

func (r *root) Rename(context.Context, string, fs.InodeEmbedder, string, uint32) syscall.Errno {
	return syscall.EPERM
}

// node is the file. Its size is fixed.
type node struct {
	fs.Inode
	reader io.ReaderAt
	writer io.WriterAt // nil: read-only
	size   int64       // bytes

	mu    sync.Mutex
	cause error // the first failure
	ended bool  // by fail: no operation reaches reader or writer any more
}

var (
	_ fs.NodeOpener    = (*node)(nil)
	_ fs.NodeGetattrer = (*node)(nil)
	_ fs.NodeSetattrer = (*node)(nil)
	_ fs.NodeReader    = (*node)(nil)
	_ fs.NodeWriter    = (*node)(nil)
	_ fs.NodeFsyncer   = (*node)(nil)
	_ fs.NodeFlusher   = (*node)(nil)
)

func (n *node) err() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cause
}

// note keeps the first failure, and makes it an EIO for the tool.
func (n *node) note(err error) syscall.Errno {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cause == nil {
		n.cause = err
	}
	return syscall.EIO
}

// fail ends the file for a reason of ours.
func (n *node) fail(err error) {
	n.note(err)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ended = true
}

func (n *node) over() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ended
}

// attributes has no times: what a tool could copy from them into the file would
// differ from run to run.
func (n *node) attributes(out *fuse.Attr) {
	out.Mode = syscall.S_IFREG | 0o600
	if n.writer == nil {
		out.Mode = syscall.S_IFREG | 0o400
	}
	out.Nlink = 1
	out.Size = uint64(n.size)
	out.Blocks = uint64(n.size+511) / 512
}

func (n *node) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	n.attributes(&out.Attr)
	return 0
}

// Setattr accepts the times that the kernel keeps for a written file, and
// refuses another size.
func (n *node) Setattr(_ context.Context, _ fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if size, ok := in.GetSize(); ok && size != uint64(n.size) {
		return syscall.EPERM
	}
	n.attributes(&out.Attr)
	return 0
}

func (n *node) Open(_ context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	if n.writer == nil && flags&syscall.O_ACCMODE != syscall.O_RDONLY {
		return nil, 0, syscall.EROFS
	}
	return nil, fuse.FOPEN_KEEP_CACHE, 0
}

func (n *node) Read(_ context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	if n.over() {
		return nil, syscall.EIO
	}
	if off < 0 || off >= n.size {
		return fuse.ReadResultData(nil), 0
	}
	dest = dest[:min(int64(len(dest)), n.size-off)]
	got, err := n.reader.ReadAt(dest, off)
	if got == len(dest) {
		return fuse.ReadResultData(dest), 0
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return nil, n.note(fmt.Errorf("reading %d bytes at offset %d of %d: %w", len(dest), off, n.size, err))
}

func (n *node) Write(_ context.Context, _ fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	if n.writer == nil {
		return 0, syscall.EROFS
	}
	if n.over() {
		return 0, syscall.EIO
	}
	if off < 0 || off > n.size-int64(len(data)) {
		n.note(fmt.Errorf("%w: %d bytes at offset %d of %d", ErrOutOfRange, len(data), off, n.size))
		return 0, syscall.ENOSPC
	}
	put, err := n.writer.WriteAt(data, off)
	if err != nil || put != len(data) {
		if err == nil {
			err = io.ErrShortWrite
		}
		return uint32(put), n.note(fmt.Errorf("writing %d bytes at offset %d of %d: %w", len(data), off, n.size, err))
	}
	return uint32(put), 0
}

// Fsync has nothing to do: the kernel has sent what it held before it asks, and
// Write returns when the data has arrived.
func (n *node) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno { return n.arrived() }

// Flush is asked at every close of the file, when the kernel has sent what it
// held. A tool that does not sync learns of a failure here.
func (n *node) Flush(context.Context, fs.FileHandle) syscall.Errno { return n.arrived() }

func (n *node) arrived() syscall.Errno {
	if n.writer != nil && n.err() != nil {
		return syscall.EIO
	}
	return 0
}
