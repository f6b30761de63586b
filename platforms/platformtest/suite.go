package platformtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"imageport/job/seed"
	"imageport/platforms"
)

// Verb is a method of platforms.Driver or platforms.OutputDisks that can be cut short.
type Verb string

const (
	Create   Verb = "create"
	Destroy  Verb = "destroy"
	AddDisk  Verb = "add output disk"  // of OutputDisk
	KeepDisk Verb = "keep output disk" // of OutputDisk
)

// Harness is one empty platform for one test. It fails the test when it
// cannot do what it is asked for.
type Harness interface {
	// Open gives a driver such as a worker has that just started.
	Open(t testing.TB) platforms.Driver
	// Cut runs a verb in a worker of its own, which dies after step n of it,
	// counted from 0. It reports whether the verb came to its end instead.
	Cut(t testing.TB, verb Verb, ce platforms.Spec, n int) (finished bool)
	// Kill ends the CE without its or any driver's assistance.
	Kill(t testing.TB, name string)
	// Plant puts something on the platform that imageport did not make, under
	// the name of a CE, and gives a function that tells whether it is intact.
	Plant(t testing.TB, name string) (intact func() bool)
	// Agents counts the agents that run for the CE.
	Agents(t testing.TB, name string) int
	// Leftovers names all that is on the platform and was not planted.
	Leftovers(t testing.TB) []string
}

// Failing is a Harness that can make a CE give up.
type Failing interface {
	// GiveUp makes the CE say on its console that it gives up, for that cause,
	// and end.
	GiveUp(t testing.TB, name, cause string)
}

// OutputHarness is the Harness of a driver that implements platforms.OutputDisks.
type OutputHarness interface {
	Harness
	// Outputs names all that is in the place of output disks and was not
	// planted, by whatever names, also what is not complete.
	Outputs(t testing.TB) []string
	// PlantOutput puts something where the output disk of that name goes, and
	// gives a function that tells whether it is intact.
	PlantOutput(t testing.TB, name string) (intact func() bool)
	// RemoveOutput removes a complete output disk, as its owner may.
	RemoveOutput(t testing.TB, name string)
	// Attached counts the output disks that the CE has.
	Attached(t testing.TB, ce string) int
}

// Run checks that the drivers of the harnesses do what platforms.Driver asks
// for, and platforms.OutputDisks, if they implement it. It calls newHarness
// once for each test.
func Run(t *testing.T, newHarness func(t *testing.T) Harness) {
	tests := map[string]func(*testing.T, Harness){
		"Life":             testLife,
		"CreateTwice":      testCreateTwice,
		"CreateAtOnce":     testCreateAtOnce,
		"CreateForeignJob": testCreateForeignJob,
		"CreatePlanted":    testCreatePlanted,
		"CreateCut":        testCreateCut,
		"CreateCutDestroy": testCreateCutDestroy,
		"CreateCancelled":  testCreateCancelled,
		"CreateAfterDeath": testCreateAfterDeath,
		"DestroyTwice":     testDestroyTwice,
		"DestroyAtOnce":    testDestroyAtOnce,
		"DestroyCut":       testDestroyCut,
		"DestroyCutCreate": testDestroyCutCreate,
		"CreateAndDestroy": testCreateAndDestroy,
		"List":             testList,
		"BadSpecs":         testBadSpecs,
		"WorkerDeath":      testWorkerDeath,
		"Fault":            testFault,
		"Secrets":          testSecrets,
	}
	if _, ok := newHarness(t).Open(t).(platforms.OutputDisks); ok {
		maps.Copy(tests, outputTests)
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			t.Cleanup(func() { tidy(t, h) })
			test(t, h)
		})
	}
}

// maxSteps is more than any verb of any driver has.
const maxSteps = 50

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

// Seed gives a seed that leads nowhere, for the CE of that id.
func Seed(id string, deadline time.Time) seed.Seed {
	return seed.Seed{
		Name: seed.Name(id), Deadline: deadline,
		Gateway: seed.Gateway{Address: "192.0.2.1:7443", CA: strings.Repeat("0", 64), Patience: 60, Token: "token-of-" + id},
	}
}

// tidy removes what a test left, and checks that this can be done.
func tidy(t *testing.T, h Harness) {
	ctx := context.Background()
	d := h.Open(t)
	ces, err := d.List(ctx)
	if err != nil {
		t.Errorf("List at the end: %v", err)
	}
	for _, ce := range ces {
		if err := d.Destroy(ctx, ce.Name); err != nil {
			t.Errorf("Destroy at the end: %v", err)
		}
	}
	if left := h.Leftovers(t); len(left) > 0 {
		t.Errorf("List and Destroy leave %q", left)
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
