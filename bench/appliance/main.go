// Command appliance measures the Compositing Engine's virtual machine under
// QEMU without acceleration: how long it takes to build and how big it is, how
// long it takes from power-on until it has enrolled, how little memory it does
// with, and what a job costs in it in comparison with the platform local. It
// prints the goals; none is asserted, because machines differ.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"imageport/bench/internal/peers"
	"imageport/testkit/cevm"
	"imageport/testkit/devserver"
)

func main() {
	rounds := flag.Int("n", 3, "rounds to measure, after one to warm up")
	only := flag.String("only", "build,start,read,job,memory", "what to measure")
	peers.Main(func(ctx context.Context, dir string) error { return run(ctx, dir, *rounds, strings.Split(*only, ",")) })
}

func run(ctx context.Context, dir string, rounds int, only []string) error {
	return inTest(ctx, dir, func(t *bench) (err error) {
		load("begin")
		defer load("end")
		if slices.Contains(only, "build") {
			if err := build(ctx, dir, rounds); err != nil {
				return fmt.Errorf("build: %w", err)
			}
		}
		temporal, err := devserver.Run(ctx, devserver.Options{})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, temporal.Stop()) }()
		image := cevm.Appliance(t)
		for _, part := range []struct {
			name string
			run  func(*bench) error
		}{
			{"start", func(t *bench) error { return starts(t, image, temporal, rounds) }},
			{"read", func(t *bench) error { return read(t, image) }},
			{"job", func(t *bench) error { return jobs(t, image, temporal, rounds) }},
			{"memory", func(t *bench) error { return memory(t, image, temporal) }},
		} {
			if !slices.Contains(only, part.name) {
				continue
			}
			if err := t.alone(part.run); err != nil {
				return fmt.Errorf("%s: %w", part.name, err)
			}
		}
		return nil
	})
}

// load prints how busy the machine is.
func load(when string) {
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		fmt.Printf("load average at the %s: %s\n", when, strings.Join(strings.Fields(string(b))[:3], " "))
	}
}

// spread is the median of the times, and the shortest and the longest.
func spread(times []time.Duration) string {
	return peers.Spread(times, "%6.2fs", time.Duration.Seconds)
}

func median(times []time.Duration) float64 { return peers.Median(times, time.Duration.Seconds) }
