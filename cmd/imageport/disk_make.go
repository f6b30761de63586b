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
)

// makeFlags are the flags of the commands that write an image.
type makeFlags struct {
	to    string
	typ   string
	block byteSize
	force bool
}

func (f *makeFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.to, "to", "", "`format` of the output: raw, vhdx or vhd (default: by the extension of its name)")
	cmd.Flags().StringVar(&f.typ, "type", "", "`type` of a vhdx or vhd: dynamic or fixed (default dynamic)")
	cmd.Flags().Var(&f.block, "block-size", "`size` of the blocks, such as 2M (default 32M for vhdx, 2M for vhd)")
	cmd.Flags().BoolVar(&f.force, "force", false, "replace the output if it exists")
	for flag, values := range map[string][]string{
		"to":   {string(chain.Raw), string(chain.VHDX), string(chain.VHD)},
		"type": {"dynamic", "fixed"},
	} {
		_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)) // it fails for a flag that is not there
	}
}

// output is the image to write.
func (f *makeFlags) output(p place) (diskimage.Output, error) {
	container := chain.Container(f.to)
	if container == "" {
		var err error
		if container, err = diskimage.ContainerOf(p.name); err != nil {
			return diskimage.Output{}, err
		}
	}
	return diskimage.Output{
		Store: p.Store, Name: p.name, Replace: f.force,
		Format:   diskimage.Format{Container: container, Type: f.typ, BlockBytes: int64(f.block)},
		Identity: diskimage.Identity{ID: uuid.New(), Created: time.Now(), Creator: "imageport"},
	}, nil
}

func (a *app) diskConvertCommand() *cobra.Command {
	var from diskFlags
	var to makeFlags
	cmd := &cobra.Command{
		Use:   "convert image output",
		Short: "Copy the contents of an image to a new one, of any format",
		Long: `Copy the contents of an image, as its guest sees them, to a new image: raw, VHDX or VHD,
without parents. The output gets its name when it is complete.`,
		Example: `  imageport disk convert win10.3.avhdx win10.raw
  imageport disk convert win10.vhd win10.vhdx --type fixed
  imageport disk convert smb://files/pvs/store/win10.vhdx win10.vhdx --credential files
  imageport disk convert --raw win10.raw win10.vhdx --block-size 2M --force`,
		Args: cobra.ExactArgs(2),
		RunE: a.do(func(ctx context.Context, args []string) error {
			return a.withImage(ctx, args[0], from, func(c *chain.Chain) error {
				return a.makeDisk(ctx, args[1], from.credential, to, func(out diskimage.Output) (diskimage.Made, error) {
					report, end := a.showBytes("convert", "write "+out.Name)
					defer end()
					return diskimage.Convert(ctx, c, out, report)
				})
			})
		}),
	}
	from.add(cmd)
	to.add(cmd)
	return cmd
}

func (a *app) diskCreateCommand() *cobra.Command {
	var credential string
	var size byteSize
	var sector int
	var to makeFlags
	cmd := &cobra.Command{
		Use:   "create output --size size",
		Short: "Make an image of an empty disk",
		Example: `  imageport disk create data.vhdx --size 10G
  imageport disk create data.vhd --size 512M --type fixed`,
		Args: cobra.ExactArgs(1),
		RunE: a.do(func(ctx context.Context, args []string) error {
			return a.makeDisk(ctx, args[0], credential, to, func(out diskimage.Output) (diskimage.Made, error) {
				return diskimage.Create(ctx, out, int64(size), sector)
			})
		}),
	}
	addCredential(cmd, &credential)
	cmd.Flags().Var(&size, "size", "`size` of the disk, such as 10G")
	cmd.Flags().IntVar(&sector, "sector-size", 512, "`bytes` of a logical sector: 512, or 4096 in a vhdx or raw disk")
	_ = cmd.MarkFlagRequired("size") // it fails for a flag that is not there
	to.add(cmd)
	return cmd
}

// makeDisk has f make an image, and tells about it.
func (a *app) makeDisk(ctx context.Context, path, credential string, to makeFlags, f func(diskimage.Output) (diskimage.Made, error)) error {
	p, err := a.openOutput(ctx, path, credential)
	if err != nil {
		return err
	}
	defer p.Close()
	out, err := to.output(p)
	if err != nil {
		return err
	}
	made, err := f(out)
	if err != nil {
		return err
	}
	if a.output == outputJSON {
		return a.printJSON(made)
	}
	_, err = fmt.Fprintf(a.out, "%s: %s, disk of %s, file of %s\n", made.Name,
		kindText(made.Container, cmp.Or(made.Type, made.Container)), exactText(made.VirtualSizeBytes), sizeText(made.FileSizeBytes))
	return err
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
