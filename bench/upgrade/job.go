package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"go.temporal.io/api/enums/v1"

	"imageport/job"
	"imageport/testkit/proxy"
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
	wall           time.Duration            // from its first to its last event
	phases         map[string]time.Duration // of which the sum is wall
	received, sent int64                    // over SMB, headers included
	source, output int64                    // sizes of the files
	boots          int
}

// job runs one job, and notes what it took.
func (b *bench) job(ctx context.Context) error {
	printed, err := os.ReadFile("job/testdata/upgradePvs.json")
	if err != nil {
		return err
	}
	body, err := b.Body(printed, func(body map[string]any) {
		body["inputImageFilename"], body["outputImageFilename"] = site.Image, strings.TrimSuffix(output, ".vhdx")
		delete(body, "outputSizeMb")
		body["upgradeOptions"].(map[string]any)["installPvs"] = label
		body["inputStorageLocation"].(map[string]any)["port"] = b.door.Port()
	})
	if err != nil {
		return err
	}
	received, sent := b.door.Bytes(proxy.Down), b.door.Bytes(proxy.Up)
	started, err := b.Jobs.Start(ctx, job.OpUpgradePVS, body)
	if err != nil {
		return err
	}
	result, err := b.Jobs.Result(ctx, started.RunID)
	if err != nil {
		return err
	}
	one := sample{received: b.door.Bytes(proxy.Down) - received, sent: b.door.Bytes(proxy.Up) - sent, output: result.SizeBytes}
	if result.OutputFile != output || result.Upgrade.Guests != 1 || result.CompositingEngines != 1 {
		return fmt.Errorf("the job made %s with %d guests and %d Compositing Engines: %v", result.OutputFile, result.Upgrade.Guests, result.CompositingEngines, result.Warnings)
	}
	one.boots = result.Upgrade.Boots
	info, err := os.Stat(b.source())
	if err != nil {
		return err
	}
	one.source = info.Size()
	if one.wall, one.phases, err = b.times(ctx, started.JobID, started.RunID); err != nil {
		return err
	}
	b.jobs = append(b.jobs, one)
	return nil
}

// times gives how long a job took, by its history. A phase lasts until the next one
// begins: what the workflow waits for in between, such as a CE that comes up, is
// the time of what it follows.
func (b *bench) times(ctx context.Context, id, run string) (wall time.Duration, by map[string]time.Duration, err error) {
	by = make(map[string]time.Duration)
	phase, afterGuest := phases[0], false
	var first, since, last time.Time
	events := b.Temporal.Client().GetWorkflowHistory(ctx, id, run, false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		e, err := events.Next()
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
		fmt.Fprintf(w, "  %-26s %s\n", phase, spread(jobs, "%6.2f s", func(s sample) float64 { return s.phases[phase].Seconds() }))
	}
	fmt.Fprintf(w, "  %-26s %s\n", "all", spread(jobs, "%6.2f s", func(s sample) float64 { return s.wall.Seconds() }))
	fmt.Fprintf(w, "  %-26s %s\n", "all but the guest", spread(jobs, "%6.2f s", withoutGuest))
	fmt.Fprintf(w, "  %-26s %s\n", "starts of Windows", spread(jobs, "%6.0f", func(s sample) float64 { return float64(s.boots) }))

	used := float64(b.used)
	for _, line := range []struct {
		what, goal string
		of         func(sample) int64
	}{
		{"read over SMB", "goal: 1, read once", func(s sample) int64 { return s.received }},
		{"written over SMB", "goal: 1, written once", func(s sample) int64 { return s.sent }},
		{"source", "", func(s sample) int64 { return s.source }},
		{"output", "", func(s sample) int64 { return s.output }},
	} {
		of := func(s sample) float64 { return float64(line.of(s)) }
		fmt.Fprintf(w, "  %-26s %s, %s of what is on the disk   %s\n", line.what,
			spread(jobs, "%6.1f MiB", func(s sample) float64 { return of(s) / (1 << 20) }),
			spread(jobs, "%.3f", func(s sample) float64 { return of(s) / used }), line.goal)
	}
	// What is free in a block of the image is read with it.
	fmt.Fprintf(w, "  %-26s %s\n", "read over SMB / source", spread(jobs, "%6.3f", func(s sample) float64 { return float64(s.received) / float64(s.source) }))
	fmt.Fprintf(w, "  %-26s %s\n", "output / source", spread(jobs, "%6.3f", func(s sample) float64 { return float64(s.output) / float64(s.source) }))

	ours := median(jobs, withoutGuest)
	for name, times := range b.hand {
		theirs := median(times[1:], time.Duration.Seconds)
		fmt.Fprintf(w, "without the guest: %.2f s, with smbclient and %s %.2f s (%.2fx)\n", ours, name, theirs, theirs/ours)
	}
}

func withoutGuest(s sample) float64 { return (s.wall - s.phases["guest"]).Seconds() }

// spread is the median of the values of all samples, and the least and the greatest
// if they are others.
func spread[T any](all []T, format string, of func(T) float64) string {
	low, high := of(slices.MinFunc(all, by(of))), of(slices.MaxFunc(all, by(of)))
	text := fmt.Sprintf(format, median(all, of))
	if low == high {
		return text
	}
	return text + fmt.Sprintf(" ("+format+" - "+format+")", low, high)
}

func median[T any](all []T, of func(T) float64) float64 {
	return of(slices.SortedFunc(slices.Values(all), by(of))[len(all)/2])
}

func by[T any](of func(T) float64) func(a, b T) int {
	return func(a, b T) int { return cmp.Compare(of(a), of(b)) }
}
