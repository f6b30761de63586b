package platformtest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"imageport/platforms"
)

// Breaking is a Harness of a platform of which every single call can be made to fail.
type Breaking interface {
	Harness
	// Watch gives a driver that tells, before it calls a method of the platform's API,
	// which one. Logins and the like are left out. It is to be used before another
	// one is opened.
	Watch(t testing.TB, see func(method string)) platforms.Driver
	// Breaks gives the ways in which a method can fail that the verb calls as its n-th,
	// counted from 0.
	Breaks(t testing.TB, verb Verb, method string, n int) []Break
	// Forget removes what CEs share, so that the next one has to make it.
	Forget(t testing.TB)
	// Shared names what CEs share: one thing, once they have made it.
	Shared(t testing.TB) []string
}

// Break is a way to fail.
type Break struct {
	Name string
	// Once has the next call of the method fail, and nothing else, until heal.
	Once func() (heal func())
	// Kinds are what the driver may give, "" for a success.
	Kinds []platforms.Kind
	// RetryAfter is when the platform wants to be asked again, 0 if it does not say.
	RetryAfter time.Duration
}

// Booting is a Breaking that sees what a CE's own disk begins with.
type Booting interface {
	// Boots fails the test if that is not the appliance.
	Boots(t testing.TB, ce string)
}

// Each method that a verb calls fails once, in each way: the verb says how, or gets
// over it; or the session is lost before it, which nobody learns. The next call
// succeeds, and Destroy leaves nothing.
func testEachCall(t *testing.T, h Harness, verb Verb) {
	b := h.(Breaking)
	ready := func() Call {
		t.Helper()
		if verb == Create {
			b.Forget(t)
		}
		Do(t, h, Before(h, verb)...)
		return NewCall(h, verb)
	}
	call := ready()
	var mu sync.Mutex
	var seen []string
	d := b.Watch(t, func(method string) {
		mu.Lock()
		defer mu.Unlock()
		if !slices.Contains(seen, method) {
			seen = append(seen, method)
		}
	})
	if err := call.Do(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	methods := slices.Clone(seen) // what follows is none of the call's
	mu.Unlock()
	if len(methods) == 0 {
		t.Fatal("it calls nothing")
	}
	t.Logf("it calls %q", methods)
	Clean(t, h)
	for n, method := range methods {
		for _, way := range b.Breaks(t, verb, method, n) {
			call := ready()
			heal := way.Once()
			err := call.Do(t.Context(), h.Open(t))
			heal()
			if got := platforms.KindOf(err); !slices.Contains(way.Kinds, got) {
				t.Errorf("%s fails by %s: %s, %v; want one of %q", method, way.Name, got, err, way.Kinds)
			}
			if e, ok := errors.AsType[*platforms.Error](err); err != nil && way.RetryAfter > 0 && (!ok || e.RetryAfter != way.RetryAfter) {
				t.Errorf("%s is to be called again after %v: %+v", method, way.RetryAfter, err)
			}
			Do(t, h, verb)
			if gh, ok := h.(GuestHarness); ok && verb == StartGuest && gh.GuestsOn(t, call.CE.Name) != 1 {
				t.Errorf("after %s failed, the guest is not on", method)
			}
			Clean(t, h)
		}
		s, ok := h.(Sessions)
		if !ok {
			continue
		}
		call, lost := ready(), make(chan struct{}, 1)
		d := b.Watch(t, func(m string) {
			if m != method {
				return
			}
			select {
			case lost <- struct{}{}:
				s.EndSessions(t)
			default:
			}
		})
		if err := call.Do(t.Context(), d); err != nil || len(lost) != 1 {
			t.Errorf("the session is lost before %s (%d): %v", method, len(lost), err)
		}
		Clean(t, h)
	}
}

// A worker dies in the middle of the import of the appliance. Whatever it left goes
// with its CE or serves the next, and is in nobody's way.
func testImportCut(t *testing.T, h Harness, second Verb) {
	b := h.(Breaking)
	cuts(t, func(t *testing.T, n int) bool {
		b.Forget(t)
		finished := h.Cut(t, NewCall(h, Create), n)
		if finished && n < 2 {
			t.Errorf("only %d steps", n)
		}
		if second == List {
			sweep(t, h)
			if left := h.Leftovers(t); len(left) > 0 {
				t.Errorf("after step %d: a sweep leaves %q", n, left)
			}
			Clean(t, h)
			return finished
		}
		wantAfterCut(t, h, second, n)
		return finished
	})
	Do(t, h, Create)
	if shared := b.Shared(t); len(shared) != 1 {
		t.Errorf("CEs share %q", shared)
	}
	Clean(t, h)
}

// A worker dies while it switches a CE on again.
func testRestartCut(t *testing.T, h Harness, second Verb) {
	cuts(t, func(t *testing.T, n int) bool {
		Do(t, h, Before(h, Restart)...)
		finished := h.Cut(t, NewCall(h, Restart), n)
		wantAfterCut(t, h, second, n)
		return finished
	})
}

// wantAfterCut makes the second call, and checks what has become of the CE.
func wantAfterCut(t *testing.T, h Harness, second Verb, n int) {
	t.Helper()
	call := NewCall(h, second)
	if err := call.Do(t.Context(), h.Open(t)); err != nil {
		t.Fatalf("after step %d: %s: %v", n, second, err)
	}
	if second != Destroy {
		wantOne(t, h, call.CE.Name)
	}
	Clean(t, h)
}

// Workers that know nothing of each other import at once, some for the same CE: in
// the end there is one thing that the CEs share, and nothing else is left.
func testImportAtOnce(t *testing.T, h Harness) {
	b := h.(Breaking)
	b.Forget(t)
	drivers := []platforms.Driver{h.Open(t), h.Open(t), h.Open(t)}
	create := func(i int) (string, error) {
		ce := NewCall(h, Create).CE
		ce.Name = fmt.Sprintf("ce-%012x", i%4)
		ce.Seed.Name = ce.Name
		_, err := drivers[i%len(drivers)].Create(t.Context(), ce)
		return ce.Name, err
	}
	var errs [6]error
	atOnce(len(errs), func(i int) { _, errs[i] = create(i) })
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	for i := range 4 { // a double that was just being copied goes with the next look
		name, err := create(i)
		if err != nil {
			t.Fatal(err)
		}
		wantOne(t, h, name)
		if booting, ok := h.(Booting); ok {
			booting.Boots(t, name)
		}
	}
	Do(t, h, Create)
	if shared := b.Shared(t); len(shared) != 1 {
		t.Errorf("CEs share %q", shared)
	}
	for i := range 4 {
		destroy(t, drivers[0], fmt.Sprintf("ce-%012x", i))
	}
	Clean(t, h)
}
