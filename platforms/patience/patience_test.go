package patience

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

var (
	errBusy, errDoubt, errFinal = errors.New("busy"), errors.New("doubt"), errors.New("final")
	usual                       = Pauses{First: time.Second, Longest: 3 * time.Second}
)

func tries(err error) int { return map[error]int{errBusy: 5, errDoubt: 2}[err] }

func TestDo(t *testing.T) {
	progress := errors.New("progress")
	for name, c := range map[string]struct {
		steps []error // nil is done
		err   error
		took  time.Duration
	}{
		"at once":             {[]error{nil}, nil, 0},
		"in steps":            {[]error{progress, progress, nil}, nil, 0},
		"for good":            {[]error{progress, errFinal}, errFinal, 0},
		"others":              {[]error{errBusy, errBusy, nil}, nil, 2500 * time.Millisecond},
		"others, too often":   {[]error{errBusy, errBusy, errBusy, errBusy, errBusy}, errBusy, 7750 * time.Millisecond},
		"progress in between": {[]error{errBusy, errBusy, errBusy, errBusy, progress, errBusy, errBusy, nil}, nil, 10250 * time.Millisecond},
		"doubt":               {[]error{errBusy, errDoubt, errDoubt}, errDoubt, 2500 * time.Millisecond},
		"doubt, then others":  {[]error{errDoubt, errBusy}, errBusy, time.Second},
		"others, then final":  {[]error{errBusy, errFinal}, errFinal, time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			began, n := time.Now(), 0
			err := Do(t.Context(), usual, tries, func() (bool, error) {
				next := c.steps[n]
				n++
				switch next {
				case nil:
					return true, nil
				case progress:
					return false, nil
				}
				return false, next
			})
			if took := time.Since(began); err != c.err || n != len(c.steps) || took != c.took {
				t.Errorf("%s: %v after %d steps and %v; want %v after %d and %v", name, err, n, took, c.err, len(c.steps), c.took)
			}
		})
	}
}

func TestDoEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		if err := Do(ctx, usual, tries, func() (bool, error) { return false, errBusy }); err != context.DeadlineExceeded {
			t.Errorf("in a pause: %v", err)
		}
		if err := Do(ctx, usual, tries, func() (bool, error) { return false, errFinal }); err != context.DeadlineExceeded {
			t.Errorf("after the end: %v", err)
		}
		if err := Do(ctx, usual, tries, func() (bool, error) { return true, nil }); err != nil {
			t.Errorf("done after the end: %v", err)
		}
	})
}

func TestPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := usual
		for _, want := range []time.Duration{1000, 1500, 2250, 3000, 3000} {
			began := time.Now()
			if err := p.Wait(t.Context()); err != nil || time.Since(began) != want*time.Millisecond {
				t.Errorf("%v, %v; want %d ms", time.Since(began), err, want)
			}
		}
		began := time.Now()
		if err := p.WaitAtLeast(t.Context(), time.Minute); err != nil || time.Since(began) != time.Minute {
			t.Errorf("%v, %v; want a minute", time.Since(began), err)
		}
	})
}

func TestOutlast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		longer, stop := Outlast(ctx, 10*time.Second)
		defer stop()
		<-longer.Done()
		if took := time.Since(began); took != 11*time.Second {
			t.Errorf("it ends after %v", took)
		}
		longer, stop = Outlast(t.Context(), time.Hour)
		stop()
		if longer.Err() == nil {
			t.Error("it goes on after its end")
		}
	})
}
