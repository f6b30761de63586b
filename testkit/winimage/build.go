package winimage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"imageport/testkit/oracle"
)

// version is of everything that the plan of a disk does not tell: raise it when
// the same files are put on the disk in another way.
const version = "3"

// plan is a disk before it is made.
type plan struct {
	spec       Spec
	partitions []Partition
	trees      map[int]*tree // by the partition's number
	programs   oracle.Paths
}

// newPlan decides on everything that will be on the disk. The oracle is built,
// or taken from oracleDir.
func newPlan(ctx context.Context, spec Spec, oracleDir string) (*plan, error) {
	partitions, err := spec.Layout()
	if err != nil {
		return nil, err
	}
	programs, err := oracle.Build(ctx, oracleDir)
	if err != nil {
		return nil, err
	}
	spec = spec.withDefaults()
	files, err := trees(spec, partitions, programs)
	if err != nil {
		return nil, err
	}
	return &plan{spec: spec, partitions: partitions, trees: files, programs: programs}, nil
}

// key identifies the disk: equal keys, equal disks, but for what NTFS stamps.
func (p *plan) key() (string, error) {
	spec, err := json.Marshal(p.spec)
	if err != nil {
		return "", fmt.Errorf("winimage: %w", err)
	}
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s\n%v\n", version, spec, p.partitions)
	for _, partition := range p.partitions {
		p.trees[partition.Number].describe(h)
	}
	return hex.EncodeToString(h.Sum(nil))[:24], nil
}

// Build makes the disk at path, replacing what was there. The oracle is kept in
// the cache directory, see Cached.
func Build(ctx context.Context, spec Spec, path string) (Image, error) {
	cache, err := cacheDir()
	if err != nil {
		return Image{}, err
	}
	p, err := newPlan(ctx, spec, cache)
	if err != nil {
		return Image{}, err
	}
	if err := p.build(ctx, path); err != nil {
		return Image{}, err
	}
	return p.image(path), nil
}

func (p *plan) image(path string) Image {
	return Image{Path: path, Spec: p.spec, Partitions: p.partitions}
}

// build makes the volumes one beside the other, and puts them on the disk.
func (p *plan) build(ctx context.Context, path string) error {
	work := path + ".work"
	if err := os.RemoveAll(work); err != nil { // of a build that was killed
		return fmt.Errorf("winimage: %w", err)
	}
	if err := os.Mkdir(work, 0o755); err != nil {
		return fmt.Errorf("winimage: %w", err)
	}
	defer os.RemoveAll(work)
	volume := func(partition Partition) string {
		return filepath.Join(work, fmt.Sprintf("volume%d", partition.Number))
	}
	group, groupCtx := errgroup.WithContext(ctx)
	for _, partition := range p.partitions {
		if partition.Content == "" {
			continue
		}
		group.Go(func() error {
			return buildVolume(groupCtx, volume(partition), partition, *p.trees[partition.Number], p.spec)
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}

	out, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("winimage: %w", err)
	}
	defer out.Close()
	if err := out.Truncate(p.spec.SizeBytes); err != nil {
		return fmt.Errorf("winimage: %w", err)
	}
	for at, sector := range table(p.spec, p.partitions) {
		if _, err := out.WriteAt(sector, at); err != nil {
			return fmt.Errorf("winimage: %w", err)
		}
	}
	for _, partition := range p.partitions {
		if partition.Content == "" {
			continue
		}
		in, err := os.Open(volume(partition))
		if err != nil {
			return fmt.Errorf("winimage: %w", err)
		}
		err = copySparse(ctx, out, partition.StartBytes, in, 0, partition.SizeBytes)
		if err := errors.Join(err, in.Close()); err != nil {
			return err
		}
	}
	if err := p.bootable(out); err != nil {
		return err
	}
	if err := out.Close(); err != nil {
		return fmt.Errorf("winimage: %w", err)
	}
	if p.spec.AlreadyGPT {
		return run(ctx, "sgdisk", "--mbrtogpt", path)
	}
	return nil
}

// run runs a tool; the error carries what it said.
func run(ctx context.Context, tool string, args ...string) error {
	_, err := output(ctx, tool, args...)
	return err
}

// output runs a tool, and gives what it said.
func output(ctx context.Context, tool string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, tool, args...)
	output, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("winimage: %v: %w\n%s", cmd.Args, err, output)
	}
	return string(output), nil
}
