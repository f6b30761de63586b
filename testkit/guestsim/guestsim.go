package guestsim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Action is how a start of Windows ended.
type Action string

const (
	// PowerOff: Windows switched the machine off.
	PowerOff Action = "poweroff"
	// Reboot: Windows restarted it.
	Reboot Action = "reboot"
	// PowerLoss: the plug was pulled, see Options.PowerLoss, or the context ended.
	PowerLoss Action = "power loss"
	// StillOn: nothing had happened within Options.Patience, then the plug was
	// pulled.
	StillOn Action = "still on"
)

// Defect is what is wrong with a Windows.
type Defect string

const (
	// BlueScreen is a Windows that stops with an error before it runs anything,
	// and restarts if its registry says so.
	BlueScreen Defect = "bluescreen"
	// ServicesBlocked is one in which something, such as an antivirus, starts none
	// of the services on the disk.
	ServicesBlocked Defect = "blocked"
)

// Loss is when the machine loses power: at the first of what is not zero.
type Loss struct {
	// StateWrites is at how many writes of the runner's state, counted over all
	// starts of this Run, and After how long after Windows began to start, in the
	// first start that takes so long.
	StateWrites int
	After       time.Duration
	// Restart says that the machine is switched on again, as by a short
	// interruption. It has one only.
	Restart bool
}

// Options say what machine and what Windows it is. The zero value is a sound one
// that runs until Windows switches it off.
type Options struct {
	// MaxBoots ends a Run with ErrTooManyBoots that started Windows so often; 0 for
	// no limit.
	MaxBoots int
	// Patience is how long a start of Windows may take, in which nothing switches
	// it off or restarts it; 0 for no limit.
	Patience  time.Duration
	PowerLoss Loss
	// KeepRegistry says that a loss of power leaves the registry as it was then;
	// else it is as before that start: Windows had flushed nothing.
	KeepRegistry bool
	Defect       Defect
	// Now is the time of what is changed in hives, by default time.Now.
	Now func() time.Time
	// Log gets what happens, and what programs print.
	Log io.Writer
}

// Boot is one start of Windows.
type Boot struct {
	Action Action
	Took   time.Duration
	// StateWrites is how often the runner's state was written in it.
	StateWrites int
}

// Result is what happened to a machine until it was off.
type Result struct {
	Boots []Boot
}

// Last is how the last start of Windows ended.
func (r Result) Last() Action {
	if len(r.Boots) == 0 {
		return ""
	}
	return r.Boots[len(r.Boots)-1].Action
}

// ErrTooManyBoots ends a Run whose Windows restarts again and again.
var ErrTooManyBoots = errors.New("guestsim: Windows keeps restarting")

// Run switches a machine on with the disk in it, a raw file, and returns when it
// is off. When the context ends, it loses power, and the error is the context's.
// Otherwise errors are for what no Windows would do: the disk does not start, or
// the simulator failed. Any number of machines may run at once, with a disk each.
func Run(ctx context.Context, disk string, opt Options) (Result, error) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	var result Result
	err := withTemplate(ctx, opt.Log, func(s *simulation) error {
		s.disk, s.opt, s.loss = disk, opt, opt.PowerLoss
		for {
			b, err := s.boot(ctx)
			if err != nil {
				return err
			}
			result.Boots = append(result.Boots, b)
			s.say("start %d: %s after %v, %d writes of the state", len(result.Boots), b.Action, b.Took.Round(time.Millisecond), b.StateWrites)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			again := b.Action == Reboot || b.Action == PowerLoss && s.loss.Restart
			if !again {
				return nil
			}
			if len(result.Boots) == opt.MaxBoots {
				return fmt.Errorf("%w: %d times", ErrTooManyBoots, opt.MaxBoots)
			}
			if b.Action == PowerLoss {
				s.loss = Loss{}
			}
		}
	})
	return result, err
}

// simulation is one machine with its disk.
type simulation struct {
	template template
	disk     string
	opt      Options
	loss     Loss // that is still to come
	writes   int  // of the runner's state so far
	log      *os.File
}

// withTemplate calls do with a simulation that has a template and a log: a pipe,
// so that programs which live longer than the one that started them can write to
// it.
func withTemplate(ctx context.Context, log io.Writer, do func(s *simulation) error) error {
	t, err := newTemplate(ctx)
	if err != nil {
		return err
	}
	s := &simulation{template: t}
	if log == nil {
		return do(s)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("guestsim: %w", err)
	}
	s.log = w
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		io.Copy(log, r)
	}()
	err = do(s)
	w.Close()
	<-copied
	r.Close()
	return err
}

func (s *simulation) say(format string, args ...any) {
	if s.log != nil {
		fmt.Fprintf(s.log, "guestsim: "+format+"\n", args...)
	}
}

// boot starts Windows once, and returns when the machine is off or about to
// restart.
func (s *simulation) boot(ctx context.Context) (Boot, error) {
	began := time.Now()
	var b Boot
	err := s.onVolume(ctx, func(v *volume) error {
		plug, err := s.newPlug(ctx, v.Dir)
		if err != nil {
			return err
		}
		defer plug.close()
		err = s.onMachine(v, nil, func(m *machine) error {
			var err error
			b.Action, err = s.runWindows(ctx, m, plug)
			return err
		})
		b.StateWrites = plug.writes()
		s.writes += b.StateWrites
		return err
	})
	b.Took = time.Since(began)
	return b, err
}

// onVolume calls do with the volume of the disk's Windows.
func (s *simulation) onVolume(ctx context.Context, do func(v *volume) error) error {
	part, err := findWindows(s.disk)
	if err != nil {
		return err
	}
	v, err := mountVolume(ctx, s.disk, part)
	if err != nil {
		return err
	}
	return errors.Join(do(v), v.unmount())
}

// onMachine calls do in a machine that has the volume and the template.
func (s *simulation) onMachine(v *volume, more []bind, do func(m *machine) error) error {
	binds := append([]bind{
		{host: s.template.prefix, inside: templateInside},
		{host: v.Dir, inside: volumeInside, writable: true},
	}, more...)
	return onMachine(s.template.root, s.log, s.template.wine, binds, do)
}
