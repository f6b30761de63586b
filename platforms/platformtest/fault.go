package platformtest

import (
	"context"
	"testing"

	"imageport/platforms"
)

// faults are the kinds of failure that a platform is made to have. A case is
// called by the fault and the verb.
var faults = []struct {
	name string
	kind platforms.Kind
}{
	{"Busy", platforms.Busy},
	{"Full", platforms.Full},
	{"Denied", platforms.Denied},
}

// prepare brings the platform to where the verb has something to do.
func prepare(t *testing.T, h Harness, verb Verb) Call {
	t.Helper()
	call := callFor(h, verb, spec(1))
	before := Before(h, verb)
	if verb == Destroy {
		before = before[:1]
	}
	d := h.Open(t)
	for _, verb := range before {
		first := call
		first.Verb = verb
		if err := first.Do(t.Context(), d); err != nil {
			t.Fatalf("%s: %v", verb, err)
		}
	}
	return call
}

// finish checks that the call has done what it is for, and removes it all.
func finish(t *testing.T, h Harness, call Call) {
	t.Helper()
	ce := call.CE.Name
	d := h.Open(t)
	var outputs []string
	switch call.Verb {
	case Create:
		wantOne(t, h, ce)
		wantList(t, d, ce)
	case Stop:
		wantStopped(t, h, call.CE)
	case Destroy:
		wantNothing(t, h, ce)
	case AddDisk:
		wantAttached(t, h.(OutputHarness), ce, 1)
	case KeepDisk:
		outputs = []string{call.Disk.Name}
	case MakeVM:
		outputs = []string{call.Disk.Name}
		wantVMs(t, h.(VMHarness), call.VM.Name)
	case StartGuest, FindGuest, GuestScreen:
		wantGuest(t, h, ce, true)
	case StopGuest:
		wantGuest(t, h, ce, false)
	case RemoveGuest:
		wantNoGuest(t, h, ce)
	}
	destroy(t, d, ce)
	wantNothing(t, h, ce)
	if oh, ok := h.(OutputHarness); ok {
		wantOutputs(t, oh, outputs...)
	}
}

// The platform fails, the driver says how, and leaves nothing that keeps the
// next call from success, or Destroy from removing it.
func testFailure(t *testing.T, h Harness, verb Verb, kind platforms.Kind) {
	call := prepare(t, h, verb)
	heal := h.(Faulty).Fail(t, call, kind)
	if heal == nil {
		t.Skipf("%s does not fail like that here", verb)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*settle)
	defer cancel()
	for range 2 {
		if err := call.Do(ctx, h.Open(t)); platforms.KindOf(err) != kind || ctx.Err() != nil {
			t.Errorf("%s, %s: %v; want %s", call.Verb, platforms.KindOf(err), err, kind)
		}
	}
	heal()
	if err := call.Do(t.Context(), h.Open(t)); err != nil {
		t.Fatalf("%s when all is well again: %v", call.Verb, err)
	}
	finish(t, h, call)
}

// Nobody learns that the session was lost.
func testSessionLoss(t *testing.T, h Harness, verb Verb) {
	call := prepare(t, h, verb)
	d := h.Open(t)
	if _, err := d.List(t.Context()); err != nil { // it has a session
		t.Fatalf("List: %v", err)
	}
	h.(Sessions).EndSessions(t)
	if err := call.Do(t.Context(), d); err != nil {
		t.Fatalf("%s after the session was lost: %v", call.Verb, err)
	}
	finish(t, h, call)
}
