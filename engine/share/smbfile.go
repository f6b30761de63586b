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

	"imageport/job"
)

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
	if f.closed.Load() {
		return 0, f.closedError()
	}
	if off >= f.info.Size {
		return 0, io.EOF
	}
	var end error
	if left := f.info.Size - off; int64(len(p)) > left {
		p, end = p[:left], io.EOF
	}
	n, err := inPieces(len(p), cap(f.store.window), func(from, to int) (int, error) {
		return f.readPiece(p[from:to], off+int64(from))
	})
	if err != nil {
		return n, err
	}
	return n, end
}

// readPiece fills p.
func (f *smbFile) readPiece(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		n, err := f.readSome(p[done:], off+int64(done))
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// readSome reads at least a byte of p, over whichever connection can.
func (f *smbFile) readSome(p []byte, off int64) (n int, err error) {
	s := f.store
	err = s.persist(s.ctx, func() (outcome, error) {
		i, err := s.take()
		if err != nil {
			return settled, err
		}
		var (
			ses  *session
			took time.Duration
		)
		defer func() { s.give(i, took) }()
		n, took, ses, err = f.tryRead(i, p, off)
		switch {
		case n > 0:
			return settled, nil
		case ses != nil && s.lost(s.ctx, ses):
			// Looked at first: the libraries also give io.EOF for the end of a
			// connection.
			return connectionLost, f.fault(ses, off, err)
		case ses != nil && (err == nil || errors.Is(err, io.EOF)):
			return settled, f.changed(fmt.Sprintf("it ends at byte %d and had %d bytes", off, f.info.Size))
		case ses != nil:
			err = f.fault(ses, off, err)
			return away(err), err
		case job.CodeOf(err) != job.SourceChanged && !f.closed.Load() && s.others(i):
			return serverAway, err // not for them
		}
		return away(err), err
	})
	return n, err
}

// fault is the store's, except that a file that was open cannot be missing:
// callers take fs.ErrNotExist for "there is no such file".
func (f *smbFile) fault(ses *session, off int64, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return f.changed("it was removed or renamed")
	}
	return f.store.fault(f.store.ctx, ses.link, fmt.Sprintf("read at byte %d", off), f.info.Name, err)
}

// tryRead gives the connection that it used, if it came to that, and for how
// long it waited for an answer, if there was one.
func (f *smbFile) tryRead(i int, p []byte, off int64) (n int, took time.Duration, ses *session, err error) {
	h := &f.handles[i]
	if ses, err = f.ready(h, i); err != nil {
		return 0, 0, ses, err
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	if f.closed.Load() {
		return 0, 0, nil, f.closedError()
	}
	ses = h.ses
	start := time.Now()
	err = ses.call(f.store.ctx, f.store.opt.StallTimeout, func(*session) (err error) {
		n, err = h.remote.ReadAt(p, off)
		return err
	})
	if n > 0 {
		took = time.Since(start)
	}
	return max(n, 0), took, ses, err
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
		return nil, f.changed("it was removed or renamed")
	case err != nil:
		return ses, err
	case info.Size != f.info.Size || !info.ModTime.Equal(f.info.ModTime):
		_ = ses.call(s.ctx, s.opt.StallTimeout, func(*session) error { return remote.Close() })
		return nil, f.changed(fmt.Sprintf("it had %d bytes of %s, now it has %d of %s",
			f.info.Size, f.info.ModTime.UTC().Format(time.RFC3339Nano),
			info.Size, info.ModTime.UTC().Format(time.RFC3339Nano)))
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

func (f *smbFile) changed(how string) error {
	return changedError(f.store.loc.file(f.info.Name), how)
}
