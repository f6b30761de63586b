package share

import (
	"sync"
	"sync/atomic"
)

// maxIO is the most that one request carries. The protocol allows more, but
// Windows servers do not accept it, so both libraries stop here as well; they
// go lower if the server says so.
const maxIO = 1 << 20

// inPieces reads or writes n bytes by requests of at most maxIO, up to atOnce of
// them at the same time: one after the other they would take a round trip each.
// Like io.ReaderAt and io.WriterAt it gives the number of bytes that were done
// before the first that were not, and why those were not. transfer does the
// bytes from..to.
func inPieces(n, atOnce int, transfer func(from, to int) (int, error)) (int, error) {
	if n <= maxIO {
		return transfer(0, n)
	}
	type result struct {
		n   int
		err error
	}
	var (
		results = make([]result, (n+maxIO-1)/maxIO)
		next    atomic.Int64
		failed  atomic.Bool
		wg      sync.WaitGroup
	)
	for range min(atOnce, len(results)) {
		wg.Go(func() {
			// Pieces are begun in order: all before one that failed are done.
			for !failed.Load() {
				i := int(next.Add(1)) - 1
				if i >= len(results) {
					return
				}
				r := &results[i]
				if r.n, r.err = transfer(i*maxIO, min((i+1)*maxIO, n)); r.err != nil {
					failed.Store(true)
				}
			}
		})
	}
	wg.Wait()
	done := 0
	for _, r := range results {
		done += r.n
		if r.err != nil {
			return done, r.err
		}
	}
	return done, nil
}
