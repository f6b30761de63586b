// Command imageport-ce is the whole userland of a Compositing Engine. It is the
// first process (/init), the agent that this starts, and two helpers that the
// kernel calls by their names: /sbin/modprobe and /sbin/poweroff.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"

	"imageport/appliance/pid1"
	"imageport/appliance/pid1/kmod"
	"imageport/engine/agent"
	"imageport/job/seed"
)

const usage = `usage: imageport-ce version

This program is the inside of a Compositing Engine, a virtual machine that
"imageport appliance build" makes. There is nothing else to be done with it here.
`

func main() {
	if os.Getpid() == 1 {
		pid1.Main(version())
	}
	os.Exit(run(os.Args, os.Stdout, os.Stderr))
}

func run(args []string, out, complaints io.Writer) int {
	if len(args) == 0 {
		args = []string{"imageport-ce"}
	}
	var err error
	switch name := filepath.Base(args[0]); {
	case name == "modprobe":
		// The kernel asks for much that is built in or not there; it does not
		// want to hear of it.
		if kmod.Modprobe(pid1.Modules, args[1:]) != nil {
			return 1
		}
	case name == "poweroff":
		err = pid1.PowerOff()
	case len(args) == 2 && args[1] == pid1.AgentArgument:
		err = pid1.Agent(func(ctx context.Context, s seed.Seed, log *slog.Logger) error {
			return agent.Serve(ctx, s, agent.MachineDisks, log)
		})
	case len(args) == 2 && args[1] == "version":
		_, err = fmt.Fprintln(out, "imageport-ce "+version())
	default:
		fmt.Fprint(complaints, usage)
		return 2
	}
	if err != nil {
		fmt.Fprintf(complaints, "imageport-ce: %v\n", err)
		return 1
	}
	return 0
}

// version is what the build knows of itself.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			v += " " + s.Value
		}
	}
	return v + " " + info.GoVersion
}
