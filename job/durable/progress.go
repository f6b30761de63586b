package durable

import (
	"context"
	"sync/atomic"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/interceptor"

	"imageport/job"
)

// HeartbeatInterval is how often an activity tells the server that it lives,
// and so how soon it learns of a cancellation. Workers set it as their
// MaxHeartbeatThrottleInterval.
const HeartbeatInterval = time.Second

type progressKey struct{}

// Report sets the progress that the running activity's next heartbeat carries.
// Outside an activity it does nothing.
func Report(ctx context.Context, p job.Progress) {
	if latest, ok := ctx.Value(progressKey{}).(*atomic.Pointer[job.Progress]); ok {
		latest.Store(&p)
	}
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
	latest := new(atomic.Pointer[job.Progress])
	latest.Store(&job.Progress{Step: activity.GetInfo(ctx).ActivityType.Name})
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		// A second heartbeat timer: activities block in reads of a share for
		// longer than the heartbeat time-out without being dead.
		ticker := time.NewTicker(HeartbeatInterval / 2)
		defer ticker.Stop()
		for {
			activity.RecordHeartbeat(ctx, *latest.Load())
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
