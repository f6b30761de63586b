package agent

import (
	"context"
	"fmt"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/worker"

	"imageport/engine/convert"
	"imageport/engine/reverse"
	"imageport/engine/share"
	"imageport/job"
	"imageport/job/durable"
)

// Engine holds the activities of a Compositing Engine.
type Engine struct {
	// Dial opens the folder of a storage location with its credential.
	Dial func(ctx context.Context, where job.StorageLocation) (share.Store, error)
	// Disk opens output disks.
	Disk Disks
	// Journal is what the agent has logged; nil is nothing.
	Journal *Journal

	copies copies
}

// Register registers the engine's activities with a worker.
func Register(r worker.ActivityRegistry, e *Engine) { r.RegisterActivity(e) }

// both opens the folder of an image and an output disk.
func (e *Engine) both(ctx context.Context, where job.StorageLocation, ref reverse.DiskRef) (share.Store, Disk, error) {
	store, err := e.Dial(ctx, where)
	if err != nil {
		return nil, nil, err
	}
	disk, err := e.Disk(ctx, ref.Selector)
	if err != nil {
		_ = store.Close()
		return nil, nil, err
	}
	return store, disk, nil
}

// report has the heartbeats carry an activity's progress.
func report(ctx context.Context) func(job.Progress) {
	return func(p job.Progress) { durable.Report(ctx, p) }
}

// Compose writes and verifies the output under a partial name. It heartbeats
// job.Progress. Run again, it starts from the beginning with a fresh file: the
// work takes seconds and depends on nothing but the image.
func (e *Engine) Compose(ctx context.Context, t convert.Task, a convert.Approval) (convert.Composed, error) {
	store, err := e.Dial(ctx, t.Storage)
	if err != nil {
		return convert.Composed{}, err
	}
	defer store.Close()
	info := activity.GetInfo(ctx)
	// The queue names the CE, the attempt the try on it: two writers that do
	// not know of each other never share a file.
	attempt := fmt.Sprintf("%s-%d", durable.JobKey(info.TaskQueue), info.Attempt)
	return convert.Compose(ctx, store, t, a, attempt, report(ctx))
}

// Publish gives the composed output its name. Run again, it finds that done.
func (e *Engine) Publish(ctx context.Context, t convert.Task, a convert.Approval, c convert.Composed) error {
	store, err := e.Dial(ctx, t.Storage)
	if err != nil {
		return err
	}
	defer store.Close()
	return convert.Publish(ctx, store, t, a, c)
}
