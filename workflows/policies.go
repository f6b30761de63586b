package workflows

import (
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"imageport/job/durable"
)

// How long things may take, and how often they are tried. Non-retryable
// failures are marked as such by the activities (job.Code.Transient). Time that
// an activity waits for a worker does not count: a job outlives the absence of
// its workers.
const (
	// reconnectTimeout is how long a CE that had enrolled may be away, as it is
	// while no worker runs that has a gateway for it. One that has stopped is
	// seen to earlier.
	reconnectTimeout = 2 * time.Minute
	// maxCEs is how many Compositing Engines a job may use up, and maxAbsent how
	// many of them one after the other may never have come: what keeps one from
	// coming keeps the next one, too.
	maxCEs, maxAbsent = 3, 2
	// maxStopping is how long a guest has, after its runner's time is up, to shut
	// down.
	maxStopping = 15 * time.Minute
	// lossSeenWithin is how long it may take until the watch has seen that a CE
	// has stopped: twice its interval, and some.
	lossSeenWithin = 6 * time.Second
)

// checking is for reading what the job will work on: worth a few tries over a share
// that does not answer, and short. But there may be the checks of other jobs ahead:
// a worker makes a few at a time.
func checking(ctx workflow.Context, summary string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		Summary:             summary,
		StartToCloseTimeout: time.Hour, // also much longer than a share may stall, so that its own error is heard
		HeartbeatTimeout:    durable.HeartbeatTimeout,
		WaitForCancellation: true,
		RetryPolicy:         &temporal.RetryPolicy{InitialInterval: time.Second, BackoffCoefficient: 2, MaximumAttempts: 3},
	})
}

// creating is for platform calls that make a CE: minutes on a busy cluster.
func creating(ctx workflow.Context, summary string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		Summary:             summary,
		StartToCloseTimeout: 15 * time.Minute,
		HeartbeatTimeout:    durable.HeartbeatTimeout,
		WaitForCancellation: true, // or tear-down would overtake a create in flight
		RetryPolicy:         &temporal.RetryPolicy{InitialInterval: 2 * time.Second, BackoffCoefficient: 2, MaximumInterval: time.Minute, MaximumAttempts: 10},
	})
}

// watching is for looking at a CE for as long as it is in use.
func watching(ctx workflow.Context, summary string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		Summary:             summary,
		StartToCloseTimeout: 7 * 24 * time.Hour,
		HeartbeatTimeout:    durable.HeartbeatTimeout,
		RetryPolicy:         &temporal.RetryPolicy{InitialInterval: time.Second, BackoffCoefficient: 2, MaximumInterval: time.Minute},
	})
}

// composing is for the CE's work. The heartbeat tells that the CE's process
// lives; that the work goes on is seen to by the time-outs of the share.
func composing(ctx workflow.Context, queue, summary string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:              queue,
		Summary:                summary,
		ScheduleToStartTimeout: reconnectTimeout,
		StartToCloseTimeout:    2 * time.Hour,
		HeartbeatTimeout:       durable.HeartbeatTimeout,
		WaitForCancellation:    true, // or tear-down would delete under a writing CE
		RetryPolicy:            &temporal.RetryPolicy{InitialInterval: time.Second, BackoffCoefficient: 2, MaximumInterval: 30 * time.Second, MaximumAttempts: 5},
	})
}

// copying is for a disk of any size. A share or platform that fails is given an
// hour and more: to begin anew would take longer.
func copying(ctx workflow.Context, queue, summary string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:              queue,
		Summary:                summary,
		ScheduleToStartTimeout: reconnectTimeout,
		StartToCloseTimeout:    7 * 24 * time.Hour,
		HeartbeatTimeout:       durable.HeartbeatTimeout,
		WaitForCancellation:    true, // or tear-down would take the disk from a writing CE
		RetryPolicy:            &temporal.RetryPolicy{InitialInterval: time.Second, BackoffCoefficient: 2, MaximumInterval: 2 * time.Minute, MaximumAttempts: 40},
	})
}

// awaitWithin is workflow.AwaitWithTimeout, with a summary for the Web UI.
func awaitWithin(ctx workflow.Context, timeout time.Duration, summary string, condition func() bool) (bool, error) {
	return workflow.AwaitWithOptions(ctx, workflow.AwaitOptions{Timeout: timeout, TimerOptions: workflow.TimerOptions{Summary: summary}}, condition)
}

// once is for what must not be tried again as it is.
func once(ctx workflow.Context) workflow.Context {
	return workflow.WithRetryPolicy(ctx, temporal.RetryPolicy{MaximumAttempts: 1})
}

// exporting is for writing a whole image to the share: each attempt begins anew.
func exporting(ctx workflow.Context, queue, summary string) workflow.Context {
	return workflow.WithStartToCloseTimeout(composing(ctx, queue, summary), 7*24*time.Hour)
}

// proving is for firmware on an emulated machine: minutes without hardware
// support, and those of every job that is ahead, as a worker boots one at a time.
func proving(ctx workflow.Context, summary string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		Summary:             summary,
		StartToCloseTimeout: 4 * time.Hour,
		HeartbeatTimeout:    durable.HeartbeatTimeout,
		WaitForCancellation: true, // or tear-down would delete what it reads
		RetryPolicy:         &temporal.RetryPolicy{InitialInterval: time.Second, BackoffCoefficient: 2, MaximumAttempts: 3},
	})
}

// cleaning is for what must happen: retried for a day, whatever the failure.
func cleaning(ctx workflow.Context, summary string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		Summary:                summary,
		StartToCloseTimeout:    5 * time.Minute,
		ScheduleToCloseTimeout: 24 * time.Hour,
		HeartbeatTimeout:       durable.HeartbeatTimeout,
		RetryPolicy:            &temporal.RetryPolicy{InitialInterval: time.Second, BackoffCoefficient: 2, MaximumInterval: 5 * time.Minute},
	})
}
