package observe

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.temporal.io/api/common/v1"
	"go.temporal.io/api/failure/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/converter"
	"google.golang.org/grpc"

	"imageport/job"
	"imageport/job/seed"
)

const (
	// headerKey is where the tracing of all of Temporal's SDKs keeps its context.
	headerKey = "_tracer-data"
	// maxTasks bounds the tasks that are remembered. Activities of ours heartbeat
	// every second: those that were silent for idleAfter are gone.
	maxTasks  = 10000
	idleAfter = 5 * time.Minute
)

// tasks measures the activity tasks that pass on a worker's connection: its own,
// and those of Compositing Engines, for which the gateway asks on the same one.
// It changes nothing, and keeps nothing of what they carry.
type tasks struct {
	m      *measures    // nil without metrics
	tracer trace.Tracer // nil without traces
	now    func() time.Time

	// asked is when the first poll was sent, and answered when the last answer
	// came, in nanoseconds of Unix time; 0 is never.
	asked, answered atomic.Int64

	mu   sync.Mutex
	open map[string]*task // by task token
}

// task is an attempt of an activity under way.
type task struct {
	activity string
	place    string // "worker" or "ce"
	began    time.Time
	heard    time.Time
	span     trace.Span // of a Compositing Engine's, else nil
	reported bool
	step     string
	done     int64
}

func (t *tasks) intercept(ctx context.Context, method string, request, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	// What the worker has sent is over, whether the server has heard it or not.
	switch r := request.(type) {
	case *workflowservice.PollActivityTaskQueueRequest, *workflowservice.PollWorkflowTaskQueueRequest:
		if now := t.now(); t.asked.CompareAndSwap(0, now.UnixNano()) {
			t.showPoll(now)
		}
	case *workflowservice.RecordActivityTaskHeartbeatRequest:
		t.beat(r.GetTaskToken(), r.GetDetails())
	case *workflowservice.RespondActivityTaskCompletedRequest:
		t.end(r.GetTaskToken(), "completed", nil)
	case *workflowservice.RespondActivityTaskCanceledRequest:
		t.end(r.GetTaskToken(), "canceled", nil)
	case *workflowservice.RespondActivityTaskFailedRequest:
		t.end(r.GetTaskToken(), "failed", r.GetFailure())
	}
	if err := invoke(ctx, method, request, reply, cc, opts...); err != nil {
		return err
	}
	switch r := reply.(type) {
	case *workflowservice.PollActivityTaskQueueResponse:
		t.polled()
		queue := request.(*workflowservice.PollActivityTaskQueueRequest).GetTaskQueue().GetName()
		t.begin(r, queue)
	case *workflowservice.PollWorkflowTaskQueueResponse:
		t.polled()
	case *workflowservice.RespondWorkflowTaskCompletedResponse:
		for _, eager := range r.GetActivityTasks() {
			t.begin(eager, "")
		}
	}
	return nil
}

func (t *tasks) polled() {
	now := t.now()
	t.answered.Store(now.UnixNano())
	t.showPoll(now)
}

func (t *tasks) showPoll(now time.Time) {
	if t.m != nil {
		t.m.lastPoll.WithLabelValues().Set(float64(now.UnixMilli()) / 1000)
	}
}

// silent is for how long polls have had no answer; 0 where nobody polls.
func (t *tasks) silent() time.Duration {
	since := max(t.asked.Load(), t.answered.Load())
	if since == 0 {
		return 0
	}
	return t.now().Sub(time.Unix(0, since))
}

// begin takes note of a task that somebody was given.
func (t *tasks) begin(r *workflowservice.PollActivityTaskQueueResponse, queue string) {
	if len(r.GetTaskToken()) == 0 {
		return // there was none in time
	}
	now := t.now()
	begun := &task{activity: r.GetActivityType().GetName(), place: "worker", began: now, heard: now}
	if strings.HasPrefix(queue, seed.Queue("")) {
		begun.place = "ce"
		begun.span = t.span(r, now)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.open) >= maxTasks {
		t.forget(now)
	}
	if len(t.open) < maxTasks {
		t.open[string(r.GetTaskToken())] = begun
	}
}

// forget lets go of the tasks that nobody will answer for any more.
func (t *tasks) forget(now time.Time) {
	for token, old := range t.open {
		if now.Sub(old.heard) > idleAfter {
			delete(t.open, token)
			old.finish("lost", nil, now)
		}
	}
}

// span begins the span of a Compositing Engine's activity, under the span of the
// workflow that has scheduled it.
func (t *tasks) span(r *workflowservice.PollActivityTaskQueueResponse, now time.Time) trace.Span {
	if t.tracer == nil {
		return nil
	}
	carrier := map[string]string{}
	if payload, ok := r.GetHeader().GetFields()[headerKey]; ok {
		_ = converter.GetDefaultDataConverter().FromPayload(payload, &carrier) // a span of its own, then
	}
	ctx := propagator.Extract(context.Background(), propagation.MapCarrier(carrier))
	_, span := t.tracer.Start(ctx, "RunActivity:"+r.GetActivityType().GetName(), trace.WithTimestamp(now), trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(
			attribute.String("temporalWorkflowID", r.GetWorkflowExecution().GetWorkflowId()),
			attribute.String("temporalRunID", r.GetWorkflowExecution().GetRunId()),
			attribute.String("temporalActivityID", r.GetActivityId()),
			attribute.Int("attempt", int(r.GetAttempt())),
			attribute.String("place", "ce")))
	return span
}

// beat takes a heartbeat: its first detail is a job.Progress.
func (t *tasks) beat(token []byte, details *common.Payloads) {
	t.mu.Lock()
	defer t.mu.Unlock()
	at, ok := t.open[string(token)]
	if !ok {
		return
	}
	at.heard = t.now()
	var p job.Progress
	if t.m == nil || len(details.GetPayloads()) == 0 || converter.GetDefaultDataConverter().FromPayload(details.GetPayloads()[0], &p) != nil {
		return
	}
	// An attempt may begin with what earlier ones have done.
	if at.reported && at.step == p.Step && p.DoneBytes > at.done {
		t.m.progress.WithLabelValues(at.activity).Add(float64(p.DoneBytes - at.done))
	}
	at.reported, at.step, at.done = true, p.Step, p.DoneBytes
}

// end takes note that a task was answered for. One that another worker, or this
// one before it was started again, was given is not known here.
func (t *tasks) end(token []byte, outcome string, f *failure.Failure) {
	t.mu.Lock()
	ended, ok := t.open[string(token)]
	delete(t.open, string(token))
	t.mu.Unlock()
	if !ok {
		return
	}
	now := t.now()
	if t.m != nil {
		t.m.activity.WithLabelValues(ended.activity, ended.place, outcome).Observe(now.Sub(ended.began).Seconds())
		if f != nil {
			t.m.failures.WithLabelValues(ended.activity, t.m.codes.label(f.GetApplicationFailureInfo().GetType())).Inc()
		}
	}
	ended.finish(outcome, f, now)
}

// finish ends the span, if there is one.
func (e *task) finish(outcome string, f *failure.Failure, now time.Time) {
	if e.span == nil {
		return
	}
	e.span.SetAttributes(attribute.String("outcome", outcome))
	if f != nil {
		// The message is for the job's history: it may name what is on the share.
		e.span.SetStatus(codes.Error, f.GetApplicationFailureInfo().GetType())
	}
	e.span.End(trace.WithTimestamp(now))
}
