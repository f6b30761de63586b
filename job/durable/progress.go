package durable

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/temporal"

	"imageport/job"
)

// HeartbeatInterval is how often an activity tells the server that it lives,
// and so how soon it learns of a cancellation. Workers set it as their
// MaxHeartbeatThrottleInterval.
const HeartbeatInterval = time.Second

type progressKey struct{}

// pulse is what the next heartbeat of an activity carries.
type pulse struct {
	progress   atomic.Pointer[job.Progress]
	checkpoint atomic.Pointer[any]
	sending    sync.Mutex // so that what was sent last is the latest
}

// beat sends a heartbeat: the progress and, after the first checkpoint, that.
func (p *pulse) beat(ctx context.Context) {
	p.sending.Lock()
	defer p.sending.Unlock()
	progress := shown{Progress: *p.progress.Load()}
	if progress.TotalBytes > 0 {
		progress.Percent = int(100 * float64(progress.DoneBytes) / float64(progress.TotalBytes))
	}
	switch checkpoint := p.checkpoint.Load(); {
	case checkpoint != nil:
		activity.RecordHeartbeat(ctx, progress, *checkpoint)
	case progress == (shown{}): // there is none
		activity.RecordHeartbeat(ctx)
	default:
		activity.RecordHeartbeat(ctx, progress)
	}
}

// shown is a progress as a heartbeat has it, for those who read it in the Web UI.
type shown struct {
	job.Progress
	Percent int `json:"percent,omitempty"`
}

// Report sets the progress that the running activity's next heartbeat carries.
// Outside an activity it does nothing.
func Report(ctx context.Context, p job.Progress) {
	if pulse, ok := ctx.Value(progressKey{}).(*pulse); ok {
		pulse.progress.Store(&p)
	}
}

// Checkpoint sets what a later attempt of the running activity can go on from.
// From now on all of its heartbeats carry it, the first one at once; it must not
// change any more.
// Outside an activity it does nothing.
func Checkpoint(ctx context.Context, state any) {
	if pulse, ok := ctx.Value(progressKey{}).(*pulse); ok {
		pulse.checkpoint.Store(&state)
		pulse.beat(ctx)
	}
}

// EarlierCheckpoint reads the last checkpoint of an earlier attempt of the
// running activity, and reports whether there was one.
func EarlierCheckpoint(ctx context.Context, into any) bool {
	return second(func(d ...any) error { return activity.GetHeartbeatDetails(ctx, d...) }, into)
}

// LastCheckpoint reads the last checkpoint of an activity from its failure, and
// reports whether that has one: an activity whose worker fell silent, or that
// was told to stop and never answered.
func LastCheckpoint(err error, into any) bool {
	t, ok := errors.AsType[*temporal.TimeoutError](err)
	return ok && second(t.LastHeartbeatDetails, into)
}

// second decodes what follows the progress in the details of a heartbeat. To
// decode more than there is is no error of the SDK's.
func second(details func(...any) error, into any) bool {
	var progress, checkpoint converter.RawValue
	if details(&progress, &checkpoint) != nil || checkpoint.Payload() == nil {
		return false
	}
	if raw, ok := into.(*converter.RawValue); ok {
		*raw = checkpoint
		return true
	}
	return converter.GetDefaultDataConverter().FromPayload(checkpoint.Payload(), into) == nil
}

// Interceptor makes every activity of a worker heartbeat and return failures.
type Interceptor struct {
	interceptor.WorkerInterceptorBase
}

// InterceptActivity implements interceptor.WorkerInterceptor.
func (*Interceptor) InterceptActivity(_ context.Context, next interceptor.ActivityInboundInterceptor) interceptor.ActivityInboundInterceptor {
	in := &inbound{}
	in.Next = next
	return in
}

type inbound struct {
	interceptor.ActivityInboundInterceptorBase
}

// ExecuteActivity runs the activity with a heartbeat beside it.
func (in *inbound) ExecuteActivity(ctx context.Context, input *interceptor.ExecuteActivityInput) (any, error) {
	latest := new(pulse)
	latest.progress.Store(&job.Progress{Step: activity.GetInfo(ctx).ActivityType.Name})
	var earlier converter.RawValue
	if EarlierCheckpoint(ctx, &earlier) { // not to be lost by an attempt that comes to nothing
		latest.checkpoint.Store(new(any(earlier)))
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		// A second heartbeat timer: activities block in reads of a share for
		// longer than the heartbeat time-out without being dead.
		ticker := time.NewTicker(HeartbeatInterval / 2)
		defer ticker.Stop()
		for {
			latest.beat(ctx)
			select {
			case <-stop:
				return
			case <-ticker.C:
			}
		}
	}()
	defer func() { // also when the activity panics
		close(stop)
		<-stopped
	}()
	result, err := in.Next.ExecuteActivity(context.WithValue(ctx, progressKey{}, latest), input)
	if err != nil && ctx.Err() != nil {
		// Whatever broke, it broke because the activity was told to stop.
		return nil, ctx.Err()
	}
	return result, Failure(err)
}
