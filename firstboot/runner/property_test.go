package runner_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"imageport/firstboot/plan"
	"imageport/firstboot/runner"
)

// Power is lost at every single call of an upgrade, and at every pair of calls.
func TestPowerLossAtEveryCall(t *testing.T) {
	whole := newWorld(t, upgrade())
	if !whole.live(2) || whole.state().Status != plan.Succeeded {
		t.Fatal(whole.told4people())
	}
	n := whole.calls
	t.Logf("%d calls", n)
	for first := range 2 * n {
		for second := -1; second < 2*(n+20); second++ {
			w := newWorld(t, upgrade())
			crashes := 0
			// A number is a call, and before or after it; the second counts from the
			// first.
			last := 0
			w.strike = func(_ string, after bool) {
				at := 2 * (w.calls - 1 - last)
				if after {
					at++
				}
				if crashes == 0 && at == first || crashes == 1 && at == second {
					crashes, last = crashes+1, w.calls
					w.crash(first%3 == 0)
				}
			}
			off := w.live(6)
			w.check(off)
			s := w.state()
			switch {
			case s.Status == plan.Failed && (crashes != 2 || s.Failure.Kind != plan.TooManyTries || w.starts["upgrade"] > 2):
				t.Fatalf("cut at %d and %d: %+v\n%s", first, second, s.Failure, w.told4people())
			case !off && w.armed:
				t.Fatalf("cut at %d and %d: it is on\n%s", first, second, w.told4people())
			}
		}
	}
}

// Somebody orders Windows to restart at every call of an upgrade.
func TestRestartByOthersAtEveryCall(t *testing.T) {
	for at := 1; ; at++ {
		w := newWorld(t, upgrade())
		w.strike = func(_ string, after bool) {
			if !after && w.calls == at {
				w.down("restart")
			}
		}
		off := w.live(6)
		w.check(off)
		if s := w.state(); s.Status != plan.Succeeded {
			t.Fatalf("restarted at %d: %+v\n%s", at, s.Failure, w.told4people())
		}
		if !off && w.armed {
			t.Fatalf("restarted at %d: it is on\n%s", at, w.told4people())
		}
		if w.calls < at {
			return
		}
	}
}

// Anything may happen in any order, and still it comes to an end.
func TestAnySequenceEnds(t *testing.T) {
	runs := 6000
	if testing.Short() {
		runs = 2000
	}
	ends := map[string]int{}
	for seed := range runs {
		w := random(t, uint64(seed))
		off := w.live(w.plan.MaxBoots + 2 + maxStrikes)
		w.check(off)
		end := "unwritten"
		if s, err := plan.ParseState(w.files[plan.StateFile]); err == nil {
			end = string(s.Status)
			if s.Failure != nil {
				end += " " + string(s.Failure.Kind)
			}
		}
		if !off {
			end += ", on"
			if w.armed && w.powered < 5 {
				t.Fatalf("seed %d: it is on, armed, and nobody does anything\n%s", seed, w.told4people())
			}
		}
		ends[end]++
	}
	t.Log(ends)
	// A machine has no part in BadPlan and BadHash.
	for _, kind := range []plan.FailureKind{
		plan.ExitCode, plan.TimedOut, plan.NotStarted, plan.TooManyTries, plan.TooManyBoots, plan.Deadline, plan.PendingReboot, plan.Internal,
	} {
		if ends["failed "+string(kind)] == 0 {
			t.Errorf("none has failed of %s", kind)
		}
	}
	if ends["succeeded"] == 0 {
		t.Error("none has succeeded")
	}
}

// maxStrikes is how often the power of a machine is lost, or somebody restarts it.
const maxStrikes = 12

// dice strikes at random, with all that a machine may do.
type dice struct {
	*rand.Rand
	crashes, downs int
}

// random is a machine whose seed says what happens to it.
func random(t *testing.T, seed uint64) *world {
	d := &dice{Rand: rand.New(rand.NewPCG(seed, 8))}
	w := newWorld(t, randomPlan(d))
	w.pending = max(d.IntN(9)-5, 0)
	trouble := []float64{0, 0.005, 0.03, 0.1}[d.IntN(4)]
	w.strike = func(string, bool) {
		if d.crashes+d.downs >= maxStrikes || d.Float64() >= trouble {
			return
		}
		switch d.IntN(8) {
		case 0:
			w.skew += time.Duration(d.IntN(7200)-3600) * time.Second
		case 1:
			w.diskFull = true
		case 2:
			w.diskFull = false
		case 3:
			d.downs++
			w.down("restart")
		default:
			d.crashes++
			w.crash(d.IntN(2) == 0)
		}
	}
	w.noDisarm = d.IntN(50) == 0
	w.powerErr = func(int) error {
		if d.Float64() < trouble {
			return fmt.Errorf("not now")
		}
		return nil
	}
	w.program = func(w *world, name string, limit time.Duration) (time.Duration, uint32, error) {
		took := time.Duration(d.Int64N(int64(10 * time.Minute)))
		if d.IntN(3) > 0 {
			w.install()
		}
		switch d.IntN(16) {
		case 0:
			return limit + 1, 0, nil
		case 1:
			return took, 1618, nil
		case 2:
			return took, 1603, nil
		case 3:
			return 0, 0, fmt.Errorf("%w: access denied", runner.ErrNotStarted)
		case 4: // an installer that restarts Windows by itself, and says so
			w.down("restart")
			d.downs++
			return took, 1641, nil
		case 5: // or is ended by it
			w.down("restart")
			d.downs++
			return took, 0, w.ctx.Err()
		case 6: // or fails of it
			w.down("restart")
			d.downs++
			return took, 1603, nil
		case 7:
			w.diskFull = d.IntN(2) == 0
			return took, 112, nil
		case 8, 9, 10:
			return took, 0, nil
		case 11:
			return took, 0, fmt.Errorf("a defect of the machine")
		}
		return took, 3010, nil
	}
	return w
}

func randomPlan(d *dice) plan.Plan {
	p := upgrade()
	p.MaxBoots = 1 + d.IntN(8)
	p.MaxPendingReboots = d.IntN(3)
	p.DeadlineSeconds = 600 + d.IntN(7200)
	p.SettleSeconds = d.IntN(30)
	step := p.Steps[0]
	p.Steps = nil
	for i := range 1 + d.IntN(5) {
		s := step
		s.Name = fmt.Sprintf("step %d", i)
		s.Optional = d.IntN(4) == 0
		if d.IntN(2) == 0 {
			s.Detect = nil
		}
		if d.IntN(2) == 0 {
			s.File, s.SHA256 = "", ""
		}
		s.TimeoutSeconds = 30 + d.IntN(3000)
		p.Steps = append(p.Steps, s)
	}
	return p
}
