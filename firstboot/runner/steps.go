package runner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"imageport/firstboot/plan"
)

// steps does what is left of the plan in this boot.
func (r *run) steps(ctx context.Context) error {
	if err := r.settle(ctx); err != nil {
		return err
	}
	if err := r.recover(ctx); err != nil {
		return err
	}
	if len(r.state.Steps) == 0 {
		if err := r.pendingReboot(); err != nil {
			return err
		}
	}
	for r.next() < len(r.plan.Steps) {
		step := r.plan.Steps[r.next()]
		err := r.step(ctx, step)
		var f failure
		if step.Optional && errors.As(err, &f) && f.Kind != plan.Deadline {
			err = r.giveUp(step, f)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// next is the index of the step to be done.
func (r *run) next() int {
	n := len(r.state.Steps)
	if n > 0 && !r.state.Steps[n-1].Done && !r.state.Steps[n-1].Failed {
		return n - 1
	}
	return n
}

// current is the state of the step to be done.
func (r *run) current() *plan.StepState {
	i := r.next()
	if i == len(r.state.Steps) {
		r.state.Steps = append(r.state.Steps, plan.StepState{Name: r.plan.Steps[i].Name})
	}
	return &r.state.Steps[i]
}

func (r *run) settle(ctx context.Context) error {
	limit := min(time.Duration(r.plan.SettleSeconds)*time.Second, r.remaining())
	if limit <= 0 {
		return nil
	}
	if err := r.Settle(ctx, limit); err != nil {
		r.log.Warn("Windows has not settled", "error", err)
	}
	return ctx.Err()
}

// pendingReboot restarts Windows before the first step while something waits for
// that: an installer that finds so stops, and may ask people what to do.
func (r *run) pendingReboot() error {
	what, err := r.PendingReboot()
	if err != nil {
		r.log.Warn("whether a reboot is pending is not known", "error", err)
	}
	if what == "" {
		return nil
	}
	if r.state.PendingReboots >= r.plan.MaxPendingReboots {
		return failf(plan.PendingReboot, "", "after %d restarts Windows still waits for another: %s", r.state.PendingReboots, what)
	}
	if r.state.Boots < r.plan.MaxBoots {
		r.state.PendingReboots++
		if err := r.write(); err != nil {
			return err
		}
	}
	return r.restart("a reboot was pending: " + what)
}

// recover finds out about a step that the last boot has left behind.
func (r *run) recover(ctx context.Context) error {
	i := r.next()
	if i == len(r.state.Steps) {
		return nil
	}
	s := &r.state.Steps[i]
	switch {
	case s.Reboot:
		s.Reboot, s.Done = false, true
		r.noteDetect(r.plan.Steps[i], s)
	case s.InFlight:
		holds, known := r.detect(r.plan.Steps[i])
		r.log.Info("nobody saw the end of a step", "step", s.Name, "attempts", s.Attempts, "detected", holds)
		if !known || !holds {
			// It stays in flight until it is started again.
			return nil
		}
		s.InFlight, s.Done, s.Detected = false, true, true
	default:
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return r.write()
}

// detect reports whether all of a step's Detect hold, and whether it has any.
func (r *run) detect(step plan.Step) (holds, known bool) {
	for _, d := range step.Detect {
		products, err := r.Products(d.Key)
		if err != nil {
			r.log.Warn("the registry could not be read", "step", step.Name, "key", d.Key, "error", err)
		}
		if err != nil || !d.Holds(products) {
			return false, true
		}
	}
	return len(step.Detect) > 0, len(step.Detect) > 0
}

// noteDetect tells people that a program may have lied. Whether it did is judged
// from outside: what it installed may be named otherwise than was expected.
func (r *run) noteDetect(step plan.Step, s *plan.StepState) {
	if holds, known := r.detect(step); known && !holds {
		s.Note = "its program reported success, and the registry does not show it"
		r.log.Warn(s.Note, "step", step.Name)
	}
}

// step runs one to its end, or to the restart that it needs.
func (r *run) step(ctx context.Context, step plan.Step) error {
	for {
		if s := r.current(); s.Attempts-s.Retries >= maxLost {
			s.InFlight = false
			return failf(plan.TooManyTries, step.Name, "it was started %d times, and never came to an end that was seen", s.Attempts)
		}
		if err := r.checkDeadline(step.Name); err != nil {
			return err
		}
		again, err := r.attempt(ctx, step)
		if err != nil || !again {
			return err
		}
		if err := r.Sleep(ctx, min(retryWait, max(r.remaining(), 0))); err != nil {
			return err
		}
	}
}

// attempt runs the step's program once.
func (r *run) attempt(ctx context.Context, step plan.Step) (again bool, err error) {
	if err := r.checkHash(ctx, step); err != nil {
		return false, err
	}
	s := r.current()
	s.InFlight, s.ExitCode = true, nil
	s.Attempts++
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if err := r.write(); err != nil {
		return false, err
	}
	limit := min(time.Duration(step.TimeoutSeconds)*time.Second, r.remaining())
	r.log.Info("starts", "step", step.Name, "attempt", s.Attempts, "limit", limit.Round(time.Second), "command", step.Command)
	r.ran = true
	began := r.Uptime()
	code, err := r.Run(ctx, Program{
		Name: step.Name, Command: step.Command, Limit: limit, Console: step.Session == plan.SessionConsole,
	})
	s.Seconds = max(r.Uptime()-began, 0).Round(time.Millisecond).Seconds()
	r.log.Info("ended", "step", step.Name, "code", code, "seconds", s.Seconds, "error", err)
	if err == nil && ctx.Err() == nil && !succeeded(step, code) {
		// It may be the end of Windows that made it fail.
		_ = r.Sleep(ctx, lastWords)
	}
	switch {
	case ctx.Err() != nil && (err != nil || !succeeded(step, code)):
		return false, ctx.Err()
	case errors.Is(err, ErrTimedOut):
		s.InFlight = false
		if err := r.checkDeadline(step.Name); err != nil {
			return false, err
		}
		return false, failf(plan.TimedOut, step.Name, "it was ended after %s: %v", limit.Round(time.Second), err)
	case errors.Is(err, ErrNotStarted):
		s.InFlight = false
		return false, failf(plan.NotStarted, step.Name, "%v", err)
	case err != nil:
		s.InFlight = false
		return false, failf(plan.Internal, step.Name, "%v", err)
	}
	return r.judge(ctx, step, s, code)
}

// judge goes by the program's exit code.
func (r *run) judge(ctx context.Context, step plan.Step, s *plan.StepState, code uint32) (again bool, err error) {
	exit := int(code)
	s.InFlight, s.ExitCode = false, &exit
	switch {
	case has(step.OK, code):
		s.Done = true
		r.noteDetect(step, s)
		return false, r.write()
	case has(step.Reboot, code):
		s.Reboot = true
		if err := r.write(); err != nil {
			return false, err
		}
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		return false, r.restart(fmt.Sprintf("step %q ended with %d", step.Name, exit))
	case has(step.Retry, code) && s.Retries < plan.MaxRetries:
		s.Retries++
		return true, r.write()
	}
	return false, failure{Kind: plan.ExitCode, Step: step.Name, ExitCode: exit, Message: fmt.Sprintf("its program ended with %d after %g s", exit, s.Seconds)}
}

func (r *run) checkHash(ctx context.Context, step plan.Step) error {
	if step.File == "" {
		return nil
	}
	found, err := r.Hash(ctx, step.File)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return failf(plan.BadHash, step.Name, "%s cannot be read: %v", step.File, err)
	case !strings.EqualFold(found, step.SHA256):
		return failf(plan.BadHash, step.Name, "SHA-256 of %s is %s, expected %s", step.File, found, step.SHA256)
	}
	return nil
}

// giveUp goes on without a step that is optional.
func (r *run) giveUp(step plan.Step, f failure) error {
	s := r.current()
	s.InFlight, s.Reboot, s.Failed, s.Note = false, false, true, string(f.Kind)+": "+f.Message
	r.log.Warn("gives an optional step up", "step", step.Name, "reason", s.Note)
	return r.write()
}

func succeeded(step plan.Step, code uint32) bool { return has(step.OK, code) || has(step.Reboot, code) }

func has(codes []int, code uint32) bool {
	return slices.ContainsFunc(codes, func(c int) bool { return uint32(c) == code })
}
