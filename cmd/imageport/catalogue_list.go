package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"imageport/engine/catalogue"
)

func (a *app) catalogueListCommand() *cobra.Command {
	var flags catalogueFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the installers in the catalogue",
		Long: `List the installers in the catalogue, in its order. VERSION is what upgradeOptions.installPvs
of a request names. -o json gives all about them, with the defaults filled in.`,
		Example: `  imageport catalogue list
  imageport catalogue list --catalogue smb://files/installers --credential files -o json`,
		Args: cobra.NoArgs,
		RunE: a.do(func(ctx context.Context, _ []string) error {
			c, where, err := a.loadCatalogue(ctx, flags)
			if err != nil {
				return err
			}
			if a.output == outputJSON {
				return a.printJSON(c)
			}
			return a.printCatalogue(c, where)
		}),
	}
	flags.add(cmd)
	return cmd
}

func (a *app) printCatalogue(c *catalogue.Catalogue, where cataloguePlace) error {
	if len(c.Installers) == 0 {
		_, err := fmt.Fprintf(a.err, "imageport: there are no installers in %s\n", where)
		return err
	}
	t := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "VERSION\tARCH\tPRODUCT VERSION\tFROM\tFILE\tPREREQUISITES")
	for _, in := range c.Installers {
		var needs []string
		for _, p := range in.Prerequisites {
			needs = append(needs, p.Name)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", in.Version, in.Arch, in.ProductVersion, cmp.Or(in.MinFrom, "any"), in.File, cmp.Or(strings.Join(needs, ", "), "none"))
	}
	return t.Flush()
}
