package gce

import (
	"fmt"
	"net/http"
	"time"

	"cloud.google.com/go/compute/apiv1/computepb"
	"google.golang.org/protobuf/proto"
)

// longestWait is how long a call waits for an operation.
const longestWait = 2 * time.Minute

// operation is what a call has started.
type operation struct {
	*computepb.Operation
	done chan struct{}
}

// again gives the operation that a call with the same request id has started, if
// there was one: how that one went is what this one is told. The caller holds the
// lock.
func (c *Cloud) again(r *request) *computepb.Operation {
	if op := c.requests[r.Method+" "+r.requestID()]; op != nil && r.requestID() != "" {
		return proto.Clone(op.Operation).(*computepb.Operation)
	}
	return nil
}

// requestID is "" for what no call has asked for.
func (r *request) requestID() string {
	if r.raw == nil {
		return ""
	}
	return r.raw.URL.Query().Get("requestId")
}

// start begins an operation on a resource. When its time has come, run does what it
// is for, without the lock, and finish what can only succeed, under the lock; it
// is given how run has failed. The caller holds the lock.
func (c *Cloud) start(r *request, kind string, targetID uint64, target string, run func() error, finish func(failed *Fault)) *computepb.Operation {
	id := c.newID()
	op := &operation{
		Operation: &computepb.Operation{
			Id: proto.Uint64(id), Name: proto.String(fmt.Sprintf("operation-%d", id)), OperationType: proto.String(kind),
			Status: computepb.Operation_RUNNING.Enum(), TargetId: proto.Uint64(targetID), TargetLink: proto.String(target),
			InsertTime: proto.String(c.stamp()), Progress: proto.Int32(0),
		},
		done: make(chan struct{}),
	}
	if r.Zone != "" {
		op.Zone = proto.String(c.path("zones", r.Zone))
	}
	c.operations[op.GetName()] = op
	if id := r.requestID(); id != "" {
		c.requests[r.Method+" "+id] = op
	}
	delay, fault := c.faults.delays[r.Method], r.fault
	c.work.Go(func() {
		if delay > 0 {
			select {
			case <-time.After(delay):
			case <-c.closed:
			}
		}
		if fault == nil {
			if err := run(); err != nil {
				fault = asFault(err)
			}
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		finish(fault)
		c.end(op, fault)
	})
	return proto.Clone(op.Operation).(*computepb.Operation)
}

// end closes an operation. The caller holds the lock.
func (c *Cloud) end(op *operation, failed *Fault) {
	// A message that was given out is not changed.
	now := proto.Clone(op.Operation).(*computepb.Operation)
	now.Status, now.Progress, now.EndTime = computepb.Operation_DONE.Enum(), proto.Int32(100), proto.String(c.stamp())
	if failed != nil {
		code := failed.Code
		if code == "" && failed.Status >= http.StatusInternalServerError {
			code = "INTERNAL_ERROR"
		} else if code == "" {
			code = "INVALID_USAGE"
		}
		now.Error = &computepb.Error{Errors: []*computepb.Errors{{Code: proto.String(code), Message: proto.String(failed.Message)}}}
		now.HttpErrorStatusCode, now.HttpErrorMessage = proto.Int32(int32(failed.Status)), proto.String(http.StatusText(failed.Status))
	}
	op.Operation = now
	close(op.done)
}

func (c *Cloud) waitOperation(r *request) (any, error) {
	c.mu.Lock()
	op := c.operations[r.Name]
	c.mu.Unlock()
	if op == nil {
		return nil, notFound(r.raw.URL.Path)
	}
	limit := time.NewTimer(longestWait)
	defer limit.Stop()
	select {
	case <-op.done:
	case <-limit.C:
	case <-r.raw.Context().Done():
	case <-c.closed:
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return proto.Clone(op.Operation), nil
}
