package runner_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"imageport/firstboot/plan"
	"imageport/firstboot/runner"
)

// ends is a program that takes a minute and does nothing.
func ends(code uint32) func(*world, string, time.Duration) (time.Duration, uint32, error) {
	return func(*world, string, time.Duration) (time.Duration, uint32, error) { return time.Minute, code, nil }
}

// once does it the first time, and what comes after it later.
func once(first, later func(*world, string, time.Duration) (time.Duration, uint32, error)) func(*world, string, time.Duration) (time.Duration, uint32, error) {
	done := false
	return func(w *world, name string, limit time.Duration) (time.Duration, uint32, error) {
		if done {
			return later(w, name, limit)
		}
		done = true
		return first(w, name, limit)
	}
}

// afterwards is Windows going down at the first wait after a program's end.
func afterwards(w *world) {
	w.strike = func(call string, after bool) {
		if call == "sleep" && !after && w.starts["upgrade"] == 1 && w.boots == 1 {
			w.down("restart")
		}
	}
}

func TestRun(t *testing.T) {
	steps := func(names ...string) func(*world) {
		return func(w *world) {
			var all []plan.Step
			for _, name := range names {
				s := w.plan.Steps[0]
				s.Name, s.Detect = name, nil
				all = append(all, s)
			}
			w.plan.Steps = all
			replan(w)
		}
	}
	tests := map[string]struct {
		set     func(*world)
		status  plan.Status
		kind    plan.FailureKind // of the failure
		says    string           // part of its message
		boots   int              // how often Windows was started
		starts  int              // of the program of the upgrade
		state   func(plan.State) bool
		neverOn bool // programs were never started
	}{
		"upgrade": {status: plan.Succeeded, boots: 2, starts: 1, state: func(s plan.State) bool {
			u := s.Steps[0]
			return s.Boots == 2 && s.Disarmed && u.Done && *u.ExitCode == 3010 && u.Seconds > 179 && u.Seconds < 181 && u.Note == "" && s.Steps[1].Done
		}},
		"no restart is needed": {set: func(w *world) {
			w.program = func(w *world, _ string, _ time.Duration) (time.Duration, uint32, error) {
				w.install()
				return 0, 0, nil
			}
		}, status: plan.Succeeded, boots: 1, starts: 1},
		"the installer lies": {set: func(w *world) { w.program = once(ends(3010), ends(0)) }, status: plan.Succeeded, boots: 2, starts: 1,
			state: func(s plan.State) bool { return strings.Contains(s.Steps[0].Note, "the registry does not show it") }},
		"downgrade": {set: func(w *world) { w.program = ends(1603) }, status: plan.Failed, kind: plan.ExitCode, says: "ended with 1603", boots: 1, starts: 1,
			state: func(s plan.State) bool { return s.Failure.ExitCode == 1603 && s.Failure.Step == "upgrade" }},
		"exit code of 32 bits": {set: func(w *world) {
			w.plan.Steps[0].OK = []int{-2147023293}
			replan(w)
			w.program = once(ends(0x80070643), ends(0))
		}, status: plan.Succeeded, boots: 1, starts: 1},
		"hangs": {set: func(w *world) {
			w.program = func(_ *world, _ string, limit time.Duration) (time.Duration, uint32, error) { return limit + 1, 0, nil }
		}, status: plan.Failed, kind: plan.TimedOut, says: "45m0s", boots: 1, starts: 1},
		"cannot be started": {set: func(w *world) {
			w.program = func(*world, string, time.Duration) (time.Duration, uint32, error) {
				return 0, 0, fmt.Errorf("%w: blocked by policy", runner.ErrNotStarted)
			}
		}, status: plan.Failed, kind: plan.NotStarted, says: "blocked by policy", boots: 1, starts: 1},
		"the file is another one": {set: func(w *world) { w.plan.Steps[0].SHA256 = strings.Repeat("cd", 32); replan(w) },
			status: plan.Failed, kind: plan.BadHash, says: "expected cdcd", boots: 1, neverOn: true},

		"another installer runs": {set: func(w *world) { w.program = once(ends(1618), once(ends(1618), honest)) }, status: plan.Succeeded, boots: 2, starts: 3,
			state: func(s plan.State) bool { return s.Steps[0].Attempts == 3 && s.Steps[0].Retries == 2 }},
		"another installer always runs": {set: func(w *world) { w.program = ends(1618) }, status: plan.Failed, kind: plan.ExitCode, says: "1618", boots: 1, starts: plan.MaxRetries + 1},

		"it restarts by itself": {set: func(w *world) {
			w.program = once(func(w *world, _ string, _ time.Duration) (time.Duration, uint32, error) {
				w.install()
				w.down("restart")
				return time.Minute, 0, w.ctx.Err()
			}, ends(0))
		}, status: plan.Succeeded, boots: 2, starts: 1, state: func(s plan.State) bool { return s.Steps[0].Detected && s.Steps[0].ExitCode == nil }},
		"it restarts by itself, and says so": {set: func(w *world) {
			w.program = once(func(w *world, _ string, _ time.Duration) (time.Duration, uint32, error) {
				w.down("restart")
				return time.Minute, 1641, nil
			}, ends(0))
		}, status: plan.Succeeded, boots: 2, starts: 1, state: func(s plan.State) bool { return *s.Steps[0].ExitCode == 1641 }},
		"it restarts by itself, always": {set: func(w *world) {
			w.program = func(w *world, _ string, _ time.Duration) (time.Duration, uint32, error) {
				w.down("restart")
				return time.Minute, 0, w.ctx.Err()
			}
		}, status: plan.Failed, kind: plan.TooManyTries, says: "2 times", boots: 3, starts: 2},
		"it is ended by a restart of others": {set: func(w *world) {
			w.plan.Steps[0].Optional = true
			replan(w)
			afterwards(w)
			w.program = once(ends(1073807364), honest)
		}, status: plan.Succeeded, boots: 3, starts: 2, state: func(s plan.State) bool { return s.Steps[0].Done }},
		"it is ended by a restart of others that is known": {set: func(w *world) {
			w.plan.Steps[0].Optional = true
			replan(w)
			w.program = once(func(w *world, _ string, _ time.Duration) (time.Duration, uint32, error) {
				w.down("restart")
				return time.Minute, 1603, nil
			}, honest)
		}, status: plan.Succeeded, boots: 3, starts: 2, state: func(s plan.State) bool { return s.Steps[0].Done }},
		"the last one restarts by itself, and does not say so": {set: func(w *world) {
			w.plan.Steps = w.plan.Steps[:1]
			replan(w)
			afterwards(w)
			w.program = ends(0)
		}, status: plan.Succeeded, boots: 2, starts: 1, state: func(s plan.State) bool { return s.Disarmed }},

		"a reboot is pending": {set: func(w *world) { w.pending = 2 }, status: plan.Succeeded, boots: 4, starts: 1,
			state: func(s plan.State) bool { return s.PendingReboots == 2 }},
		"a reboot is always pending": {set: func(w *world) { w.pending = 99 }, status: plan.Failed, kind: plan.PendingReboot,
			says: "PendingFileRenameOperations", boots: 3, neverOn: true},
		"more restarts than boots": {set: func(w *world) {
			steps("upgrade", "b", "c", "d", "e")(w)
			w.plan.MaxBoots = 3
			replan(w)
			w.program = ends(3010)
		}, status: plan.Failed, kind: plan.TooManyBoots, says: "3 times", boots: 3, starts: 1},
		"as many restarts as boots": {set: func(w *world) {
			steps("upgrade", "b")(w)
			w.plan.MaxBoots = 3
			replan(w)
			w.program = ends(3010)
		}, status: plan.Succeeded, boots: 3, starts: 1},
		"power is lost all the time": {set: func(w *world) {
			w.plan.Steps[0].Detect = nil
			replan(w)
			w.strike = func(call string, after bool) {
				if call == "settle" && w.boots < 12 {
					w.crash(true)
				}
			}
		}, status: plan.Failed, kind: plan.TooManyBoots, boots: 9, neverOn: true},

		"an optional step fails": {set: func(w *world) { w.program = once(honest, ends(5)) }, status: plan.Succeeded, boots: 2, starts: 1,
			state: func(s plan.State) bool { return s.Steps[1].Failed && strings.HasPrefix(s.Steps[1].Note, "exitCode: ") }},

		"the deadline is in a program": {set: func(w *world) {
			w.plan.DeadlineSeconds = 60
			replan(w)
		}, status: plan.Failed, kind: plan.Deadline, says: "plan allows 1m0s", boots: 1, starts: 1},
		"the deadline is between boots": {set: func(w *world) {
			w.plan.DeadlineSeconds = 200
			replan(w)
		}, status: plan.Failed, kind: plan.Deadline, boots: 2, starts: 1},
		"the clock is set forward in a boot": {set: func(w *world) {
			w.program = func(w *world, name string, limit time.Duration) (time.Duration, uint32, error) {
				w.skew += 5 * time.Hour
				return honest(w, name, limit)
			}
		}, status: plan.Succeeded, boots: 2, starts: 1},
		"the clock is set forward between boots": {set: func(w *world) {
			w.strike = func(call string, after bool) {
				if call == "restart" && after {
					w.skew = 1e6 * time.Hour
				}
			}
		}, status: plan.Failed, kind: plan.Deadline, boots: 2, starts: 1},
		"the clock is set back at each boot": {set: func(w *world) {
			steps("upgrade", "b", "c", "d")(w)
			w.plan.DeadlineSeconds = 900
			replan(w)
			w.program = func(w *world, _ string, _ time.Duration) (time.Duration, uint32, error) {
				return 6 * time.Minute, 3010, nil
			}
			w.strike = func(call string, after bool) {
				if call == "restart" {
					w.skew -= 3 * time.Hour
				}
			}
		}, status: plan.Failed, kind: plan.Deadline, boots: 3, starts: 1},

		"plan.json is missing": {set: func(w *world) { delete(w.files, plan.PlanFile) }, status: plan.Failed, kind: plan.BadPlan, boots: 1, neverOn: true},
		"plan.json is torn": {set: func(w *world) { w.files[plan.PlanFile] = w.files[plan.PlanFile][:200] },
			status: plan.Failed, kind: plan.BadPlan, says: "offset", boots: 1, neverOn: true},
		"state.json is torn": {set: func(w *world) { w.files[plan.StateFile] = []byte(`{"version":1,"jo`) },
			status: plan.Failed, kind: plan.Internal, says: "offset", boots: 1, neverOn: true},
		"state.json is full of zeros": {set: func(w *world) { w.files[plan.StateFile] = make([]byte, 4096) },
			status: plan.Failed, kind: plan.Internal, boots: 1, neverOn: true},
		"state.json is of another job": {set: func(w *world) {
			w.files[plan.StateFile] = []byte(`{"version":1,"job":"job-0","status":"succeeded","boots":1,"started":"2026-01-01T00:00:00Z","updated":"2026-01-01T00:00:00Z"}`)
		}, status: plan.Failed, kind: plan.Internal, says: `"job-0"`, boots: 1, neverOn: true},
		"state.json is from the beginning of time": {set: func(w *world) {
			w.before = 1
			w.files[plan.StateFile] = []byte(`{"version":1,"job":"job-1","status":"running","boots":1,"started":"0001-01-01T00:00:00Z","updated":"0001-01-01T00:00:00Z","elapsedSeconds":2147483647}`)
		}, status: plan.Failed, kind: plan.Deadline, boots: 1, neverOn: true},
		"it has ended already, and is still armed": {set: func(w *world) {
			w.before = 8
			w.files[plan.StateFile] = []byte(`{"version":1,"job":"job-1","status":"failed","boots":8,"started":"2026-01-01T00:00:00Z","updated":"2026-01-01T00:00:00Z","failure":{"kind":"timedOut","step":"upgrade","message":"m"}}`)
		}, status: plan.Failed, kind: plan.TimedOut, says: "m", boots: 1, neverOn: true, state: func(s plan.State) bool { return s.Disarmed && s.Boots == 9 }},

		"the program fills the disk, and leaves it so until it ends": {set: func(w *world) {
			w.program = func(w *world, _ string, _ time.Duration) (time.Duration, uint32, error) {
				w.diskFull = true
				return 0, 3010, nil
			}
			w.strike = func(call string, after bool) {
				if call == "write" && after {
					w.diskFull = false
				}
			}
		}, status: plan.Failed, kind: plan.Internal, says: "disk full", boots: 1, starts: 1},
		"it cannot be switched off at once": {set: func(w *world) {
			w.powerErr = func(n int) error {
				if n >= 2 && n <= 4 {
					return errors.New("not now")
				}
				return nil
			}
		}, status: plan.Succeeded, boots: 2, starts: 1},
		"it does not restart": {set: func(w *world) {
			w.powerErr = func(n int) error {
				if n == 1 {
					return errors.New("not now")
				}
				return nil
			}
		}, status: plan.Failed, kind: plan.Internal, says: "not now", boots: 1, starts: 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, upgrade())
			if test.set != nil {
				test.set(w)
			}
			off := w.live(20)
			w.check(off)
			s := w.state()
			switch {
			case !off || w.armed:
				t.Errorf("off %t, armed %t", off, w.armed)
			case s.Status != test.status || w.boots != test.boots || w.starts["upgrade"] != test.starts || test.neverOn && len(w.ranIn) > 0:
				t.Errorf("%s after %d boots and %d starts, expected %s, %d, %d", s.Status, w.boots, w.starts["upgrade"], test.status, test.boots, test.starts)
			case test.kind != "" && (s.Failure.Kind != test.kind || !strings.Contains(s.Failure.Message, test.says)):
				t.Errorf("failed of %+v, expected %s with %q", s.Failure, test.kind, test.says)
			case test.state != nil && !test.state(s):
				t.Error("the state is another one")
			}
			if t.Failed() {
				t.Log(w.told4people())
			}
		})
	}
}

// replan puts a changed plan on the disk.
func replan(w *world) {
	b, err := w.plan.Encode()
	if err != nil {
		w.t.Fatal(err)
	}
	w.files[plan.PlanFile] = b
}

// A disk that takes no state has nothing else done to it.
func TestDiskIsFullFromTheStart(t *testing.T) {
	w := newWorld(t, upgrade())
	w.diskFull = true
	if off := w.live(1); !off || w.armed || len(w.starts) > 0 || w.files[plan.StateFile] != nil {
		t.Fatal(w.told4people())
	}
}

// Neither the disk nor the registry takes anything: it is switched off at each
// start, and never started anew by the runner.
func TestNothingCanBeWritten(t *testing.T) {
	w := newWorld(t, upgrade())
	w.diskFull, w.noDisarm = true, true
	for range 3 {
		if off := w.live(w.boots + 1); !off || len(w.starts) > 0 || w.restarts > 0 {
			t.Fatal(w.told4people())
		}
	}
}

// A machine that cannot be switched off is given up, disarmed.
func TestItStaysOn(t *testing.T) {
	w := newWorld(t, upgrade())
	w.program = ends(1603)
	w.powerErr = func(int) error { return errors.New("never") }
	if off := w.live(1); off || w.armed || w.powered != 5 || w.state().Failure.Kind != plan.ExitCode {
		t.Fatal(w.told4people())
	}
}

// Commands and sessions reach the machine as they are in the plan.
func TestProgramIsThatOfThePlan(t *testing.T) {
	w := newWorld(t, upgrade())
	seen := spy{world: w}
	ctx, cancel := context.WithCancel(context.Background())
	w.ctx, w.cancel, w.up = ctx, cancel, w.now
	w.program = ends(0)
	if err := runner.Run(ctx, &seen, discard()); err != nil {
		t.Fatal(err)
	}
	want := []runner.Program{
		{Name: "upgrade", Command: upgrade().Steps[0].Command, Console: true, Limit: 45 * time.Minute},
		{Name: "repair", Command: "rundll32.exe x", Limit: 5 * time.Minute},
	}
	if !slices.Equal(seen.programs, want) {
		t.Fatalf("%+v", seen.programs)
	}
}

type spy struct {
	*world
	programs []runner.Program
}

func (s *spy) Run(ctx context.Context, p runner.Program) (uint32, error) {
	s.programs = append(s.programs, p)
	return s.world.Run(ctx, p)
}
