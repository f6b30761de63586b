package vsphere

import (
	"context"
	"errors"
	"fmt"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/task"
	"github.com/vmware/govmomi/vim25/types"

	"imageport/platforms/patience"
)

// run starts a task and polls it until it has ended. Its error is that of the
// task. When ctx ends, the task has a moment to end, and is cancelled then; what
// becomes of it is waited for some seconds, and the error is that of ctx in any
// case. It is not cancelled at once, because a vCenter says that a task is
// cancelled also of one that it goes on with: what is nearly done had better be
// done, and be seen, than land when nobody expects it any more.
func (s *session) run(ctx context.Context, start func(ctx context.Context) (*object.Task, error)) (types.TaskInfo, error) {
	t, err := start(ctx)
	if err != nil {
		return types.TaskInfo{}, err
	}
	info, err := s.follow(ctx, t)
	if ctx.Err() == nil {
		return info, err
	}
	longer, stop := context.WithTimeout(context.WithoutCancel(ctx), settle)
	defer stop()
	moment, stopMoment := context.WithTimeout(longer, beforeCancel)
	defer stopMoment()
	if _, _ = s.follow(moment, t); moment.Err() != nil {
		_ = t.Cancel(longer) // it may have ended, or be such that it cannot be cancelled
		_, _ = s.follow(longer, t)
	}
	return types.TaskInfo{}, ctx.Err()
}

// follow polls the task. It does not wait for it: waiting with a property
// collector that others use as well hangs after one wait was cancelled.
func (s *session) follow(ctx context.Context, t *object.Task) (types.TaskInfo, error) {
	for pause := s.pauses; ; {
		found, err := s.read(ctx, t.Reference(), "info")
		if err != nil {
			return types.TaskInfo{}, err
		}
		info := get[types.TaskInfo](found, "info")
		switch info.State {
		case types.TaskInfoStateSuccess:
			return info, nil
		case types.TaskInfoStateError:
			if info.Error == nil {
				return info, fmt.Errorf("task %s failed, and does not say why", info.Name)
			}
			return info, task.Error{LocalizedMethodFault: info.Error}
		}
		if err := pause.Wait(ctx); err != nil {
			return types.TaskInfo{}, err
		}
	}
}

// attempts is how often something is tried that others are in the way of: with
// the default pauses, for some 12 seconds.
const attempts = 11

// errDoubtful is wrapped by what looks final, and is that if it looks so again. It
// has no words.
var errDoubtful = errors.New("")

// looks is how often something must look the same to be that: with the default
// pauses, for some 6 seconds.
const looks = 8

// tries is how often something is tried that fails with err: 0, unless that comes
// of others who are at work on the same object, on this side or the other, so that
// the next attempt sees something different.
func tries(err error) int {
	if errors.Is(err, errDoubtful) {
		return looks
	}
	switch f := faultOf(err).(type) {
	case types.BaseTaskInProgress, *types.InvalidPowerState, *types.ConcurrentAccess, *types.FileLocked,
		*types.InvalidDiskFormat: // of a disk that is still being copied
		return attempts
	case *types.ManagedObjectNotFound:
		// A lease for an import ends with the session.
		if f.Obj.Type == "VirtualMachine" || f.Obj.Type == "HttpNfcLease" {
			return attempts
		}
		return 0
	}
	if errors.Is(err, patience.ErrContended) {
		return attempts
	}
	return 0
}

// patiently calls step until it is done, or fails for good, or others have been
// in the way too often without any progress in between.
func (s *session) patiently(ctx context.Context, step func() (done bool, err error)) error {
	return patience.Do(ctx, s.pauses, tries, step)
}
