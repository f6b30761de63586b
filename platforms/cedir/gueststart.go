package cedir

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"imageport/platforms"
)

// StartGuest does what platforms.Guests asks for.
func (g *Guests) StartGuest(ctx context.Context, ce string, guest platforms.Guest) (platforms.GuestState, error) {
	err := g.check(ctx, guest)
	if err == nil {
		err = g.start(ctx, ce, guest)
	}
	if err != nil {
		return platforms.GuestState{}, Fail("start the guest of", ce, err)
	}
	return g.FindGuest(ctx, ce)
}

func (g *Guests) start(ctx context.Context, ce string, want platforms.Guest) error {
	dir, release, err := g.Store.Hold(ctx, ce)
	if err != nil {
		return err
	}
	defer release()
	is, there, err := read(dir)
	if err != nil {
		return err
	}
	if !there || !is.Started {
		return g.begin(ctx, dir, want)
	}
	if is.Guest.Disk != want.Disk {
		return platforms.Errorf(platforms.BadRequest, "the CE has a guest of disk %q already, want one of %q", is.Guest.Disk, want.Disk)
	}
	if is.Process.PID == 0 {
		if is, err = seek(dir, is); err == nil && is.Process.PID != 0 {
			err = g.record(dir, is)
		}
	}
	// The worker may have died between the note and the deed.
	if err == nil && g.SwitchOn != nil && !is.Stopped && is.Process.Alive() {
		err = g.SwitchOn(ctx, filepath.Join(dir, guestRoom))
	}
	return err
}

// begin makes the guest of the CE in dir and switches it on, from the beginning:
// what an earlier try left was not switched on.
func (g *Guests) begin(ctx context.Context, dir string, want platforms.Guest) error {
	if p, err := Recorded(dir); err != nil {
		return err
	} else if p.Alive() {
		return platforms.Errorf(platforms.Busy, "the CE runs")
	}
	// Whoever would be the CE's process comes too late from now on: guestFile keeps
	// it out when the lock does not any more.
	lock, vacant, err := g.Store.Vacant(ctx, dir)
	if err != nil {
		return err
	}
	if !vacant {
		return platforms.Errorf(platforms.Busy, "the CE runs")
	}
	defer Unlock(lock)
	fd, err := g.Store.endGuest(ctx, dir)
	if err != nil {
		return err
	}
	// Closed, not unlocked: the lock is of the open file, which is the guest's too.
	held := os.NewFile(uintptr(fd), guestLockFile)
	defer held.Close()
	room := filepath.Join(dir, guestRoom)
	if err := os.RemoveAll(room); err != nil {
		return err
	}
	if err := os.Mkdir(room, 0o700); err != nil {
		return err
	}
	g.Store.Step("made the guest's directory")
	is := guest{Guest: want, Started: g.SwitchOn == nil}
	cmd, err := g.Command(ctx, dir, room, want)
	if err == nil {
		err = g.record(dir, is)
	}
	var exited <-chan error
	if err == nil {
		is.Process, exited, err = launch(cmd, dir, room, held)
	}
	if err != nil {
		return errors.Join(err, g.forget(dir))
	}
	g.Store.Step("started the guest's process")
	err = g.record(dir, is)
	if is.Started {
		return err // it is on, so that nothing is taken back
	}
	if err == nil {
		err = g.SetUp(ctx, room, exited)
	}
	if err != nil {
		return errors.Join(err, is.Process.Kill(), g.forget(dir))
	}
	g.Store.Step("the guest's machine is set up")
	is.Started = true
	if err := g.record(dir, is); err != nil {
		return err
	}
	err = g.SwitchOn(ctx, room)
	g.Store.Step("switched the guest on")
	return err
}

// launch starts the process of the guest of the CE in dir, which has the file
// held from then on.
func launch(cmd *exec.Cmd, dir, room string, held *os.File) (p Process, exited <-chan error, err error) {
	var files []*os.File
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	for _, name := range []string{guestOutput, GuestErrors} {
		f, err := os.OpenFile(filepath.Join(room, name), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return p, nil, err
		}
		files = append(files, f)
	}
	// It is locked for as long as somebody is about to write it.
	path := filepath.Join(room, endFile)
	end, err := syscall.Open(path, syscall.O_RDWR|syscall.O_CREAT|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return p, nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	if _, err := TryLock(end, path); err != nil {
		syscall.Close(end)
		return p, nil, err
	}
	cmd.Stdout, cmd.Stderr = files[0], files[1]
	cmd.ExtraFiles = []*os.File{held}
	cmd.Env = append(cmd.Env, EnvGuest+"="+dir)
	// A session of its own: what stops the worker, such as ^C, is not for the guest.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		Unlock(end)
		return p, nil, err
	}
	p, err = Identify(cmd.Process.Pid)
	if err != nil {
		// It is our child, and has not been waited for: the id is still its own.
		err = errors.Join(err, cmd.Process.Kill())
	}
	ended := make(chan error, 1)
	go func() {
		defer Unlock(end)
		err := cmd.Wait()
		ended <- err
		status := exitedWell
		if err != nil {
			status = err.Error()
		}
		b, err := json.Marshal(guestEnd{Status: status})
		if err == nil {
			// If that fails nobody will know how it ended.
			_, _ = syscall.Pwrite(end, b, 0)
		}
	}()
	return p, ended, err
}
