package share

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"
)

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
	return inPieces(len(p), maxRequests, func(from, to int) (int, error) {
		piece, at := p[from:to], off+int64(from)
		err := w.call(fmt.Sprintf("write at byte %d", at), 1, func() error {
			n, err := w.remote.WriteAt(piece, at)
			if err == nil && n != len(piece) {
				err = io.ErrShortWrite
			}
			return err
		})
		if err != nil {
			return 0, err
		}
		return len(piece), nil
	})
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
