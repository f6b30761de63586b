package copier

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"imageport/engine/disk"
)

// Copy copies all of src to dst and syncs it. The first error ends the copy
// and is returned once the reads and writes under way have come back; so does
// an end of ctx, whose cause is then wrapped. What was done so far can be
// resumed from the last State that Options.Checkpoint got.
//
// Errors of the options, ranges and states are ErrOptions, ErrRanges and
// ErrState. Those of src and dst say offset and length, and wrap the original.
func Copy(ctx context.Context, dst Target, src disk.Disk, opt Options) (Report, error) {
	opt, err := opt.complete(src)
	if err != nil {
		return Report{}, err
	}
	t := &tracker{geo: geometry{src.Size(), int64(opt.UnitSize)}, opt: opt, dst: dst}
	t.progress.TotalBytes = t.geo.size
	if err := t.begin(); err != nil {
		return Report{}, err
	}
	report := Report{ResumedBytes: t.progress.DoneBytes}
	if report.SkippedBytes, err = copyUnits(ctx, t, src); err != nil {
		if errors.Is(err, ctx.Err()) { // nothing else went wrong
			err = context.Cause(ctx)
		}
		if ctx.Err() != nil {
			err = fmt.Errorf("copier: stopped at %d of %d bytes: %w", t.progress.DoneBytes, t.geo.size, err)
		}
		return Report{}, err
	}

	state, err := t.state()
	if err != nil {
		return Report{}, err
	}
	if opt.Checkpoint != nil {
		err = t.checkpoint(*state)
	} else {
		err = t.sync()
	}
	if err != nil {
		return Report{}, err
	}
	report.Progress = t.progress
	if opt.CRC && len(t.done) > 0 {
		report.CRC32C = t.done[0].crc
	}
	if opt.SHA256 {
		report.SHA256 = t.hash.Sum(nil)
	}
	return report, nil
}

// begin takes over what Options.Resume says is done.
func (t *tracker) begin() (err error) {
	if t.opt.SHA256 {
		t.hash = sha256.New()
	}
	s := t.opt.Resume
	if s == nil {
		return nil
	}
	if err := s.fits(t.geo, t.opt); err != nil {
		return err
	}
	t.done = slices.Clone(s.done)
	t.progress.DoneBytes = s.DoneBytes()
	if s.hash != nil {
		t.hash, err = restoreHash(s.hash)
	}
	return err
}

// copyUnits plans and works until all units are done, and gives the number of
// bytes that were skipped.
func copyUnits(ctx context.Context, t *tracker, src disk.Disk) (skipped int64, err error) {
	group, ctx := errgroup.WithContext(ctx)
	items := make(chan item)
	p := newPlanner(ctx, t, src, items)
	group.Go(func() error {
		defer close(items)
		return p.run(ctx, t.opt.Skip)
	})
	for range t.opt.Parallel {
		w := &worker{src: src, dst: t.dst, targetIsZero: t.opt.TargetIsZero, crc: t.opt.CRC, track: t}
		w.ranger, _ = t.dst.(ZeroRanger)
		group.Go(func() error {
			w.buf = make([]byte, min(t.geo.unitSize, t.geo.size))
			return w.run(ctx, items)
		})
	}
	err = group.Wait()
	return p.skipped, err
}

// newPlanner is a planner that hands its work to the workers behind items.
func newPlanner(ctx context.Context, t *tracker, src disk.Disk, items chan<- item) *planner {
	p := &planner{geo: t.geo, src: src, done: slices.Clone(t.done), inOrder: t.hash != nil}
	turn := make(chan struct{})
	close(turn)
	p.emit = func(it item) error {
		if t.hash != nil {
			next := make(chan struct{})
			it.ready, it.next = turn, next
			turn = next
		}
		select {
		case items <- it:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	p.holes = func(it item) error {
		if t.opt.TargetIsZero && t.hash == nil {
			return t.skipHole(it)
		}
		step := max(holeBytes/t.geo.unitSize, 1)
		for first := it.first; first < it.end; first += step {
			if err := p.emit(item{first: first, end: min(first+step, it.end)}); err != nil {
				return err
			}
		}
		return nil
	}
	return p
}

// skipHole accounts for units that the target has already, because both sides
// are zero.
func (t *tracker) skipHole(it item) error {
	var sum outcome
	if t.opt.CRC {
		sum.crc = crcZeros(t.geo.bytes(it.first, it.end))
	}
	state, err := t.finish(it, sum)
	if err != nil || state == nil {
		return err
	}
	return t.checkpoint(*state)
}
