package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"imageport/engine/disk/chain"
	"imageport/engine/diskimage"
)

// convertFlags are the flags of convert that are not those of create as well.
type convertFlags struct {
	sha256, usedOnly, resume bool
	device                   string
}

func (f *convertFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.sha256, "sha256", false, "compute the SHA-256 of the disk's contents")
	cmd.Flags().BoolVar(&f.usedOnly, "used-only", false, "leave out the free clusters of NTFS volumes: they become zeros")
	cmd.Flags().BoolVar(&f.resume, "resume", false, "keep what is done when interrupted, and go on from it; for raw outputs in local folders")
	cmd.Flags().StringVar(&f.device, "to-device", "", "write over the block device, or the file, at this `path` that exists, instead of a new output")
	cmd.MarkFlagsMutuallyExclusive("to-device", "resume")
	cmd.MarkFlagsMutuallyExclusive("to-device", "force")
	cmd.MarkFlagsMutuallyExclusive("to-device", "parent")
}

// args are an image and, unless it is a device, an output.
func (f *convertFlags) args(cmd *cobra.Command, args []string) error {
	if f.device != "" {
		return cobra.ExactArgs(1)(cmd, args)
	}
	if len(args) == 1 {
		return errors.New("there is no output: give its name, or --to-device")
	}
	return cobra.ExactArgs(2)(cmd, args)
}

func (a *app) diskConvertCommand() *cobra.Command {
	var from diskFlags
	var to makeFlags
	var how convertFlags
	cmd := &cobra.Command{
		Use:   "convert image {output | --to-device path}",
		Short: "Copy the contents of an image to a new one, of any format",
		Long: `Copy the contents of an image, as its guest sees them, to a new image: raw, VHDX or VHD.
The output gets its name when it is complete, and an incomplete one is removed. The CRC-32C of
the contents is printed; --sha256 adds their SHA-256.

With --parent the output is a differencing image: together with that parent, in whose folder it
must be, it has the contents of the image, and holds only the pages that differ.

With --resume an incomplete raw output in a local folder is kept as output.resume.partial,
with its state in output.resume.json, and the same command goes on from it; not if the image
has changed.

With --used-only the free clusters of NTFS volumes are left out. A volume that is dirty,
hibernated or cannot be read is copied whole, with a warning. Without it the copy is exact.

With --to-device a raw disk is written over a block device, or a file, that exists, is not
mounted and is large enough. What is behind the disk on a larger one stays as it is.`,
		Example: `  imageport disk convert win10.3.avhdx win10.raw
  imageport disk convert win10.vhd win10.vhdx --type fixed
  imageport disk convert smb://files/pvs/store/win10.vhdx win10.vhdx --credential files
  imageport disk convert --raw win10.raw win10.vhdx --block-size 2M --force
  imageport disk convert win10.vhdx win10.raw --used-only --sha256 -o json
  imageport disk convert smb://files/pvs/store/win10.vhdx win10.raw --credential files --resume
  imageport disk convert win10-new.vhdx win10.4.avhdx --parent win10.3.avhdx
  imageport disk convert win10.3.avhdx --to-device /dev/sdb`,
		Args: how.args,
		RunE: a.do(func(ctx context.Context, args []string) error {
			return a.withImage(ctx, args[0], from, func(c *chain.Chain) error {
				convert := func(out diskimage.Output) (diskimage.Made, error) {
					out.SHA256, out.UsedOnly, out.Resume = how.sha256, how.usedOnly, how.resume
					report, end := a.showBytes("convert", "write "+out.Name+out.Device)
					defer end()
					return diskimage.Convert(ctx, c, out, report)
				}
				if how.device != "" {
					return a.overwriteDevice(how.device, to, convert)
				}
				return a.makeDisk(ctx, args[1], from.credential, to, convert)
			})
		}),
	}
	from.add(cmd)
	to.add(cmd)
	how.add(cmd)
	return cmd
}

// overwriteDevice has f make a disk on a device, and tells about it.
func (a *app) overwriteDevice(path string, to makeFlags, f func(diskimage.Output) (diskimage.Made, error)) error {
	if to.to == "" {
		to.to = chain.Raw
	}
	out, err := to.output(place{}, nil)
	if err != nil {
		return err
	}
	out.Device = path
	made, err := f(out)
	if err != nil {
		return err
	}
	return a.printMade(made)
}
