package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/svc"

	"imageport/firstboot/plan"
	"imageport/firstboot/runner"
)

// stopWait is what Windows is told that the service needs to stop.
const stopWait = 5 * time.Second

func main() {
	// Whether this is a service cannot be asked in every environment; so it is told.
	if len(os.Args) != 2 || os.Args[1] != plan.ServiceArg {
		fmt.Fprintf(os.Stderr, "firstboot: to be started by Windows as a service, with %s\n", plan.ServiceArg)
		os.Exit(2)
	}
	exe, err := os.Executable()
	if err != nil {
		os.Exit(1)
	}
	folder := filepath.Dir(exe)
	log := slog.New(slog.NewTextHandler(openLog(filepath.Join(folder, plan.LogFile)), nil))
	if err := svc.Run(plan.Service, &service{newGuest(folder, log), log}); err != nil {
		log.Error("Windows did not take this for its service", "error", err)
		os.Exit(1)
	}
}

// service answers the service control manager while the plan is followed.
type service struct {
	guest *guest
	log   *slog.Logger
}

// Execute implements svc.Handler. It accepts no Stop: who stopped it would leave
// the machine on, with nobody in it to switch it off.
func (s *service) Execute(_ []string, requests <-chan svc.ChangeRequest, status chan<- svc.Status) (bool, uint32) {
	version := windows.RtlGetVersion()
	s.log.Info("service", "pid", os.Getpid(), "windows", fmt.Sprintf("%d.%d.%d", version.MajorVersion, version.MinorVersion, version.BuildNumber))
	// Running is told before anything is done: Windows waits for that with the
	// services that come after this one.
	running := svc.Status{State: svc.Running, Accepts: svc.AcceptShutdown}
	status <- running
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- s.follow(ctx) }()
	for {
		select {
		case err := <-ended:
			if err != nil {
				s.log.Error("ended", "error", err)
				return true, 1
			}
			return false, 0
		case r := <-requests:
			switch r.Cmd {
			case svc.Interrogate:
				status <- running
			case svc.Shutdown, svc.Stop:
				s.log.Info("Windows is going down")
				status <- svc.Status{State: svc.StopPending, WaitHint: uint32(stopWait.Milliseconds())}
				cancel()
				select {
				case <-ended:
				case <-time.After(stopWait):
				}
				return false, 0
			}
		}
	}
}

// follow follows the plan. A defect of ours must not leave the machine on.
func (s *service) follow(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("panic", "value", p, "stack", string(debug.Stack()))
			if err := s.guest.Disarm(); err != nil {
				s.log.Error("not disarmed", "error", err)
			}
			err = s.guest.PowerOff(ctx)
		}
	}()
	return runner.Run(ctx, s.guest, s.log)
}
