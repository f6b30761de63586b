package platformtest

import (
	"bytes"
	"context"
	"errors"
	"image/png"
	"testing"
	"time"

	"imageport/platforms"
)

func testGuestAtOnce(t *testing.T, h Harness) {
	ce, back := offWithDisk(t, h, 1)
	d, gh := guests(t, h)
	d2, _ := guests(t, h)
	drivers := []platforms.Guests{d, d2}
	got, errs := [4]platforms.GuestState{}, [4]error{}
	atOnce(len(got), func(i int) { got[i], errs[i] = drivers[i%2].StartGuest(t.Context(), ce.Name, gh.Guest(0)) })
	for i := range got {
		if errs[i] != nil || !got[i].On || got[i].Ref != got[0].Ref {
			t.Errorf("starter %d got %+v, %v; starter 0 got %+v", i, got[i], errs[i], got[0])
		}
	}
	wantGuest(t, h, ce.Name, true)
	for _, verb := range []func(platforms.Guests) error{
		func(d platforms.Guests) error { return d.StopGuest(t.Context(), ce.Name) },
		func(d platforms.Guests) error { return d.RemoveGuest(t.Context(), ce.Name) },
	} {
		atOnce(len(errs), func(i int) { errs[i] = verb(drivers[i%2]) })
		for i, err := range errs {
			if err != nil {
				t.Errorf("caller %d: %v", i, err)
			}
		}
	}
	wantNoGuest(t, h, ce.Name)
	back()
}

// Whatever order they come in, in the end there is one guest at most, and
// Destroy removes all of it.
func testGuestAtOnceRemove(t *testing.T, h Harness) {
	for n := range 3 {
		ce, _ := offWithDisk(t, h, n)
		d, gh := guests(t, h)
		d2, _ := guests(t, h)
		ended := h.Open(t)
		var errs [7]error
		atOnce(len(errs), func(i int) {
			switch d := []platforms.Guests{d, d2}[i%2]; i % 3 {
			case 0:
				_, errs[i] = d.StartGuest(t.Context(), ce.Name, gh.Guest(0))
			case 1:
				errs[i] = d.RemoveGuest(t.Context(), ce.Name)
			default:
				if n > 0 {
					errs[i] = ended.Destroy(t.Context(), ce.Name)
				}
			}
		})
		for i, err := range errs {
			// A CE that was destroyed has no guest any more.
			if kind := platforms.KindOf(err); err != nil && kind != platforms.Busy && (kind != platforms.NotFound || n == 0) {
				t.Errorf("caller %d: %v", i, err)
			}
		}
		if on := gh.GuestsOn(t, ce.Name); on > 1 {
			t.Errorf("%d machines are on", on)
		}
		destroy(t, ended, ce.Name)
		wantGone(t, h, ce.Name)
	}
}

func testGuestRefused(t *testing.T, h Harness) {
	d, gh := guests(t, h)
	good := gh.Guest(0)
	absent := spec(9).Name
	none := func(ce string) {
		t.Helper()
		_, findErr := d.FindGuest(t.Context(), ce)
		_, screenErr := d.GuestScreen(t.Context(), ce)
		for verb, err := range map[string]error{"FindGuest": findErr, "GuestScreen": screenErr} {
			if !errors.Is(err, platforms.ErrNotFound) || platforms.KindOf(err) != platforms.NotFound {
				t.Errorf("%s of no guest: %v; want ErrNotFound", verb, err)
			}
		}
		stopGuest(t, d, ce)
		removeGuest(t, d, ce)
	}
	none(absent)
	if _, err := d.StartGuest(t.Context(), absent, good); !errors.Is(err, platforms.ErrNotFound) {
		t.Errorf("StartGuest of no CE: %v; want ErrNotFound", err)
	}
	for _, name := range []string{"", "../ce-0123456789ab", "CE-0123456789AB", "vm"} {
		_, startErr := d.StartGuest(t.Context(), name, good)
		_, findErr := d.FindGuest(t.Context(), name)
		_, screenErr := d.GuestScreen(t.Context(), name)
		for verb, err := range map[string]error{
			"StartGuest": startErr, "FindGuest": findErr, "GuestScreen": screenErr,
			"StopGuest": d.StopGuest(t.Context(), name), "RemoveGuest": d.RemoveGuest(t.Context(), name),
		} {
			if platforms.KindOf(err) != platforms.BadRequest {
				t.Errorf("%s of %q: %v; want %s", verb, name, err, platforms.BadRequest)
			}
		}
	}
	ce := spec(1)
	create(t, h.Open(t), ce)
	stop(t, h.Open(t), ce.Name)
	if _, err := d.StartGuest(t.Context(), ce.Name, good); platforms.KindOf(err) != platforms.NotFound {
		t.Errorf("StartGuest from no disk: %v; want %s", err, platforms.NotFound)
	}
	none(ce.Name)
	create(t, h.Open(t), restarted(ce))
	for n := range 2 {
		addDisk(t, h.Open(t).(platforms.OutputDisks), ce.Name, gh.OutputDisk(n))
	}
	stop(t, h.Open(t), ce.Name)
	for what, change := range map[string]func(*platforms.Guest){
		"no disk":        func(g *platforms.Guest) { g.Disk = "" },
		"a bad disk":     func(g *platforms.Guest) { g.Disk = gh.BadDiskNames()[0] },
		"no firmware":    func(g *platforms.Guest) { g.Firmware = "" },
		"firmware":       func(g *platforms.Guest) { g.Firmware = "coreboot" },
		"controller":     func(g *platforms.Guest) { g.Controller = "mfm" },
		"no memory":      func(g *platforms.Guest) { g.MemoryMB = 0 },
		"less memory":    func(g *platforms.Guest) { g.MemoryMB = -1024 },
		"no processor":   func(g *platforms.Guest) { g.CPUs = 0 },
		"less than none": func(g *platforms.Guest) { g.CPUs = -1 },
	} {
		bad := good
		change(&bad)
		_, startErr := d.StartGuest(t.Context(), ce.Name, bad)
		for verb, err := range map[string]error{"CheckGuest": d.CheckGuest(t.Context(), bad), "StartGuest": startErr} {
			if platforms.KindOf(err) != platforms.BadRequest {
				t.Errorf("%s, %s: %v; want %s", verb, what, err, platforms.BadRequest)
			}
		}
	}
	wantNoGuest(t, h, ce.Name)
	startedGuest(t, h, ce.Name)
	if g, err := d.StartGuest(t.Context(), ce.Name, gh.Guest(1)); platforms.KindOf(err) != platforms.BadRequest {
		t.Errorf("a second guest, from another disk: %+v, %v; want %s", g, err, platforms.BadRequest)
	}
	wantGuest(t, h, ce.Name, true)
}

func testGuestCancelled(t *testing.T, h Harness) {
	d, gh := guests(t, h)
	ce, back := offWithDisk(t, h, 1)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.StartGuest(gone, ce.Name, gh.Guest(0)); !errors.Is(err, context.Canceled) {
		t.Fatalf("StartGuest in a cancelled context: %v", err)
	}
	removeGuest(t, d, ce.Name)
	for wait := time.Duration(0); wait < 64*time.Millisecond; wait = wait*3 + time.Millisecond {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		began := time.Now()
		g, err := d.StartGuest(ctx, ce.Name, gh.Guest(0))
		cancel()
		if took := time.Since(began); took > settle {
			t.Fatalf("a StartGuest of %v ended after %v", wait, took)
		}
		switch {
		case err == nil && !g.On:
			t.Fatalf("StartGuest gives %+v", g)
		case err != nil && !errors.Is(err, context.DeadlineExceeded):
			t.Fatalf("cancelled after %v: %v", wait, err)
		}
		removeGuest(t, d, ce.Name)
		wantNoGuest(t, h, ce.Name)
	}
	startedGuest(t, h, ce.Name)
	removeGuest(t, d, ce.Name)
	back()
}

// A guest that is on shows a picture or says that there is none, and one that is
// off shows nothing.
func testGuestScreen(t *testing.T, h Harness) {
	ce, _ := offWithDisk(t, h, 1)
	startedGuest(t, h, ce.Name)
	d, gh := guests(t, h)
	b, err := d.GuestScreen(t.Context(), ce.Name)
	switch {
	case errors.Is(err, platforms.ErrNoScreen):
		t.Logf("no picture: %v", err)
	case err != nil:
		t.Errorf("GuestScreen: %v", err)
	default:
		config, err := png.DecodeConfig(bytes.NewReader(b))
		if err != nil || len(b) > platforms.MaxScreen {
			t.Errorf("the picture has %d bytes, %v; want a PNG of at most %d", len(b), err, platforms.MaxScreen)
		}
		t.Logf("a picture of %d x %d in %d bytes", config.Width, config.Height, len(b))
	}
	wantGuest(t, h, ce.Name, true) // it does not mind
	gh.SwitchOff(t, ce.Name)
	wantGuest(t, h, ce.Name, false)
	if b, err := d.GuestScreen(t.Context(), ce.Name); !errors.Is(err, platforms.ErrNoScreen) {
		t.Errorf("a guest that is off shows %d bytes, %v; want ErrNoScreen", len(b), err)
	}
}

// A guest whose CE has gone is listed in its place, and removed with the disk.
func testGuestAlone(t *testing.T, h Harness) {
	for _, state := range []platforms.State{platforms.Running, platforms.Stopped} {
		ce, _ := offWithDisk(t, h, 1)
		startedGuest(t, h, ce.Name)
		h.(Losing).LoseCE(t, ce.Name)
		if state == platforms.Stopped {
			h.(GuestHarness).SwitchOff(t, ce.Name)
			wantGuest(t, h, ce.Name, false)
		}
		d := h.Open(t)
		if in := wantList(t, d, ce.Name)[0]; in.State != state || in.Job != ce.Job || in.Owner != ce.Owner {
			t.Fatalf("listed is %+v, want it %s", in, state)
		}
		if _, err := d.Find(t.Context(), ce.Name); !errors.Is(err, platforms.ErrNotFound) {
			t.Errorf("Find: %v", err)
		}
		if _, err := d.Create(t.Context(), ce); platforms.KindOf(err) != platforms.Busy {
			t.Errorf("Create: %v; want %s", err, platforms.Busy)
		}
		if state == platforms.Stopped {
			removeGuest(t, d.(platforms.Guests), ce.Name)
			wantNoGuest(t, h, ce.Name)
		}
		destroy(t, d, ce.Name)
		wantGone(t, h, ce.Name)
	}
}
