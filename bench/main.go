// Command bench measures convertToUefi on a sample disk, on everything real
// that one machine can run: wall time, bytes over SMB, size of the output,
// history events. It prints the goals beside the figures; none is asserted,
// because machines differ.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"go.temporal.io/api/enums/v1"

	"imageport/job"
	"imageport/testkit/devserver"
	"imageport/testkit/proxy"
	"imageport/testkit/site"
	"imageport/testkit/winimage"
)

func main() {
	runs := flag.Int("n", 7, "jobs to measure, after one to warm up")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, *runs)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// sample is what was measured of one job.
type sample struct {
	wall     time.Duration // from start to the end that the client saw
	received int64         // bytes from the SMB server, headers included: worker and CE
	sent     int64
	events   int64
	result   job.Result
}

func run(ctx context.Context, runs int) (err error) {
	program, err := filepath.Abs("bin/imageport")
	if err != nil {
		return err
	}
	body, err := os.ReadFile("job/testdata/convertToUefi.json")
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "imageport-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	temporal, err := devserver.Run(ctx, devserver.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, temporal.Stop()) }()
	s, err := site.Start(ctx, site.Options{Dir: dir, Program: program, Temporal: temporal, Image: winimage.Default()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	worker, err := s.StartWorker(ctx)
	if err != nil {
		return err
	}
	defer worker.Stop()
	counter, err := proxy.Start(s.Samba.Addr())
	if err != nil {
		return err
	}
	defer counter.Stop()
	body, err = s.Body(body, func(b map[string]any) {
		b["overwriteOutput"] = true
		b["inputStorageLocation"].(map[string]any)["port"] = counter.Port()
	})
	if err != nil {
		return err
	}
	var samples []sample
	for range runs + 1 {
		one, err := measure(ctx, s, counter, body)
		if err != nil {
			return err
		}
		samples = append(samples, one)
	}
	report(samples[1:])
	return nil
}

func measure(ctx context.Context, s *site.Site, counter *proxy.Proxy, body []byte) (sample, error) {
	received, sent, start := counter.Bytes(proxy.Down), counter.Bytes(proxy.Up), time.Now()
	started, err := s.Jobs.Start(ctx, job.OpConvertToUEFI, body)
	if err != nil {
		return sample{}, err
	}
	result, err := s.Jobs.Result(ctx, started.RunID)
	if err != nil {
		return sample{}, err
	}
	one := sample{wall: time.Since(start), result: result}
	one.received, one.sent = counter.Bytes(proxy.Down)-received, counter.Bytes(proxy.Up)-sent
	events := s.Temporal.Client().GetWorkflowHistory(ctx, started.JobID, started.RunID, false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		if _, err := events.Next(); err != nil {
			return sample{}, err
		}
		one.events++
	}
	return one, nil
}

func report(samples []sample) {
	const mib = 1 << 20
	result := samples[0].result
	row := func(what, format string, of func(sample) float64, goal string) {
		values := make([]float64, len(samples))
		for i, s := range samples {
			values[i] = of(s)
		}
		slices.Sort(values)
		fmt.Printf("%-34s "+format+"  (%s - "+format+")   %s\n", what, values[len(values)/2],
			fmt.Sprintf(format, values[0]), values[len(values)-1], goal)
	}
	fmt.Printf("convertToUefi of a %d GiB disk, %.1f MiB of it changed; %d jobs, median (min - max)\n\n", result.VirtualSizeBytes>>30, float64(result.ChangedBytes)/mib, len(samples))
	row("wall time, s", "%6.2f", func(s sample) float64 { return s.wall.Seconds() }, "goal: under 5")
	row("read over SMB, MiB", "%6.1f", func(s sample) float64 { return float64(s.received) / mib }, "")
	row("written over SMB, MiB", "%6.1f", func(s sample) float64 { return float64(s.sent) / mib }, "")
	row("output, MiB", "%6.1f", func(s sample) float64 { return float64(s.result.SizeBytes) / mib },
		fmt.Sprintf("goal: at most %.1f (2 x changed + 8 MiB)", float64(2*result.ChangedBytes+8*mib)/mib))
	row("output / changed", "%6.2f", func(s sample) float64 { return float64(s.result.SizeBytes) / float64(s.result.ChangedBytes) }, "")
	row("history events", "%6.0f", func(s sample) float64 { return float64(s.events) }, "goal: at most 60")
}
