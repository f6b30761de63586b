package reverse

import (
	"time"

	"imageport/engine/disk/copier"
)

// A state is taken, after a Sync, when so many bytes of work were done since the
// last one, or when it is so old: heartbeats carry no more than two a second.
const (
	stateEvery = 64 << 20
	stateAge   = time.Second / 2
	// stateStep is the work in bytes after which the copier asks whether it is
	// time.
	stateStep = 4 << 20
)

// pace makes some of the copier's checkpoints real. A Sync that is not due does
// nothing, and the state that follows it is not passed on. The copier calls
// both from one goroutine at a time, one after the other.
type pace struct {
	*target
	checkpoint func(copier.State)
	now        func() time.Time

	steps int       // since the last Sync
	last  time.Time // when that was
	held  *copier.State
}

func newPace(t *target, now func() time.Time, checkpoint func(copier.State)) *pace {
	return &pace{target: t, checkpoint: checkpoint, now: now, last: now()}
}

// Sync syncs, if that is due.
func (p *pace) Sync() error {
	if p.steps++; p.steps < stateEvery/stateStep && p.now().Sub(p.last) < stateAge {
		return nil
	}
	p.steps, p.last = 0, p.now()
	return p.target.Sync()
}

// note takes the state after a Sync.
func (p *pace) note(s copier.State) error {
	if p.steps > 0 {
		p.held = &s
		return nil
	}
	p.held = nil
	p.checkpoint(s)
	return nil
}

// finish makes the copy durable, and passes on the last state.
func (p *pace) finish() error {
	if err := p.target.Sync(); err != nil {
		return err
	}
	if p.held != nil {
		p.checkpoint(*p.held)
	}
	return nil
}
