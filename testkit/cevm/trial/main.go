// Command trial is the appliance's program with another agent: instead of a
// job, it does what the host in the address of its seed's gateway says.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"imageport/appliance/pid1"
	"imageport/appliance/pid1/kmod"
	"imageport/engine/blockdev"
	"imageport/job/seed"
)

func main() {
	name := filepath.Base(os.Args[0])
	var err error
	switch {
	case os.Getpid() == 1:
		pid1.Main("trial")
	case name == "modprobe":
		err = kmod.Modprobe(pid1.Modules, os.Args[1:])
	case name == "poweroff":
		err = pid1.PowerOff()
	case len(os.Args) == 2 && os.Args[1] == "orphan":
		// Its parent is gone: it is the first process's now.
		time.Sleep(200 * time.Millisecond)
	case len(os.Args) == 2 && os.Args[1] == "abandon":
		err = exec.Command("/init", "orphan").Start()
	default:
		err = pid1.Agent(work)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// work does what the seed says.
func work(ctx context.Context, s seed.Seed, log *slog.Logger) error {
	what, _, err := net.SplitHostPort(s.Gateway.Address)
	if err != nil {
		return err
	}
	switch what {
	case "done":
		return nil
	case "fail":
		// As an error may come, with a secret and several lines.
		return fmt.Errorf("the share is gone:\nsession with %s", s.Gateway.Token)
	case "panic":
		go func() { panic("a defect") }()
		select {}
	case "wait":
		<-ctx.Done()
		return nil
	case "late": // and does not listen
		late := unix.NsecToTimeval(s.Deadline.Add(time.Minute).UnixNano())
		if err := unix.Settimeofday(&late); err != nil {
			return err
		}
		time.Sleep(time.Hour)
	case "helper": // as a hypervisor has the kernel do it
		if err := exec.Command("/sbin/poweroff").Run(); err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	case "orphans":
		return orphans(log)
	case "disk":
		return disk(ctx, log)
	case "look":
		return look(log)
	default:
		return fmt.Errorf("no trial is called %q", what)
	}
	return nil
}

// orphans makes some, and looks whether they were buried.
func orphans(log *slog.Logger) error {
	for range 3 {
		if err := exec.Command("/init", "abandon").Run(); err != nil {
			return err
		}
	}
	time.Sleep(time.Second)
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return err
	}
	for _, name := range stats {
		stat, err := os.ReadFile(name)
		if err == nil && strings.Contains(string(stat), ") Z ") {
			return fmt.Errorf("a zombie: %s", stat)
		}
	}
	log.Info("no zombies")
	return nil
}

// disk waits for the disk "late", and reads of it.
func disk(ctx context.Context, log *slog.Logger) error {
	s := blockdev.Serial("late")
	_, err := blockdev.This.Find(s)
	log.Info("disks", "late", err)
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("nothing in a minute"))
	defer cancel()
	d, err := blockdev.This.Wait(ctx, s)
	if err != nil {
		return err
	}
	f, err := os.Open(d.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, 16)
	if _, err := f.Read(b); err != nil {
		return err
	}
	log.Info("late disk", "disk", d, "content", strings.TrimRight(string(b), "\x00"))
	return nil
}

// look says what the machine is like.
func look(log *slog.Logger) error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return err
	}
	routes, err := os.ReadFile("/proc/net/route")
	if err != nil {
		return err
	}
	resolv, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		return err
	}
	log.Info("machine", "host", host, "addresses", fmt.Sprint(addrs), "resolv.conf", string(resolv), "memory", os.Getenv("GOMEMLIMIT"))
	for line := range strings.Lines(string(routes)) {
		log.Info("route " + strings.Join(strings.Fields(line), " "))
	}
	processes, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		return err
	}
	user := 0
	for _, p := range processes {
		if _, err := os.Readlink(p); err == nil {
			user++
		}
	}
	log.Info("processes", "number", user)
	return nil
}
