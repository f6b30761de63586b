package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"imageport/bench/internal/peers"
	"imageport/bench/internal/rig"
	"imageport/job"
	"imageport/testkit/site"
)

// phases are what a job's time goes to, in their order.
var phases = []string{"preflight", "CE", "copy", "fix up", "inject", "CE off", "guest", "CE again", "judge", "clean", "export", "publish", "tear-down"}

// phaseOf is the phase that begins with an activity, "" for one that goes on
// beside the others. Of those before the guest, the CE's is another one.
func phaseOf(activity string, afterGuest bool) string {
	switch activity {
	case "PreflightUpgrade":
		return "preflight"
	case "CreateCE", "AddOutputDisk":
		if afterGuest {
			return "CE again"
		}
		return "CE"
	case "Copy", "Inject", "Judge", "Clean", "Export":
		return strings.ToLower(activity)
	case "FixUp":
		return "fix up"
	case "StopCE":
		return "CE off"
	case "StartGuest", "WaitGuest", "RemoveGuest":
		return "guest"
	case "PublishExport":
		return "publish"
	case "DestroyCE", "FinishUpgrade":
		return "tear-down"
	}
	return ""
}

// sample is what was measured of one job.
type sample struct {
	rig.Job
	wall   time.Duration            // from its first to its last event
	phases map[string]time.Duration // of which the sum is wall
	source int64                    // bytes of the image's file
}

// job runs one job, and notes what it took.
func (b *bench) job(ctx context.Context) error {
	body, err := b.Request(job.OpUpgradePVS, b.Door.Port(), func(body map[string]any) {
		body["inputImageFilename"], body["outputImageFilename"] = site.Image, strings.TrimSuffix(output, ".vhdx")
		delete(body, "outputSizeMb")
		body["upgradeOptions"].(map[string]any)["installPvs"] = label
	})
	if err != nil {
		return err
	}
	done, err := b.Do(ctx, job.OpUpgradePVS, body)
	if err != nil {
		return err
	}
	if r := done.Result; r.OutputFile != output || r.Upgrade.Guests != 1 || r.CompositingEngines != 1 {
		return fmt.Errorf("the job made %s with %d guests and %d Compositing Engines: %v", r.OutputFile, r.Upgrade.Guests, r.CompositingEngines, r.Warnings)
	}
	info, err := os.Stat(b.source())
	if err != nil {
		return err
	}
	one := sample{Job: done, source: info.Size()}
	if one.wall, one.phases, err = b.times(ctx, done); err != nil {
		return err
	}
	b.jobs = append(b.jobs, one)
	return nil
}

// times gives how long a job took, by its history. A phase lasts until the next one
// begins: what the workflow waits for in between, such as a CE that comes up, is
// the time of what it follows.
func (b *bench) times(ctx context.Context, of rig.Job) (wall time.Duration, by map[string]time.Duration, err error) {
	by = make(map[string]time.Duration)
	phase, afterGuest := phases[0], false
	var first, since, last time.Time
	for e, err := range rig.Events(ctx, b.Site, of) {
		if err != nil {
			return 0, nil, err
		}
		last = e.GetEventTime().AsTime()
		if first.IsZero() {
			first, since = last, last
		}
		next := phaseOf(e.GetActivityTaskScheduledEventAttributes().GetActivityType().GetName(), afterGuest)
		if next == "" {
			continue
		}
		by[phase] += last.Sub(since)
		phase, since = next, last
		afterGuest = afterGuest || phase == "guest"
	}
	by[phase] += last.Sub(since)
	return last.Sub(first), by, nil
}

// report prints what the jobs took, but for the one to warm up.
func (b *bench) report(w io.Writer) {
	jobs := b.jobs[1:]
	fmt.Fprintf(w, "\nof a job, median (min - max):\n")
	for _, phase := range phases {
		fmt.Fprintf(w, "  %-26s %s\n", phase, peers.Spread(jobs, "%6.2f s", func(s sample) float64 { return s.phases[phase].Seconds() }))
	}
	fmt.Fprintf(w, "  %-26s %s\n", "all", peers.Spread(jobs, "%6.2f s", func(s sample) float64 { return s.wall.Seconds() }))
	fmt.Fprintf(w, "  %-26s %s\n", "all but the guest", peers.Spread(jobs, "%6.2f s", withoutGuest))
	fmt.Fprintf(w, "  %-26s %s\n", "starts of Windows", peers.Spread(jobs, "%6.0f", func(s sample) float64 { return float64(s.Result.Upgrade.Boots) }))

	used := float64(b.used)
	for _, line := range []struct {
		what, goal string
		of         func(sample) int64
	}{
		{"read over SMB", "goal: 1, read once", func(s sample) int64 { return s.Received }},
		{"written over SMB", "goal: 1, written once", func(s sample) int64 { return s.Sent }},
		{"source", "", func(s sample) int64 { return s.source }},
		{"output", "", func(s sample) int64 { return s.Result.SizeBytes }},
	} {
		of := func(s sample) float64 { return float64(line.of(s)) }
		fmt.Fprintf(w, "  %-26s %s, %s of what is on the disk   %s\n", line.what,
			peers.Spread(jobs, "%6.1f MiB", func(s sample) float64 { return of(s) / (1 << 20) }),
			peers.Spread(jobs, "%.3f", func(s sample) float64 { return of(s) / used }), line.goal)
	}
	// What is free in a block of the image is read with it.
	fmt.Fprintf(w, "  %-26s %s\n", "read over SMB / source", peers.Spread(jobs, "%6.3f", func(s sample) float64 { return float64(s.Received) / float64(s.source) }))
	fmt.Fprintf(w, "  %-26s %s\n", "output / source", peers.Spread(jobs, "%6.3f", func(s sample) float64 { return float64(s.Result.SizeBytes) / float64(s.source) }))

	ours := peers.Median(jobs, withoutGuest)
	for name, times := range b.hand {
		theirs := peers.Median(times[1:], time.Duration.Seconds)
		fmt.Fprintf(w, "without the guest: %.2f s, with smbclient and %s %.2f s (%.2fx)\n", ours, name, theirs, theirs/ours)
	}
}

func withoutGuest(s sample) float64 { return (s.wall - s.phases["guest"]).Seconds() }
