package main

import (
	"context"

	"github.com/spf13/cobra"

	"imageport/engine/diskimage"
)

func (a *app) diskCreateCommand() *cobra.Command {
	var credential string
	var size byteSize
	var sector int
	var to makeFlags
	cmd := &cobra.Command{
		Use:   "create output {--size size | --parent image}",
		Short: "Make an image of an empty disk, or one without changes of a parent",
		Long: `Make an image of an empty disk of --size or, with --parent, a differencing image that has no
changes yet: with the size and the sectors of its parent, in whose folder it must be.`,
		Example: `  imageport disk create data.vhdx --size 10G
  imageport disk create data.vhd --size 512M --type fixed
  imageport disk create win10.4.avhdx --parent win10.3.avhdx
  imageport disk create win10.1.avhdx --parent win10.vhdx --block-size parent`,
		Args: cobra.ExactArgs(1),
		RunE: a.do(func(ctx context.Context, args []string) error {
			return a.makeDisk(ctx, args[0], credential, to, func(out diskimage.Output) (diskimage.Made, error) {
				if out.Parent != nil {
					return diskimage.Create(ctx, out, out.Parent.Size(), out.Parent.SectorSize())
				}
				return diskimage.Create(ctx, out, int64(size), sector)
			})
		}),
	}
	addCredential(cmd, &credential)
	cmd.Flags().Var(&size, "size", "`size` of the disk, such as 10G")
	cmd.Flags().IntVar(&sector, "sector-size", 512, "`bytes` of a logical sector: 512, or 4096 in a vhdx or raw disk")
	to.add(cmd)
	cmd.MarkFlagsOneRequired("size", "parent")
	cmd.MarkFlagsMutuallyExclusive("size", "parent")
	cmd.MarkFlagsMutuallyExclusive("sector-size", "parent")
	return cmd
}
