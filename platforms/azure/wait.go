package azure

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"imageport/platforms"
	"imageport/platforms/patience"
)

// attempts is how often something is tried that others are in the way of: with
// the default pauses, for a minute.
const attempts = 10

// contended marks an error as one of those.
func contended(err error) error { return fmt.Errorf("%w: %w", patience.ErrContended, err) }

// tries is how often something is tried that fails with err: 0, unless that comes
// of others who are at work on the same resource, so that the next attempt sees
// something different.
func tries(err error) int {
	if errors.Is(err, patience.ErrContended) {
		return attempts
	}
	if _, ok := errors.AsType[*platforms.Error](err); ok {
		return 0 // somebody knows better
	}
	re, ok := errors.AsType[*azcore.ResponseError](err)
	if !ok || pauseOf(headerOf(re)) > 0 {
		return 0
	}
	switch re.ErrorCode {
	case "ResourceNotFound", // it was there a moment ago
		"OperationPreempted", "Conflict", "ConflictingUserInput", "AnotherOperationInProgress", "PreconditionFailed", "AttachDiskWhileBeingDetached":
		return attempts
	case "OperationNotAllowed":
		if kindOf(err) != platforms.Full {
			return attempts
		}
	}
	return 0
}

func headerOf(re *azcore.ResponseError) http.Header {
	if re.RawResponse == nil {
		return nil
	}
	return re.RawResponse.Header
}

// patiently calls step until it is done, or fails for good, or others have been
// in the way too often without any progress in between.
func (d *Driver) patiently(ctx context.Context, step func() (done bool, err error)) error {
	return patience.Do(ctx, d.pauses, tries, step)
}

// perform makes a call that changes something, and waits until that is done. The
// call itself is not torn when ctx ends: whether it has arrived is worth some
// seconds. What it has begun then goes on without us.
func perform[T any](ctx context.Context, d *Driver, begin func(context.Context) (*runtime.Poller[T], error)) (T, error) {
	var zero T
	if err := ctx.Err(); err != nil {
		return zero, err
	}
	longer, stop := patience.Outlast(ctx, d.settle)
	poller, err := begin(longer)
	stop()
	if ctx.Err() != nil {
		return zero, ctx.Err()
	}
	if err != nil {
		return zero, err
	}
	for pause := d.pauses; !poller.Done(); {
		resp, err := poller.Poll(ctx)
		if err != nil {
			return zero, err
		}
		if poller.Done() {
			break
		}
		if err := pause.WaitAtLeast(ctx, pauseOf(resp.Header)); err != nil {
			return zero, err
		}
	}
	return poller.Result(ctx)
}
