package main

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"imageport/engine/disk/chain"
	"imageport/engine/diskimage"
	"imageport/job"
)

// makeFlags are the flags of the commands that write an image.
type makeFlags struct {
	to     chain.Container
	typ    string
	block  blockSize
	parent string
	force  bool
}

func (f *makeFlags) add(cmd *cobra.Command) {
	choose(cmd, &f.to, "to", "`format` of the output: raw, vhdx or vhd (default: by the extension of its name)", chain.Raw, chain.VHDX, chain.VHD)
	choose(cmd, &f.typ, "type", "`type` of a vhdx or vhd without a parent: dynamic or fixed (default dynamic)", "dynamic", "fixed")
	cmd.Flags().Var(&f.block, "block-size", "`size` of the blocks, such as 2M, or parent for that of the parent (default 32M for vhdx, 2M for vhd or with a parent)")
	cmd.Flags().StringVar(&f.parent, "parent", "", "make a differencing image of this `image`, which is in the folder of the output")
	cmd.Flags().BoolVar(&f.force, "force", false, "replace the output if it exists")
}

// output is the image to write, of a parent if that is not nil.
func (f *makeFlags) output(p place, parent *chain.Chain) (diskimage.Output, error) {
	container := f.to
	if container == "" {
		var err error
		if container, err = diskimage.ContainerOf(p.name, parent != nil); err != nil {
			return diskimage.Output{}, err
		}
	}
	block, err := f.block.bytes(parent)
	if err != nil {
		return diskimage.Output{}, err
	}
	return diskimage.Output{
		Store: p.Store, Name: p.name, Replace: f.force, Parent: parent,
		Format:   diskimage.Format{Container: container, Type: f.typ, BlockBytes: block},
		Identity: diskimage.Identity{ID: uuid.New(), Created: time.Now(), Creator: "imageport"},
	}, nil
}

// makeDisk has f make an image, and tells about it.
func (a *app) makeDisk(ctx context.Context, path, credential string, to makeFlags, f func(diskimage.Output) (diskimage.Made, error)) error {
	p, err := a.openOutput(ctx, path, credential)
	if err != nil {
		return err
	}
	defer p.Close()
	withParent := func(parent *chain.Chain) error {
		out, err := to.output(p, parent)
		if err != nil {
			return err
		}
		made, err := f(out)
		if err != nil {
			return err
		}
		return a.printMade(made)
	}
	if to.parent == "" {
		return withParent(nil)
	}
	return a.withImage(ctx, to.parent, diskFlags{credential: credential}, withParent)
}

func (a *app) printMade(made diskimage.Made) error {
	if a.output == outputJSON {
		return a.printJSON(made)
	}
	p := printer{w: a.out}
	p.line("%s: %s, disk of %s, file of %s", made.Name,
		kindText(made.Container, cmp.Or(made.Type, made.Container)), exactText(made.VirtualSizeBytes), sizeText(made.FileSizeBytes))
	p.field("crc32c", made.CRC32C)
	p.field("sha256", made.SHA256)
	if made.SkippedBytes > 0 {
		p.field("skipped", exactText(made.SkippedBytes)+" of free clusters")
	}
	if made.ResumedBytes > 0 {
		p.field("resumed", exactText(made.ResumedBytes)+" were done already")
	}
	for _, w := range made.Warnings {
		p.field("warning", w)
	}
	return p.err
}

// blockSize is the value of --block-size: a number of bytes, or that of the
// parent.
type blockSize struct {
	byteSize
	parents bool
}

const parentBlocks = "parent"

// String implements pflag.Value.
func (b *blockSize) String() string {
	if b.parents {
		return parentBlocks
	}
	return b.byteSize.String()
}

// Set implements pflag.Value.
func (b *blockSize) Set(s string) error {
	if b.parents = s == parentBlocks; b.parents {
		return nil
	}
	return b.byteSize.Set(s)
}

// bytes is the size for an image of that parent.
func (b *blockSize) bytes(parent *chain.Chain) (int64, error) {
	if !b.parents {
		return int64(b.byteSize), nil
	}
	if parent == nil {
		return 0, job.Errorf(job.BadRequest, "Give a size, or --parent", "there is no parent whose block size the output could have")
	}
	layers := parent.Layers()
	top := layers[len(layers)-1]
	if top.BlockSize == 0 {
		return 0, job.Errorf(job.BadRequest, "Give a size", "the parent %s has no blocks: it is a %s %s", top.Name, top.Type, top.Container)
	}
	return top.BlockSize, nil
}

// byteSize is the value of a flag that is a number of bytes: 512, 64K, 2MiB.
type byteSize int64

// String implements pflag.Value.
func (b *byteSize) String() string {
	if *b == 0 {
		return "" // not given
	}
	return strconv.FormatInt(int64(*b), 10)
}

// Set implements pflag.Value.
func (b *byteSize) Set(s string) error {
	number := strings.TrimRight(s, "KMGTiBkmgtb")
	unit, known := map[string]int64{"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}[strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(s[len(number):]), "b"), "i")]
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || !known || n <= 0 || n > math.MaxInt64/unit {
		return fmt.Errorf("it is not a number of bytes such as 1048576, 512K, 2M, 10G or 1T")
	}
	*b = byteSize(n * unit)
	return nil
}

// Type implements pflag.Value.
func (b *byteSize) Type() string { return "size" }
