package main

import (
	"context"
	"time"

	"golang.org/x/sys/windows"
)

// servicesStarted is the event that the service control manager sets when it has
// started all services that start by themselves.
const servicesStarted = "SC_AutoStartComplete"

var waitNoPendingInstallEvents = windows.NewLazySystemDLL("cfgmgr32.dll").NewProc("CMP_WaitNoPendingInstallEvents")

// slice is how long a wait of Windows may keep this from seeing that the context
// has ended.
const slice = 250 * time.Millisecond

func (g *guest) Settle(ctx context.Context, limit time.Duration) error {
	end := time.Now().Add(limit)
	if event, err := openEvent(servicesStarted); err != nil {
		g.log.Info("does not wait for services", "event", servicesStarted, "error", err)
	} else {
		defer windows.CloseHandle(event)
		done := g.wait(ctx, end, func(ms uint32) (uint32, error) { return windows.WaitForSingleObject(event, ms) })
		g.log.Info("services have started", "all", done)
	}
	if err := waitNoPendingInstallEvents.Find(); err != nil {
		g.log.Info("does not wait for devices", "error", err)
	} else {
		done := g.wait(ctx, end, func(ms uint32) (uint32, error) {
			r, _, err := waitNoPendingInstallEvents.Call(uintptr(ms))
			return uint32(r), err
		})
		g.log.Info("devices are installed", "all", done)
	}
	return ctx.Err()
}

func openEvent(name string) (windows.Handle, error) {
	n, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return 0, err
	}
	return windows.OpenEvent(windows.SYNCHRONIZE, false, n)
}

// wait waits in slices until the wait of Windows is over, which it reports, or
// the end, or the context's.
func (g *guest) wait(ctx context.Context, end time.Time, one func(ms uint32) (uint32, error)) bool {
	for ctx.Err() == nil {
		switch result, err := one(uint32(slice.Milliseconds())); result {
		case windows.WAIT_OBJECT_0:
			return true
		case uint32(windows.WAIT_TIMEOUT):
		default:
			g.log.Warn("a wait of Windows failed", "result", result, "error", err)
			return false
		}
		if !time.Now().Before(end) {
			return false
		}
	}
	return false
}
