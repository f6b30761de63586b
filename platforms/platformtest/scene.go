package platformtest

import (
	"testing"
	"time"

	"imageport/job/seed"
	"imageport/platforms"
)

// Restart is Create of a CE that is off, with another seed.
const Restart Verb = "Restart"

// Deadline is that of the CE of NewSpec.
var Deadline = time.Date(2035, 1, 2, 3, 4, 5, 0, time.UTC)

// NewSpec gives a CE, always the same.
func NewSpec() platforms.Spec {
	const id = "b00000000001"
	return platforms.Spec{
		Name: seed.Name(id), Job: "ips/files/PVS/win 11", RunID: "run", Owner: "Location of the müllers", Seed: Seed(id, Deadline),
	}
}

// NewCall gives the call of a verb: of the CE of NewSpec, and of the first disk, VM
// and guest of the harness.
func NewCall(h Harness, verb Verb) Call { return callFor(h, verb, NewSpec()) }

func callFor(h Harness, verb Verb, ce platforms.Spec) Call {
	call := Call{Verb: verb, CE: ce}
	if verb == Restart {
		call.CE = restarted(ce)
	}
	if oh, ok := h.(OutputHarness); ok {
		call.Disk = oh.OutputDisk(0)
	}
	if vh, ok := h.(VMHarness); ok {
		call.VM = vh.OutputVM(0)
	}
	if gh, ok := h.(GuestHarness); ok {
		call.Guest = gh.Guest(0)
	}
	return call
}

// Before gives the verbs without which a verb has nothing to do on the harness's
// platform.
func Before(h Harness, verb Verb) []Verb {
	off := []Verb{Create, Stop}
	if _, ok := h.(OutputHarness); ok {
		off = []Verb{Create, AddDisk, Stop}
	}
	_, guests := h.(GuestHarness)
	switch {
	case verb == Destroy && guests:
		return append(off, StartGuest)
	case verb == Destroy, verb == Restart, verb == StartGuest:
		return off
	case verb == Stop, verb == Find, verb == List, verb == AddDisk:
		return []Verb{Create}
	case verb == KeepDisk:
		return []Verb{Create, AddDisk}
	case verb == MakeVM:
		return []Verb{Create, AddDisk, KeepDisk}
	case verb == FindGuest, verb == GuestScreen, verb == StopGuest, verb == RemoveGuest:
		return append(off, StartGuest)
	}
	return nil
}

// Do makes the calls that NewCall gives for the verbs, each with a driver of its own.
func Do(t testing.TB, h Harness, verbs ...Verb) {
	t.Helper()
	for _, verb := range verbs {
		if err := NewCall(h, verb).Do(t.Context(), h.Open(t)); err != nil {
			t.Fatalf("%s: %v", verb, err)
		}
	}
}

// Clean destroys the CE of NewCall, checks that nothing is left but what was kept,
// and removes that.
func Clean(t testing.TB, h Harness) {
	t.Helper()
	Do(t, h, Destroy)
	if left := h.Leftovers(t); len(left) > 0 {
		t.Errorf("Destroy leaves %q", left)
	}
	if vh, ok := h.(VMHarness); ok {
		for _, vm := range vh.VMs(t) {
			vh.RemoveVM(t, vm)
		}
	}
	if oh, ok := h.(OutputHarness); ok {
		for _, name := range oh.Outputs(t) {
			if name != oh.OutputDisk(0).Name {
				t.Errorf("there is %s", name)
			}
			oh.RemoveOutput(t, name)
		}
	}
}
