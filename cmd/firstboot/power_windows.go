package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/windows"

	"imageport/firstboot/runner"
)

const (
	// downWait is how long Windows may take to go down before it is told so in
	// another way.
	downWait = 5 * time.Minute
	// orderWait is for shutdown.exe to pass an order on.
	orderWait = time.Minute

	shutdownProgram = `"%SystemRoot%\System32\shutdown.exe" `
	shutdownReason  = windows.SHTDN_REASON_MAJOR_APPLICATION | windows.SHTDN_REASON_MINOR_INSTALLATION | windows.SHTDN_REASON_FLAG_PLANNED
)

var ntShutdownSystem = windows.NewLazySystemDLL("ntdll.dll").NewProc("NtShutdownSystem")

func (g *guest) Restart(ctx context.Context) error  { return g.goDown(ctx, true) }
func (g *guest) PowerOff(ctx context.Context) error { return g.goDown(ctx, false) }

// goDown orders it in one way after the other, until the context ends by it. The
// last way asks no program and no service for consent; the file systems and the
// registry are completed by it, too.
func (g *guest) goDown(ctx context.Context, restart bool) error {
	ways := []struct {
		name  string
		order func(context.Context, bool) error
	}{
		{"shutdown.exe", g.orderByProgram},
		{"InitiateSystemShutdownEx", orderByService},
		{"ExitWindowsEx", orderBySession},
		{"NtShutdownSystem", orderByKernel},
	}
	var failed error
	for _, way := range ways {
		g.log.Info("orders Windows to go down", "restart", restart, "by", way.name)
		err := way.order(ctx, restart)
		if err == nil || errors.Is(err, windows.ERROR_SHUTDOWN_IN_PROGRESS) {
			if g.Sleep(ctx, downWait) != nil {
				return nil
			}
			err = fmt.Errorf("still up after %s", downWait)
		}
		if ctx.Err() != nil {
			return nil
		}
		g.log.Warn("Windows does not go down", "by", way.name, "error", err)
		failed = errors.Join(failed, fmt.Errorf("%s: %w", way.name, err))
	}
	return failed
}

func (g *guest) orderByProgram(ctx context.Context, restart bool) error {
	arguments := "/s /f /t 0"
	if restart {
		arguments = "/r /f /t 0"
	}
	err := g.shutdown(ctx, arguments)
	if errors.Is(err, windows.ERROR_SHUTDOWN_IS_SCHEDULED) {
		// An installer has ordered it for later.
		g.log.Info("takes back an order for later", "error", g.shutdown(ctx, "/a"))
		err = g.shutdown(ctx, arguments)
	}
	return err
}

// shutdown runs shutdown.exe, whose exit code is an error of Windows.
func (g *guest) shutdown(ctx context.Context, arguments string) error {
	code, err := g.Run(ctx, runner.Program{Name: "shutdown", Command: shutdownProgram + arguments, Limit: orderWait})
	if err != nil {
		return err
	}
	if code != 0 {
		return windows.Errno(code)
	}
	return nil
}

func orderByService(_ context.Context, restart bool) error {
	return windows.InitiateSystemShutdownEx(nil, nil, 0, true, restart, shutdownReason)
}

func orderBySession(_ context.Context, restart bool) error {
	flags := uint32(windows.EWX_POWEROFF | windows.EWX_FORCE)
	if restart {
		flags = windows.EWX_REBOOT | windows.EWX_FORCE
	}
	return windows.ExitWindowsEx(flags, shutdownReason)
}

// orderByKernel takes SHUTDOWN_ACTION: 1 is ShutdownReboot, 2 is ShutdownPowerOff.
func orderByKernel(_ context.Context, restart bool) error {
	if err := ntShutdownSystem.Find(); err != nil {
		return err
	}
	action := uintptr(2)
	if restart {
		action = 1
	}
	if status, _, _ := ntShutdownSystem.Call(action); status != 0 {
		return windows.NTStatus(status)
	}
	return nil
}
