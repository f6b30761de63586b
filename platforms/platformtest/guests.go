package platformtest

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"imageport/platforms"
)

func guests(t *testing.T, h Harness) (platforms.Guests, GuestHarness) {
	t.Helper()
	return h.Open(t).(platforms.Guests), h.(GuestHarness)
}

// offWithDisk makes the n-th CE with its disk, to which it has written, and
// switches it off. What it gives checks that the CE finds all that when it is
// started again.
func offWithDisk(t *testing.T, h Harness, n int) (ce platforms.Spec, back func()) {
	t.Helper()
	ce = spec(n)
	d := h.Open(t)
	disk := h.(OutputHarness).OutputDisk(0)
	create(t, d, ce)
	ref := addDisk(t, d.(platforms.OutputDisks), ce.Name, disk)
	written := write(t, h, ce.Name, ref)
	stop(t, d, ce.Name)
	wantStopped(t, h, ce)
	return ce, func() {
		t.Helper()
		d := h.Open(t)
		create(t, d, restarted(ce))
		wantOne(t, h, ce.Name)
		again := addDisk(t, d.(platforms.OutputDisks), ce.Name, disk)
		if again != ref {
			t.Fatalf("after the guest the disk is %+v; it was %+v", again, ref)
		}
		written(&again, "")
	}
}

func startGuest(t *testing.T, d platforms.Guests, ce string, guest platforms.Guest) platforms.GuestState {
	t.Helper()
	g, err := d.StartGuest(t.Context(), ce, guest)
	if err != nil {
		t.Fatalf("StartGuest: %v", err)
	}
	if g.Ref == "" || !g.Started {
		t.Fatalf("StartGuest gives %+v", g)
	}
	return g
}

// startedGuest starts the guest of a CE that has none, and checks that it is on.
func startedGuest(t *testing.T, h Harness, ce string) platforms.GuestState {
	t.Helper()
	d, gh := guests(t, h)
	g := startGuest(t, d, ce, gh.Guest(0))
	if !g.On {
		t.Fatalf("StartGuest gives %+v, want it on", g)
	}
	return wantGuest(t, h, ce, true)
}

func stopGuest(t *testing.T, d platforms.Guests, ce string) {
	t.Helper()
	if err := d.StopGuest(t.Context(), ce); err != nil {
		t.Fatalf("StopGuest: %v", err)
	}
}

func removeGuest(t *testing.T, d platforms.Guests, ce string) {
	t.Helper()
	if err := d.RemoveGuest(t.Context(), ce); err != nil {
		t.Fatalf("RemoveGuest: %v", err)
	}
}

// wantGuest checks that the CE has a guest that was started, which is on, or is
// off, also when one looks past the driver.
func wantGuest(t *testing.T, h Harness, ce string, on bool) (found platforms.GuestState) {
	t.Helper()
	d, gh := guests(t, h)
	want, is := 0, "off"
	if on {
		want, is = 1, "on"
	}
	eventually(t, "found "+is, func() bool {
		var err error
		if found, err = d.FindGuest(t.Context(), ce); err != nil {
			t.Fatalf("FindGuest: %v", err)
		}
		return found.On == on && gh.GuestsOn(t, ce) == want
	})
	if !found.Started || found.Ref == "" {
		t.Fatalf("found %+v, which was started", found)
	}
	return found
}

func wantNoGuest(t *testing.T, h Harness, ce string) {
	t.Helper()
	d, gh := guests(t, h)
	if found, err := d.FindGuest(t.Context(), ce); !errors.Is(err, platforms.ErrNotFound) || platforms.KindOf(err) != platforms.NotFound {
		t.Fatalf("FindGuest gives %+v, %v; want ErrNotFound", found, err)
	}
	if n := gh.GuestsOn(t, ce); n > 0 {
		t.Fatalf("%d machines are on", n)
	}
}

// wantGone checks that there is nothing of a CE that was destroyed, its guest
// and its disk included.
func wantGone(t *testing.T, h Harness, ce string) {
	t.Helper()
	wantNothing(t, h, ce)
	wantNoGuest(t, h, ce)
	wantOutputs(t, h.(OutputHarness))
}

func testGuestLife(t *testing.T, h Harness) {
	d, gh := guests(t, h)
	if err := d.CheckGuest(t.Context(), gh.Guest(0)); err != nil {
		t.Fatalf("CheckGuest: %v", err)
	}
	if left := h.Leftovers(t); len(left) > 0 {
		t.Fatalf("CheckGuest made %q", left)
	}
	ce, back := offWithDisk(t, h, 1)
	wantNoGuest(t, h, ce.Name)
	startGuest(t, d, ce.Name, gh.Guest(0))
	first := wantGuest(t, h, ce.Name, true)
	again, _ := guests(t, h)
	if g := startGuest(t, again, ce.Name, gh.Guest(0)); g != first {
		t.Errorf("StartGuest of a guest that is on gives %+v, FindGuest gave %+v", g, first)
	}
	wantGuest(t, h, ce.Name, true)
	wantStopped(t, h, ce)
	wantList(t, h.Open(t), ce.Name) // it is no CE
	// To stop a CE again that is off does nothing to its guest.
	stop(t, h.Open(t), ce.Name)
	wantGuest(t, h, ce.Name, true)
	const at = 9 << 20
	words := []byte("the guest was here")
	writing, ok := h.(GuestWriting)
	if ok {
		writing.WriteGuest(t, ce.Name, at, words)
	}
	for range 2 {
		removeGuest(t, again, ce.Name)
		wantNoGuest(t, h, ce.Name)
	}
	wantStopped(t, h, ce)
	back()
	if ok {
		ref := addDisk(t, h.Open(t).(platforms.OutputDisks), ce.Name, gh.OutputDisk(0))
		if got := writing.ReadDisk(t, ce.Name, ref, at, len(words)); !bytes.Equal(got, words) {
			t.Errorf("the CE finds %q, the guest wrote %q", got, words)
		}
	}
	// The next guest of the CE is another one.
	stop(t, h.Open(t), ce.Name)
	startedGuest(t, h, ce.Name)
	removeGuest(t, d, ce.Name)
	back()
	destroy(t, h.Open(t), ce.Name)
	wantGone(t, h, ce.Name)
}

// A guest starts from the disk that the platform has for that, which goes with
// the CE.
func testGuestWorkingDisk(t *testing.T, h Harness) {
	d, gh := guests(t, h)
	ce := spec(1)
	disk, again := d.WorkingDisk(ce.Name), h.Open(t).(platforms.Guests).WorkingDisk(ce.Name)
	if other := d.WorkingDisk(spec(2).Name); disk != again || disk.Name == other.Name || disk.SizeBytes != 0 {
		t.Fatalf("it is %+v, then %+v; that of another CE is %+v", disk, again, other)
	}
	disk.SizeBytes = gh.OutputDisk(0).SizeBytes
	outputs := h.Open(t).(platforms.OutputDisks)
	if err := outputs.CheckOutputDisk(t.Context(), disk); err != nil {
		t.Fatalf("CheckOutputDisk: %v", err)
	}
	guest := gh.Guest(0)
	guest.Disk = disk.Name
	if err := d.CheckGuest(t.Context(), guest); err != nil {
		t.Fatalf("CheckGuest: %v", err)
	}
	create(t, h.Open(t), ce)
	ref := addDisk(t, outputs, ce.Name, disk)
	written := write(t, h, ce.Name, ref)
	stop(t, h.Open(t), ce.Name)
	if g := startGuest(t, d, ce.Name, guest); !g.On {
		t.Fatalf("StartGuest gives %+v, want it on", g)
	}
	wantGuest(t, h, ce.Name, true)
	removeGuest(t, d, ce.Name)
	create(t, h.Open(t), restarted(ce))
	if again := addDisk(t, outputs, ce.Name, disk); again != ref {
		t.Errorf("after the guest the disk is %+v; it was %+v", again, ref)
	}
	written(&ref, "")
	destroy(t, h.Open(t), ce.Name)
	wantGone(t, h, ce.Name)
}

// A guest that has switched itself off is found off, and is not switched on
// again.
func testGuestEndsItself(t *testing.T, h Harness) {
	ce, back := offWithDisk(t, h, 1)
	startedGuest(t, h, ce.Name)
	h.(GuestHarness).SwitchOff(t, ce.Name)
	wantGuest(t, h, ce.Name, false)
	wantNotAgain(t, h, ce.Name)
	d, _ := guests(t, h)
	stopGuest(t, d, ce.Name) // it is off
	wantGuest(t, h, ce.Name, false)
	removeGuest(t, d, ce.Name)
	wantNoGuest(t, h, ce.Name)
	back()
}

// wantNotAgain checks that StartGuest leaves a guest off.
func wantNotAgain(t *testing.T, h Harness, ce string) {
	t.Helper()
	for range 2 {
		d, gh := guests(t, h)
		if g := startGuest(t, d, ce, gh.Guest(0)); g.On {
			t.Fatalf("it was switched on again: %+v", g)
		}
		wantGuest(t, h, ce, false)
	}
}

func testGuestStopped(t *testing.T, h Harness) {
	d, _ := guests(t, h)
	ce, back := offWithDisk(t, h, 1)
	stopGuest(t, d, ce.Name) // there never was one
	wantNoGuest(t, h, ce.Name)
	startedGuest(t, h, ce.Name)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for verb, err := range map[string]error{
		"StopGuest": d.StopGuest(gone, ce.Name), "RemoveGuest": d.RemoveGuest(gone, ce.Name),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s in a cancelled context: %v", verb, err)
		}
	}
	for range 2 {
		d, _ := guests(t, h)
		stopGuest(t, d, ce.Name)
		wantGuest(t, h, ce.Name, false)
	}
	wantNotAgain(t, h, ce.Name)
	removeGuest(t, d, ce.Name)
	wantNoGuest(t, h, ce.Name)
	back()
}

// The disk is never in two machines that run: there is no guest beside a CE
// that does, also not one that was stopped and started again.
func testGuestCERuns(t *testing.T, h Harness) {
	d, gh := guests(t, h)
	ce, back := offWithDisk(t, h, 1)
	for range 2 {
		back()
		if g, err := d.StartGuest(t.Context(), ce.Name, gh.Guest(0)); platforms.KindOf(err) != platforms.Busy {
			t.Fatalf("beside a CE that runs: %+v, %v; want %s", g, err, platforms.Busy)
		}
		wantNoGuest(t, h, ce.Name)
		wantOne(t, h, ce.Name)
		stop(t, h.Open(t), ce.Name)
		wantStopped(t, h, ce)
	}
	startedGuest(t, h, ce.Name)
	removeGuest(t, d, ce.Name)
	back()
}

// There is no CE that runs beside its guest, whether that is on or off.
func testGuestKeepsCEOff(t *testing.T, h Harness) {
	ce, back := offWithDisk(t, h, 1)
	startedGuest(t, h, ce.Name)
	refused := func() {
		t.Helper()
		d := h.Open(t)
		if in, err := d.Create(t.Context(), restarted(ce)); platforms.KindOf(err) != platforms.Busy {
			t.Fatalf("Create beside a guest: %+v, %v; want %s", in, err, platforms.Busy)
		}
		disk := h.(OutputHarness).OutputDisk(0)
		if _, err := d.(platforms.OutputDisks).AddOutputDisk(t.Context(), ce.Name, disk); platforms.KindOf(err) != platforms.Busy {
			t.Fatalf("AddOutputDisk beside a guest: %v; want %s", err, platforms.Busy)
		}
		wantStopped(t, h, ce)
	}
	refused()
	wantGuest(t, h, ce.Name, true)
	h.(GuestHarness).SwitchOff(t, ce.Name)
	wantGuest(t, h, ce.Name, false)
	refused()
	wantGuest(t, h, ce.Name, false)
	d, _ := guests(t, h)
	removeGuest(t, d, ce.Name)
	back()
}
