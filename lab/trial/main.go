// Command trial is the appliance's program with another agent, for the tests of
// package lab: it tells of each disk that comes and goes, and writes to it.
package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"imageport/appliance/pid1"
	"imageport/appliance/pid1/kmod"
	"imageport/engine/blockdev"
	"imageport/job/seed"
)

func main() {
	var err error
	switch name := filepath.Base(os.Args[0]); {
	case os.Getpid() == 1:
		pid1.Main("trial")
	case name == "modprobe":
		err = kmod.Modprobe(pid1.Modules, os.Args[1:])
	case name == "poweroff":
		err = pid1.PowerOff()
	default:
		err = pid1.Agent(work)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// Disks that begin with ask get an answer at answerAt. One that begins with end
// ends the machine.
const (
	ask, answer, end = "who is there?", "a machine", "good night"
	answerAt         = 1 << 20
)

func work(ctx context.Context, s seed.Seed, log *slog.Logger) error {
	known := map[string]bool{} // disks as they describe themselves
	for ctx.Err() == nil {
		disks, err := blockdev.This.Disks()
		if err != nil {
			return err
		}
		there := map[string]bool{}
		for _, d := range disks {
			there[d.String()] = true
			over, err := look(d, known, log)
			if over || err != nil {
				return err
			}
		}
		for d := range known {
			if !there[d] {
				log.Info("disk gone", "is", d)
				delete(known, d)
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	return nil
}

func look(d blockdev.Disk, known map[string]bool, log *slog.Logger) (over bool, err error) {
	if known[d.String()] || d.ReadOnly {
		return false, nil
	}
	f, err := os.OpenFile(d.Path, os.O_RDWR, 0)
	if err != nil {
		return false, nil // it may be gone, or not be there yet
	}
	defer f.Close()
	begin := make([]byte, 512)
	if _, err := f.ReadAt(begin, 0); err != nil {
		return false, err
	}
	begin = bytes.TrimRight(begin, "\x00")
	switch string(begin) {
	case ask:
		if _, err := f.WriteAt([]byte(answer), answerAt); err != nil {
			return false, err
		}
		if err := f.Sync(); err != nil {
			return false, err
		}
	case end:
		over = true
	}
	known[d.String()] = true
	log.Info("disk", "is", d.String(), "bytes", d.SizeBytes, "begins", string(begin))
	return over, nil
}
