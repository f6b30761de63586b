// Command upgrade measures whole upgradePvs jobs: the time of each phase, and the
// bytes that went over SMB beside those that the image has. Beside the jobs is what
// a person does without them: smbclient get, qemu-img convert to a raw disk, the
// installation, qemu-img convert back, smbclient put.
//
// The guest is a simulation, which takes seconds where a real Windows takes many
// minutes, and the Compositing Engine is a process: what is measured is all that is
// ours. The person's guest is a simulation as well, of the installer alone, without
// the restart after it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"imageport/bench/internal/peers"
	"imageport/bench/internal/rig"
	"imageport/engine/share"
	"imageport/engine/source"
	"imageport/engine/windows/pvstarget"
	"imageport/job"
	"imageport/testkit/guestsim"
	"imageport/testkit/site"
	"imageport/testkit/targetdevice"
	"imageport/testkit/winimage"
)

func main() {
	rounds := flag.Int("n", 3, "rounds to measure, after one to warm up")
	data := flag.Int("data", 512, "MiB of data on the disk, which is three times as big and 2 GiB more")
	peers.Main(func(ctx context.Context, dir string) error { return run(ctx, dir, *rounds, *data) })
}

// The versions of the software in the image and of the one that is installed, and
// what the catalogue calls that.
const (
	oldVersion = targetdevice.Version733
	newVersion = targetdevice.Version740
	label      = "2311"
)

// bench is a site with an image, and what its upgrades took.
type bench struct {
	*rig.Rig
	installer string
	scratch   string // a directory for what people make by hand
	raw       int64  // bytes of the disk
	used      int64  // bytes of it that are there

	jobs []sample
	hand map[string][]time.Duration // without the guest, by way
}

func run(ctx context.Context, dir string, rounds, data int) error {
	machine := filepath.Join(dir, "guestsim")
	if err := peers.Tool(ctx, "go", "build", "-o", machine, "imageport/testkit/guestsim/cmd/guestsim"); err != nil {
		return err
	}
	return rig.Run(ctx, site.Options{Dir: dir, Guest: machine}, func(r *rig.Rig) error {
		b := &bench{Rig: r, scratch: filepath.Join(dir, "scratch"), hand: make(map[string][]time.Duration)}
		if err := b.prepare(ctx, data); err != nil {
			return err
		}
		results, err := peers.Measure(ctx, rounds, b.ways())
		if err != nil {
			return err
		}
		fmt.Printf("upgradePvs of a disk of %d MiB with %d MiB on it; %d rounds. The guests are simulated\n\n", b.raw>>20, b.used>>20, rounds)
		results.Report(os.Stdout)
		b.report(os.Stdout)
		return nil
	})
}

// prepare makes the image and the catalogue.
func (b *bench) prepare(ctx context.Context, data int) error {
	if err := os.Mkdir(b.scratch, 0o700); err != nil {
		return err
	}
	var err error
	if b.installer, err = targetdevice.Make(ctx, newVersion, targetdevice.Works); err != nil {
		return err
	}
	spec := winimage.Default()
	spec.UserDataMiB = data
	spec.SizeBytes = int64(3*data+2048) << 20
	image, err := guestsim.MakeTargetImage(ctx, spec, oldVersion, job.UEFI)
	if err != nil {
		return err
	}
	var st syscall.Stat_t
	if err := syscall.Stat(image.Path, &st); err != nil {
		return fmt.Errorf("%s: %w", image.Path, err)
	}
	const block = 512 // of st_blocks, see stat(2)
	b.raw, b.used = st.Size, st.Blocks*block
	for _, args := range [][]string{
		{"disk", "convert", "--raw", image.Path, b.source(), "--block-size", "2M"},
		{"catalogue", "add", b.installer, "--version", label, "--catalogue", b.Catalogue()},
	} {
		if out, err := b.Command(ctx, args...).CombinedOutput(); err != nil {
			return fmt.Errorf("imageport %s: %w: %s", strings.Join(args, " "), err, out)
		}
	}
	return nil
}

// source is the image to be upgraded.
func (b *bench) source() string { return filepath.Join(b.Store, site.Image) }

// output is what every way makes of it.
const output = "upgraded.vhdx"

// remove makes room for the next one.
func (b *bench) remove() error { return os.Remove(filepath.Join(b.Store, output)) }

// ways are those of which each makes the output.
func (b *bench) ways() []peers.Way {
	const byHand = "by hand"
	verify := func() error { return b.verify(context.Background()) }
	ways := []peers.Way{{
		Name: "upgradePvs", Bytes: b.used, NoCPU: true, Goals: []peers.Goal{{Peer: byHand}},
		Run: b.job, Verify: verify, Clean: b.remove,
	}}
	for _, q := range peers.QEMUs() {
		ways = append(ways, peers.Way{
			Name: "smbclient, " + q.Name + ", guest", Peer: byHand, Bytes: b.used, NoCPU: true,
			Run: func(ctx context.Context) error { return b.byHand(ctx, q) }, Verify: verify, Clean: b.remove,
		})
	}
	return ways
}

// verify tells whether the output has the version that was asked for.
func (b *bench) verify(ctx context.Context) error {
	store, err := share.Dir(b.Store)
	if err != nil {
		return err
	}
	defer store.Close()
	im, err := source.Open(ctx, source.Input{Store: store, Name: output})
	if err != nil {
		return err
	}
	defer im.Close()
	facts, err := pvstarget.Inspect(ctx, im.Chain)
	if err == nil && (facts.Version != newVersion || facts.Broken != "") {
		err = fmt.Errorf("%s has version %s (%s), want %s", output, facts.Version, facts.Broken, newVersion)
	}
	return err
}
