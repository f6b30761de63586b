package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"imageport/engine/disk/chain"
	"imageport/engine/diskimage"
)

// rangesShown is how many ranges diff prints for people.
const rangesShown = 20

func (a *app) diskDiffCommand() *cobra.Command {
	var flags diskFlags
	cmd := &cobra.Command{
		Use:   "diff image image",
		Short: "Compare the contents of two images as their guests see them",
		Long: `Compare the contents of two images as their guests see them, whatever their formats and
parents. The exit code is 0 if size and contents are the same, and 1 if not.`,
		Example: `  imageport disk diff win10.3.avhdx merged.vhdx
  imageport disk diff --raw win10.vhdx win10.raw -o json`,
		Args: cobra.ExactArgs(2),
		RunE: a.do(func(ctx context.Context, args []string) error {
			return a.withImage(ctx, args[0], flags, func(first *chain.Chain) error {
				return a.withImage(ctx, args[1], flags, func(second *chain.Chain) error {
					return a.diffDisks(ctx, args, first, second)
				})
			})
		}),
	}
	flags.add(cmd)
	return cmd
}

func (a *app) diffDisks(ctx context.Context, names []string, first, second *chain.Chain) error {
	report, end := a.showBytes("diff", "compare")
	d, err := diskimage.Diff(ctx, first, second, report)
	end()
	if err != nil {
		return err
	}
	if err := a.printDifference(d, names); err != nil {
		return err
	}
	if !d.Same {
		return fmt.Errorf("%s and %s differ", names[0], names[1])
	}
	return nil
}

func (a *app) printDifference(d diskimage.Difference, names []string) error {
	if a.output == outputJSON {
		return a.printJSON(d)
	}
	p := printer{w: a.out}
	if d.Same {
		p.line("the same contents, %s", exactText(d.SizeBytes[0]))
		return p.err
	}
	if d.SizeBytes[0] != d.SizeBytes[1] {
		for i, n := range d.SizeBytes {
			p.line("%s: disk of %s", names[i], exactText(n))
		}
	}
	if d.FirstOffsetBytes == nil {
		p.line("the same contents up to the end of the smaller disk")
		return p.err
	}
	p.line("first difference at byte %d", *d.FirstOffsetBytes)
	p.line("%s differ, in ranges: %d", exactText(d.DifferentBytes), d.DifferentRanges)
	p.line("%16s %16s", "OFFSET", "LENGTH")
	for _, r := range d.Ranges[:min(len(d.Ranges), rangesShown)] {
		p.line("%16d %16d", r.OffsetBytes, r.LengthBytes)
	}
	if more := d.DifferentRanges - rangesShown; more > 0 {
		p.line("and %d more", more)
	}
	return p.err
}
