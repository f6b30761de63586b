package agent

import (
	"context"
	"fmt"

	"go.temporal.io/sdk/activity"

	"imageport/engine/inject"
	"imageport/engine/publish"
	"imageport/engine/reverse"
	"imageport/engine/upgrade"
	"imageport/job"
	"imageport/job/durable"
)

// Inject prepares the Windows of the copied and fixed-up working disk. It is for a
// fresh copy: one that was cut off, or failed, begins with the copy again.
func (e *Engine) Inject(ctx context.Context, t upgrade.Task, a upgrade.Approval, ref reverse.DiskRef) (inject.Injected, error) {
	disk, err := e.Disk(ctx, ref.Selector)
	if err != nil {
		return inject.Injected{}, err
	}
	defer disk.Close()
	return upgrade.Inject(ctx, e.Dial, t, a, disk, report(ctx))
}

// Judge tells what the guest made of the working disk. It changes nothing.
func (e *Engine) Judge(ctx context.Context, t upgrade.Task, a upgrade.Approval, ref reverse.DiskRef, how upgrade.Ended) (upgrade.Outcome, error) {
	disk, err := e.Disk(ctx, ref.Selector)
	if err != nil {
		return upgrade.Outcome{}, err
	}
	defer disk.Close()
	return upgrade.Judge(ctx, t, a, disk, how)
}

// Clean takes out of the Windows what was put in for the installation. Run again,
// it finds that done.
func (e *Engine) Clean(ctx context.Context, a upgrade.Approval, ref reverse.DiskRef, undo inject.Undo) ([]job.FixUp, error) {
	disk, err := e.Disk(ctx, ref.Selector)
	if err != nil {
		return nil, err
	}
	defer disk.Close()
	return upgrade.Clean(ctx, a, disk, undo, report(ctx))
}

// Export writes the working disk as an image under a partial name, and looks at
// what was written. Run again, it starts from the beginning with a fresh file.
func (e *Engine) Export(ctx context.Context, t upgrade.Task, a upgrade.Approval, ref reverse.DiskRef) (upgrade.Exported, error) {
	store, disk, err := e.both(ctx, t.Copy.Storage, ref)
	if err != nil {
		return upgrade.Exported{}, err
	}
	defer store.Close()
	defer disk.Close()
	info := activity.GetInfo(ctx)
	// As in Compose: two writers never share a file.
	attempt := fmt.Sprintf("%s-%d", durable.JobKey(info.TaskQueue+info.ActivityID), info.Attempt)
	exported, err := upgrade.Write(ctx, store, t, a, disk, attempt, report(ctx))
	if err != nil {
		return upgrade.Exported{}, err
	}
	return exported, upgrade.Prove(ctx, store, a, exported.Piece.Partial)
}

// PublishExport gives the exported file its name. Run again, it finds that done.
func (e *Engine) PublishExport(ctx context.Context, t upgrade.Task, p publish.Piece) error {
	store, err := e.Dial(ctx, t.Copy.Storage)
	if err != nil {
		return err
	}
	defer store.Close()
	return upgrade.Publish(ctx, store, t, p)
}
