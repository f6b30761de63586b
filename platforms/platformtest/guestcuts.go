package platformtest

import (
	"testing"
	"time"
)

// A guest goes on when the worker that started it dies, and the next worker
// finds it.
func testGuestWorkerDeath(t *testing.T, h Harness) {
	ce, back := offWithDisk(t, h, 1)
	if !h.Cut(t, Call{Verb: StartGuest, CE: ce, Guest: h.(GuestHarness).Guest(0)}, maxSteps) {
		t.Fatalf("StartGuest has more than %d steps", maxSteps)
	}
	time.Sleep(50 * time.Millisecond)
	found := wantGuest(t, h, ce.Name, true)
	d, gh := guests(t, h)
	if g := startGuest(t, d, ce.Name, gh.Guest(0)); g != found {
		t.Errorf("StartGuest gives %+v; found was %+v", g, found)
	}
	wantGuest(t, h, ce.Name, true)
	gh.SwitchOff(t, ce.Name)
	wantGuest(t, h, ce.Name, false)
	wantNotAgain(t, h, ce.Name)
	removeGuest(t, d, ce.Name)
	back()
}

// Destroy of the CE takes the guest and the disk along.
func testGuestDestroy(t *testing.T, h Harness) {
	for n, off := range []func(ce string){
		func(string) {},
		func(ce string) { h.(GuestHarness).SwitchOff(t, ce); wantGuest(t, h, ce, false) },
	} {
		ce, _ := offWithDisk(t, h, n)
		startedGuest(t, h, ce.Name)
		off(ce.Name)
		for range 2 {
			destroy(t, h.Open(t), ce.Name)
			wantGone(t, h, ce.Name)
		}
	}
}

// cutGuestStart has a worker die after step n of StartGuest.
func cutGuestStart(t *testing.T, h Harness, n int, then func(ce string, finished bool, back func())) (finished bool) {
	t.Helper()
	ce, back := offWithDisk(t, h, n)
	finished = h.Cut(t, Call{Verb: StartGuest, CE: ce, Guest: h.(GuestHarness).Guest(0)}, n)
	then(ce.Name, finished, back)
	destroy(t, h.Open(t), ce.Name)
	wantGone(t, h, ce.Name)
	return finished
}

// StartGuest, repeated, gives one guest, which is on unless it may have been
// before.
func testGuestStartCut(t *testing.T, h Harness) {
	cuts(t, func(t *testing.T, n int) bool {
		return cutGuestStart(t, h, n, func(ce string, finished bool, back func()) {
			d, gh := guests(t, h)
			g := startGuest(t, d, ce, gh.Guest(0))
			if finished && !g.On {
				t.Fatalf("the guest that was started is off: %+v", g)
			}
			if !g.On {
				t.Logf("cut after step %d, it counts as switched on", n)
			}
			wantGuest(t, h, ce, g.On)
			if again := startGuest(t, d, ce, gh.Guest(0)); again.On != g.On || again.Ref != g.Ref {
				t.Fatalf("StartGuest gives %+v, then %+v", g, again)
			}
			wantGuest(t, h, ce, g.On)
			removeGuest(t, d, ce)
			back()
		})
	})
}

// A job that gives up after StartGuest has its CE and its disk again.
func testGuestStartCutRemove(t *testing.T, h Harness) {
	cuts(t, func(t *testing.T, n int) bool {
		return cutGuestStart(t, h, n, func(ce string, _ bool, back func()) {
			d, _ := guests(t, h)
			if n%2 == 0 {
				stopGuest(t, d, ce)
			}
			removeGuest(t, d, ce)
			wantNoGuest(t, h, ce)
			back()
		})
	})
}

// What is left of a half made guest goes with its CE.
func testGuestStartCutDestroy(t *testing.T, h Harness) {
	cuts(t, func(t *testing.T, n int) bool {
		return cutGuestStart(t, h, n, func(string, bool, func()) { sweep(t, h) })
	})
}

// cutGuest has a worker die after step n of a verb for a CE whose guest is on.
func cutGuest(t *testing.T, h Harness, verb Verb, then func(t *testing.T, ce string, back func())) {
	t.Helper()
	cuts(t, func(t *testing.T, n int) bool {
		ce, back := offWithDisk(t, h, n)
		startedGuest(t, h, ce.Name)
		finished := h.Cut(t, Call{Verb: verb, CE: ce}, n)
		then(t, ce.Name, back)
		destroy(t, h.Open(t), ce.Name)
		wantGone(t, h, ce.Name)
		return finished
	})
}

func testGuestStopCut(t *testing.T, h Harness) {
	cutGuest(t, h, StopGuest, func(t *testing.T, ce string, back func()) {
		d, _ := guests(t, h)
		stopGuest(t, d, ce)
		wantGuest(t, h, ce, false)
		wantNotAgain(t, h, ce)
		removeGuest(t, d, ce)
		back()
	})
}

func testGuestRemoveCut(t *testing.T, h Harness) {
	cutGuest(t, h, RemoveGuest, func(t *testing.T, ce string, back func()) {
		d, _ := guests(t, h)
		removeGuest(t, d, ce)
		wantNoGuest(t, h, ce)
		back()
	})
}

func testGuestRemoveCutDestroy(t *testing.T, h Harness) {
	cutGuest(t, h, RemoveGuest, func(t *testing.T, ce string, _ func()) { sweep(t, h) })
}

// What a worker left that died in Destroy is listed, with the guest or without,
// and another Destroy removes it.
func testGuestDestroyCut(t *testing.T, h Harness) {
	cutGuest(t, h, Destroy, func(t *testing.T, ce string, _ func()) {
		sweep(t, h)
		wantGone(t, h, ce)
	})
}
