package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"imageport/config"
	"imageport/job"
	"imageport/starter"
)

// sweepFlags are the flags of the command sweep.
type sweepFlags struct {
	resourceLocation string
	dryRun           bool
	minAge, settle   time.Duration
}

func (a *app) sweepCommand() *cobra.Command {
	var f sweepFlags
	cmd := &cobra.Command{
		Use:   "sweep",
		Short: "Remove the Compositing Engines of jobs that run no more",
		Long: `Remove the Compositing Engines (CEs) of a resource location whose jobs run no more, with
all that belongs to them, and show what was removed and what was kept, and why. A job
cleans up behind itself; one that was terminated does not.

Workers do this every 15 minutes. What is removed was found twice, so that this takes two
minutes where there is something to remove. CEs of other resource locations are never
touched; one whose job Temporal does not know stays until it has ended by itself.

The exit code is 1 if a CE could not be removed.`,
		Example: `  imageport sweep --dry-run
  imageport sweep --resource-location 5f3b --min-age 5m
  imageport sweep --resource-location 5f3b -o json`,
		Args: cobra.NoArgs,
		RunE: a.do(func(ctx context.Context, _ []string) error { return a.sweep(ctx, f) }),
	}
	flags := cmd.Flags()
	flags.StringVar(&f.resourceLocation, "resource-location", "", "`id` of the resource location (default: the configuration's)")
	flags.BoolVar(&f.dryRun, "dry-run", false, "remove nothing, show what would be removed")
	flags.DurationVar(&f.minAge, "min-age", job.DefaultSweepMinAge, "leave a CE alone that is younger")
	flags.DurationVar(&f.settle, "settle", job.DefaultSweepSettle, "time between the two looks")
	return cmd
}

func (a *app) sweep(ctx context.Context, f sweepFlags) error {
	if f.minAge < 0 || f.settle < 0 {
		return job.Errorf(job.BadRequest, "Give a length of time such as 30m", "--min-age and --settle must not be less than nothing")
	}
	if f.resourceLocation == "" {
		cfg, err := config.Load(a.config)
		if err != nil {
			return err
		}
		f.resourceLocation = cfg.ResourceLocation
	}
	minAge, settle := job.Period(f.minAge), job.Period(f.settle)
	return a.jobs(ctx, func(c *starter.Client) error {
		r, err := c.Sweep(ctx, f.resourceLocation, job.SweepRequest{DryRun: f.dryRun, MinAge: &minAge, Settle: &settle})
		if err != nil {
			return err
		}
		if err := a.printSweep(r); err != nil {
			return err
		}
		if n := len(r.Failed); n > 0 {
			return job.Errorf(job.CleanupFailed, "The next sweep tries again", "%s could not be removed", engines(n))
		}
		return nil
	})
}

// printSweep prints what a sweep has done, and warns of what it has not seen.
func (a *app) printSweep(r job.SweepResult) error {
	if a.output == outputJSON {
		return a.printJSON(r)
	}
	for _, t := range r.Targets {
		if t.Error != "" {
			fmt.Fprintf(a.err, "imageport: warning: %s\n", plain(fmt.Sprintf("%s was not looked at: %s", t.Label(), t.Error)))
		}
	}
	did := "removed"
	if r.DryRun {
		did = "would remove"
	}
	p := printer{w: a.out}
	if len(r.Removed)+len(r.Kept)+len(r.Failed) == 0 {
		p.line("no Compositing Engines")
		return p.err
	}
	p.line("%s %s, kept %d", did, engines(len(r.Removed)), len(r.Kept))
	if p.err != nil {
		return p.err
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SWEEP\tPLATFORM\tCE\tAGE\tJOB\tWHY")
	for _, list := range []struct {
		verb string
		ces  []job.SweptCE
	}{{"failed", r.Failed}, {did, r.Removed}, {"kept", r.Kept}} {
		for _, ce := range list.ces {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", list.verb, cell(ce.Platform), cell(ce.CE), ce.Age, cell(cmp.Or(ce.Job, "-")), cell(ce.Why))
		}
	}
	return w.Flush()
}

// cell is text as it may go into a table.
func cell(text string) string {
	return plain(strings.Join(strings.Fields(text), " "))
}

func engines(n int) string {
	if n == 1 {
		return "1 Compositing Engine"
	}
	return fmt.Sprintf("%d Compositing Engines", n)
}
