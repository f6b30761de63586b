package main

import (
	"context"

	"github.com/spf13/cobra"

	"imageport/engine/disk/chain"
	"imageport/engine/diskimage"
)

func (a *app) diskMapCommand() *cobra.Command {
	var flags diskFlags
	cmd := &cobra.Command{
		Use:   "map image",
		Short: "Show what of a disk is stored, in which file and where",
		Long: `Show what of a disk is stored, in which file and where. Numbers are bytes. With -o json,
each extent is an object on a line of its own.`,
		Example: `  imageport disk map win10.3.avhdx
  imageport disk map win10.vhdx -o json`,
		Args: cobra.ExactArgs(1),
		RunE: a.do(func(ctx context.Context, args []string) error {
			return a.withImage(ctx, args[0], flags, func(c *chain.Chain) error { return a.printMap(ctx, c) })
		}),
	}
	flags.add(cmd)
	return cmd
}

func (a *app) printMap(ctx context.Context, c *chain.Chain) error {
	p := printer{w: a.out}
	if a.output == outputText {
		p.line("%16s %16s %5s %16s  %s", "OFFSET", "LENGTH", "LAYER", "IN FILE", "FILE")
	}
	for e, err := range diskimage.Map(ctx, c) {
		switch {
		case err != nil:
			return err
		case a.output == outputJSON:
			p.err = a.printLine(e)
		case e.Layer == nil:
			p.line("%16d %16d %5s", e.OffsetBytes, e.LengthBytes, "zero")
		default:
			p.line("%16d %16d %5d %16d  %s", e.OffsetBytes, e.LengthBytes, *e.Layer, *e.FileOffsetBytes, e.File)
		}
		if p.err != nil {
			return p.err
		}
	}
	return p.err
}
