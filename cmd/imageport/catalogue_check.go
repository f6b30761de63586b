package main

import (
	"context"

	"github.com/spf13/cobra"

	"imageport/engine/catalogue"
	"imageport/job"
)

// checkedCatalogue is what catalogue check tells.
type checkedCatalogue struct {
	Catalogue  string              `json:"catalogue"`
	Installers int                 `json:"installers"`
	Deep       bool                `json:"deep"`
	Findings   []catalogue.Finding `json:"findings"`
}

func (a *app) catalogueCheckCommand() *cobra.Command {
	var flags catalogueFlags
	var deep bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Compare the files in the catalogue with what it says of them",
		Long: `Compare the files in the catalogue with what it says of them: that catalogue.json is valid,
the files are there, the installers have the product version and run on the processor, and
none is there for two versions. With --deep, every file is read whole and its hash compared.
Nothing is changed. The exit code is 1 if anything is wrong.`,
		Example: `  imageport catalogue check
  imageport catalogue check --deep -o json`,
		Args: cobra.NoArgs,
		RunE: a.do(func(ctx context.Context, _ []string) error { return a.checkCatalogue(ctx, flags, deep) }),
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&deep, "deep", false, "compare hashes, too, for which every file is read whole")
	return cmd
}

func (a *app) checkCatalogue(ctx context.Context, flags catalogueFlags, deep bool) error {
	c, where, err := a.loadCatalogue(ctx, flags)
	if err != nil {
		return stopped(ctx, err, nothingChanged)
	}
	found := catalogue.Check(ctx, where.dial(a.openPlace), c, deep)
	if ctx.Err() != nil {
		return interrupted(nothingChanged)
	}
	if err := a.printCheckedCatalogue(checkedCatalogue{where.String(), len(c.Installers), deep, append([]catalogue.Finding{}, found...)}); err != nil {
		return err
	}
	if n := len(found); n > 0 {
		return job.Errorf(found[0].Code, found[0].Remedy, "the catalogue %s has problems: %d", where, n)
	}
	return nil
}

func (a *app) printCheckedCatalogue(checked checkedCatalogue) error {
	if a.output == outputJSON {
		return a.printJSON(checked)
	}
	p := printer{w: a.out}
	for _, f := range checked.Findings {
		p.line("%s: %s: %s", f.Installer, f.File, f.Message)
	}
	if len(checked.Findings) == 0 {
		hashes := " (hashes were not compared: --deep does)"
		if checked.Deep {
			hashes = ""
		}
		p.line("nothing is wrong with the installers in %s: %d%s", checked.Catalogue, checked.Installers, hashes)
	}
	return p.err
}
