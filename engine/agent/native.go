package agent

import (
	"context"
	"encoding/json"
	"sync"

	"imageport/engine/disk/copier"
	"imageport/engine/reverse"
	"imageport/job/durable"
)

// maxState bounds a state in a heartbeat, in bytes of JSON: the gateway lets no
// long ones pass. A longer one is not sent. The next one will be shorter.
const maxState = 12 << 10

// Copy brings the image to the output disk and verifies it. Its heartbeats carry
// the state of the copy. Run again, it goes on from the latest state that it
// knows of: that of this process, of an earlier attempt, or resume. The latest
// has least done where a copy had to begin anew.
func (e *Engine) Copy(ctx context.Context, t reverse.Task, a reverse.Approval, ref reverse.DiskRef, resume *copier.State) (reverse.Copied, error) {
	var earlier copier.State
	if durable.EarlierCheckpoint(ctx, &earlier) {
		resume = &earlier
	}
	if last := e.copies.last(t, ref); last != nil {
		resume = last
	}
	if resume != nil {
		checkpoint(ctx, *resume)
	}
	store, disk, err := e.both(ctx, t.Storage, ref)
	if err != nil {
		return reverse.Copied{}, err
	}
	defer store.Close()
	defer disk.Close()
	return reverse.Copy(ctx, store, t, a, disk, resume, report(ctx), func(s copier.State) {
		e.copies.note(t, ref, s)
		checkpoint(ctx, s)
	})
}

// FixUp makes the copied disk start on the platform. Run again, it does the same.
func (e *Engine) FixUp(ctx context.Context, t reverse.Task, a reverse.Approval, ref reverse.DiskRef) error {
	store, disk, err := e.both(ctx, t.Storage, ref)
	if err != nil {
		return err
	}
	defer store.Close()
	defer disk.Close()
	return reverse.FixUp(ctx, store, t, a, disk, report(ctx))
}

// checkpoint has the heartbeats carry the state.
func checkpoint(ctx context.Context, s copier.State) {
	if text, err := json.Marshal(s); err == nil && len(text) <= maxState {
		durable.Checkpoint(ctx, json.RawMessage(text))
	}
}

// copies is how far copies of this process are: further than what the server
// has heard, where a worker or the server was away.
type copies struct {
	mu    sync.Mutex
	of    string
	state copier.State
}

func (c *copies) note(t reverse.Task, ref reverse.DiskRef, s copier.State) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.of, c.state = t.Key+"/"+ref.Selector, s
}

func (c *copies) last(t reverse.Task, ref reverse.DiskRef) *copier.State {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of != t.Key+"/"+ref.Selector {
		return nil
	}
	s := c.state
	return &s
}
