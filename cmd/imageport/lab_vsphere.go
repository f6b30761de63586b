//go:build !no_vsphere

package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"imageport/job"
	"imageport/lab"
)

func labVSphere(a *app) *cobra.Command {
	r := labRun{
		section: "vsphere", start: lab.StartVSphere,
		is:      "A simulated vCenter runs at %s. It has no ESXi; Compositing Engines run %s.",
		storage: func(t job.Target) string { return fmt.Sprintf("datastore [%s]", t.Datastore) },
	}
	cmd := a.labRunCommand(&r, &cobra.Command{
		Use:   "vsphere",
		Short: "Run a simulated vCenter whose Compositing Engines really run",
		Long: `Run a simulated vCenter whose Compositing Engines really run, until ^C. It prints what the
worker's configuration and the requests need for it.

A Compositing Engine is a process of this machine, or with --guests vm a virtual machine
in QEMU that starts from the appliance, which the worker imports. Its disks are files in
the datastore's directory: a disk that a job leaves is a VMDK for everything that reads
VMDKs.

The vCenter has a certificate and a password that are made for it. The password is in the
wallet of the configuration, under --credential, for as long as the command runs; it is not
printed. Without --dir, all files are gone at the end.`,
		Example: `  imageport lab vsphere
  imageport lab vsphere --dir ./lab --listen 127.0.0.1:8989
  imageport lab vsphere --guests vm --appliance build/appliance/imageport-ce.ova
  imageport lab vsphere -o json | jq .request`,
	})
	cmd.PreRunE = func(*cobra.Command, []string) error {
		switch {
		case r.guests == guestsVM && r.appliance == "":
			return fmt.Errorf("--appliance is missing, which --guests %s needs: imageport appliance build --formats ova makes one", guestsVM)
		case r.guests == guestsProcess && r.appliance != "":
			return fmt.Errorf("--appliance is for --guests %s", guestsVM)
		}
		return r.check()
	}
	r.guests = guestsProcess
	choose(cmd, &r.guests, "guests", "run Compositing Engines as `process or vm`", guestsProcess, guestsVM)
	cmd.Flags().StringVar(&r.appliance, "appliance", "", "`file` with the appliance's OVA, for --guests vm")
	return cmd
}
