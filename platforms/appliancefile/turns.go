package appliancefile

import (
	"context"
	"sync"
)

// Turns lets one caller at a time bring the appliance to a place. Workers do not know
// of each other's. The zero Turns is ready for use.
type Turns struct {
	mu     sync.Mutex
	places map[string]chan struct{} // as many as there are appliances and places
}

// Take waits for the turn at a place, which ends with release, or until ctx ends.
func (t *Turns) Take(ctx context.Context, place string) (release func(), err error) {
	t.mu.Lock()
	if t.places == nil {
		t.places = make(map[string]chan struct{})
	}
	turn, ok := t.places[place]
	if !ok {
		turn = make(chan struct{}, 1)
		t.places[place] = turn
	}
	t.mu.Unlock()
	select {
	case turn <- struct{}{}:
		return func() { <-turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
