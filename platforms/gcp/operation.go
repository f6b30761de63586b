package gcp

import (
	"context"
	"errors"
	"fmt"
	"strings"

	compute "cloud.google.com/go/compute/apiv1"
	"cloud.google.com/go/compute/apiv1/computepb"
	"google.golang.org/protobuf/proto"

	"imageport/platforms"
	"imageport/platforms/patience"
)

// attempts is how often something is tried that others are in the way of: with
// the default pauses, for some seven minutes. An instance takes one or two to
// start, and to stop.
const attempts = 48

// requestID gives the id of one attempt.
func (d *Driver) requestID() *string { return proto.String(d.p.cfg.RequestID()) }

// inZone waits for an operation in a zone, which a call has started.
func (d *Driver) inZone(ctx context.Context, zone string, op *compute.Operation, err error) error {
	if err != nil {
		return err
	}
	return d.follow(ctx, op.Proto(), func(ctx context.Context, name string) (*computepb.Operation, error) {
		return d.zoneOps.Wait(ctx, &computepb.WaitZoneOperationRequest{Project: d.place.project, Zone: zone, Operation: name})
	})
}

// everywhere waits for an operation that is in no zone.
func (d *Driver) everywhere(ctx context.Context, op *compute.Operation, err error) error {
	if err != nil {
		return err
	}
	return d.follow(ctx, op.Proto(), func(ctx context.Context, name string) (*computepb.Operation, error) {
		return d.globalOps.Wait(ctx, &computepb.WaitGlobalOperationRequest{Project: d.place.project, Operation: name})
	})
}

// follow waits until an operation is done, and gives how it failed. The service
// itself waits for minutes, but may answer sooner when it has much to do.
func (d *Driver) follow(ctx context.Context, op *computepb.Operation, wait func(context.Context, string) (*computepb.Operation, error)) error {
	pause := d.pauses
	for asked := 0; op.GetStatus() != computepb.Operation_DONE; asked++ {
		if asked > 0 {
			if err := pause.Wait(ctx); err != nil {
				return err
			}
		}
		now, err := wait(ctx, op.GetName())
		if err != nil {
			return fmt.Errorf("wait for the operation %s: %w", op.GetOperationType(), err)
		}
		op = now
	}
	failed := &operationError{kind: op.GetOperationType(), status: int(op.GetHttpErrorStatusCode())}
	var texts []string
	for _, e := range op.GetError().GetErrors() {
		failed.codes, texts = append(failed.codes, e.GetCode()), append(texts, e.GetMessage())
	}
	if len(failed.codes) == 0 && failed.status < 400 {
		return nil
	}
	if failed.text = strings.Join(texts, "; "); failed.text == "" {
		failed.text = op.GetHttpErrorMessage()
	}
	return failed
}

// patiently calls step until it is done, or fails for good, or others have been
// in the way too often without any progress in between.
func (c *connection) patiently(ctx context.Context, step func() (done bool, err error)) error {
	err := patience.Do(ctx, c.pauses, tries, step)
	if err != nil && inTheWay(err) {
		// Not wrapped: who is patient around this call is not to begin again.
		return platforms.Errorf(platforms.Busy, "%s", &failure{err})
	}
	return err
}

// tries is how often something is tried that fails with err.
func tries(err error) int {
	if inTheWay(err) {
		return attempts
	}
	return 0
}

// contended makes an error of others being in the way of one that means that
// when what it is about was there a moment ago.
func contended(err error) error {
	if err == nil || errors.Is(err, patience.ErrContended) {
		return err
	}
	return fmt.Errorf("%w; %w", err, patience.ErrContended)
}
