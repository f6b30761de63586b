package convert

import (
	"context"

	"imageport/engine/publish"
	"imageport/engine/share"
)

// Publish gives the composed files their names, the output first and the
// manifest of its version last, without replacing: whoever was there first
// stays. What the job may replace, as preflight saw it, is renamed out of the
// way first, and only that. Of several jobs that publish the same output at
// once, one succeeds.
func Publish(ctx context.Context, store share.Store, t Task, _ Approval, c Composed) error {
	return publish.Publish(ctx, store, t.names(), c.Pieces)
}

// Finish ends a job on the share. With keep, what the published files replaced
// is removed. Without, the files of this job are removed, and what they
// replaced gets its name back. Partial files go either way. c is nil for a job
// that composed nothing.
func Finish(ctx context.Context, store share.Store, t Task, a Approval, c *Composed, keep bool) error {
	var pieces []Piece
	if c != nil {
		pieces = c.Pieces
	}
	return publish.Finish(ctx, store, t.names(), a.places(), pieces, keep)
}
