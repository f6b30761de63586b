// Command demo runs the main jobs for real on one machine: a Temporal dev
// server, a Samba with a Windows-like vDisk, one worker, and jobs started with
// the Temporal CLI and the specification's JSON. With an appliance they run in
// virtual machines of their own, with a lab on a simulated vSphere or XenServer.
// It ends with the results booted by firmware.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"imageport/testkit/devserver"
	"imageport/testkit/site"
	"imageport/testkit/winimage"
)

// options are the command line.
type options struct {
	program            string // imageport
	requests           string // directory of the specification's
	appliance          string // "" for processes
	vSphere, xenServer bool
	keep               bool
}

func main() {
	var o options
	flag.BoolVar(&o.keep, "keep", false, "leave everything running until ^C")
	flag.StringVar(&o.program, "program", "bin/imageport", "the imageport program")
	flag.StringVar(&o.requests, "requests", "job/testdata", "directory with the specification's requests")
	flag.StringVar(&o.appliance, "appliance", "", "the appliance: run the jobs in virtual machines (its raw disk, with -vsphere its OVA)")
	flag.BoolVar(&o.vSphere, "vsphere", false, "run the jobs on a simulated vSphere (imageport lab vsphere)")
	flag.BoolVar(&o.xenServer, "xenserver", false, "run the jobs on a simulated XenServer (imageport lab xenserver)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, o)
	interrupted := ctx.Err() != nil
	stop()
	switch {
	case interrupted:
		fmt.Println("\nstopped; nothing is left running")
		os.Exit(130)
	case err != nil:
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// step says what comes next, and how long it took.
func step(text string, do func() error) error {
	fmt.Printf("%-62s", text)
	start := time.Now()
	if err := do(); err != nil {
		fmt.Println("failed")
		return err
	}
	fmt.Printf("%6.1f s\n", time.Since(start).Seconds())
	return nil
}

func run(ctx context.Context, o options) (err error) {
	for _, path := range []*string{&o.program, &o.appliance} {
		if *path == "" {
			continue
		}
		if *path, err = filepath.Abs(*path); err != nil {
			return err
		}
	}
	dir, err := os.MkdirTemp("", "imageport-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	var temporal *devserver.Server
	err = step("Temporal dev server with its Web UI", func() (err error) {
		temporal, err = devserver.Run(ctx, devserver.Options{UIPort: devserver.AnyPort, DBFile: filepath.Join(dir, "temporal.db")})
		return err
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, temporal.Stop()) }()

	what := "Samba on loopback with a 4 GiB Windows-like BIOS vDisk"
	switch {
	case o.vSphere:
		what = "simulated vCenter; Samba with a 4 GiB Windows-like vDisk"
	case o.xenServer:
		what = "simulated XenServer; Samba with a 4 GiB Windows-like vDisk"
	}
	var s *site.Site
	err = step(what, func() (err error) {
		s, err = site.Start(ctx, site.Options{
			Dir: dir, Program: o.program, Temporal: temporal, Image: winimage.Default(),
			Appliance: o.appliance, VSphere: o.vSphere, XenServer: o.xenServer,
		})
		return err
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()

	var worker *site.Worker
	err = step("resource-location worker", func() (err error) {
		worker, err = s.StartWorker(ctx)
		return err
	})
	if err != nil {
		return err
	}
	defer worker.Stop()

	d := demo{Site: s, requests: o.requests}
	if s.Lab != nil {
		if err := d.reverseImage(ctx); err != nil {
			return err
		}
	}
	if err := d.convertToUEFI(ctx); err != nil {
		return err
	}
	fmt.Printf("Web UI    %s/namespaces/%s/workflows\n", temporal.UI, devserver.Namespace)
	if !o.keep {
		fmt.Println("\nAll of it is stopped and removed now. make demo KEEP=1 leaves it running, to look at.")
		return nil
	}
	fmt.Printf("\nIt is all still running, until ^C. In another terminal:\n\n  export TEMPORAL_ADDRESS=%s IMAGEPORT_CONFIG=%s\n  bin/imageport jobs list\n", temporal.Address, s.Config())
	<-ctx.Done()
	return ctx.Err()
}
