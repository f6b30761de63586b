package main

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"

	"imageport/firstboot/runner"
)

const (
	// linger is how long what a program has started may outlive it: an installer's
	// second stage must end, and something for the user's desktop never does.
	linger = 10 * time.Minute
	// grace is for a program to end when Windows is going down.
	grace = 3 * time.Second
	// killWait is for processes that were ended to be gone.
	killWait = 10 * time.Second
	killCode = 1
)

func (g *guest) Run(ctx context.Context, p runner.Program) (uint32, error) {
	j, err := newJob()
	if err != nil {
		return 0, fmt.Errorf("%w: %w", runner.ErrNotStarted, err)
	}
	// Closed, it ends everything that is still in it.
	defer j.close()
	process, err := g.start(j, p)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", runner.ErrNotStarted, err)
	}
	defer windows.CloseHandle(process)

	end := time.Now().Add(p.Limit)
	over := func() bool {
		state, err := windows.WaitForSingleObject(process, uint32(slice.Milliseconds()))
		return err == nil && state == windows.WAIT_OBJECT_0
	}
	if err := g.await(ctx, end, over); err != nil {
		if errors.Is(err, runner.ErrTimedOut) {
			g.log.Error("ends the program with all that it has started", "program", p.Name, "processes", j.active())
			j.kill()
		}
		return 0, err
	}
	var code uint32
	if err := windows.GetExitCodeProcess(process, &code); err != nil {
		return 0, fmt.Errorf("the program's exit code could not be read: %w", err)
	}
	if until := time.Now().Add(linger); until.Before(end) {
		end = until
	}
	empty := func() bool {
		if j.active() == 0 {
			return true
		}
		time.Sleep(slice)
		return false
	}
	if err := g.await(ctx, end, empty); errors.Is(err, runner.ErrTimedOut) {
		g.log.Warn("ends what the program has left running", "program", p.Name, "processes", j.active())
		j.kill()
	}
	return code, nil
}

// await polls until it is over, and gives it a moment more when the context ends.
func (g *guest) await(ctx context.Context, end time.Time, over func() bool) error {
	var stopped bool
	for !over() {
		if !stopped && ctx.Err() != nil {
			stopped = true
			if last := time.Now().Add(grace); last.Before(end) {
				end = last
			}
		}
		if !time.Now().Before(end) {
			if stopped {
				return ctx.Err()
			}
			return runner.ErrTimedOut
		}
	}
	return nil
}

// start starts a program in the job, where the plan wants it.
func (g *guest) start(j job, p runner.Program) (windows.Handle, error) {
	command, err := registry.ExpandString(p.Command)
	if err != nil {
		return 0, err
	}
	if p.Console {
		process, err := g.launch(j, command, createInConsole)
		if err == nil {
			return process, nil
		}
		g.log.Warn("not in the session of the console, but in that of the service", "program", p.Name, "error", err)
	}
	return g.launch(j, command, createHere)
}

// creator is CreateProcess in a session.
type creator func(command, folder *uint16, flags uint32, info *windows.ProcessInformation) error

func createHere(command, folder *uint16, flags uint32, info *windows.ProcessInformation) error {
	si := windows.StartupInfo{Cb: uint32(unsafe.Sizeof(windows.StartupInfo{}))}
	return windows.CreateProcess(nil, command, nil, nil, false, flags, nil, folder, &si, info)
}

// launch creates the process suspended, so that it is in the job before it can
// start others.
func (g *guest) launch(j job, command string, create creator) (windows.Handle, error) {
	// CreateProcess writes to the command line: each try has its own.
	line, err := windows.UTF16PtrFromString(command)
	if err != nil {
		return 0, err
	}
	folder, err := windows.UTF16PtrFromString(g.folder)
	if err != nil {
		return 0, err
	}
	var info windows.ProcessInformation
	if err := create(line, folder, windows.CREATE_SUSPENDED|windows.CREATE_NO_WINDOW, &info); err != nil {
		return 0, fmt.Errorf("CreateProcess: %s: %w", command, err)
	}
	defer windows.CloseHandle(info.Thread)
	err = j.assign(info.Process)
	if err == nil {
		_, err = windows.ResumeThread(info.Thread)
	}
	if err != nil {
		windows.TerminateProcess(info.Process, killCode)
		windows.CloseHandle(info.Process)
		return 0, err
	}
	return info.Process, nil
}

// job is a job object of Windows: processes, and all that they start.
type job struct{ handle windows.Handle }

func newJob() (job, error) {
	h, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return job{}, fmt.Errorf("CreateJobObject: %w", err)
	}
	var limits windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION
	limits.BasicLimitInformation.LimitFlags = windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
	if _, err := windows.SetInformationJobObject(h, windows.JobObjectExtendedLimitInformation,
		uintptr(unsafe.Pointer(&limits)), uint32(unsafe.Sizeof(limits))); err != nil {
		windows.CloseHandle(h)
		return job{}, fmt.Errorf("SetInformationJobObject: %w", err)
	}
	return job{h}, nil
}

func (j job) close() { windows.CloseHandle(j.handle) }

func (j job) assign(process windows.Handle) error {
	if err := windows.AssignProcessToJobObject(j.handle, process); err != nil {
		return fmt.Errorf("AssignProcessToJobObject: %w", err)
	}
	return nil
}

// accounting is JOBOBJECT_BASIC_ACCOUNTING_INFORMATION.
type accounting struct {
	TotalUserTime, TotalKernelTime                     int64
	ThisPeriodTotalUserTime, ThisPeriodTotalKernelTime int64
	TotalPageFaultCount, TotalProcesses                uint32
	ActiveProcesses, TotalTerminatedProcesses          uint32
}

// active is how many processes are in the job, 0 if that cannot be told.
func (j job) active() uint32 {
	var a accounting
	if err := windows.QueryInformationJobObject(j.handle, windows.JobObjectBasicAccountingInformation,
		uintptr(unsafe.Pointer(&a)), uint32(unsafe.Sizeof(a)), nil); err != nil {
		return 0
	}
	return a.ActiveProcesses
}

// kill ends everything in the job, and waits until it is gone.
func (j job) kill() {
	windows.TerminateJobObject(j.handle, killCode)
	for end := time.Now().Add(killWait); j.active() > 0 && time.Now().Before(end); {
		time.Sleep(slice)
	}
}
