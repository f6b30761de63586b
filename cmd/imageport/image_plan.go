package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"imageport/engine/convert"
	"imageport/engine/windows/bootconv"
	"imageport/job"
)

func (a *app) imagePlanCommand() *cobra.Command {
	var flags conversionFlags
	cmd := &cobra.Command{
		Use:   "plan image [output]",
		Short: "Tell what the conversion of an image to UEFI would change, and change nothing",
		Long: `Tell what the conversion of an image to UEFI would change, and change nothing: the
partition table before and after, where the EFI system partition goes, the edits of boot
configuration and registry, the files copied, and about how large the differencing disk
becomes. Everything that a conversion would be refused for is refused here, too.`,
		Example: `  imageport image plan win10.vhdx
  imageport image plan win10.vhdx --esp shrink -o json`,
		Args: cobra.RangeArgs(1, 2),
		RunE: a.do(func(ctx context.Context, args []string) error {
			output := "uefi-preview"
			if flags.version {
				output = ""
			}
			if len(args) > 1 {
				output = args[1]
			}
			return a.withConversion(ctx, args[0], output, flags, func(ctx context.Context, p place, t convert.Task) error {
				admitted, err := convert.Preflight(ctx, p.Store, t)
				if err != nil {
					return stopped(ctx, err, nothingChanged)
				}
				return a.printPlan(admitted.Preview)
			})
		}),
	}
	flags.add(cmd)
	return cmd
}

func (a *app) printPlan(r job.Result) error {
	if a.output == outputJSON {
		return a.printJSON(r)
	}
	p := printer{w: a.out}
	p.plan(r)
	p.warnings(r.Warnings)
	p.pvs(r)
	return p.err
}

// plan prints the plan of a dry run.
func (p *printer) plan(r job.Result) {
	var plan bootconv.Plan
	if err := json.Unmarshal(r.Plan, &plan); err != nil {
		p.err = fmt.Errorf("plan: %w", err)
		return
	}
	p.line("%s would become %s, about %s", r.Parent.File, r.OutputFile, sizeText(plan.EstimatedBytes))
	p.windows(&plan.Windows)
	p.line("before:")
	p.partitions(plan.Before)
	p.line("after:")
	p.partitions(plan.After)
	p.field("ESP", espText(plan.ESP.Placement))
	for _, s := range plan.Shrinks {
		p.field("shrink", fmt.Sprintf("partition %d from %s to %s, moving %s: %s", s.Partition, sizeText(s.BeforeBytes), sizeText(s.AfterBytes), sizeText(s.MovedBytes), s.Why))
	}
	for _, e := range plan.BCD {
		p.field("BCD", fmt.Sprintf("%s: %s -> %s", strings.TrimSpace(e.Object+" "+e.Element), orNothing(e.Before), orNothing(e.After)))
	}
	for _, e := range plan.Registry {
		p.field("registry", fmt.Sprintf(`SYSTEM\%s %s: %s -> %s`, e.Key, e.Value, e.Before, orNothing(e.After)))
	}
	for _, e := range plan.ReAgent {
		p.field("ReAgent", fmt.Sprintf("%s %s: %s -> %s", e.Element, e.Attribute, e.Before, e.After))
	}
	var total int64
	for _, f := range plan.BootFiles {
		total += f.Size
	}
	p.field("files", fmt.Sprintf("%d on the EFI system partition, %s (-o json lists them)", len(plan.BootFiles), sizeText(total)))
	p.beside(r.PVS)
}

func espText(placement job.ESPPlacement) string {
	switch placement {
	case job.PlaceGap:
		return "gap: in unallocated space"
	case job.PlaceReuse:
		return "reuse: in place of System Reserved"
	case job.PlaceShrink:
		return "shrink: behind C:, which becomes smaller"
	}
	return string(placement)
}

func orNothing(s string) string {
	if s == "" {
		return "(none)"
	}
	return s
}

// beside prints what else is written for a version.
func (p *printer) beside(s *job.PVSSteps) {
	if s != nil {
		p.field("beside", strings.Join(s.Files, ", "))
	}
}

// pvs prints what to do with an output in PVS.
func (p *printer) pvs(r job.Result) {
	s := r.PVS
	if s == nil {
		return
	}
	when := ""
	if r.DryRun {
		when = "after the conversion, "
	}
	if len(s.PowerShell) > 0 {
		p.line("%son a PVS server, in PowerShell:", when)
		for _, l := range s.PowerShell {
			p.line("  %s", l)
		}
	}
	if len(s.Targets) > 0 {
		p.line("%son the target devices:", when)
		for _, l := range s.Targets {
			p.line("  - %s", l)
		}
	}
}
