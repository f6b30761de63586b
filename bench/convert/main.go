// Command convert measures the engine of convertToUefi alone, on local files:
// preflight, compose with its verification, and publish, for the sample disk
// and for the same Windows on disks of 64 GiB and of 2 TiB. It prints medians
// and the goals; none is asserted, because machines differ.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"imageport/bench/internal/peers"
	"imageport/engine/convert"
	"imageport/engine/share"
	"imageport/job"
	"imageport/testkit/winimage"
)

func main() {
	runs := flag.Int("n", 7, "conversions of each disk to measure, after one to warm up")
	peers.Main(func(ctx context.Context, dir string) error { return run(ctx, dir, *runs) })
}

// disk is one disk to convert.
type disk struct {
	name      string
	sizeBytes int64
	placement job.ESPPlacement
	store     share.Store
	samples   []sample
}

type sample struct {
	wall   time.Duration
	result job.Result
	pages  int // of C:, that change
}

func run(ctx context.Context, dir string, runs int) error {
	sample := winimage.Default()
	disks := []*disk{
		{name: "sample, System Reserved reused", sizeBytes: sample.SizeBytes, placement: job.PlaceReuse},
		{name: "sample, C: shrunk", sizeBytes: sample.SizeBytes, placement: job.PlaceShrink},
		{name: "64 GiB", sizeBytes: 64 << 30, placement: job.PlaceReuse},
		// An MBR ends before 2 TiB.
		{name: "2 TiB", sizeBytes: 2<<40 - 1<<30, placement: job.PlaceReuse},
	}
	for i, d := range disks {
		if err := d.make(ctx, filepath.Join(dir, fmt.Sprint(i))); err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
	}
	for round := range runs + 1 {
		for _, d := range disks { // in turn, so that what else the machine does meets all
			s, err := d.convert(ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", d.name, err)
			}
			if round > 0 {
				d.samples = append(d.samples, s)
			}
		}
	}
	report(disks)
	return nil
}

// make builds the disk as a VHDX.
func (d *disk) make(ctx context.Context, dir string) error {
	spec := winimage.Default()
	spec.SizeBytes = d.sizeBytes
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	raw := filepath.Join(dir, "raw")
	img, err := winimage.Build(ctx, spec, raw)
	if err != nil {
		return err
	}
	if err := img.VHDX(ctx, filepath.Join(dir, "win10.vhdx"), winimage.Dynamic); err != nil {
		return err
	}
	if err := os.Remove(raw); err != nil {
		return err
	}
	d.store, err = share.Dir(dir)
	return err
}

// convert does what a job's activities do, and removes the output.
func (d *disk) convert(ctx context.Context) (s sample, err error) {
	t := convert.Task{
		Job: "bench", Key: "0123456789ab", Storage: job.StorageLocation{Host: "h", SharePath: "disks"},
		Input: "win10.vhdx", Output: "out.avhdx", Format: job.FormatVHDX,
		Options: job.UEFIOptions{ESPPlacement: []job.ESPPlacement{d.placement}},
	}
	start := time.Now()
	admitted, err := convert.Preflight(ctx, d.store, t)
	if err != nil {
		return s, err
	}
	a := admitted.Approval
	composed, err := convert.Compose(ctx, d.store, t, a, "1", func(job.Progress) {})
	if err != nil {
		return s, errors.Join(err, convert.Finish(ctx, d.store, t, a, nil, false))
	}
	err = convert.Publish(ctx, d.store, t, a, composed)
	s.wall, s.result = time.Since(start), composed.Result
	s.pages = strings.Count(string(admitted.Preview.Plan), `"what":"\\Windows\\`)
	return s, errors.Join(err, convert.Finish(ctx, d.store, t, a, &composed, false))
}

func report(disks []*disk) {
	const mib = 1 << 20
	fmt.Printf("%-32s %8s %8s %12s %12s %10s %s\n", "", "median", "best", "output", "changed", "C: pages", "x sample")
	wall := func(s sample) float64 { return s.wall.Seconds() }
	median := func(d *disk) float64 { return peers.Median(d.samples, wall) }
	first := median(disks[0])
	for _, d := range disks {
		m, r := median(d), d.samples[0].result
		fmt.Printf("%-32s %7.2fs %7.2fs %8.1f MiB %8.1f MiB %10d %.2f\n", d.name, m, peers.At(d.samples, 0, wall),
			float64(r.SizeBytes)/mib, float64(r.ChangedBytes)/mib, d.samples[0].pages, m/first)
	}
	a, b := median(disks[2]), median(disks[3])
	fmt.Printf("2 TiB takes %.2fx of 64 GiB\n", b/a)
	fmt.Println("goals: 2 s for the sample; 2 TiB within 1.2x of 64 GiB; output at most 2x the bytes changed + 8 MiB; at most 16 pages of C: where it does not shrink")
}
