package patience

import (
	"context"
	"errors"
	"math"
	"time"
)

// ErrContended is wrapped by what may succeed when others have finished what they do.
var ErrContended = errors.New("something else is at work on it")

// Pauses are waits that grow by half each time, from First to Longest.
type Pauses struct {
	First, Longest time.Duration

	next time.Duration
}

// Wait waits for the next pause, or until ctx ends, whose error it then gives.
func (p *Pauses) Wait(ctx context.Context) error { return p.WaitAtLeast(ctx, 0) }

// WaitAtLeast is Wait, but waits no less than d.
func (p *Pauses) WaitAtLeast(ctx context.Context, d time.Duration) error {
	if p.next == 0 {
		p.next = p.First
	}
	timer := time.NewTimer(max(p.next, d))
	defer timer.Stop()
	p.next = min(p.next*3/2, p.Longest)
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Do calls step until it is done, or fails for good, or others have been in the
// way too often without any progress in between. How often something is tried in
// all that fails with err is for tries to say: 0 if nobody is in the way. The
// error is the last one of step, or that of ctx when it has ended. What is done
// counts also then.
func Do(ctx context.Context, pauses Pauses, tries func(err error) int, step func() (done bool, err error)) error {
	pause, left := pauses, math.MaxInt
	for {
		done, err := step()
		switch {
		case err == nil && done:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			pause, left = pauses, math.MaxInt
			continue
		}
		if left = min(left, tries(err)) - 1; left <= 0 {
			return err
		}
		if err := pause.Wait(ctx); err != nil {
			return err
		}
	}
}

// Outlast gives a context that ends some time after ctx, so that what a call has
// begun is not left behind without anybody's knowledge. It ends with the
// function, too, which must be called.
func Outlast(ctx context.Context, by time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(by)
		defer timer.Stop()
		select {
		case <-longer.Done():
		case <-timer.C:
			cancel()
		}
	})
	return longer, func() { stop(); cancel() }
}
