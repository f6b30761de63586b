package peers

import (
	"context"
	"fmt"
	"time"
)

// Way is one way to do the thing.
type Way struct {
	Name string
	// Peer names the group that the others are compared with, of which the one
	// with the best median counts. It is empty for what is not a peer.
	Peer string
	// Goals are the comparisons to make.
	Goals []Goal
	// Bytes is the data that one run carries.
	Bytes int64
	// NoCPU says that this process does more for the run than the way itself
	// would, so that its CPU time tells nothing.
	NoCPU bool
	// Run does it, once.
	Run func(ctx context.Context) error
	// Verify looks at the result of the first run. Nil is not at all.
	Verify func() error
	// Clean removes the result of a run, outside of the time. Nil is nothing.
	Clean func() error
}

// Goal is how many times as fast as the best of a group of peers a way is to
// be. AtLeast is 0 if there is no goal, but only interest.
type Goal struct {
	Peer    string
	AtLeast float64
}

// sample is one measured run.
type sample struct{ wall, cpu time.Duration }

// Results are the samples of every way, in their order.
type Results struct {
	ways    []Way
	samples [][]sample
}

// Measure runs the ways in turn, once to warm up and verify, and then so many
// rounds. In every other round they go in the opposite order, because what one
// leaves to the machine, such as dirty pages, the next one pays for.
func Measure(ctx context.Context, rounds int, ways []Way) (Results, error) {
	r := Results{ways, make([][]sample, len(ways))}
	for round := range rounds + 1 {
		for i := range ways {
			if round%2 == 1 {
				i = len(ways) - 1 - i
			}
			s, err := ways[i].once(ctx, round == 0)
			if err != nil {
				return Results{}, fmt.Errorf("%s: %w", ways[i].Name, err)
			}
			if round > 0 {
				r.samples[i] = append(r.samples[i], s)
			}
		}
	}
	return r, nil
}

func (w Way) once(ctx context.Context, verify bool) (sample, error) {
	cpu, start := cpuTime(), time.Now()
	if err := w.Run(ctx); err != nil {
		return sample{}, err
	}
	s := sample{time.Since(start), cpuTime() - cpu}
	if verify && w.Verify != nil {
		if err := w.Verify(); err != nil {
			return sample{}, err
		}
	}
	if w.Clean != nil {
		if err := w.Clean(); err != nil {
			return sample{}, err
		}
	}
	return s, nil
}
