package ntfsresize

import "time"

// reportInterval is how often progress is told.
const reportInterval = 500 * time.Millisecond

// report tells progress until the function that it gives is called, after which
// progress is not called any more.
func (c *counted) report(progress func(done, total int64)) (stop func()) {
	if progress == nil {
		return func() {}
	}
	ending, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(reportInterval)
		defer tick.Stop()
		for {
			// A page may be written more than once.
			progress(min(c.done.Load(), c.total), c.total)
			select {
			case <-tick.C:
			case <-ending:
				return
			}
		}
	}()
	return func() {
		close(ending)
		<-ended
	}
}
