package platformtest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"imageport/job/seed"
	"imageport/platforms"
)

// maxSteps is more than any verb of any driver has.
const maxSteps = 60

// settle is how long the suite waits for what is bound to happen, such as the
// end of an agent that came second.
const settle = 10 * time.Second

// spec gives the n-th CE of a test.
func spec(n int) platforms.Spec {
	id := fmt.Sprintf("%012x", 0xa00000000000+n)
	return platforms.Spec{
		Name: "ce-" + id, Job: fmt.Sprintf("ips/files/pvs/win%d", n), RunID: "run", Owner: "location",
		Seed: Seed(id, time.Now().Add(2*time.Minute).UTC()), // it also bounds what a failed test leaves behind
	}
}

// restarted gives the CE as a later call asks for it.
func restarted(ce platforms.Spec) platforms.Spec {
	ce.Seed.Deadline = ce.Seed.Deadline.Add(time.Second)
	ce.Seed.Gateway.Token = "token-of-the-restart"
	return ce
}

// Seed gives a seed that leads nowhere, for the CE of that id.
func Seed(id string, deadline time.Time) seed.Seed {
	return seed.Seed{
		Name: seed.Name(id), Deadline: deadline,
		Gateway: seed.Gateway{Address: "192.0.2.1:7443", CA: strings.Repeat("0", 64), Patience: 60, Token: "token-of-" + id},
	}
}

func create(t *testing.T, d platforms.Driver, ce platforms.Spec) platforms.Instance {
	t.Helper()
	in, err := d.Create(t.Context(), ce)
	if err != nil {
		t.Fatalf("Create: %v", err)
	}
	wantRunning(t, in, ce)
	return in
}

func stop(t *testing.T, d platforms.Driver, name string) {
	t.Helper()
	if err := d.Stop(t.Context(), name); err != nil {
		t.Fatalf("Stop: %v", err)
	}
}

func destroy(t *testing.T, d platforms.Driver, name string) {
	t.Helper()
	if err := d.Destroy(t.Context(), name); err != nil {
		t.Fatalf("Destroy: %v", err)
	}
}

func wantRunning(t *testing.T, in platforms.Instance, ce platforms.Spec) {
	t.Helper()
	if in.State != platforms.Running || in.Name != ce.Name || in.Job != ce.Job || in.RunID != ce.RunID || in.Owner != ce.Owner {
		t.Fatalf("got %+v for %+v", in, ce)
	}
	if in.Ref == "" || in.Created.IsZero() || time.Since(in.Created).Abs() > time.Hour {
		t.Fatalf("no reference or no sensible time of creation: %+v", in)
	}
}

// wantOne checks that the CE has one agent, and keeps it.
func wantOne(t *testing.T, h Harness, name string) {
	t.Helper()
	eventually(t, "one agent", func() bool { return h.Agents(t, name) == 1 })
	time.Sleep(20 * time.Millisecond)
	if n := h.Agents(t, name); n != 1 {
		t.Fatalf("%d agents after there was one", n)
	}
}

// wantNothing checks that nothing is left on the platform, and nothing comes.
func wantNothing(t *testing.T, h Harness, name string) {
	t.Helper()
	if left := h.Leftovers(t); len(left) > 0 {
		t.Fatalf("left behind: %q", left)
	}
	eventually(t, "no agent", func() bool { return h.Agents(t, name) == 0 })
	if left := h.Leftovers(t); len(left) > 0 {
		t.Fatalf("came back: %q", left)
	}
	if _, err := h.Open(t).Find(t.Context(), name); !errors.Is(err, platforms.ErrNotFound) || platforms.KindOf(err) != platforms.NotFound {
		t.Fatalf("Find gives %v; want ErrNotFound", err)
	}
}

// wantStopped checks that the CE is there, has no agent, and has its marks.
func wantStopped(t *testing.T, h Harness, ce platforms.Spec) platforms.Instance {
	t.Helper()
	eventually(t, "no agent", func() bool { return h.Agents(t, ce.Name) == 0 })
	found, err := h.Open(t).Find(t.Context(), ce.Name)
	if err != nil {
		t.Fatalf("Find: %v", err)
	}
	if found.State != platforms.Stopped || found.Job != ce.Job || found.Owner != ce.Owner {
		t.Fatalf("found %+v of %+v; want it stopped", found, ce)
	}
	return found
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(settle); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %v: not %s", settle, what)
		}
	}
}

// atOnce runs n calls at the same time.
func atOnce(n int, call func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { call(i) })
	}
	wg.Wait()
}

// cuts runs a test with a worker that dies after the first step of a verb,
// after the second, and so on, until the verb came to its end.
func cuts(t *testing.T, test func(t *testing.T, n int) (finished bool)) {
	t.Helper()
	n := 0
	defer func() {
		if t.Failed() {
			t.Logf("the worker died after step %d", n)
		}
	}()
	for ; n < maxSteps; n++ {
		if !test(t, n) {
			continue
		}
		if n == 0 {
			t.Fatal("the verb has no step")
		}
		t.Logf("cut after each of %d steps", n)
		return
	}
	t.Fatalf("it has more than %d steps", maxSteps)
}

func names(ces []platforms.Instance) []string {
	var s []string
	for _, ce := range ces {
		s = append(s, ce.Name)
	}
	return s
}

func wantList(t *testing.T, d platforms.Driver, want ...string) []platforms.Instance {
	t.Helper()
	ces, err := d.List(t.Context())
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	if !slices.Equal(names(ces), want) {
		t.Fatalf("List gives %q; want %q", names(ces), want)
	}
	return ces
}

// wantTold checks that the CE finds the seed of ce when it starts, as far as
// the harness can see it.
func wantTold(t *testing.T, h Harness, ce platforms.Spec) {
	t.Helper()
	telling, ok := h.(Telling)
	if !ok {
		return
	}
	got, err := telling.Seed(t, ce.Name).Encode()
	if err != nil {
		t.Fatalf("what the CE is told: %v", err)
	}
	want, err := ce.Seed.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("the CE is told %s; want %s", got, want)
	}
}
