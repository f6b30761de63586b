package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"imageport/engine/diskimage"
	"imageport/job"
)

func (a *app) diskCheckCommand() *cobra.Command {
	var flags diskFlags
	cmd := &cobra.Command{
		Use:   "check image",
		Short: "Verify the structures of an image and of its parents",
		Long: `Verify the structures of an image and of its parents, and that they belong together. It
says what is wrong and where, and repairs nothing. The exit code is 1 if anything is wrong.`,
		Example: `  imageport disk check win10.3.avhdx
  imageport disk check '\\files\pvs\store\win10.vhdx' --credential files -o json`,
		Args: cobra.ExactArgs(1),
		RunE: a.do(func(ctx context.Context, args []string) error { return a.checkDisk(ctx, args[0], flags) }),
	}
	flags.add(cmd)
	return cmd
}

func (a *app) checkDisk(ctx context.Context, path string, flags diskFlags) error {
	where, err := a.openPlace(ctx, path, flags.credential)
	if err != nil {
		return err
	}
	defer where.Close()
	found, err := diskimage.Check(ctx, diskimage.Input{Folder: where.folder(), Name: where.name, Raw: flags.raw})
	if err != nil {
		return err
	}
	if err := a.printChecked(found); err != nil {
		return err
	}
	if n := len(found.Problems); n > 0 {
		return job.Errorf(found.Problems[0].Code, found.Problems[0].Remedy, "%s has problems: %d", path, n)
	}
	return nil
}

func (a *app) printChecked(found diskimage.Checked) error {
	if a.output == outputJSON {
		return a.printJSON(found)
	}
	p := printer{w: a.out}
	for _, x := range found.Problems {
		at := x.File
		if x.Structure != "" {
			at += ": " + x.Structure
		}
		if x.OffsetBytes != nil {
			at += fmt.Sprintf(" at offset %#x", *x.OffsetBytes)
		}
		p.line("%s: %s", at, x.Detail)
	}
	if len(found.Problems) == 0 {
		p.line("nothing is wrong with %s", strings.Join(found.Files, ", "))
	}
	return p.err
}
