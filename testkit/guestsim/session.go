package guestsim

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// pollInterval is how often it is looked whether Windows asked for something.
	pollInterval = 10 * time.Millisecond
	// windDown is how long programs go on after Windows was told to end: with
	// shutdown /f /t 0 not for long.
	windDown = 200 * time.Millisecond
	// serverTicks is how often of all that it is looked whether Wine still runs.
	serverTicks = 100
	// stopErrorTime is how long a stop error is on the screen.
	stopErrorTime = 100 * time.Millisecond
)

// runWindows starts the Windows on the volume, and returns when it has ended.
func (s *simulation) runWindows(ctx context.Context, m *machine, p *plug) (Action, error) {
	w, err := loadWindows(volumeInside)
	if err != nil {
		return "", err
	}
	pulled := p.pulled
	if s.opt.Patience > 0 {
		var cancel func()
		pulled, cancel = context.WithTimeoutCause(pulled, s.opt.Patience, errPatience)
		defer cancel()
	}
	if s.opt.Defect == BlueScreen {
		return stopError(pulled, w), nil
	}
	d, err := assemble(w)
	if err != nil {
		return "", err
	}
	r, err := importRegistry(w, s.opt.Defect != ServicesBlocked, s.opt.Now())
	if err != nil {
		return "", err
	}
	action, err := s.wait(pulled, m)
	if err != nil {
		return "", err
	}
	lost := action == PowerLoss || action == StillOn
	if lost && !s.opt.KeepRegistry {
		m.kill()
		return action, d.export()
	}
	if err := m.stopWine(context.WithoutCancel(ctx), lost); err != nil {
		return "", err
	}
	return action, errors.Join(d.export(), r.export(s.opt.Now()))
}

// stopError is a Windows that does no more than show one.
func stopError(pulled context.Context, w *windows) Action {
	var restart <-chan time.Time
	if w.restartsAfterCrash() {
		restart = time.After(stopErrorTime)
	}
	select {
	case <-pulled.Done():
		return pulledBy(pulled)
	case <-restart:
		return Reboot
	}
}

func pulledBy(pulled context.Context) Action {
	if errors.Is(context.Cause(pulled), errPatience) {
		return StillOn
	}
	return PowerLoss
}

// wait starts Windows and waits for what it asks of the power, or for the plug.
func (s *simulation) wait(pulled context.Context, m *machine) (Action, error) {
	boot, err := m.switchOn()
	if err != nil {
		return "", err
	}
	started := make(chan error, 1)
	go func() { started <- boot.Wait() }()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	ticks := 0
	for {
		select {
		case <-pulled.Done():
			return pulledBy(pulled), nil
		case err := <-started:
			if err != nil {
				return "", fmt.Errorf("guestsim: Windows did not start: wineboot: %w", err)
			}
			started = nil
		case <-tick.C:
		}
		request, err := os.ReadFile(powerFile)
		if errors.Is(err, fs.ErrNotExist) {
			if ticks++; ticks%serverTicks == 0 && started == nil && !m.serverRuns() {
				return "", errors.New("guestsim: Wine has ended, and nothing had asked for that")
			}
			continue
		}
		if err != nil {
			return "", fmt.Errorf("guestsim: %w", err)
		}
		select {
		case <-pulled.Done():
			return pulledBy(pulled), nil
		case <-time.After(windDown):
			return Action(request), nil
		}
	}
}

// diskFolders are the folders of the disk's C: in place of Wine's.
var diskFolders = [][]string{{"Program Files"}, {"ProgramData"}, {"Windows", "Installer"}}

// assemble makes Wine's C: from the template and the disk.
func assemble(w *windows) (*drivers, error) {
	if err := os.Mkdir(prefixInside, 0o755); err != nil {
		return nil, fmt.Errorf("guestsim: %w", err)
	}
	if err := unix.Mount("overlay", prefixInside, "overlay", 0, "lowerdir="+templateInside+",upperdir=/upper,workdir=/work"); err != nil {
		return nil, fmt.Errorf("guestsim: overlay: %w", err)
	}
	for _, names := range diskFolders {
		onDisk, err := findOrMake(w.root, names...)
		if err != nil {
			return nil, err
		}
		inside, err := findOrMake(driveC, names...)
		if err != nil {
			return nil, err
		}
		if err := mountBind(onDisk, inside, true); err != nil {
			return nil, err
		}
	}
	return importDrivers(w.root)
}
