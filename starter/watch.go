package starter

import (
	"context"
	"iter"
	"reflect"
	"time"

	"imageport/job"
)

// watchInterval is how often Watch looks. Heartbeats come about once a second.
const watchInterval = 500 * time.Millisecond

// Watch gives the status of a job at once, and again whenever it has changed,
// until the job has ended; the last status is that of the ended job. An error
// ends the sequence. Watching an id stays with the run that it named first.
func (c *Client) Watch(ctx context.Context, id string) iter.Seq2[job.Status, error] {
	return func(yield func(job.Status, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		d, err := c.find(ctx, id)
		if err != nil {
			yield(job.Status{}, err)
			return
		}
		ticker := time.NewTicker(watchInterval)
		defer ticker.Stop()
		ended := c.ended(ctx, d)
		v := view{client: c}
		var last *job.Status
		for {
			s, err := v.status(ctx, d)
			if err != nil {
				yield(job.Status{}, err)
				return
			}
			if last == nil || !reflect.DeepEqual(s, *last) {
				if !yield(s, nil) {
					return
				}
				last = &s
			}
			if s.State != job.StateRunning {
				return
			}
			select {
			case <-ticker.C:
			case <-ended:
				ended = nil // the ticker goes on, should it have been a false alarm
			case <-ctx.Done():
			}
			if d, err = c.describe(ctx, d); err != nil {
				yield(job.Status{}, err)
				return
			}
		}
	}
}

// ended is closed as soon as the run of d has ended, or the server cannot tell.
func (c *Client) ended(ctx context.Context, d *description) <-chan struct{} {
	e := d.GetWorkflowExecutionInfo().GetExecution()
	run := c.temporal.GetWorkflow(ctx, e.GetWorkflowId(), e.GetRunId())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = run.Get(ctx, nil) // only that it returns matters
	}()
	return done
}
