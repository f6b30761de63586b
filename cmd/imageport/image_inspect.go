package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"imageport/engine/disk/chain"
	"imageport/engine/diskimage"
	"imageport/engine/windows/bootconv"
)

// inspected is what image inspect tells.
type inspected struct {
	Image diskimage.Info `json:"image"`
	bootconv.Description
}

func (a *app) imageInspectCommand() *cobra.Command {
	var flags diskFlags
	cmd := &cobra.Command{
		Use:   "inspect image",
		Short: "Tell what is on an image: layout, Windows, boot mode, PVS target software, health",
		Long: `Tell what is on an image: its partitions, the Windows on it, how it boots, the version of
the PVS target device software, what is not in order, and what forbids its conversion to
UEFI. It judges nothing: an image that cannot be converted is described, too. What only
shows when the conversion is planned is left to imageport image plan.`,
		Example: `  imageport image inspect win10.3.avhdx
  imageport image inspect '\\files\pvs\store\win10.vhdx' --credential files -o json`,
		Args: cobra.ExactArgs(1),
		RunE: a.do(func(ctx context.Context, args []string) error {
			return a.withImage(ctx, args[0], flags, func(c *chain.Chain) error {
				about, err := bootconv.Describe(c)
				if err != nil {
					return diskimage.Coded(err)
				}
				return a.printInspected(inspected{diskimage.Describe(c), about})
			})
		}),
	}
	flags.add(cmd)
	return cmd
}

func (a *app) printInspected(in inspected) error {
	if a.output == outputJSON {
		return a.printJSON(in)
	}
	p := printer{w: a.out}
	p.line("%s: %s, disk of %s", in.Image.Name, kindText(in.Image.Container, in.Image.Type), exactText(in.SizeBytes))
	boots := map[string]string{"bios": "by BIOS", "uefi": "by UEFI", "": "not by itself"}[in.BootMode]
	p.field("boots", fmt.Sprintf("%s (%s, sectors of %d bytes)", boots, strings.ToUpper(in.PartitionStyle), in.SectorBytes))
	p.windows(in.Windows)
	p.partitions(in.Partitions)
	refusal := ""
	if in.Refusal != nil {
		refusal = in.Refusal.Error()
	}
	for _, problem := range in.Problems {
		if !strings.Contains(refusal, problem) { // which is said once
			p.field("problem", problem)
		}
	}
	switch {
	case in.Convertible:
		p.field("UEFI", "nothing is seen that forbids a conversion: imageport image plan makes sure, and tells how")
	case in.Refusal != nil:
		p.field("UEFI", fmt.Sprintf("no conversion: %s: %s", in.Refusal.Code, refusal))
	}
	return p.err
}

func (p *printer) windows(w *bootconv.Windows) {
	if w == nil {
		p.field("windows", "none found")
		return
	}
	if w.Build == 0 {
		p.field("windows", "its registry does not tell which")
		return
	}
	p.field("windows", strings.TrimSpace(fmt.Sprintf("%s %s", w.Product, w.Version))+fmt.Sprintf(", build %d, edition %s", w.Build, w.Edition))
	if w.PVSTarget == "" {
		p.field("PVS", "no target device software found")
	} else {
		p.field("PVS", "target device software "+w.PVSTarget)
	}
}

func (p *printer) partitions(list []bootconv.DescribedPartition) {
	if len(list) == 0 {
		return
	}
	files := func(string) string { return "" } // a plan does not tell
	if slices.ContainsFunc(list, func(d bootconv.DescribedPartition) bool { return d.FileSystem != "" }) {
		files = func(s string) string { return fmt.Sprintf("%-10s ", s) }
	}
	p.line("  %3s  %-11s %-11s %-10s %s%s", "NO", "START", "SIZE", "ROLE", files("FILES"), "TYPE")
	for _, d := range list {
		what := d.Type
		if d.Name != "" {
			what += " " + d.Name
		}
		if d.Active {
			what += ", active"
		}
		if d.Logical {
			what += ", logical"
		}
		if d.Label != "" {
			what += fmt.Sprintf(", %q", d.Label)
		}
		p.line("  %3d  %-11s %-11s %-10s %s%s", d.Number, sizeText(d.StartBytes), sizeText(d.SizeBytes), d.Role, files(d.FileSystem), what)
	}
}
