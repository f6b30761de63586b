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
	"imageport/job"
	"imageport/testkit/devserver"
	"imageport/testkit/site"
	"imageport/testkit/winimage"
)

func main() {
	jobs := flag.Int("n", 200, "jobs at once")
	alone := flag.Int("alone", 5, "jobs one after the other, after one to warm up")
	program := flag.String("program", "bin/imageport", "the program")
	parent := flag.String("dir", "", "where the images go (default: the directory for temporary files)")
	flag.Parse()
	peers.Main(*parent, func(ctx context.Context, dir string) error { return run(ctx, dir, *program, *jobs, *alone) })
}

// bench is a site with a worker and one image under many names.
type bench struct {
	*site.Site
	printed []byte // the specification's request
	images  int
}

func run(ctx context.Context, dir, program string, jobs, alone int) (err error) {
	if program, err = filepath.Abs(program); err != nil {
		return err
	}
	temporal, err := devserver.Run(ctx, devserver.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, temporal.Stop()) }()
	s, err := site.Start(ctx, site.Options{Dir: dir, Program: program, Temporal: temporal, Image: winimage.Small()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop()) }()
	b := &bench{Site: s}
	if b.printed, err = os.ReadFile("job/testdata/convertToUefi.json"); err != nil {
		return err
	}
	worker, err := s.StartWorker(ctx)
	if err != nil {
		return err
	}
	defer worker.Stop()

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
	watched, err := watch(s)
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
	runs, ended := make([]job.Status, jobs), make([]error, jobs)
	start := time.Now()
	var group errgroup.Group
	for i, body := range bodies {
		group.Go(func() error {
			started, err := b.Jobs.Start(ctx, job.OpConvertToUEFI, body)
			if err != nil {
				return err
			}
			runs[i].JobID, runs[i].RunID = started.JobID, started.RunID
			_, ended[i] = b.Jobs.Result(ctx, started.RunID)
			return ctx.Err()
		})
	}
	if err := group.Wait(); err != nil {
		return crowd{}, err
	}
	c := crowd{wall: time.Since(start), failed: map[job.Code][]error{}}
	for i, s := range runs {
		if ended[i] != nil {
			code := job.CodeOf(ended[i])
			c.failed[code] = append(c.failed[code], ended[i])
			continue
		}
		one, err := b.sample(ctx, s.JobID, s.RunID)
		if err != nil {
			return crowd{}, err
		}
		c.samples = append(c.samples, one)
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
	return b.Body(b.printed, func(body map[string]any) {
		body["inputImageFilename"], body["outputImageFilename"] = name, name+"-uefi"
	})
}

// leftovers is an error if anything is there but the images and their outputs.
func (b *bench) leftovers() error {
	var left []string
	pids, err := b.agents()
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
