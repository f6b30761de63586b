package platformtest

import (
	"context"
	"errors"
	"testing"

	"imageport/platforms"
)

func testStopTwice(t *testing.T, h Harness) {
	d, ce := h.Open(t), spec(1)
	stop(t, d, ce.Name) // there never was one
	wantNothing(t, h, ce.Name)
	first := create(t, d, ce)
	for range 2 {
		stop(t, h.Open(t), ce.Name)
		wantStopped(t, h, ce)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.Stop(gone, ce.Name); !errors.Is(err, context.Canceled) {
		t.Errorf("Stop in a cancelled context: %v", err)
	}
	if err := d.Check(t.Context(), ce); err != nil {
		t.Errorf("Check with a stopped CE: %v", err)
	}
	ce = restarted(ce)
	again := create(t, h.Open(t), ce)
	if !again.Created.Equal(first.Created) {
		t.Errorf("made %v, started again %v: a sweep goes by the age of the CE", first.Created, again.Created)
	}
	wantOne(t, h, ce.Name)
	wantTold(t, h, ce)
	stop(t, d, ce.Name)
	destroy(t, d, ce.Name)
	wantNothing(t, h, ce.Name)
	stop(t, d, ce.Name)
	wantNothing(t, h, ce.Name)
}

func testStopCut(t *testing.T, h Harness) {
	cuts(t, func(t *testing.T, n int) bool {
		ce := spec(n)
		create(t, h.Open(t), ce)
		finished := h.Cut(t, Call{Verb: Stop, CE: ce}, n)
		d := h.Open(t)
		if n%2 == 0 { // or else it is for Create
			stop(t, d, ce.Name)
			wantStopped(t, h, ce)
		} else {
			// A CE that has been told to end may run for a moment longer.
			eventually(t, "running", func() bool {
				create(t, d, restarted(ce))
				return h.Agents(t, ce.Name) == 1
			})
		}
		destroy(t, d, ce.Name)
		wantNothing(t, h, ce.Name)
		return finished
	})
}

// Whatever order they come in, in the end there is one CE at most, and Destroy
// removes all of it.
func testStopAtOnce(t *testing.T, h Harness) {
	ce := spec(1)
	drivers := []platforms.Driver{h.Open(t), h.Open(t)}
	for range 4 {
		var errs [6]error
		atOnce(len(errs), func(i int) {
			switch d := drivers[i/3]; i % 3 {
			case 0:
				_, errs[i] = d.Create(t.Context(), ce)
			case 1:
				errs[i] = d.Stop(t.Context(), ce.Name)
			default:
				errs[i] = d.Destroy(t.Context(), ce.Name)
			}
		})
		for i, err := range errs {
			if err != nil && platforms.KindOf(err) != platforms.Busy {
				t.Errorf("caller %d: %v", i, err)
			}
		}
		if n := h.Agents(t, ce.Name); n > 1 {
			t.Errorf("%d agents", n)
		}
		create(t, drivers[0], ce)
		wantOne(t, h, ce.Name)
		destroy(t, drivers[1], ce.Name)
		wantNothing(t, h, ce.Name)
	}
}

func testStopPlanted(t *testing.T, h Harness) {
	d, ce := h.Open(t), spec(1)
	intact := h.Plant(t, ce.Name)
	if err := d.Stop(t.Context(), ce.Name); err != nil && platforms.KindOf(err) != platforms.Foreign {
		t.Errorf("Stop: %v; want %s", err, platforms.Foreign)
	}
	if !intact() {
		t.Error("what somebody else made was touched")
	}
}
