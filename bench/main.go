// Command bench measures convertToUefi on a sample disk, on everything real
// that one machine can run: wall time, bytes over SMB, size of the output,
// history events. It prints the goals beside the figures; none is asserted,
// because machines differ.
package main

import (
	"context"
	"flag"
	"fmt"

	"imageport/bench/internal/peers"
	"imageport/bench/internal/rig"
	"imageport/job"
	"imageport/testkit/site"
	"imageport/testkit/winimage"
)

func main() {
	runs := flag.Int("n", 7, "jobs to measure, after one to warm up")
	peers.Main(func(ctx context.Context, dir string) error {
		return rig.Run(ctx, site.Options{Dir: dir, Image: winimage.Default()}, func(r *rig.Rig) error { return run(ctx, r, *runs) })
	})
}

// sample is what was measured of one job.
type sample struct {
	rig.Job
	events int
}

func run(ctx context.Context, r *rig.Rig, runs int) error {
	body, err := r.Request(job.OpConvertToUEFI, r.Door.Port(), func(b map[string]any) { b["overwriteOutput"] = true })
	if err != nil {
		return err
	}
	var samples []sample
	for range runs + 1 {
		one, err := r.Do(ctx, job.OpConvertToUEFI, body)
		if err != nil {
			return err
		}
		s := sample{Job: one}
		for _, err := range rig.Events(ctx, r.Site, one) {
			if err != nil {
				return err
			}
			s.events++
		}
		samples = append(samples, s)
	}
	report(samples[1:])
	return nil
}

func report(samples []sample) {
	const mib = 1 << 20
	result := samples[0].Result
	row := func(what, format string, of func(sample) float64, goal string) {
		fmt.Printf("%-34s %-28s  %s\n", what, peers.Spread(samples, format, of), goal)
	}
	fmt.Printf("convertToUefi of a %d GiB disk, %.1f MiB of it changed; %d jobs, median (min - max)\n\n", result.VirtualSizeBytes>>30, float64(result.ChangedBytes)/mib, len(samples))
	row("wall time, s", "%6.2f", func(s sample) float64 { return s.Wall.Seconds() }, "goal: under 5")
	row("read over SMB, MiB", "%6.1f", func(s sample) float64 { return float64(s.Received) / mib }, "")
	row("written over SMB, MiB", "%6.1f", func(s sample) float64 { return float64(s.Sent) / mib }, "")
	row("output, MiB", "%6.1f", func(s sample) float64 { return float64(s.Result.SizeBytes) / mib },
		fmt.Sprintf("goal: at most %.1f (2 x changed + 8 MiB)", float64(2*result.ChangedBytes+8*mib)/mib))
	row("output / changed", "%6.2f", func(s sample) float64 { return float64(s.Result.SizeBytes) / float64(s.Result.ChangedBytes) }, "")
	row("history events", "%6.0f", func(s sample) float64 { return float64(s.events) }, "goal: at most 60")
}
