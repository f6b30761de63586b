package convert

import (
	"context"

	"imageport/engine/publish"
	"imageport/engine/share"
	"imageport/engine/source"
	"imageport/job"
)

// freeReserve is what must be free on the share beyond the estimate: headers,
// and a block for each of the scattered changes.
const freeReserve = 64 << 20

// Admitted is the outcome of a preflight.
type Admitted struct {
	Approval Approval `json:"approval"`
	// Preview is what the job will make, as the result of a dry run.
	Preview job.Result `json:"preview"`
}

// Preflight finds every reason to refuse the task, and changes nothing.
func Preflight(ctx context.Context, store share.Store, t Task) (Admitted, error) {
	im, err := openImage(ctx, store, t)
	if err != nil {
		return Admitted{}, err
	}
	defer im.Close()
	if err := store.Writable(ctx); err != nil {
		return Admitted{}, err
	}
	version, err := nextVersion(ctx, store, t)
	if err != nil {
		return Admitted{}, err
	}
	if version != nil {
		t.Output = version.Output
	}
	if !t.IgnoreLock {
		if err := source.Unlocked(ctx, store, t.Input); err != nil {
			return Admitted{}, err
		}
	}
	existing, err := admitOutput(ctx, store, t)
	if err != nil {
		return Admitted{}, err
	}
	_, plan, err := im.plan(ctx, t)
	if err != nil {
		return Admitted{}, err
	}
	// Every block of the disk has an entry of 8 bytes in the allocation table.
	need := 2*plan.EstimatedBytes + im.Size()/int64(blockSize(im.Size()))*8 + freeReserve
	if err := publish.Room(ctx, store, need); err != nil {
		return Admitted{}, err
	}
	preview, err := im.preview(t, version, plan)
	return Admitted{Preview: preview, Approval: Approval{
		Output:     t.Output,
		Version:    version,
		Source:     im.Files(),
		PlanDigest: plan.Digest(),
		Existing:   existing,
	}}, err
}

// admitOutput refuses an output that is there and must not be replaced, or is
// being published.
func admitOutput(ctx context.Context, store share.Store, t Task) (existing *FileID, err error) {
	if !t.Overwrite {
		return publish.Check(ctx, store, t.names(), nil)
	}
	return publish.Check(ctx, store, t.names(), func(ctx context.Context) error { return replaceable(ctx, store, t) })
}
