package copier

import (
	"fmt"
	"hash"
	"slices"
	"sync"
)

// outcome is what was done for one item.
type outcome struct {
	read, written, zeroed int64 // bytes
	crc                   uint32
}

// tracker knows what is done.
type tracker struct {
	geo geometry
	opt Options
	dst Target
	// hash belongs to the worker whose turn it is; nil without SHA-256.
	hash hash.Hash

	mu       sync.Mutex
	done     runs
	progress Progress
	// unsaved is the work in bytes since the last state was taken.
	unsaved int64
	// saving is set while a checkpoint is under way.
	saving bool
}

// finish accounts for an item that is written. When a checkpoint is due, it
// gives the state for it, which the caller must hand to checkpoint.
func (t *tracker) finish(it item, sum outcome) (*State, error) {
	n := t.geo.bytes(it.first, it.end)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.done = t.done.add(run{it.first, it.end, sum.crc}, t.geo, t.opt.CRC)
	t.progress.DoneBytes += n
	t.progress.ReadBytes += sum.read
	t.progress.WrittenBytes += sum.written
	t.progress.ZeroedBytes += sum.zeroed
	if t.opt.Progress != nil {
		t.opt.Progress(t.progress)
	}
	// Holes that cost nothing need no checkpoint either.
	if it.parts != nil || !t.opt.TargetIsZero || t.hash != nil {
		t.unsaved += n
	}
	if t.opt.Checkpoint == nil || t.saving || t.unsaved < t.opt.CheckpointEvery {
		return nil, nil
	}
	state, err := t.state()
	if err != nil {
		return nil, err
	}
	t.saving, t.unsaved = true, 0
	return state, nil
}

// state is what is written by now, not what is durable. The caller holds mu
// and, with SHA-256, has the turn.
func (t *tracker) state() (*State, error) {
	s := &State{Source: t.opt.Source, SizeBytes: t.geo.size, UnitBytes: t.geo.unitSize, done: slices.Clone(t.done), crc: t.opt.CRC}
	if t.hash == nil || len(s.done) == 0 {
		return s, nil
	}
	var err error
	s.hash, err = saveHash(t.hash)
	return s, err
}

// checkpoint makes durable what the state says, and then says it.
func (t *tracker) checkpoint(s State) error {
	if err := t.sync(); err != nil {
		return err
	}
	if err := t.opt.Checkpoint(s); err != nil {
		return fmt.Errorf("copier: checkpoint at %d of %d bytes: %w", s.DoneBytes(), s.SizeBytes, err)
	}
	t.mu.Lock()
	t.saving = false
	t.mu.Unlock()
	return nil
}

func (t *tracker) sync() error {
	if err := t.dst.Sync(); err != nil {
		return fmt.Errorf("copier: syncing the target: %w", err)
	}
	return nil
}
