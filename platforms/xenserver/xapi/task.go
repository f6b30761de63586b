package xapi

import (
	"context"
	"fmt"
	"time"

	"imageport/platforms/patience"
)

// Run runs a method as a task ("VM.start" as Async.VM.start), and polls that
// until it has ended. Its error is that of the task. When ctx ends, the task has
// a moment to end, and is cancelled then; what becomes of it is waited for some
// seconds, and the error is that of ctx in any case. It is not cancelled at once,
// because a pool may go on with what is cancelled: what is nearly done had better
// be done, and be seen, than land when nobody expects it any more.
func (c *Client) Run(ctx context.Context, method string, params ...any) error {
	_, err := c.run(ctx, method, params...)
	return err
}

// RunRef is Run for a method that gives a reference.
func (c *Client) RunRef(ctx context.Context, method string, params ...any) (Ref, error) {
	result, err := c.run(ctx, method, params...)
	if err != nil {
		return "", err
	}
	ref, err := resultRef(result)
	return ref, wrap(method, err)
}

func (c *Client) run(ctx context.Context, method string, params ...any) (result string, err error) {
	var task Ref
	if err := c.Call(ctx, "Async."+method, &task, params...); err != nil {
		return "", err
	}
	result, err = c.finish(ctx, task)
	return result, wrap(method, err)
}

// finish follows a task to its end, also past that of ctx, and removes it.
func (c *Client) finish(ctx context.Context, task Ref) (result string, err error) {
	result, ended, err := c.follow(ctx, task)
	if ctx.Err() == nil {
		if ended {
			c.forget(ctx, task)
		}
		return result, err
	}
	longer, stop := context.WithTimeout(context.WithoutCancel(ctx), c.cfg.Settle)
	defer stop()
	if _, ended, _ = c.followFor(longer, c.cfg.Settle/4, task); !ended {
		_ = c.Call(longer, "task.cancel", nil, task) // it may be such that it cannot be cancelled
		_, ended, _ = c.follow(longer, task)
	}
	if ended {
		c.forget(longer, task)
	}
	return "", ctx.Err()
}

// forget removes a task that has ended. If that fails, the pool does so itself
// some time.
func (c *Client) forget(ctx context.Context, task Ref) { _ = c.Call(ctx, "task.destroy", nil, task) }

// followFor follows the task for some time at most.
func (c *Client) followFor(ctx context.Context, d time.Duration, task Ref) (result string, ended bool, err error) {
	ctx, stop := context.WithTimeout(ctx, d)
	defer stop()
	return c.follow(ctx, task)
}

// follow polls the task until it has ended, as ended says, or ctx has.
func (c *Client) follow(ctx context.Context, task Ref) (result string, ended bool, err error) {
	for pause := c.Pauses(); ; {
		r, _, err := c.task(ctx, task)
		if err != nil {
			return "", false, err
		}
		switch r.Status {
		case "success":
			return r.Result, true, nil
		case "failure":
			if len(r.Error) == 0 {
				return "", true, &Error{Code: "INTERNAL_ERROR", Params: []string{"the task does not say why it failed"}}
			}
			return "", true, &Error{Code: r.Error[0], Params: r.Error[1:]}
		case "cancelled":
			return "", true, fmt.Errorf("%w: %s", ErrTaskCancelled, task)
		case "pending", "cancelling":
		default:
			return "", false, fmt.Errorf("%w: a task is %q", ErrReply, shorten(r.Status))
		}
		if err := pause.Wait(ctx); err != nil {
			return "", false, err
		}
	}
}

// taskRecord is what matters of a task's record.
type taskRecord struct {
	Status string   `json:"status"`
	Result string   `json:"result"`
	Error  []string `json:"error_info"`
}

func (c *Client) task(ctx context.Context, task Ref) (taskRecord, place, error) {
	var r taskRecord
	p, err := c.call(ctx, "task.get_record", &r, task)
	if CodeOf(err) == codeHandleInvalid {
		err = fmt.Errorf("%w: %s", ErrTaskLost, task)
	}
	return r, p, err
}

// Pauses are those between two looks at what takes its time.
func (c *Client) Pauses() patience.Pauses {
	return patience.Pauses{First: c.cfg.Poll, Longest: 10 * c.cfg.Poll}
}
