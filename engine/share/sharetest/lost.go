package sharetest

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"imageport/engine/share"
	"imageport/job"
	"imageport/testkit/proxy"
)

// Copy reads a file with several readers at the same time, as the conversion of
// a disk does. progress may be nil; it gets the bytes read so far.
func Copy(f share.File, progress func(int64)) ([]byte, error) {
	const chunk, readers = 1<<20 + 4096, 4 // more than a request carries
	var (
		data        = make([]byte, f.Size())
		errs        = make([]error, readers)
		next, total atomic.Int64
		wg          sync.WaitGroup
	)
	for i := range readers {
		wg.Go(func() {
			for {
				off := (next.Add(1) - 1) * chunk
				if off >= f.Size() {
					return
				}
				p := data[off:min(off+chunk, f.Size())]
				if n, err := f.ReadAt(p, off); n != len(p) {
					errs[i] = err
					return
				}
				if done := total.Add(int64(len(p))); progress != nil {
					progress(done)
				}
			}
		})
	}
	wg.Wait()
	return data, errors.Join(errs...)
}

func testDroppedWhileReading(t *testing.T, h Harness) {
	for _, connections := range []int{1, 3} {
		p, _, f, data := h.openThrough(t.Context(), t, 8<<20, share.Options{Connections: connections})
		p.CutAfter(proxy.Down, 2<<20+12345)
		if got := readAll(t, f); !bytes.Equal(got, data) {
			t.Error("wrong bytes after a cut")
		}
		p.CutAfter(proxy.Down, 3<<20+1)
		readEverywhere(t, f, data)
	}
}

func testDroppedWhileIdle(t *testing.T, h Harness) {
	p, s, f, data := h.openThrough(t.Context(), t, 1<<20, share.Options{})
	p.Cut()
	if names := list(t, s); len(names) != 1 {
		t.Errorf("the folder has %q", names)
	}
	if got := readAll(t, f); !bytes.Equal(got, data) {
		t.Error("wrong bytes")
	}
}

func testDroppedWhileWriting(t *testing.T, h Harness) {
	p, s, _, _ := h.openThrough(t.Context(), t, 1, share.Options{})
	w := create(t, s, "out")
	p.CutAfter(proxy.Up, 2<<20+1)
	_, err := w.WriteAt(make([]byte, 4<<20), 0)
	wantError(t, "write", err, job.ShareIO, nil)
	wantError(t, "sync", w.Sync(), job.ShareIO, nil)
	_, err = w.WriteAt([]byte("x"), 0)
	wantError(t, "write again", err, job.ShareIO, nil)
	wantError(t, "close", w.Close(), job.ShareIO, nil)
	if err := s.Remove(t.Context(), "out"); err != nil {
		t.Errorf("remove what is there of it: %v", err)
	}
}

func testChangedWhileDropped(t *testing.T, h Harness) {
	for name, change := range map[string]func() error{
		"longer": func() error { return os.WriteFile(h.path("f"), noise(3<<20), 0o644) },
		"touched": func() error {
			return os.Chtimes(h.path("f"), time.Time{}, time.Date(2021, 1, 1, 0, 0, 0, 0, time.UTC))
		},
	} {
		p, _, f, _ := h.openThrough(t.Context(), t, 2<<20, share.Options{})
		if err := change(); err != nil {
			t.Fatal(err)
		}
		p.Cut()
		_, err := f.ReadAt(make([]byte, 10), 0)
		wantError(t, name, err, job.SourceChanged, nil)
	}
	p, _, f, _ := h.openThrough(t.Context(), t, 2<<20, share.Options{})
	if err := os.Remove(h.path("f")); err != nil {
		t.Fatal(err)
	}
	p.Cut()
	_, err := f.ReadAt(make([]byte, 10), 0)
	wantError(t, "removed", err, job.SourceChanged, nil)
	if errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what was open looks like a file that is not there: %v", err)
	}
}

// testCutUnderCopy: a copy does not notice that the network resets all its
// connections, again and again.
func testCutUnderCopy(t *testing.T, h Harness) {
	p, _, f, data := h.openThrough(t.Context(), t, 24<<20, share.Options{Connections: 3})
	const cuts = 4
	var made atomic.Int64
	got, err := Copy(f, func(done int64) {
		if n := made.Load(); n < cuts && done > (n+1)*int64(len(data))/(cuts+2) && made.CompareAndSwap(n, n+1) {
			p.Cut()
		}
	})
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("the copy has the right bytes: %v, error %v", bytes.Equal(got, data), err)
	}
	if made.Load() != cuts || p.Connections() < 1+cuts {
		t.Errorf("%d cuts, %d connections", made.Load(), p.Connections())
	}
}

// testReplacedUnderCopy: of a file that was replaced while the connections were
// lost, nobody gets a mixture.
func testReplacedUnderCopy(t *testing.T, h Harness) {
	p, _, f, data := h.openThrough(t.Context(), t, 16<<20, share.Options{Connections: 2})
	h.put(t, "new", make([]byte, len(data))) // of the same size
	var once sync.Once
	_, err := Copy(f, func(done int64) {
		if done < int64(len(data))/4 {
			return
		}
		once.Do(func() {
			if err := os.Rename(h.path("new"), h.path("f")); err != nil {
				t.Error(err)
			}
			p.Cut()
		})
	})
	wantError(t, "copy", err, job.SourceChanged, nil)
}

// testOneConnectionLost: the loss of one connection of several is no concern of
// the others, nor is a server that accepts no more than it has.
func testOneConnectionLost(t *testing.T, h Harness) {
	p, _, f, data := h.openThrough(t.Context(), t, 16<<20, share.Options{Connections: 4})
	copyRight := func(when string) {
		t.Helper()
		if got, err := Copy(f, nil); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%s, the copy has the right bytes: %v, error %v", when, bytes.Equal(got, data), err)
		}
	}
	atLeastTwo := func() {
		t.Helper()
		for range 20 {
			if copyRight("undisturbed"); p.Open() >= 2 {
				return
			}
		}
		t.Fatal("readers at the same time share one connection")
	}
	atLeastTwo()
	p.CutOne()
	copyRight("after one was cut")
	atLeastTwo()
	p.Refuse(true)
	p.CutOne()
	copyRight("with one that cannot be made again")
}

// testConnections: connections are made as readers come at the same time.
func testConnections(t *testing.T, h Harness) {
	p, s, f, data := h.openThrough(t.Context(), t, 8<<20, share.Options{Connections: 3})
	if got := readAll(t, f); !bytes.Equal(got, data) {
		t.Error("wrong bytes")
	}
	if n := p.Connections(); n != 1 {
		t.Errorf("reads one after the other use %d connections", n)
	}
	for range 3 {
		if got, err := Copy(f, nil); err != nil || !bytes.Equal(got, data) {
			t.Errorf("the copy has the right bytes: %v, error %v", bytes.Equal(got, data), err)
		}
	}
	if n := p.Connections(); n != 3 {
		t.Errorf("reads at the same time use %d connections, want 3", n)
	}
	if _, err := s.Stat(t.Context(), "f"); err != nil {
		t.Error(err)
	}
}

// testOutstanding: where the round trip is long, a large read has its pieces
// under way at the same time.
func testOutstanding(t *testing.T, h Harness) {
	const size = 16 << 20
	h.empty(t)
	data := noise(size)
	h.put(t, "f", data)
	p, n := h.through(t)
	n.Options = share.Options{Driver: n.Options.Driver, Connections: 1}
	p.Delay(20 * time.Millisecond)
	s, err := n.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	f, err := s.Open(t.Context(), "f")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// The server grants credits as it answers: let it.
	warm := make([]byte, size)
	if n, err := f.ReadAt(warm, 0); n != size || !bytes.Equal(warm, data) {
		t.Errorf("read %d bytes, the right ones: %v, %v", n, bytes.Equal(warm, data), err)
	}
	p.Delay(100 * time.Millisecond)
	up, down := p.Bytes(proxy.Up), p.Bytes(proxy.Down)
	got := make(chan error, 1)
	go func() {
		p := make([]byte, size)
		n, err := f.ReadAt(p, 0)
		if n == size && !bytes.Equal(p, data) {
			err = errors.New("wrong bytes")
		}
		got <- err
	}()
	for p.Bytes(proxy.Down) == down && t.Context().Err() == nil {
		time.Sleep(time.Millisecond)
	}
	// What went up before anything came down. A read request takes 4 + 64 + 49
	// bytes ([MS-SMB2] 2.1, 2.2.1.2, 2.2.19), and 52 more if it is encrypted.
	if sent := p.Bytes(proxy.Up) - up; sent < 16*117 {
		t.Errorf("%d bytes of requests were under way, too few for 16 reads", sent)
	}
	if err := <-got; err != nil && err != io.EOF {
		t.Error(err)
	}
}

// testClientVanished: what a client that was switched off has open stays open
// until the server gives it up, and neither library can open a file so that it
// may be removed meanwhile (FILE_SHARE_DELETE). Others can read it, cannot
// remove or rename it, and are told why.
func testClientVanished(t *testing.T, h Harness) {
	p, s, _, data := h.openThrough(t.Context(), t, 1000, share.Options{})
	w := create(t, s, "partial")
	writeAt(t, w, data, 0)
	p.Stall() // for the server, a machine that has no power

	other, err := h.Network.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	for _, name := range []string{"f", "partial"} {
		g, err := other.Open(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if got := readAll(t, g); !bytes.Equal(got, data) {
			t.Errorf("%s: wrong bytes", name)
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		wantError(t, "remove "+name, other.Remove(t.Context(), name), job.ShareIO, nil)
		wantError(t, "rename "+name, other.Rename(t.Context(), name, "x"), job.ShareIO, nil)
	}
	p.Cut() // the server notices
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := other.Remove(t.Context(), "partial")
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	if _, err := other.Stat(t.Context(), "partial"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("stat of what was removed: %v", err)
	}
}
