package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.temporal.io/api/history/v1"

	"imageport/bench/internal/rig"
	"imageport/job"
	"imageport/job/seed"
	"imageport/testkit/cevm"
	"imageport/testkit/devserver"
	"imageport/testkit/site"
	"imageport/testkit/winimage"
)

// installation is a site with a worker, and the body of a job for it.
type installation struct {
	*site.Site
	worker *site.Worker
	body   []byte
}

// install brings a site up that runs its jobs in machines of the image, or
// without one on the platform local. The settings follow the platform's.
func install(t *bench, image string, temporal *devserver.Server, disk winimage.Spec, location, settings string) (in *installation, err error) {
	program, err := filepath.Abs("bin/imageport")
	if err != nil {
		return nil, err
	}
	printed, err := os.ReadFile("job/testdata/convertToUefi.json")
	if err != nil {
		return nil, err
	}
	s, err := site.Start(t.ctx, site.Options{
		Dir: t.TempDir(), Program: program, Temporal: temporal, Image: disk, ResourceLocation: location, Appliance: image, Firmware: "uefi",
	})
	if err != nil {
		return nil, err
	}
	in = &installation{Site: s}
	defer func() {
		if err != nil {
			err = errors.Join(err, in.stop())
		}
	}()
	// The section of the platform is the file's last one.
	config, err := os.OpenFile(s.Config(), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	_, err = config.WriteString(settings)
	if err := errors.Join(err, config.Close()); err != nil {
		return nil, err
	}
	in.body, err = s.Body(printed, func(b map[string]any) { b["overwriteOutput"] = true })
	if err != nil {
		return nil, err
	}
	in.worker, err = s.StartWorker(t.ctx)
	return in, err
}

func (in *installation) stop() error {
	if in.worker != nil {
		in.worker.Stop()
	}
	return in.Stop()
}

// sample is one job.
type sample struct {
	wall time.Duration // from the start to the end that the client saw
	work time.Duration // of the activities of the Compositing Engine
}

// convert runs a job. One that needed a second machine has failed.
func (in *installation) convert(ctx context.Context) (sample, error) {
	begin := time.Now()
	started, err := in.Jobs.Start(ctx, job.OpConvertToUEFI, in.body)
	if err != nil {
		return sample{}, err
	}
	result, err := in.Jobs.Result(ctx, started.RunID)
	if err != nil {
		return sample{}, err
	}
	if result.CompositingEngines != 1 {
		return sample{}, fmt.Errorf("it took %d Compositing Engines: %v", result.CompositingEngines, result.Warnings)
	}
	one := sample{wall: time.Since(begin)}
	one.work, err = in.work(ctx, started.JobID, started.RunID)
	return one, err
}

// work adds up the activities on the queues of Compositing Engines.
func (in *installation) work(ctx context.Context, id, run string) (sum time.Duration, err error) {
	theirs := make(map[int64]bool)     // that were scheduled for one
	began := make(map[int64]time.Time) // by the same event
	for e, err := range rig.Events(ctx, in.Site, rig.Job{ID: id, Run: run}) {
		if err != nil {
			return 0, err
		}
		switch a := e.Attributes.(type) {
		case *history.HistoryEvent_ActivityTaskScheduledEventAttributes:
			scheduled := a.ActivityTaskScheduledEventAttributes
			theirs[e.EventId] = strings.HasPrefix(scheduled.TaskQueue.Name, seed.Queue(""))
		case *history.HistoryEvent_ActivityTaskStartedEventAttributes:
			began[a.ActivityTaskStartedEventAttributes.ScheduledEventId] = e.EventTime.AsTime()
		case *history.HistoryEvent_ActivityTaskCompletedEventAttributes:
			if of := a.ActivityTaskCompletedEventAttributes.ScheduledEventId; theirs[of] {
				sum += e.EventTime.AsTime().Sub(began[of])
			}
		}
	}
	return sum, nil
}

// jobs measures the sample's conversion in machines and on the platform local.
func jobs(t *bench, image cevm.Image, temporal *devserver.Server, rounds int) (err error) {
	kinds := []struct {
		name, location, image string
		in                    *installation
		wall, work            []time.Duration
	}{
		{name: "platform local", location: "bench-local"},
		{name: "platform qemu", location: "bench-qemu", image: image.Raw},
	}
	for i, k := range kinds {
		in, err := install(t, k.image, temporal, winimage.Default(), k.location, "")
		if err != nil {
			return err
		}
		kinds[i].in = in
		defer func() { err = errors.Join(err, in.stop()) }()
	}
	for round := range rounds + 1 {
		for i, k := range kinds {
			s, err := k.in.convert(t.ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", k.name, err)
			}
			if round > 0 {
				kinds[i].wall, kinds[i].work = append(k.wall, s.wall), append(k.work, s.work)
			}
		}
	}
	fmt.Printf("convertToUefi of the sample, %d jobs each\n", rounds)
	for _, k := range kinds {
		fmt.Printf("  %-32s %s\n", k.name+", the job", spread(k.wall))
		fmt.Printf("  %-32s %s\n", k.name+", its engine's work", spread(k.work))
	}
	fmt.Printf("  %-32s %6.2fx the job, %.2fx its engine's work\n\n", "qemu / local",
		median(kinds[1].wall)/median(kinds[0].wall), median(kinds[1].work)/median(kinds[0].work))
	return nil
}
