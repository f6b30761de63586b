// Command agent is the program of an appliance that reads a disk on a share
// several times, says how long that took, and switches itself off. Its seed has
// the share's address in the place of the gateway's, and the password in that of
// the token, so that no log shows it.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"imageport/appliance/pid1"
	"imageport/appliance/pid1/kmod"
	"imageport/bench/appliance/reading"
	"imageport/job/seed"
)

func main() {
	var err error
	switch {
	case os.Getpid() == 1:
		pid1.Main("reading")
	case filepath.Base(os.Args[0]) == "modprobe":
		err = kmod.Modprobe(pid1.Modules, os.Args[1:])
	default:
		err = pid1.Agent(read)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func read(ctx context.Context, s seed.Seed, log *slog.Logger) error {
	times, err := reading.Share{Address: s.Gateway.Address, Password: s.Gateway.Token}.Time(ctx)
	for _, t := range times {
		log.Info("read", "took", t)
	}
	return err
}
