package azure

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"imageport/platforms"
)

// attempts is how often something is tried that others are in the way of: with
// the default pauses, for a minute.
const attempts = 10

// errContended is wrapped by what may succeed when others have finished what they do.
var errContended = errors.New("something else is at work on it")

// contended marks an error as one of those.
func contended(err error) error { return fmt.Errorf("%w: %w", errContended, err) }

// inTheWay reports whether err comes of others who are at work on the same
// resource: what the next attempt sees is different.
func inTheWay(err error) bool {
	if errors.Is(err, errContended) {
		return true
	}
	if _, ok := errors.AsType[*platforms.Error](err); ok {
		return false // somebody knows better
	}
	re, ok := errors.AsType[*azcore.ResponseError](err)
	if !ok || pauseOf(headerOf(re)) > 0 {
		return false
	}
	switch re.ErrorCode {
	case "ResourceNotFound": // it was there a moment ago
		return true
	case "OperationPreempted", "Conflict", "ConflictingUserInput", "AnotherOperationInProgress", "PreconditionFailed", "AttachDiskWhileBeingDetached":
		return true
	case "OperationNotAllowed":
		return kindOf(err) != platforms.Full
	}
	return false
}

func headerOf(re *azcore.ResponseError) http.Header {
	if re.RawResponse == nil {
		return nil
	}
	return re.RawResponse.Header
}

// pauses gives a function that waits, each time a little longer, or as long as
// it is told.
func (d *Driver) pauses() func(context.Context, time.Duration) error {
	next := d.p.cfg.PollInterval / 4
	return func(ctx context.Context, told time.Duration) error {
		timer := time.NewTimer(max(next, told))
		defer timer.Stop()
		next = min(next*3/2, 5*d.p.cfg.PollInterval)
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// patiently calls step until it is done, or fails for good, or others have been
// in the way too often without any progress in between.
func (d *Driver) patiently(ctx context.Context, step func() (done bool, err error)) error {
	pause := d.pauses()
	for left := attempts; ; {
		done, err := step()
		switch {
		case err == nil && done:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			pause, left = d.pauses(), attempts
			continue
		}
		if left--; !inTheWay(err) || left == 0 {
			return err
		}
		if err := pause(ctx, 0); err != nil {
			return err
		}
	}
}

// perform makes a call that changes something, and waits until that is done. The
// call itself is not torn when ctx ends: whether it has arrived is worth some
// seconds. What it has begun then goes on without us.
func perform[T any](ctx context.Context, d *Driver, begin func(context.Context) (*runtime.Poller[T], error)) (T, error) {
	var zero T
	if err := ctx.Err(); err != nil {
		return zero, err
	}
	longer, stop := outlast(ctx, d.settle)
	poller, err := begin(longer)
	stop()
	if ctx.Err() != nil {
		return zero, ctx.Err()
	}
	if err != nil {
		return zero, err
	}
	for pause := d.pauses(); !poller.Done(); {
		resp, err := poller.Poll(ctx)
		if err != nil {
			return zero, err
		}
		if poller.Done() {
			break
		}
		if err := pause(ctx, pauseOf(resp.Header)); err != nil {
			return zero, err
		}
	}
	return poller.Result(ctx)
}

// outlast gives a context that ends some time after ctx.
func outlast(ctx context.Context, settle time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-longer.Done():
		case <-time.After(settle):
			cancel()
		}
	})
	return longer, func() { stop(); cancel() }
}
