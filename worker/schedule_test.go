package worker_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"imageport/job"
	"imageport/job/durable"
	"imageport/testkit/devserver"
)

// logged keeps what a worker has logged.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// waitFor waits until text was logged.
func (l *logged) waitFor(t *testing.T, text string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		l.mu.Lock()
		got := l.buf.String()
		l.mu.Unlock()
		if strings.Contains(got, text) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%q was not logged: %s", text, got)
		}
	}
}

// A worker makes the schedule of its resource location, and leaves one that is
// there as an operator wants it. What it starts is a sweep that completes.
func TestSchedule(t *testing.T) {
	c := devserver.Start(t)
	cfg := good(t)
	cfg.SweepEvery = 0
	out := new(logged)
	cfg.Log = slog.New(slog.NewTextHandler(out, nil))
	run(t, c, cfg)
	out.waitFor(t, "made the schedule")

	ctx := t.Context()
	schedule := c.ScheduleClient().GetHandle(ctx, durable.SweepSchedule(cfg.ResourceLocation))
	d, err := schedule.Describe(ctx)
	if err != nil {
		t.Fatal(err)
	}
	action, ok := d.Schedule.Action.(*client.ScheduleWorkflowAction)
	if !ok || action.Workflow != durable.WorkflowSweep || action.TaskQueue != cfg.ResourceLocation {
		t.Errorf("action %+v", d.Schedule.Action)
	}
	if every := d.Schedule.Spec.Intervals; len(every) != 1 || every[0].Every != 15*time.Minute || every[0].Offset >= 15*time.Minute {
		t.Errorf("intervals %+v", every)
	}
	if p := d.Schedule.Policy; p.Overlap != enums.SCHEDULE_OVERLAP_POLICY_SKIP || p.CatchupWindow != time.Minute || p.PauseOnFailure {
		t.Errorf("policy %+v", p)
	}
	if !strings.Contains(d.Schedule.State.Note, cfg.ResourceLocation) {
		t.Errorf("note %q", d.Schedule.State.Note)
	}

	// Each sweep goes on from the one before.
	var last job.SweepResult
	for i := range 2 {
		if err := schedule.Trigger(ctx, client.ScheduleTriggerOptions{}); err != nil {
			t.Fatal(err)
		}
		r := outcome(t, c, schedule, i+1)
		if len(r.Targets) != 1 || r.Targets[0].Platform != job.PlatformLocal || r.Targets[0].Error != "" || !r.Started.After(last.Started) {
			t.Errorf("sweep %+v", r)
		}
		last = r
	}

	if err := schedule.Pause(ctx, client.SchedulePauseOptions{Note: "maintenance"}); err != nil {
		t.Fatal(err)
	}
	other := cfg
	other.SweepEvery = time.Hour
	later := new(logged)
	other.Log = slog.New(slog.NewTextHandler(later, nil))
	run(t, c, other)
	later.waitFor(t, "is paused")
	later.waitFor(t, "configured=1h0m0s")
	if d, err = schedule.Describe(ctx); err != nil || !d.Schedule.State.Paused || d.Schedule.Spec.Intervals[0].Every != 15*time.Minute {
		t.Errorf("%+v, %v", d, err)
	}
}

// outcome waits for the nth sweep that the schedule has started.
func outcome(t *testing.T, c client.Client, schedule client.ScheduleHandle, nth int) job.SweepResult {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		d, err := schedule.Describe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if started := d.Info.RecentActions; len(started) >= nth {
			e := started[nth-1].StartWorkflowResult
			var r job.SweepResult
			if err := c.GetWorkflow(t.Context(), e.WorkflowID, e.FirstExecutionRunID).Get(t.Context(), &r); err != nil {
				t.Fatal(err)
			}
			return r
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d sweeps were started, want %d", len(d.Info.RecentActions), nth)
		}
	}
}

// A server that lets nobody make schedules is no reason not to serve.
func TestNoRightToSchedule(t *testing.T) {
	cfg := good(t)
	cfg.SweepEvery = time.Hour
	out := new(logged)
	cfg.Log = slog.New(slog.NewTextHandler(out, nil))
	run(t, denying(t, "CreateSchedule", nil), cfg)
	out.waitFor(t, "until imageport sweep is run")
}

func TestNoSchedule(t *testing.T) {
	c := devserver.Start(t)
	cfg := good(t)
	cfg.SweepEvery = -1
	run(t, c, cfg)
	time.Sleep(500 * time.Millisecond) // a worker that wants one has it by now
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if d, err := c.ScheduleClient().GetHandle(ctx, durable.SweepSchedule(cfg.ResourceLocation)).Describe(ctx); err == nil {
		t.Errorf("there is one: %+v", d)
	}
}
