package lock

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/errgroup"
)

// ErrWrong: what was downloaded is not the pinned package.
var ErrWrong = errors.New("not the bytes that the lock has pinned")

// Store downloads packages, and keeps them in a folder.
type Store struct {
	// Dir keeps a package as its hash with .deb. Several programs may share it.
	Dir string
	// Mirror is where packages come from that are not in Dir.
	Mirror Mirror
	// Client downloads. Nil means http.DefaultClient.
	Client *http.Client
	// Downloading is told what is downloaded. It may be nil, and is called by
	// several goroutines.
	Downloading func(Package)
}

// parallel downloads do not annoy a mirror.
const parallel = 4

// Get gives the bytes of the packages of a lock, in its order. Where a mirror
// does not have one any more, the error wraps ErrGone and names all of them.
func (s *Store) Get(ctx context.Context, l Lock) ([][]byte, error) {
	all := make([][]byte, len(l.Packages))
	missing := make([]error, len(l.Packages))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i, p := range l.Packages {
		group.Go(func() error {
			body, err := s.get(ctx, p)
			if errors.Is(err, ErrGone) {
				missing[i] = fmt.Errorf("%s: %w", p, err)
				return nil
			}
			if err != nil {
				return fmt.Errorf("%s: %w", p, err)
			}
			all[i] = body
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if err := errors.Join(missing...); err != nil {
		return nil, err
	}
	return all, nil
}

func (s *Store) get(ctx context.Context, p Package) ([]byte, error) {
	name := filepath.Join(s.Dir, p.SHA256+".deb")
	if body, err := readCached(name, p); err == nil {
		return body, nil
	}
	if s.Downloading != nil {
		s.Downloading(p)
	}
	body, err := s.download(ctx, p)
	if err != nil {
		return nil, err
	}
	return body, keep(name, body)
}

// readCached reads a package from the folder. One that is damaged counts as
// absent: it is downloaded anew.
func readCached(name string, p Package) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Size() != p.Size {
		return nil, ErrWrong
	}
	body, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return body, p.verify(body)
}

func (p Package) verify(body []byte) error {
	sum := sha256.Sum256(body)
	if got := hex.EncodeToString(sum[:]); got != p.SHA256 || int64(len(body)) != p.Size {
		return fmt.Errorf("%w: %d bytes with SHA-256 %s, want %d with %s", ErrWrong, len(body), got, p.Size, p.SHA256)
	}
	return nil
}

func (s *Store) download(ctx context.Context, p Package) ([]byte, error) {
	body, err := s.Mirror.Download(ctx, s.Client, p.Archive, p.Path, p.Size, p.verify)
	if main, ok := strings.CutPrefix(p.Path, "pool/updates/"); ok && errors.Is(err, ErrGone) {
		// A point release takes security updates over into the main archive.
		if body, err := s.Mirror.Download(ctx, s.Client, Debian, "pool/"+main, p.Size, p.verify); err == nil {
			return body, nil
		}
	}
	return body, err
}

// keep writes a file that is there wholly or not at all.
func keep(name string, body []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(name), "*.partial")
	if err != nil {
		return err
	}
	_, err = f.Write(body)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
