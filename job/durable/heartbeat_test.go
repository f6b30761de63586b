package durable

import (
	"context"
	"testing"
	"time"

	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestPatientHeartbeats(t *testing.T) {
	now := time.Unix(0, 0)
	h := &heartbeats{patience: 10 * time.Second, now: func() time.Time { return now }, arrived: make(map[string]time.Time)}
	call := func(request any, code codes.Code) codes.Code {
		return status.Code(h.intercept(t.Context(), "m", request, nil, nil, func(context.Context, string, any, any, *grpc.ClientConn, ...grpc.CallOption) error {
			return status.Error(code, "x")
		}))
	}
	beat := func(task string) any {
		return &workflowservice.RecordActivityTaskHeartbeatRequest{TaskToken: []byte(task)}
	}
	for _, step := range []struct {
		after   time.Duration
		request any
		code    codes.Code
		want    codes.Code
	}{
		{0, beat("a"), codes.Unavailable, codes.OK}, // the first one of all
		{9 * time.Second, beat("a"), codes.DeadlineExceeded, codes.OK},
		{2 * time.Second, beat("a"), codes.DeadlineExceeded, codes.DeadlineExceeded},
		{0, beat("a"), codes.OK, codes.OK},
		{9 * time.Second, beat("a"), codes.Unavailable, codes.OK},
		{0, beat("b"), codes.ResourceExhausted, codes.OK}, // another task has its own time
		{2 * time.Second, beat("a"), codes.Unavailable, codes.Unavailable},
		{0, beat("b"), codes.Unavailable, codes.OK},
		{0, beat("b"), codes.NotFound, codes.NotFound}, // the server does not wait for it any more
		{0, beat("b"), codes.Canceled, codes.Canceled},
		{0, &workflowservice.PollActivityTaskQueueRequest{}, codes.Unavailable, codes.Unavailable},
	} {
		now = now.Add(step.after)
		if got := call(step.request, step.code); got != step.want {
			t.Errorf("%+v at %v: %v", step, now.Sub(time.Unix(0, 0)), got)
		}
	}
	now = now.Add(time.Minute)
	call(beat("c"), codes.OK)
	if len(h.arrived) != 1 {
		t.Errorf("%d tasks are remembered", len(h.arrived))
	}
}
