//go:build !no_xenserver

package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"imageport/job"
	"imageport/lab"
)

func labXenServer(a *app) *cobra.Command {
	r := labRun{
		section: "xenserver", start: lab.StartXenServer, guests: guestsProcess,
		is:      "A simulated XenServer pool runs at %s. It has no Xen; Compositing Engines run %s.",
		storage: func(t job.Target) string { return fmt.Sprintf("storage repository %s", t.StorageRepositoryUUID) },
	}
	cmd := a.labRunCommand(&r, &cobra.Command{
		Use:   "xenserver",
		Short: "Run a simulated XenServer pool whose Compositing Engines really run",
		Long: `Run a simulated XenServer pool whose Compositing Engines really run, until ^C. It prints what
the worker's configuration and the requests need for it.

A Compositing Engine is a process of this machine: nothing starts from the appliance, which
the worker imports. Its disks are files in the storage repository's directory, raw, which
are called by the disk's UUID: the newest one is the disk that a job has just left.

The pool has a certificate and a password that are made for it. The password is in the
wallet of the configuration, under --credential, for as long as the command runs; it is not
printed. Without --dir, all files are gone at the end; with it they stay, but no later run
knows of them.`,
		Example: `  imageport lab xenserver
  imageport lab xenserver --dir ./lab --listen 127.0.0.1:8989
  imageport lab xenserver -o json | jq .request`,
	})
	cmd.PreRunE = func(*cobra.Command, []string) error { return r.check() }
	return cmd
}
