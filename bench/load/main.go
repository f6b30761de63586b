// Command load measures many convertToUefi jobs at once, on one worker and one
// Temporal dev server: whether all of them complete and leave nothing behind, what
// a job waits for besides its work, how many the machine carries in a minute, and
// the memory that it takes. A few jobs alone are measured first, beside which to
// see what the crowd costs.
//
// The images are one small disk under many names. The Compositing Engines are
// processes on the same machine, which share its cores with the server, the worker
// and Samba: it is those that the time of a job depends on.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"imageport/bench/internal/peers"
	"imageport/bench/internal/rig"
	"imageport/job"
	"imageport/testkit/site"
	"imageport/testkit/winimage"
)

func main() {
	jobs := flag.Int("n", 200, "jobs at once")
	alone := flag.Int("alone", 5, "jobs one after the other, after one to warm up")
	program := flag.String("program", "bin/imageport", "the program")
	peers.Main(func(ctx context.Context, dir string) error {
		return rig.Run(ctx, site.Options{Dir: dir, Program: *program, Image: winimage.Small()}, func(r *rig.Rig) error {
			return run(ctx, &bench{Rig: r}, *jobs, *alone)
		})
	})
}

// bench is a site with a worker and one image under many names.
type bench struct {
	*rig.Rig
	images int
}

func run(ctx context.Context, b *bench, jobs, alone int) error {
	var single []sample
	for i := range alone + 1 {
		one, err := b.crowd(ctx, 1)
		if err != nil {
			return err
		}
		if i > 0 {
			single = append(single, one.samples...)
		}
	}
	watched, err := watch(b)
	if err != nil {
		return err
	}
	all, err := b.crowd(ctx, jobs)
	used := watched.stop()
	if err != nil {
		return err
	}
	report(single, all, used)
	return errors.Join(all.failures(), b.leftovers())
}

// crowd is what was measured of jobs that were started at once.
type crowd struct {
	wall    time.Duration // from the first start to the last end that the client saw
	samples []sample      // of those that completed
	failed  map[job.Code][]error
}

// failures is one error for all jobs that failed, and an example of each kind.
func (c crowd) failures() error {
	var errs []error
	for code, failed := range c.failed {
		errs = append(errs, fmt.Errorf("%d jobs failed with %s, such as: %w", len(failed), code, failed[0]))
	}
	return errors.Join(errs...)
}

// crowd starts so many jobs at once, and waits for all of them.
func (b *bench) crowd(ctx context.Context, jobs int) (crowd, error) {
	bodies := make([][]byte, jobs)
	for i := range bodies {
		body, err := b.body()
		if err != nil {
			return crowd{}, err
		}
		bodies[i] = body
	}
	done, ended := make([]rig.Job, jobs), make([]error, jobs)
	start := time.Now()
	var group errgroup.Group
	for i, body := range bodies {
		group.Go(func() error {
			done[i], ended[i] = b.Do(ctx, job.OpConvertToUEFI, body)
			return ctx.Err()
		})
	}
	if err := group.Wait(); err != nil {
		return crowd{}, err
	}
	c := crowd{wall: time.Since(start), failed: map[job.Code][]error{}}
	for i, one := range done {
		if ended[i] != nil {
			code := job.CodeOf(ended[i])
			c.failed[code] = append(c.failed[code], ended[i])
			continue
		}
		s, err := b.sample(ctx, one)
		if err != nil {
			return crowd{}, err
		}
		c.samples = append(c.samples, s)
	}
	return c, nil
}

// body is the request for another image.
func (b *bench) body() ([]byte, error) {
	b.images++
	name := fmt.Sprintf("image-%d", b.images)
	// One file under many names is enough: nobody writes to a source.
	if err := os.Link(filepath.Join(b.Store, site.Image), filepath.Join(b.Store, name+".vhdx")); err != nil {
		return nil, err
	}
	return b.Request(job.OpConvertToUEFI, b.Samba.Port, func(body map[string]any) {
		body["inputImageFilename"], body["outputImageFilename"] = name, name+"-uefi"
	})
}

// leftovers is an error if anything is there but the images and their outputs.
func (b *bench) leftovers() error {
	var left []string
	pids, err := b.Engines()
	if err != nil {
		return err
	}
	for _, pid := range pids {
		left = append(left, fmt.Sprintf("process %d", pid))
	}
	engines, err := os.ReadDir(b.State())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, e := range engines {
		if e.IsDir() {
			left = append(left, filepath.Join(b.State(), e.Name()))
		}
	}
	expected := map[string]bool{site.Image: true}
	for i := range b.images {
		expected[fmt.Sprintf("image-%d.vhdx", i+1)] = true
		expected[fmt.Sprintf("image-%d-uefi.avhdx", i+1)] = true
	}
	files, err := os.ReadDir(b.Store)
	if err != nil {
		return err
	}
	for _, f := range files {
		if !expected[f.Name()] {
			left = append(left, filepath.Join(b.Store, f.Name()))
		}
	}
	if len(files) != len(expected) {
		left = append(left, fmt.Sprintf("%d files on the share, where %d are expected", len(files), len(expected)))
	}
	if len(left) > 0 {
		return fmt.Errorf("left behind: %q", left)
	}
	return nil
}
