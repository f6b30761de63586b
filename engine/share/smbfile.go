package share

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// maxIO is the most that one request carries. The protocol allows more, but
// Windows servers do not accept it, so both libraries stop here as well; they
// go lower if the server says so.
const maxIO = 1 << 20

func (s *smbStore) Open(ctx context.Context, name string) (File, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	f := &smbFile{store: s, handles: make([]handle, len(s.slots))}
	err := s.do(ctx, true, "open", name, func(ses *session) error {
		remote, info, err := s.openRemote(ses, name)
		f.info, f.handles[0].ses, f.handles[0].remote = info, ses, remote
		return err
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// openRemote opens a file for reading.
func (s *smbStore) openRemote(ses *session, name string) (remoteFile, Info, error) {
	remote, err := ses.tree.openFile(s.loc.path(name), os.O_RDONLY)
	if err != nil {
		return nil, Info{}, err
	}
	st, err := remote.Stat()
	if err == nil && st.IsDir() {
		err = errIsFolder
	}
	if err != nil {
		_ = remote.Close()
		return nil, Info{}, err
	}
	return remote, Info{Name: name, Size: st.Size(), ModTime: st.ModTime()}, nil
}

// smbFile reads over as many connections as the store has.
type smbFile struct {
	store   *smbStore
	info    Info
	closed  atomic.Bool
	turn    atomic.Uint64 // spreads reads over the handles
	handles []handle
}

// handle is the file as opened on one of the store's connections. Reads hold mu
// shared; opening and closing hold it alone.
type handle struct {
	mu     sync.RWMutex
	ses    *session // nil: not opened yet
	remote remoteFile
}

func (f *smbFile) Size() int64        { return f.info.Size }
func (f *smbFile) ModTime() time.Time { return f.info.ModTime }

func (f *smbFile) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("read %s: negative offset %d: %w", f.store.loc.file(f.info.Name), off, fs.ErrInvalid)
	}
	if off >= f.info.Size {
		return 0, io.EOF
	}
	var end error
	if left := f.info.Size - off; int64(len(p)) > left {
		p, end = p[:left], io.EOF
	}
	for done := 0; done < len(p); {
		n, err := f.readChunk(p[done:min(done+maxIO, len(p))], off+int64(done))
		done += n
		if err != nil {
			return done, err
		}
	}
	return len(p), end
}

// readChunk reads some of p, over a new connection if the one at hand was lost.
func (f *smbFile) readChunk(p []byte, off int64) (int, error) {
	i := int(f.turn.Add(1) % uint64(len(f.handles)))
	n, ses, err := f.tryRead(i, p, off)
	if err != nil && ses != nil && f.store.lost(f.store.ctx, ses) {
		n, ses, err = f.tryRead(i, p, off)
	}
	switch {
	case n > 0:
		return n, nil
	case err == nil || errors.Is(err, io.EOF):
		return 0, f.changed(fmt.Sprintf("it ends at byte %d and had %d bytes", off, f.info.Size), nil)
	case ses == nil:
		return 0, err
	}
	return 0, f.store.fault(f.store.ctx, ses.link, fmt.Sprintf("read at byte %d", off), f.info.Name, err)
}

// tryRead gives the connection that it used, if it came to that.
func (f *smbFile) tryRead(i int, p []byte, off int64) (n int, ses *session, err error) {
	h := &f.handles[i]
	if ses, err = f.ready(h, i); err != nil {
		return 0, ses, err
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	if f.closed.Load() {
		return 0, nil, f.closedError()
	}
	ses = h.ses
	err = ses.call(f.store.ctx, f.store.opt.StallTimeout, func(*session) (err error) {
		n, err = h.remote.ReadAt(p, off)
		return err
	})
	return max(n, 0), ses, err
}

// ready opens the file on the i-th connection unless it is.
func (f *smbFile) ready(h *handle, i int) (*session, error) {
	h.mu.RLock()
	ses := h.ses
	h.mu.RUnlock()
	if ses != nil && ses.alive() {
		return ses, nil
	}

	h.mu.Lock()
	defer h.mu.Unlock()
	if f.closed.Load() {
		return nil, f.closedError()
	}
	if h.ses != nil && h.ses.alive() {
		return h.ses, nil
	}
	s := f.store
	ses, err := s.session(s.ctx, i)
	if err != nil {
		return nil, err
	}
	var (
		remote remoteFile
		info   Info
	)
	err = ses.call(s.ctx, s.opt.StallTimeout, func(*session) (err error) {
		remote, info, err = s.openRemote(ses, f.info.Name)
		return err
	})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, f.changed("it was removed or renamed", fs.ErrNotExist)
	case err != nil:
		return ses, err
	case info.Size != f.info.Size || !info.ModTime.Equal(f.info.ModTime):
		_ = ses.call(s.ctx, s.opt.StallTimeout, func(*session) error { return remote.Close() })
		return nil, f.changed(fmt.Sprintf("it had %d bytes of %s, now it has %d of %s",
			f.info.Size, f.info.ModTime.UTC().Format(time.RFC3339Nano),
			info.Size, info.ModTime.UTC().Format(time.RFC3339Nano)), nil)
	}
	h.ses, h.remote = ses, remote
	return ses, nil
}

func (f *smbFile) Close() error {
	if f.closed.Swap(true) {
		return f.closedError()
	}
	var errs []error
	for i := range f.handles {
		h := &f.handles[i]
		h.mu.Lock()
		if h.ses != nil && h.ses.alive() {
			err := h.ses.call(f.store.ctx, f.store.opt.StallTimeout, func(*session) error { return h.remote.Close() })
			// The server closes what was open on a connection that is gone.
			if err != nil && h.ses.alive() && f.store.ctx.Err() == nil {
				errs = append(errs, f.store.fault(f.store.ctx, h.ses.link, "close", f.info.Name, err))
			}
		}
		h.mu.Unlock()
	}
	if len(errs) > 0 {
		return errs[0]
	}
	return nil
}

func (f *smbFile) closedError() error {
	return closedError(f.store.loc.file(f.info.Name))
}

func (f *smbFile) changed(how string, cause error) error {
	return changedError(f.store.loc.file(f.info.Name), how, cause)
}

// smbWriter writes over the connection that made the file, and no other.
type smbWriter struct {
	store *smbStore
	name  string
	ses   *session

	mu     sync.RWMutex // shared by writes and syncs
	remote remoteFile   // nil once closed
}

func (s *smbStore) CreateExcl(ctx context.Context, name string) (WritableFile, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	w := &smbWriter{store: s, name: name}
	err := s.do(ctx, false, "create", name, func(ses *session) (err error) {
		w.ses = ses
		w.remote, err = ses.tree.openFile(s.loc.path(name), os.O_RDWR|os.O_CREATE|os.O_EXCL)
		return err
	})
	if err != nil {
		return nil, err
	}
	return w, nil
}

func (w *smbWriter) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("write %s: negative offset %d: %w", w.store.loc.file(w.name), off, fs.ErrInvalid)
	}
	w.mu.RLock()
	defer w.mu.RUnlock()
	for done := 0; done < len(p); {
		chunk, at := p[done:min(done+maxIO, len(p))], off+int64(done)
		err := w.call(fmt.Sprintf("write at byte %d", at), 1, func() error {
			n, err := w.remote.WriteAt(chunk, at)
			if err == nil && n != len(chunk) {
				err = io.ErrShortWrite
			}
			return err
		})
		if err != nil {
			return done, err
		}
		done += len(chunk)
	}
	return len(p), nil
}

func (w *smbWriter) Sync() error {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.call("sync", 10, func() error { return w.remote.Sync() })
}

func (w *smbWriter) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	err := w.call("close", 1, func() error { return w.remote.Close() })
	w.remote = nil
	return err
}

// call runs a request that may take stalls times the usual time. mu is held.
func (w *smbWriter) call(op string, stalls time.Duration, request func() error) error {
	s := w.store
	if w.remote == nil {
		return closedError(s.loc.file(w.name))
	}
	err := w.ses.call(s.ctx, stalls*s.opt.StallTimeout, func(*session) error { return request() })
	if err != nil {
		return s.fault(s.ctx, w.ses.link, op, w.name, err)
	}
	return nil
}
