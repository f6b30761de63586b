package main

import "github.com/spf13/cobra"

func (a *app) labCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "Run a simulated platform, to try imageport out without a real one",
		Long: `Run a simulated platform, to try imageport out without a real one. It is a simulation, on
this machine, for as long as the command runs: jobs make the calls that they would make on
the real platform, and leave disks that other programs can read. It tells nothing of a real
platform's speed, storage and rights, and it isolates nothing: do not use it for work.`,
		Example: `  imageport lab vsphere
  imageport lab xenserver`,
		Args: cobra.ArbitraryArgs,
		RunE: group,
	}
	for _, command := range []func(*app) *cobra.Command{labVSphere, labXenServer} {
		if command != nil { // nil is one that the program was built without
			cmd.AddCommand(command(a))
		}
	}
	return cmd
}
