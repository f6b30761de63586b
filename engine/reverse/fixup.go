package reverse

import (
	"bytes"
	"context"

	"imageport/engine/diskimage"
	"imageport/engine/share"
	"imageport/engine/source"
	"imageport/engine/windows/nativeboot"
	"imageport/job"
)

// FixUp changes a copied disk as it was planned in preflight. The plan is made
// from the image again, which does not change, so that after a crash it can be
// applied once more. It refuses a disk that does not hold the copy.
func FixUp(ctx context.Context, store share.Store, t Task, a Approval, d Disk, report func(job.Progress)) error {
	if a.PlanDigest == "" {
		return nil
	}
	report(job.Progress{Step: "fix up"})
	im, err := t.reopen(ctx, store, a, source.Scattered)
	if err != nil {
		return err
	}
	defer im.Close()
	plan, err := t.plan(ctx, im, a.SizeBytes)
	if err != nil {
		return err
	}
	if plan.Digest() != a.PlanDigest {
		return job.Errorf(job.SourceChanged, "Start the job again while nobody writes to the image", "%s gives another plan than in preflight, although its size and modification time are the same", t.Input)
	}
	dst, err := newTarget(d, a)
	if err != nil {
		return err
	}
	contents, err := a.contents(ctx, im)
	if err != nil {
		return job.At(t.Input, err)
	}
	found, err := sampled(ctx, contents, dst, []span{{0, im.Size()}}, except(plan.Writes))
	if err != nil {
		return diskimage.Coded(err)
	}
	if found == other {
		return verifyFailed("the output disk does not hold the copy any more")
	}
	total := int64(0)
	for _, w := range plan.Writes {
		total += int64(len(w.Data))
	}
	done := int64(0)
	for _, w := range plan.Writes {
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := dst.WriteAt(w.Data, w.Offset); err != nil {
			return err
		}
		done += int64(len(w.Data))
		report(job.Progress{Step: "fix up", DoneBytes: done, TotalBytes: total})
	}
	if err := dst.settle(); err != nil {
		return err
	}
	for _, w := range plan.Writes {
		found := make([]byte, len(w.Data))
		if _, err := dst.ReadAt(found, w.Offset); err != nil {
			return err
		}
		if !bytes.Equal(found, w.Data) {
			return verifyFailed("the disk does not give back what was written to the %d bytes at offset %d", len(w.Data), w.Offset)
		}
	}
	return im.Untouched(ctx)
}

// plan plans the fix-ups for a disk of size bytes.
func (t Task) plan(ctx context.Context, im *source.Image, size int64) (*nativeboot.Plan, error) {
	plan, err := nativeboot.New(ctx, im.Chain, nativeboot.Target{Platform: t.Platform, SizeBytes: size})
	if err != nil {
		return nil, job.At(t.Input, err)
	}
	return plan, nil
}

// except makes what the plan changes the same on both sides of a comparison.
func except(writes []nativeboot.Write) func(off int64, p []byte) {
	return func(off int64, p []byte) {
		end := off + int64(len(p))
		for _, w := range writes {
			first, last := max(w.Offset, off), min(w.Offset+int64(len(w.Data)), end)
			if first < last {
				clear(p[first-off : last-off])
			}
		}
	}
}
