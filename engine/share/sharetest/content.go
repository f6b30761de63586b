package sharetest

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"imageport/engine/share"
	"imageport/job"
)

func testReadLeavesNoTrace(t *testing.T, h Harness) {
	s := h.open(t)
	data := noise(300_000)
	h.put(t, "source.vhdx", data)
	old := time.Date(2019, 3, 4, 5, 6, 7, 890_123_400, time.UTC) // 100 ns is SMB's resolution
	if err := os.Chtimes(h.path("source.vhdx"), old, old); err != nil {
		t.Fatal(err)
	}

	f, err := s.Open(t.Context(), "source.vhdx")
	if err != nil {
		t.Fatal(err)
	}
	if f.Size() != int64(len(data)) || !f.ModTime().Equal(old) {
		t.Errorf("opened: %d bytes of %v", f.Size(), f.ModTime())
	}
	if got := readAll(t, f); !bytes.Equal(got, data) {
		t.Error("read other bytes than the file has")
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.ReadAt(make([]byte, 1), 0); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("read after close: %v", err)
	}
	info, err := s.Stat(t.Context(), "source.vhdx")
	if want := (share.Info{Name: "source.vhdx", Size: int64(len(data)), ModTime: info.ModTime}); err != nil || info != want || !info.ModTime.Equal(old) {
		t.Errorf("stat: %+v, %v", info, err)
	}

	st, err := os.Stat(h.path("source.vhdx"))
	if err != nil {
		t.Fatal(err)
	}
	if !st.ModTime().Equal(old) {
		t.Errorf("reading set the modification time to %v", st.ModTime())
	}
	if !bytes.Equal(h.get(t, "source.vhdx"), data) {
		t.Error("reading changed the file")
	}
}

func testBigFile(t *testing.T, h Harness) {
	s := h.open(t)
	const piece, pieces = 1 << 20, 33
	data := noise(piece * pieces)
	w := create(t, s, "big.partial")
	start := time.Now()
	for i := range pieces {
		writeAt(t, w, data[i*piece:(i+1)*piece], int64(i)*piece)
	}
	if err := w.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	wrote := time.Since(start)
	if err := s.Rename(t.Context(), "big.partial", "big.vhdx"); err != nil {
		t.Fatal(err)
	}

	f, err := s.Open(t.Context(), "big.vhdx")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	start = time.Now()
	got := readAll(t, f)
	read := time.Since(start)
	if !bytes.Equal(got, data) {
		t.Error("read back other bytes than were written")
	}
	if !bytes.Equal(h.get(t, "big.vhdx"), data) {
		t.Error("the file has other bytes than were written")
	}
	t.Logf("wrote at %.0f MB/s, read at %.0f MB/s", piece*pieces/1e6/wrote.Seconds(), piece*pieces/1e6/read.Seconds())
}

func testReadAt(t *testing.T, h Harness) {
	s := h.open(t)
	const size = 5<<20 + 17 // several requests, and a short end
	data := noise(size)
	h.put(t, "f", data)
	h.put(t, "empty", nil)
	f, err := s.Open(t.Context(), "f")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, c := range []struct {
		off  int64
		n    int
		want int
		err  error
	}{
		{0, 1, 1, nil},
		{1<<20 - 1, 2, 2, nil},
		{3, 4<<20 + 5, 4<<20 + 5, nil},
		{0, size, size, nil},
		{0, size + 1, size, io.EOF},
		{size - 10, 100, 10, io.EOF},
		{size, 1, 0, io.EOF},
		{size + 1000, 1, 0, io.EOF},
		{size - 1, 0, 0, nil},
	} {
		p := bytes.Repeat([]byte{0xEE}, c.n)
		n, err := f.ReadAt(p, c.off)
		if n != c.want || (err == nil) != (c.err == nil) && !(err == io.EOF && n == c.n) || err != nil && err != io.EOF {
			t.Errorf("ReadAt(%d bytes, %d): %d, %v; want %d, %v", c.n, c.off, n, err, c.want, c.err)
			continue
		}
		if n > 0 && !bytes.Equal(p[:n], data[c.off:c.off+int64(n)]) {
			t.Errorf("ReadAt(%d bytes, %d): wrong bytes", c.n, c.off)
		}
	}
	if _, err := f.ReadAt(make([]byte, 1), -1); err == nil || err == io.EOF {
		t.Errorf("read at a negative offset: %v", err)
	}
	e, err := s.Open(t.Context(), "empty")
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if n, err := e.ReadAt(make([]byte, 1), 0); n != 0 || err != io.EOF {
		t.Errorf("read of an empty file: %d, %v", n, err)
	}
}

// testTruncated: a file that has become shorter does not end, it has changed.
func testTruncated(t *testing.T, h Harness) {
	s := h.open(t)
	h.put(t, "f", noise(3<<20))
	f, err := s.Open(t.Context(), "f")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.Truncate(h.path("f"), 1<<20+5); err != nil {
		t.Fatal(err)
	}
	for _, off := range []int64{3 << 19, 1 << 20, 0} {
		_, err = f.ReadAt(make([]byte, 2<<20), off)
		wantError(t, "read", err, job.SourceChanged, nil)
	}
}

func testConcurrentReadAt(t *testing.T, h Harness) {
	s := h.open(t)
	data := noise(8 << 20)
	h.put(t, "f", data)
	f, err := s.Open(t.Context(), "f")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	readEverywhere(t, f, data)
}

func readEverywhere(t *testing.T, f io.ReaderAt, data []byte) {
	t.Helper()
	var wg sync.WaitGroup
	for seed := range uint64(6) {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, 0))
			for range 6 {
				off := rnd.IntN(len(data))
				p := make([]byte, 1+rnd.IntN(min(len(data)-off, 1<<20+9)))
				if n, err := f.ReadAt(p, int64(off)); n != len(p) || err != nil && err != io.EOF {
					t.Errorf("read %d bytes at %d: %d, %v", len(p), off, n, err)
					return
				}
				if !bytes.Equal(p, data[off:off+len(p)]) {
					t.Errorf("read %d bytes at %d: wrong bytes", len(p), off)
					return
				}
			}
		})
	}
	wg.Wait()
}
