package share

import (
	"errors"
	"sync/atomic"
	"testing"
)

func TestInPieces(t *testing.T) {
	errBad := errors.New("bad")
	for _, c := range []struct {
		n, bad int // bad is the piece that fails half-way, -1 for none
		want   int
	}{
		{0, -1, 0},
		{1, -1, 1},
		{maxIO, -1, maxIO},
		{maxIO + 1, -1, maxIO + 1},
		{9*maxIO + 7, -1, 9*maxIO + 7},
		{maxIO, 0, maxIO / 2},
		{9*maxIO + 7, 0, maxIO / 2},
		{9*maxIO + 7, 4, 4*maxIO + maxIO/2},
		{9*maxIO + 7, 9, 9*maxIO + 3},
	} {
		var moved, now, most atomic.Int64
		done, err := inPieces(c.n, 3, func(from, to int) (int, error) {
			most.Store(max(most.Load(), now.Add(1)))
			defer now.Add(-1)
			moved.Add(int64(to - from))
			if to-from > maxIO {
				t.Errorf("a piece of %d bytes", to-from)
			}
			if from/maxIO == c.bad {
				return (to - from) / 2, errBad
			}
			return to - from, nil
		})
		if done != c.want || (err != nil) != (c.bad >= 0) || most.Load() > 3 {
			t.Errorf("%d bytes, piece %d bad: %d, %v, %d at once", c.n, c.bad, done, err, most.Load())
		}
		if c.bad < 0 && moved.Load() != int64(c.n) {
			t.Errorf("%d bytes: %d moved", c.n, moved.Load())
		}
	}
}
