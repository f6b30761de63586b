// Command build measures what the platforms' SDKs cost: the time of a build from
// nothing, and the size of the program, with all platforms, without each, and
// without any. The modules must have been downloaded.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"imageport/bench/internal/peers"
)

// builds are programs by the build tags that leave something out.
var builds = []struct{ name, tags string }{
	{"all platforms", ""},
	{"without vSphere", "no_vsphere"},
	{"without XenServer", "no_xenserver"},
	{"without Azure", "no_azure"},
	{"without GCP", "no_gcp"},
	{"none of them", "no_vsphere,no_xenserver,no_azure,no_gcp"},
}

func main() {
	warm := flag.Bool("warm", false, "use the build cache there is: sizes only, and quickly")
	peers.Main(func(ctx context.Context, dir string) error { return run(ctx, dir, *warm) })
}

func run(ctx context.Context, dir string, warm bool) error {
	fmt.Printf("%-30s %10s %10s %12s\n", "imageport", "time", "CPU", "size")
	var all int64
	for i, b := range builds {
		program := filepath.Join(dir, "imageport")
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-tags", b.tags, "-o", program, "./cmd/imageport")
		cmd.Env = os.Environ()
		cache := filepath.Join(dir, fmt.Sprint("cache", i))
		if !warm {
			cmd.Env = append(cmd.Env, "GOCACHE="+cache)
		}
		began := time.Now()
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", b.name, err, out)
		}
		took := time.Since(began).Round(time.Second)
		used := (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Round(time.Second)
		st, err := os.Stat(program)
		if err != nil {
			return err
		}
		all = cmp.Or(all, st.Size())
		fmt.Printf("%-30s %10s %10s %8.1f MiB  %3.0f %%\n", b.name, took, used, float64(st.Size())/(1<<20), float64(st.Size())/float64(all)*100)
		if err := os.RemoveAll(cache); err != nil {
			return err
		}
	}
	agent := filepath.Join(dir, "imageport-ce")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w -buildid=", "-o", agent, "./cmd/imageport-ce")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("imageport-ce: %w\n%s", err, strings.TrimSpace(string(out)))
	}
	st, err := os.Stat(agent)
	if err != nil {
		return err
	}
	fmt.Printf("%-30s %10s %10s %8.1f MiB\n", "imageport-ce, in the appliance", "", "", float64(st.Size())/(1<<20))
	return nil
}
