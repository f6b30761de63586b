package main

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"imageport/engine/diskimage"
	"imageport/job"
)

func (a *app) diskInfoCommand() *cobra.Command {
	var flags diskFlags
	cmd := &cobra.Command{
		Use:   "info image",
		Short: "Describe an image and its parents",
		Long: `Describe an image and its parents. If a parent is missing, or is not the one that the image
was made from, what can be read is described, and the exit code is 1.`,
		Example: `  imageport disk info win10.vhdx
  imageport disk info smb://files/pvs/store/win10.3.avhdx --credential files -o json`,
		Args: cobra.ExactArgs(1),
		RunE: a.do(func(ctx context.Context, args []string) error {
			return a.inspectDisk(ctx, args[0], flags)
		}),
	}
	flags.add(cmd)
	return cmd
}

func (a *app) inspectDisk(ctx context.Context, path string, flags diskFlags) error {
	where, err := a.openPlace(ctx, path, flags.credential)
	if err != nil {
		return err
	}
	defer where.Close()
	in, err := diskimage.Inspect(ctx, diskimage.Input{Folder: where.folder(), Name: where.name, Raw: flags.raw})
	if err != nil {
		return err
	}
	a.warnOfLogs(in)
	if err := a.printDiskInfo(in); err != nil {
		return err
	}
	if p := in.Problem; p != nil {
		return job.Errorf(p.Code, p.Remedy, "%s", p.Detail)
	}
	return nil
}

func (a *app) printDiskInfo(in diskimage.Info) error {
	if a.output == outputJSON {
		return a.printJSON(in)
	}
	p := printer{w: a.out}
	p.line("%s: %s, disk of %s", in.Name, kindText(in.Container, in.Type), exactText(in.VirtualSizeBytes))
	switch n := len(in.Layers); {
	case in.Problem != nil:
		p.field("files", fmt.Sprintf("%d that can be read, the lowest as layer 0, together %s", n, sizeText(in.FileSizeBytes)))
	case n > 1:
		p.field("files", fmt.Sprintf("%d, together %s", n, sizeText(in.FileSizeBytes)))
	}
	for i := len(in.Layers) - 1; i >= 0; i-- {
		l := in.Layers[i]
		if len(in.Layers) > 1 {
			p.line("layer %d: %s, %s", i, l.Name, kindText(l.Container, l.Type))
		}
		p.layer(l)
	}
	return p.err
}

func (p *printer) layer(l diskimage.Layer) {
	p.field("file", fmt.Sprintf("%s, modified %s", exactText(l.FileSizeBytes), l.Modified.Local().Format(time.DateTime+" MST")))
	if l.BlockBytes > 0 {
		p.field("blocks", sizeText(l.BlockBytes))
	}
	p.field("sectors", fmt.Sprintf("%d logical, %d physical", l.SectorBytes, l.PhysicalSectorBytes))
	p.field("id", l.ID)
	p.field("disk id", l.VirtualDiskID)
	p.field("write id", l.FileWriteGUID)
	p.field("creator", l.Creator)
	if l.Created != nil {
		p.field("created", l.Created.Format(time.DateTime+" MST"))
	}
	if l.Parent != nil {
		p.field("parent", parentText(*l.Parent))
		p.field("linkage", l.Parent.Linkage)
	}
	if l.DirtyLog {
		p.field("log", "not empty: shown as with the changes in it")
	}
	for _, w := range l.Warnings {
		p.field("warning", w)
	}
}

// parentText is how a parent was found, or that it was not.
func parentText(l diskimage.Parent) string {
	if l.Name != "" {
		return fmt.Sprintf("%s, by its %s %s", l.Name, l.FoundBy, l.Path)
	}
	return "not found: " + cmp.Or(l.RelativePath, l.AbsolutePath, l.VolumePath, "the image names none")
}

// kindText is container and type, such as "dynamic vhdx".
func kindText(container, typ string) string {
	if typ == container {
		return typ
	}
	return typ + " " + container
}

// exactText is a number of bytes for people who count.
func exactText(n int64) string { return fmt.Sprintf("%s (%d bytes)", sizeText(n), n) }
