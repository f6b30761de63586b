package runner

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"imageport/firstboot/plan"
)

const (
	// maxLost is how often a step is started whose end nobody sees.
	maxLost = 2
	// retryWait is between two attempts of a step that asked for it.
	retryWait = 30 * time.Second
	// lastWords is how long after a program's end Windows may tell that it goes
	// down: a program that was ended by that has not failed, and one that ordered
	// it need not say so.
	lastWords = 2 * time.Second
	// powerWait is between two attempts to switch the machine off.
	powerWait = time.Minute
	maxPower  = 5
	// maxGap is more than any deadline, and can be added to itself.
	maxGap = 10 * 365 * 24 * time.Hour
)

// Run goes on with the plan where the last start of Windows left it. It returns
// nil after it has disarmed and ordered to switch off or to restart, ErrStopped
// if Windows goes down for another reason, and any other error if the machine
// could not be switched off.
func Run(ctx context.Context, m Machine, log *slog.Logger) error {
	r := &run{Machine: m, log: log, resumed: m.Uptime()}
	err := r.load()
	if err == nil {
		err = r.start()
	}
	if err == nil {
		err = r.steps(ctx)
	}
	switch {
	case ctx.Err() != nil:
		// What failed may have failed of that.
		log.Info("Windows is going down", "status", r.state.Status, "error", err)
		return ErrStopped
	case errors.Is(err, errRestart):
		if err = r.Restart(ctx); err == nil || ctx.Err() != nil {
			return nil
		}
		err = failf(plan.Internal, "", "Windows does not restart: %v", err)
	}
	return r.end(ctx, err)
}

// errRestart ends the work of this boot.
var errRestart = errors.New("to be started anew")

// errEnded says that an earlier boot has come to the end of the plan.
var errEnded = errors.New("the plan has ended already")

// unwritable is an error of writing state.json.
type unwritable struct{ error }

// failure is a plan.Failure as an error.
type failure plan.Failure

func (f failure) Error() string { return f.Message }

func failf(kind plan.FailureKind, step, format string, args ...any) error {
	return failure{Kind: kind, Step: step, Message: fmt.Sprintf(format, args...)}
}

// run is one start of Windows.
type run struct {
	Machine
	log   *slog.Logger
	plan  plan.Plan
	state plan.State
	// used is how much of the deadline was used up at the uptime resumed.
	used    time.Duration
	resumed time.Duration
	// ran says that a program has run in this boot.
	ran bool
}

// load reads the plan, and how far it was followed.
func (r *run) load() error {
	now := r.Now().UTC()
	r.state = plan.State{Version: plan.Version, Status: plan.Running, Started: now, Updated: now}
	b, err := r.ReadFile(plan.PlanFile, plan.MaxPlanBytes)
	if err == nil {
		r.plan, err = plan.ParsePlan(b)
	}
	if err != nil {
		r.state.Boots = 1
		return failf(plan.BadPlan, "", "%s: %v", plan.PlanFile, err)
	}
	r.state.Job = r.plan.Job
	b, err = r.ReadFile(plan.StateFile, plan.MaxStateBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var s plan.State
	if err == nil {
		s, err = plan.ParseState(b)
	}
	if err == nil {
		err = s.Of(r.plan)
	}
	if err != nil {
		// How often Windows was started is not known any more, so this is the last
		// time. What was there is kept for people.
		r.state.Boots = 1
		r.log.Error("not our state", "begins", string(b[:min(len(b), 512)]))
		return failf(plan.Internal, "", "%s: %v", plan.StateFile, err)
	}
	r.state = s
	return nil
}

// start counts this boot, durably: everything after it is bounded by that.
func (r *run) start() error {
	r.used = time.Duration(r.state.ElapsedSeconds * float64(time.Second))
	if r.state.Boots > 0 {
		// What has passed since the last write, by the clock. If that was set back,
		// it was not less than Windows has been up now.
		r.used += min(max(r.Now().Sub(r.state.Updated), r.resumed), maxGap)
	}
	r.state.Boots++
	r.log.Info("started", "job", r.plan.Job, "boot", r.state.Boots, "used", r.used.Round(time.Second), "status", r.state.Status)
	if err := r.write(); err != nil {
		return err
	}
	switch {
	case r.state.Status != plan.Running:
		return errEnded
	case r.state.Boots > r.plan.MaxBoots:
		return failf(plan.TooManyBoots, "", "Windows was started %d times, and the plan allows %d", r.state.Boots, r.plan.MaxBoots)
	}
	return r.checkDeadline("")
}

// elapsed is how much of the deadline is used up.
func (r *run) elapsed() time.Duration { return r.used + r.Uptime() - r.resumed }

func (r *run) remaining() time.Duration {
	return time.Duration(r.plan.DeadlineSeconds)*time.Second - r.elapsed()
}

func (r *run) checkDeadline(step string) error {
	if r.remaining() > 0 {
		return nil
	}
	return failf(plan.Deadline, step, "%s have passed, and the plan allows %s",
		r.elapsed().Round(time.Second), time.Duration(r.plan.DeadlineSeconds)*time.Second)
}

func (r *run) write() error {
	r.state.Updated = r.Now().UTC()
	r.state.ElapsedSeconds = min(max(r.elapsed(), 0).Round(time.Millisecond).Seconds(), float64(1<<31-1))
	b, err := r.state.Encode()
	if err == nil {
		err = r.WriteState(b)
	}
	if err != nil {
		return unwritable{fmt.Errorf("%s could not be written: %w", plan.StateFile, err)}
	}
	return nil
}

// restart orders one, if the plan has one left.
func (r *run) restart(reason string) error {
	if r.state.Boots >= r.plan.MaxBoots {
		return failf(plan.TooManyBoots, "", "Windows was started %d times, which is all that the plan allows, and must be once more: %s", r.state.Boots, reason)
	}
	r.log.Info("Windows is to be started anew", "reason", reason)
	return errRestart
}

// end writes how the plan has ended, disarms, and switches off. It does each of
// them whether or not the one before succeeded.
func (r *run) end(ctx context.Context, err error) error {
	if r.state.Status == plan.Running {
		r.state.Status = plan.Succeeded
		if err != nil {
			r.fail(err)
		}
	}
	r.log.Info("the plan has ended", "status", r.state.Status, "error", err)
	if err := r.write(); err != nil {
		r.log.Error("how the plan has ended is not on the disk", "error", err)
	}
	if r.ran && r.Sleep(ctx, lastWords) != nil {
		// Windows restarts by an order of the last program: armed, so that somebody
		// switches it off.
		return ErrStopped
	}
	err = r.Disarm()
	r.state.Disarmed = err == nil
	if err != nil {
		r.log.Error("not disarmed", "error", err)
	} else if err := r.write(); err != nil {
		r.log.Error("disarmed, and state.json does not say so", "error", err)
	}
	for attempt := 1; ; attempt++ {
		err := r.PowerOff(ctx)
		if err == nil || ctx.Err() != nil {
			return nil
		}
		r.log.Error("the machine is still on", "attempt", attempt, "error", err)
		if attempt == maxPower {
			return fmt.Errorf("the machine could not be switched off: %w", err)
		}
		if r.Sleep(ctx, powerWait) != nil {
			return nil
		}
	}
}

// fail notes why the plan failed, and that nothing is on its way any more.
func (r *run) fail(err error) {
	r.state.Status = plan.Failed
	var f failure
	if !errors.As(err, &f) {
		f = failure{Kind: plan.Internal, Message: err.Error()}
	}
	r.state.Failure = (*plan.Failure)(&f)
}
