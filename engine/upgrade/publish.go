package upgrade

import (
	"context"
	"math"
	"time"

	"imageport/engine/publish"
	"imageport/engine/share"
	"imageport/job"
)

// Write exports the working disk under a partial name that attempt makes unique.
func Write(ctx context.Context, store share.Store, t Task, a Approval, d Readable, attempt string, report func(job.Progress)) (Exported, error) {
	return Export(ctx, store, ExportInput{
		Job: t.Copy.Job, Key: t.Copy.Key, Output: t.Output, Attempt: attempt,
		Format: t.Copy.Format, SizeBytes: a.Copy.SizeBytes, BlockBytes: a.BlockBytes, Existing: a.Existing, Verify: t.Verify,
		Created: created(a.Copy.Source[len(a.Copy.Source)-1].File.Modified),
	}, d, report)
}

// What a VHD can have as its time: whole seconds from 2000 on, in 32 bits.
var (
	firstCreated = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	lastCreated  = firstCreated.Add(math.MaxUint32 * time.Second)
)

// created is the time that an output is made to have, from that of the image: what
// a server says of a file may be anything.
func created(modified time.Time) time.Time {
	switch {
	case modified.Before(firstCreated):
		return firstCreated
	case modified.After(lastCreated):
		return lastCreated
	}
	return modified
}

// Publish gives the exported file its name. Run again, it finds that done.
func Publish(ctx context.Context, store share.Store, t Task, p publish.Piece) error {
	return publish.Publish(ctx, store, t.names(), []publish.Piece{p})
}

// Finish ends a job on the share: with keep, what the published file replaced is
// removed; without, the file is, and what it replaced gets its name back. p is
// nil for a job that exported nothing. Partial files go either way.
func Finish(ctx context.Context, store share.Store, t Task, a Approval, p *publish.Piece, keep bool) error {
	var pieces []publish.Piece
	if p != nil {
		pieces = append(pieces, *p)
	}
	return publish.Finish(ctx, store, t.names(), []publish.Place{{Name: t.Output, Existing: a.Existing}}, pieces, keep)
}
