// Command lab measures whole reverseImage jobs on the simulated vSphere of
// package lab: share to VMDK, beside the two steps that people would take,
// smbclient get and qemu-img convert to the kind of VMDK that a datastore has;
// what of a job is not the copy; and what a job reads again whose Compositing
// Engine is killed in the middle.
//
// The Compositing Engine is a process, and the datastore a directory: that says
// nothing of the speed of a hypervisor or of its storage.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"imageport/bench/internal/peers"
	"imageport/bench/internal/rig"
	"imageport/job"
	"imageport/testkit/proxy"
	"imageport/testkit/site"
)

func main() {
	rounds := flag.Int("n", 5, "rounds to measure, after one to warm up")
	data := flag.Int("data", 1024, "MiB of data on the disk, which is three times as big")
	peers.Main(func(ctx context.Context, dir string) error {
		return rig.Run(ctx, site.Options{Dir: dir, VSphere: true}, func(r *rig.Rig) error { return run(ctx, r, *rounds, int64(*data)<<20) })
	})
}

const twoSteps = "smbclient get + qemu-img"

// bench is a site with an image, and what its jobs took.
type bench struct {
	*rig.Rig
	image  peers.Image
	number int

	copies, rests []time.Duration // of each job: the copy, and everything else
}

func run(ctx context.Context, r *rig.Rig, rounds int, data int64) error {
	image, err := peers.MakeImage(ctx, r.Store, data)
	if err != nil {
		return err
	}
	b := &bench{Rig: r, image: image}

	ways := []peers.Way{{
		Name: "reverseImage, share to VMDK", Bytes: image.DataBytes, NoCPU: true, Goals: []peers.Goal{{Peer: twoSteps}},
		Run:    func(ctx context.Context) error { return b.job(ctx, r.Samba.Port) },
		Verify: func() error { return image.Verify(b.extent()) },
		Clean:  b.remove,
	}}
	for _, q := range peers.QEMUs() {
		command := strings.Fields(q.Name)
		out := filepath.Join(r.Dir, "out.vmdk")
		ways = append(ways, peers.Way{
			Name: "smbclient get, " + q.Name, Peer: twoSteps, Bytes: image.DataBytes,
			Run: func(ctx context.Context) error {
				got := filepath.Join(r.Dir, "got.vhdx")
				if err := peers.SMBClientGet(ctx, r.Samba, filepath.Join(r.Dir, "auth"), filepath.Base(image.Path), got); err != nil {
					return err
				}
				args := append(slices.Clone(command[1:]), "-f", "vhdx", "-O", "vmdk", "-o", "subformat=monolithicFlat", got, out)
				return errors.Join(peers.Tool(ctx, command[0], args...), os.Remove(got))
			},
			Clean: func() error { return errors.Join(os.Remove(out), os.Remove(filepath.Join(r.Dir, "out-flat.vmdk"))) },
		})
	}
	results, err := peers.Measure(ctx, rounds, ways)
	if err != nil {
		return err
	}
	fmt.Printf("reverseImage jobs in the lab, %d MiB of data of a disk of %d MiB, %d rounds\n\n", data>>20, 3*data>>20, rounds)
	results.Report(os.Stdout)
	fmt.Printf("\nof a job, median: copy and verification %.2f s, everything else %.2f s\n", peers.Median(b.copies, time.Duration.Seconds), peers.Median(b.rests, time.Duration.Seconds))
	return b.again(ctx)
}

// job runs one job whose share is at that port.
func (b *bench) job(ctx context.Context, port int) error {
	body, err := b.body(port)
	if err != nil {
		return err
	}
	done, err := b.Do(ctx, job.OpReverseImage, body)
	if err != nil {
		return err
	}
	total, copied, err := b.times(ctx, done)
	b.copies, b.rests = append(b.copies, copied), append(b.rests, total-copied)
	return err
}

// body is the request for another disk.
func (b *bench) body(port int) ([]byte, error) {
	b.number++
	return b.Request(job.OpReverseImage, port, func(body map[string]any) {
		body["outputDiskName"] = fmt.Sprintf("[%s] images/%d.vmdk", body["datastore"], b.number)
		body["inputImageFilename"] = filepath.Base(b.image.Path)
		body["fixups"] = job.FixUpsNone
		delete(body, "outputSizeMb")
	})
}

// extent is the file with the bytes of the last disk.
func (b *bench) extent() string {
	return filepath.Join(b.Outputs(), "images", fmt.Sprintf("%d-flat.vmdk", b.number))
}

func (b *bench) remove() error {
	return errors.Join(os.Remove(b.extent()), os.Remove(strings.TrimSuffix(b.extent(), "-flat.vmdk")+".vmdk"))
}

// times gives how long a job took, and its copies, by its history.
func (b *bench) times(ctx context.Context, of rig.Job) (total, copied time.Duration, err error) {
	var first, last time.Time
	began := map[int64]time.Time{} // of copies, by the event that scheduled them
	for e, err := range rig.Events(ctx, b.Site, of) {
		if err != nil {
			return 0, 0, err
		}
		at := e.GetEventTime().AsTime()
		if first.IsZero() {
			first = at
		}
		last = at
		if a := e.GetActivityTaskScheduledEventAttributes(); a.GetActivityType().GetName() == "Copy" {
			began[e.GetEventId()] = time.Time{}
		}
		if a := e.GetActivityTaskStartedEventAttributes(); a != nil {
			if _, ok := began[a.GetScheduledEventId()]; ok {
				began[a.GetScheduledEventId()] = at
			}
		}
		if a := e.GetActivityTaskCompletedEventAttributes(); a != nil {
			if from, ok := began[a.GetScheduledEventId()]; ok {
				copied += at.Sub(from)
			}
		}
	}
	return last.Sub(first), copied, nil
}

// again measures what is read once more after the Compositing Engine was killed
// in the middle, at a rate of a network of 1 Gbit/s.
func (b *bench) again(ctx context.Context) error {
	b.Door.Rate(118 << 20)
	before := b.Door.Bytes(proxy.Down)
	if err := b.job(ctx, b.Door.Port()); err != nil {
		return err
	}
	whole := b.Door.Bytes(proxy.Down) - before
	if err := b.remove(); err != nil {
		return err
	}
	body, err := b.body(b.Door.Port())
	if err != nil {
		return err
	}
	before = b.Door.Bytes(proxy.Down)
	started, err := b.Jobs.Start(ctx, job.OpReverseImage, body)
	if err != nil {
		return err
	}
	for b.Door.Bytes(proxy.Down)-before < whole/2 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
	engines, err := b.Engines()
	if err != nil {
		return err
	}
	for _, pid := range engines {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
	if _, err := b.Jobs.Result(ctx, started.RunID); err != nil {
		return err
	}
	read := b.Door.Bytes(proxy.Down) - before
	fmt.Printf("after a kill in the middle, at 1 Gbit/s: %.0f MiB of %.0f MiB read again (%.1f %%)\n", float64(read-whole)/(1<<20), float64(whole)/(1<<20), 100*float64(read-whole)/float64(whole))
	return errors.Join(b.image.Verify(b.extent()), b.remove())
}
