package share_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"imageport/engine/share"
)

// counted is a file in memory that counts its reads, and can fail.
type counted struct {
	*bytes.Reader
	reads atomic.Int32
	fail  atomic.Bool
	slow  time.Duration
}

var errBroken = errors.New("broken")

func newCounted(n int) (*counted, []byte) {
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{}).Read(data)
	return &counted{Reader: bytes.NewReader(data)}, data
}

func (c *counted) ReadAt(p []byte, off int64) (int, error) {
	c.reads.Add(1)
	time.Sleep(c.slow)
	if c.fail.Load() {
		return 0, errBroken
	}
	return c.Reader.ReadAt(p, off)
}
func (c *counted) ModTime() time.Time { return time.Time{} }
func (c *counted) Close() error       { return nil }

func TestBufferedReadsLikeTheFile(t *testing.T) {
	for _, size := range []int{0, 1, 100, 4096, 10_000, 65_537} {
		f, data := newCounted(size)
		b := share.Buffered(f, 4096, 3)
		if err := iotest.TestReader(io.NewSectionReader(b, 0, int64(size)), data); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
		rnd := rand.New(rand.NewPCG(1, 2))
		for range 2000 {
			got, want := make([]byte, rnd.IntN(9000)), make([]byte, 9000)
			off := rnd.Int64N(int64(size) + 100)
			want = want[:len(got)]
			n, err := b.ReadAt(got, off)
			m, wantErr := bytes.NewReader(data).ReadAt(want, off)
			if n != m || !bytes.Equal(got[:n], want[:m]) || err != wantErr && !(len(got) == 0) {
				t.Fatalf("%d bytes: ReadAt(%d bytes, %d) = %d, %v; want %d, %v", size, len(got), off, n, err, m, wantErr)
			}
		}
	}
	f, _ := newCounted(10)
	if _, err := share.Buffered(f, 0, 0).ReadAt(make([]byte, 1), -1); err == nil {
		t.Error("read at a negative offset")
	}
}

func TestBufferedFetchesOnce(t *testing.T) {
	f, _ := newCounted(1 << 20)
	b := share.Buffered(f, 256<<10, 64)
	for off := int64(0); off < 1<<20; off += 1024 { // the records of an MFT
		if _, err := b.ReadAt(make([]byte, 1024), off); err != nil {
			t.Fatal(err)
		}
	}
	if n := f.reads.Load(); n != 4 {
		t.Errorf("1024 small reads of 4 blocks took %d reads", n)
	}

	f, _ = newCounted(1 << 20)
	f.slow = 20 * time.Millisecond
	b = share.Buffered(f, 256<<10, 64)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if _, err := b.ReadAt(make([]byte, 10), 300<<10); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := f.reads.Load(); n != 1 {
		t.Errorf("16 readers of one block took %d reads", n)
	}
}

func TestBufferedKeepsWhatWasUsedLast(t *testing.T) {
	f, _ := newCounted(400)
	b := share.Buffered(f, 100, 2)
	for _, block := range []int64{0, 1, 0, 2, 0, 1} { // 2 drops 1, and 1 comes again
		if _, err := b.ReadAt(make([]byte, 1), block*100); err != nil {
			t.Fatal(err)
		}
	}
	if n := f.reads.Load(); n != 4 {
		t.Errorf("%d reads, want 4", n)
	}
}

func TestBufferedForgetsErrors(t *testing.T) {
	f, data := newCounted(400)
	b := share.Buffered(f, 100, 2)
	f.fail.Store(true)
	if n, err := b.ReadAt(make([]byte, 10), 95); n != 0 || err != errBroken {
		t.Errorf("read a broken file: %d, %v", n, err)
	}
	f.fail.Store(false)
	got := make([]byte, 10)
	if n, err := b.ReadAt(got, 95); n != 10 || err != nil || !bytes.Equal(got, data[95:105]) {
		t.Errorf("read after the failure: %d, %v", n, err)
	}
}
