package platformtest

import (
	"context"
	"errors"
	"testing"
	"time"

	"imageport/platforms"
)

// sweep destroys all that List gives, as a sweep does.
func sweep(t *testing.T, h Harness) {
	t.Helper()
	d := h.Open(t)
	ces, err := d.List(t.Context())
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	for _, ce := range ces {
		if ce.Created.IsZero() || time.Since(ce.Created).Abs() > time.Hour {
			t.Errorf("made at %v: %+v", ce.Created, ce)
		}
		if (ce.Job == "") != (ce.Owner == "") {
			t.Errorf("half of the marks: %+v", ce)
		}
		destroy(t, d, ce.Name)
	}
}

// What a worker left that died in Create is listed, and Destroy removes it.
func testSweepCreateCut(t *testing.T, h Harness) {
	cuts(t, func(t *testing.T, n int) bool {
		ce := spec(n)
		finished := h.Cut(t, Call{Verb: Create, CE: ce}, n)
		sweep(t, h)
		wantNothing(t, h, ce.Name)
		return finished
	})
}

// What a worker left that died in Destroy is listed, and another Destroy removes
// it.
func testSweepDestroyCut(t *testing.T, h Harness) {
	cuts(t, func(t *testing.T, n int) bool {
		ce := spec(n)
		create(t, h.Open(t), ce)
		finished := h.Cut(t, Call{Verb: Destroy, CE: ce}, n)
		sweep(t, h)
		wantNothing(t, h, ce.Name)
		return finished
	})
}

// The age of a CE is that of the first Create, whatever happens to it.
func testSweepAge(t *testing.T, h Harness) {
	ce := spec(1)
	first := create(t, h.Open(t), ce)
	age := func(when string, d platforms.Driver) {
		t.Helper()
		if listed := wantList(t, d, ce.Name); !listed[0].Created.Equal(first.Created) {
			t.Errorf("%s it was made %v; it was made %v", when, listed[0].Created, first.Created)
		}
	}
	time.Sleep(1100 * time.Millisecond) // more than what a clock may leave out
	create(t, h.Open(t), restarted(ce))
	age("created twice,", h.Open(t))
	stop(t, h.Open(t), ce.Name)
	age("stopped,", h.Open(t))
	create(t, h.Open(t), restarted(ce))
	age("started again,", h.Open(t))
	h.Kill(t, ce.Name)
	eventually(t, "dead", func() bool { return h.Agents(t, ce.Name) == 0 })
	age("dead,", h.Open(t))
	later := restarted(ce)
	later.RunID = "run after a reset"
	in, err := h.Open(t).Create(t.Context(), later)
	if err != nil || !in.Created.Equal(first.Created) {
		t.Errorf("of a later run: %+v, %v; it was %+v", in, err, first)
	}
	sweep(t, h)
	wantNothing(t, h, ce.Name)
}

// lateness is how long a slow platform takes.
const lateness = time.Second

// createLate gives up on a Create while the platform is at it.
func createLate(t *testing.T, h Harness, ce platforms.Spec) {
	t.Helper()
	h.(Slow).Delay(t, lateness)
	ctx, cancel := context.WithTimeout(t.Context(), lateness/5)
	defer cancel()
	began := time.Now()
	if _, err := h.Open(t).Create(ctx, ce); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a Create that is given up after %v: %v", lateness/5, err)
	}
	if took := time.Since(began); took > settle {
		t.Fatalf("a Create of %v ended after %v", lateness/5, took)
	}
}

// What lands after its job was cancelled, and its CE destroyed, goes with the
// next sweep.
func testLateArrival(t *testing.T, h Harness) {
	ce := spec(1)
	createLate(t, h, ce)
	if err := h.Open(t).Destroy(t.Context(), ce.Name); err != nil && platforms.KindOf(err) != platforms.Busy {
		t.Errorf("Destroy at once: %v", err)
	}
	time.Sleep(lateness * 3 / 2)
	sweep(t, h)
	wantNothing(t, h, ce.Name)
	time.Sleep(lateness / 2)
	wantNothing(t, h, ce.Name)
}

// A job that asks again gets one CE, the one that lands late or its own.
func testLateCreate(t *testing.T, h Harness) {
	ce := spec(1)
	createLate(t, h, ce)
	d := h.Open(t)
	in := create(t, d, restarted(ce))
	time.Sleep(lateness * 3 / 2)
	wantOne(t, h, ce.Name)
	if found := wantList(t, d, ce.Name)[0]; found != in {
		t.Errorf("Create gave %+v; now there is %+v", in, found)
	}
	destroy(t, d, ce.Name)
	wantNothing(t, h, ce.Name)
}
