// Command guestsim is a machine: it runs the Windows on a disk, a raw file, until
// that switches the machine off, and then ends with exit code 0. SIGTERM pulls
// the plug. See package guestsim for what it is and what it is not.
//
//	guestsim [flags] disk
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"imageport/testkit/guestsim"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	var opt guestsim.Options
	flags := flag.NewFlagSet("guestsim", flag.ContinueOnError)
	flags.IntVar(&opt.MaxBoots, "max-boots", 0, "give up after so many starts of Windows; 0: never")
	flags.DurationVar(&opt.Patience, "patience", 0, "pull the plug of a start of Windows after so long; 0: never")
	flags.DurationVar(&opt.PowerLoss.After, "power-loss-after", 0, "pull the plug so long after Windows began to start")
	flags.IntVar(&opt.PowerLoss.StateWrites, "power-loss-write", 0, "pull the plug at so many writes of the runner's state")
	flags.BoolVar(&opt.PowerLoss.Restart, "power-returns", false, "switch on again after the loss of power")
	flags.BoolVar(&opt.KeepRegistry, "keep-registry", false, "a loss of power loses nothing of the registry")
	flags.StringVar((*string)(&opt.Defect), "defect", "", `what is wrong with Windows: "bluescreen", "blocked", or nothing`)
	verbose := flags.Bool("v", false, "tell what happens")
	if err := flags.Parse(args); err != nil {
		return err
	}
	switch {
	case flags.NArg() != 1:
		return errors.New("usage: guestsim [flags] disk")
	case opt.Defect != "" && opt.Defect != guestsim.BlueScreen && opt.Defect != guestsim.ServicesBlocked:
		return fmt.Errorf("there is no defect %q", opt.Defect)
	}
	if *verbose {
		opt.Log = os.Stderr
	}
	if os.Getenv("PATH") == "" { // platforms start machines with little of an environment
		if err := os.Setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"); err != nil {
			return err
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	_, err := guestsim.Run(ctx, flags.Arg(0), opt)
	return err
}
