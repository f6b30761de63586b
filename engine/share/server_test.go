package share_test

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"imageport/engine/share"
	"imageport/engine/share/sharetest"
	"imageport/job"
	"imageport/testkit/samba"
)

// image makes a file of noise on a server.
func image(t *testing.T, s *samba.Server, size int) []byte {
	t.Helper()
	data := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{2}).Read(data)
	if err := os.WriteFile(filepath.Join(s.Shares[samba.DefaultShare], "image"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	return data
}

// open dials a server and opens its image.
func open(t *testing.T, s *samba.Server, opt share.Options) (share.Store, share.File) {
	t.Helper()
	n := network(s, "", opt.Driver)
	store, err := share.Dial(t.Context(), n.Location, n.Credential, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	f, err := store.Open(t.Context(), "image")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return store, f
}

// TestKilledUnderCopy: the processes of the server that serve a copy are killed,
// twice, and nobody notices.
func TestKilledUnderCopy(t *testing.T) {
	s := samba.New(t)
	data := image(t, s, 24<<20)
	for _, driver := range drivers {
		_, f := open(t, s, share.Options{Driver: driver})
		var once [2]sync.Once
		got, err := sharetest.Copy(f, func(done int64) {
			for i := range once {
				if done > int64(i+1)*f.Size()/3 {
					once[i].Do(func() {
						if n, err := s.KillConnections(t.Context()); n == 0 || err != nil {
							t.Errorf("killed %d processes, %v", n, err)
						}
					})
				}
			}
		})
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: the copy has the right bytes: %v, error %v", driver, bytes.Equal(got, data), err)
		}
	}
}

// TestAwayUnderCopy: the server goes away and comes back.
func TestAwayUnderCopy(t *testing.T) {
	s := samba.New(t)
	data := image(t, s, 16<<20)
	for _, driver := range drivers {
		store, f := open(t, s, share.Options{Driver: driver, Patience: 20 * time.Second})
		var (
			once sync.Once
			back = make(chan error, 1)
		)
		got, err := sharetest.Copy(f, func(done int64) {
			if done < f.Size()/3 {
				return
			}
			once.Do(func() {
				s.Down()
				time.AfterFunc(500*time.Millisecond, func() { back <- s.Up(t.Context()) })
			})
		})
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s: the copy has the right bytes: %v, error %v", driver, bytes.Equal(got, data), err)
		}
		select {
		case err := <-back:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("the server was not taken down")
		}
		if _, err := store.Stat(t.Context(), "image"); err != nil {
			t.Error(err)
		}
	}

	// What has not been sent can wait as well; and patience ends.
	store, _ := open(t, s, share.Options{Patience: 20 * time.Second})
	hasty, f := open(t, s, share.Options{Patience: -1})
	patient, g := open(t, s, share.Options{Patience: 200 * time.Millisecond})
	s.Down()
	start := time.Now()
	_, err := f.ReadAt(make([]byte, 10), 0)
	wantCode(t, "read without patience", err, job.ShareUnreachable)
	_, err = hasty.Stat(t.Context(), "image")
	wantCode(t, "stat without patience", err, job.ShareUnreachable)
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("without patience it took %v", took)
	}
	start = time.Now()
	_, err = g.ReadAt(make([]byte, 10), 0)
	wantCode(t, "read", err, job.ShareUnreachable)
	wantCode(t, "rename", patient.Rename(t.Context(), "image", "x"), job.ShareUnreachable)
	if took := time.Since(start); took < 200*time.Millisecond || took > 5*time.Second {
		t.Errorf("with a patience of 200 ms two operations took %v", took)
	}
	back := make(chan error, 1)
	time.AfterFunc(200*time.Millisecond, func() { back <- s.Up(t.Context()) })
	if err := store.Rename(t.Context(), "image", "x"); err != nil {
		t.Errorf("rename while the server is away: %v", err)
	}
	w, err := store.CreateExcl(t.Context(), "new")
	if err != nil {
		t.Errorf("create: %v", err)
	} else if err := w.Close(); err != nil {
		t.Error(err)
	}
	if err := <-back; err != nil {
		t.Fatal(err)
	}
}

// TestKilledUnderWrite: a writer whose connection is lost fails for good, and
// nothing has the final name.
func TestKilledUnderWrite(t *testing.T) {
	s := samba.New(t)
	for _, driver := range drivers {
		store := dial(t, s, samba.DefaultShare, driver)
		w, err := store.CreateExcl(t.Context(), "out.partial")
		if err != nil {
			t.Fatal(err)
		}
		piece := make([]byte, 3<<20)
		if _, err := w.WriteAt(piece, 0); err != nil {
			t.Fatal(err)
		}
		if n, err := s.KillConnections(t.Context()); n == 0 || err != nil {
			t.Errorf("killed %d processes, %v", n, err)
		}
		for op, do := range map[string]func() error{
			"write": func() error { _, err := w.WriteAt(piece, 3<<20); return err },
			"sync":  w.Sync,
		} {
			wantCode(t, op, do(), job.ShareIO, "out.partial")
		}
		wantCode(t, "close", w.Close(), job.ShareIO)
		if _, err := store.Stat(t.Context(), "out"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the final name: %v", err)
		}
		if err := store.Remove(t.Context(), "out.partial"); err != nil {
			t.Errorf("remove: %v", err)
		}
	}
}
