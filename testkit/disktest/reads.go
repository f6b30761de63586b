package disktest

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"imageport/engine/disk"
)

// RandomReads compares ranges of a disk, long and short ones, with what it has
// to begin with: want may be shorter.
func RandomReads(t testing.TB, d disk.Disk, want []byte) {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	p := make([]byte, 12*mib)
	for range 300 {
		off := rng.Int64N(int64(len(want)))
		n := rng.Int64N(min(int64(len(want))-off, int64(len(p)))) + 1
		if rng.IntN(3) > 0 {
			n = min(n, 5000)
		}
		if _, err := d.ReadAt(p[:n], off); err != nil && err != io.EOF {
			t.Fatal(err)
		}
		if !bytes.Equal(p[:n], want[off:off+n]) {
			t.Fatalf("%d bytes at %d differ", n, off)
		}
	}
}

// ConcurrentReads is for the race detector, and for what is kept between reads of
// a disk of 8 MiB or more.
func ConcurrentReads(t testing.TB, d disk.Disk) {
	t.Helper()
	want := ReadAll(t, d)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			p := make([]byte, 3000)
			for i := range 500 {
				off := (int64(i)*7919 + int64(g)*5*mib) % (8*mib - 3000)
				if _, err := d.ReadAt(p, off); err != nil || !bytes.Equal(p, want[off:off+3000]) {
					t.Errorf("read at %d differs (%v)", off, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// ErrLost is the error of a disk that is gone.
var ErrLost = errors.New("connection lost")

// losing is a disk that cannot be read from the n-th read on.
type losing struct {
	disk.Disk
	left int
}

func (d *losing) ReadAt(b []byte, off int64) (int, error) {
	if d.left--; d.left < 0 {
		return 0, ErrLost
	}
	return d.Disk.ReadAt(b, off)
}

// Losing calls read with a disk that is there, and then with ones that are gone
// from some read on: the first, the last and many in between. lost is given the
// error each time, and which read of how many it was.
func Losing(t testing.TB, d disk.Disk, read func(disk.Disk) error, lost func(err error, n, reads int)) {
	t.Helper()
	const enough = 1 << 20
	whole := &losing{d, enough}
	if err := read(whole); err != nil {
		t.Fatal(err)
	}
	reads := enough - whole.left
	for n := 0; n < reads; n += 1 + n/20 {
		lost(read(&losing{d, n}), n, reads)
	}
}
