package durable

import (
	"context"
	"sync"
	"time"

	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// HeartbeatTimeout is how long an activity may be silent. Activities beat twice
// a second; this allows for a stalled host.
const HeartbeatTimeout = 10 * time.Second

// PatientHeartbeats is for the connections of workers. Their SDK gives a
// heartbeat as long as the interval between two, a second, and cancels the
// activity when one fails: a server that is slow for once would cost all of the
// work. With this, heartbeats may fail for as long as the server waits for one.
func PatientHeartbeats() grpc.DialOption {
	h := &heartbeats{patience: HeartbeatTimeout, now: time.Now, arrived: make(map[string]time.Time)}
	return grpc.WithChainUnaryInterceptor(h.intercept)
}

type heartbeats struct {
	patience time.Duration
	now      func() time.Time

	mu      sync.Mutex
	arrived map[string]time.Time // by task token: the last one, or the first that did not
}

func (h *heartbeats) intercept(ctx context.Context, method string, request, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	err := invoke(ctx, method, request, reply, cc, opts...)
	beat, ok := request.(*workflowservice.RecordActivityTaskHeartbeatRequest)
	if !ok {
		return err
	}
	if err == nil {
		h.arrive(string(beat.GetTaskToken()))
		return nil
	}
	switch status.Code(err) {
	case codes.DeadlineExceeded, codes.Unavailable, codes.ResourceExhausted:
		if h.late(string(beat.GetTaskToken())) < h.patience {
			return nil // the next one will tell
		}
	}
	return err
}

func (h *heartbeats) arrive(task string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.now()
	h.arrived[task] = now
	for task, at := range h.arrived { // those of activities that have ended
		if now.Sub(at) > 2*h.patience {
			delete(h.arrived, task)
		}
	}
}

// late is how long no heartbeat of the task has arrived.
func (h *heartbeats) late(task string) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.now()
	at, known := h.arrived[task]
	if !known {
		h.arrived[task], at = now, now
	}
	return now.Sub(at)
}
