package platformtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imageport/platforms"
)

func testLife(t *testing.T, h Harness) {
	d, ce := h.Open(t), spec(1)
	if err := d.Check(t.Context(), ce); err != nil {
		t.Fatalf("Check: %v", err)
	}
	wantNothing(t, h, ce.Name) // Check made nothing
	in := create(t, d, ce)
	wantOne(t, h, ce.Name)
	if err := d.Check(t.Context(), ce); err != nil {
		t.Fatalf("Check with the CE there: %v", err)
	}
	for _, d := range []platforms.Driver{d, h.Open(t)} {
		found, err := d.Find(t.Context(), ce.Name)
		if err != nil || found != in {
			t.Fatalf("Find gives %+v, %v; want %+v", found, err, in)
		}
		if listed := wantList(t, d, ce.Name); listed[0] != in {
			t.Fatalf("List gives %+v; want %+v", listed[0], in)
		}
	}
	destroy(t, h.Open(t), ce.Name)
	wantNothing(t, h, ce.Name)
	create(t, d, ce) // the name is free again
	wantOne(t, h, ce.Name)
}

func testCreateTwice(t *testing.T, h Harness) {
	d, ce := h.Open(t), spec(1)
	first := create(t, d, ce)
	later := ce
	later.RunID = "run after a reset"
	later.Seed.Deadline = ce.Seed.Deadline.Add(time.Minute)
	for _, d := range []platforms.Driver{d, h.Open(t)} {
		again, err := d.Create(t.Context(), later)
		if err != nil || again != first {
			t.Fatalf("the second Create gives %+v, %v; the first gave %+v", again, err, first)
		}
	}
	wantOne(t, h, ce.Name)
}

func testCreateAtOnce(t *testing.T, h Harness) {
	ce := spec(1)
	drivers := []platforms.Driver{h.Open(t), h.Open(t)}
	got, errs := [6]platforms.Instance{}, [6]error{}
	atOnce(len(got), func(i int) { got[i], errs[i] = drivers[i%2].Create(t.Context(), ce) })
	for i := range got {
		if errs[i] != nil || got[i] != got[0] {
			t.Fatalf("creator %d got %+v, %v; creator 0 got %+v", i, got[i], errs[i], got[0])
		}
	}
	wantOne(t, h, ce.Name)
}

func testCreateForeignJob(t *testing.T, h Harness) {
	d, ce := h.Open(t), spec(1)
	in := create(t, d, ce)
	for what, change := range map[string]func(*platforms.Spec){
		"job":   func(s *platforms.Spec) { s.Job += "x" },
		"owner": func(s *platforms.Spec) { s.Owner += "x" },
	} {
		other := ce
		change(&other)
		if _, err := d.Create(t.Context(), other); platforms.KindOf(err) != platforms.Foreign {
			t.Errorf("the name of another %s: %v; want %s", what, err, platforms.Foreign)
		}
	}
	if found, err := d.Find(t.Context(), ce.Name); err != nil || found != in {
		t.Errorf("it is now %+v, %v; it was %+v", found, err, in)
	}
	wantOne(t, h, ce.Name)
}

func testCreatePlanted(t *testing.T, h Harness) {
	d, ce := h.Open(t), spec(1)
	intact := h.Plant(t, ce.Name)
	if _, err := d.Create(t.Context(), ce); platforms.KindOf(err) != platforms.Foreign {
		t.Errorf("Create: %v; want %s", err, platforms.Foreign)
	}
	wantList(t, d)
	if err := d.Destroy(t.Context(), ce.Name); err == nil {
		t.Log("Destroy sees nothing of ours")
	} else if platforms.KindOf(err) != platforms.Foreign {
		t.Errorf("Destroy: %v; want %s", err, platforms.Foreign)
	}
	if !intact() {
		t.Error("what somebody else made was touched")
	}
}

func testCreateCut(t *testing.T, h Harness) {
	cuts(t, func(t *testing.T, n int) bool {
		ce := spec(n)
		finished := h.Cut(t, Call{Verb: Create, CE: ce}, n)
		d := h.Open(t)
		if err := d.Check(t.Context(), ce); err != nil {
			t.Fatalf("Check: %v", err)
		}
		in := create(t, d, ce)
		wantOne(t, h, ce.Name)
		if again := create(t, h.Open(t), ce); again != in {
			t.Fatalf("Create gives %+v, then %+v", in, again)
		}
		wantOne(t, h, ce.Name)
		destroy(t, d, ce.Name)
		wantNothing(t, h, ce.Name)
		return finished
	})
}

func testCreateCancelled(t *testing.T, h Harness) {
	d := h.Open(t)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	ce := spec(1)
	if _, err := d.Create(gone, ce); !errors.Is(err, context.Canceled) {
		t.Fatalf("Create in a cancelled context: %v", err)
	}
	wantNothing(t, h, ce.Name)
	cancelled := 0
	for wait := time.Duration(0); wait < 64*time.Millisecond; wait = wait*3/2 + time.Millisecond {
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		began := time.Now()
		in, err := d.Create(ctx, ce)
		cancel()
		switch {
		case err == nil:
			wantRunning(t, in, ce)
		case errors.Is(err, context.DeadlineExceeded):
			cancelled++
			if took := time.Since(began); took > settle {
				t.Fatalf("a Create of %v ended after %v", wait, took)
			}
		default:
			t.Fatalf("cancelled after %v: %v", wait, err)
		}
		destroy(t, d, ce.Name)
		wantNothing(t, h, ce.Name)
	}
	if cancelled == 0 {
		t.Error("no Create was cancelled")
	}
}

func testCreateAfterDeath(t *testing.T, h Harness) {
	d, ce := h.Open(t), spec(1)
	first := create(t, d, ce)
	for range 3 {
		h.Kill(t, ce.Name)
		eventually(t, "stopped", func() bool {
			found, err := d.Find(t.Context(), ce.Name)
			if err != nil {
				t.Fatalf("Find: %v", err)
			}
			return found.State == platforms.Stopped && found.Job == ce.Job && found.Owner == ce.Owner
		})
		if err := d.Check(t.Context(), ce); err != nil {
			t.Fatalf("Check with a dead CE: %v", err)
		}
		ce = restarted(ce)
		again := create(t, h.Open(t), ce)
		if !again.Created.Equal(first.Created) {
			t.Fatalf("made %v, restarted %v: a sweep goes by the age of the CE", first.Created, again.Created)
		}
		wantOne(t, h, ce.Name)
		wantTold(t, h, ce)
	}
	h.Kill(t, ce.Name)
	destroy(t, d, ce.Name)
	wantNothing(t, h, ce.Name)
}

func testWorkerDeath(t *testing.T, h Harness) {
	ce := spec(1)
	if !h.Cut(t, Call{Verb: Create, CE: ce}, maxSteps) {
		t.Fatalf("Create has more than %d steps", maxSteps)
	}
	time.Sleep(50 * time.Millisecond)
	d := h.Open(t)
	found, err := d.Find(t.Context(), ce.Name)
	if err != nil {
		t.Fatalf("Find after the worker's death: %v", err)
	}
	wantRunning(t, found, ce)
	if again := create(t, d, ce); again != found {
		t.Fatalf("Create gives %+v; found was %+v", again, found)
	}
	wantOne(t, h, ce.Name)
}

// What a CE says when it gives up can be read when it has stopped, until it is
// started again.
func testFault(t *testing.T, h Harness) {
	failing := h.(Failing)
	d, ce := h.Open(t), spec(1)
	causes := []string{"no answer from the gateway at 192.0.2.1:7443", "clock: \x1b[31mred\x1b[0m, " + strings.Repeat("x", 1000)}
	for _, cause := range causes {
		if in := create(t, d, ce); in.Fault != "" {
			t.Errorf("it has only started, and is said to have failed: %q", in.Fault)
		}
		failing.GiveUp(t, ce.Name, cause)
		var found platforms.Instance
		eventually(t, "stopped", func() bool {
			var err error
			if found, err = h.Open(t).Find(t.Context(), ce.Name); err != nil {
				t.Fatalf("Find: %v", err)
			}
			return found.State == platforms.Stopped
		})
		want := strings.NewReplacer("\x1b[31m", "", "\x1b[0m", "").Replace(cause)
		if len(found.Fault) < 20 || len(found.Fault) > 400 || !strings.HasPrefix(want, strings.TrimSuffix(found.Fault, "…")) {
			t.Errorf("it says that it stopped by %q, want %q", found.Fault, want)
		}
		if listed := wantList(t, d, ce.Name); listed[0] != found {
			t.Errorf("List gives %+v, Find gives %+v", listed[0], found)
		}
	}
	create(t, d, ce)
	h.Kill(t, ce.Name)
	eventually(t, "stopped", func() bool {
		found, err := d.Find(t.Context(), ce.Name)
		// It may have said something, but not this time that it gives up.
		if err != nil || strings.Contains(found.Fault, causes[0]) || strings.Contains(found.Fault, "clock: ") {
			t.Fatalf("killed: %+v, %v", found, err)
		}
		return found.State == platforms.Stopped
	})
}

// Whoever may look at the processes of the worker's machine learns no token.
func testSecrets(t *testing.T, h Harness) {
	ce := spec(1)
	ce.Seed.Gateway.Token = "secret-" + rand.Text()
	create(t, h.Open(t), ce)
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(files) == 0 {
		t.Fatalf("processes: %q, %v", files, err)
	}
	for _, cmdline := range files {
		for _, path := range []string{cmdline, filepath.Join(filepath.Dir(cmdline), "environ")} {
			// What cannot be read is gone, or is not of this user.
			if b, err := os.ReadFile(path); err == nil && bytes.Contains(b, []byte(ce.Seed.Gateway.Token)) {
				t.Errorf("%s has the token of the seed", path)
			}
		}
	}
}
