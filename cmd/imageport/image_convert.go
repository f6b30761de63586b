package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"imageport/engine/bootproof"
	"imageport/engine/convert"
	"imageport/job"
)

func (a *app) imageConvertCommand() *cobra.Command {
	var flags conversionFlags
	var boot bool
	var screenshot string
	cmd := &cobra.Command{
		Use:   "convert image [output]",
		Short: "Convert an image to UEFI, as a differencing disk beside it",
		Long: `Convert an image from BIOS and MBR to UEFI and GPT, as a differencing disk beside it. The
image stays as it is. The output appears under its name when it is complete, and was
verified; nothing is left of one that fails or is interrupted.

An output without extension gets .avhdx or .avhd, which is what PVS looks for.`,
		Example: `  imageport image convert win10.vhdx win10-uefi
  imageport image convert smb://files/pvs/store/win10.vhdx --next-version --credential files
  imageport image convert win10.vhdx win10-uefi --esp gap,shrink --boot --screenshot boot.png`,
		Args: cobra.RangeArgs(1, 2),
		RunE: a.do(func(ctx context.Context, args []string) error {
			output := ""
			if len(args) > 1 {
				output = args[1]
			}
			return a.withConversion(ctx, args[0], output, flags, func(ctx context.Context, p place, t convert.Task) error {
				r, err := a.convertImage(ctx, p, t, boot)
				if err != nil {
					return err
				}
				if r.Boot != nil {
					if err := savePicture(screenshot, r.Boot.Screenshot); err != nil {
						return err
					}
				}
				return a.printConverted(r)
			})
		}),
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&boot, "boot", false, "start the result's boot manager under UEFI firmware before it gets its name")
	cmd.Flags().StringVar(&screenshot, "screenshot", "", "`file` for the screen at the end of --boot (PNG)")
	return cmd
}

// cleanupTime is how long an interrupted conversion may take to remove what it
// has written.
const cleanupTime = 30 * time.Second

// convertImage does what the workflow does, in this process.
func (a *app) convertImage(ctx context.Context, p place, t convert.Task, boot bool) (r job.Result, err error) {
	if boot {
		if err := bootproof.Available(); err != nil {
			return r, err
		}
	}
	admitted, err := convert.Preflight(ctx, p.Store, t)
	if err != nil {
		return r, err
	}
	t.Output = admitted.Approval.Output
	var composed *convert.Composed
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
		defer cancel()
		err = errors.Join(err, convert.Finish(ctx, p.Store, t, admitted.Approval, composed, err == nil))
	}()
	report, end := a.showSteps("convert")
	defer end()
	made, err := convert.Compose(ctx, p.Store, t, admitted.Approval, "1", report)
	if err != nil {
		return r, err
	}
	composed = &made
	r = made.Result
	r.Warnings = admitted.Preview.Warnings
	if boot {
		proof, err := convert.ProveBoot(ctx, p.Store, made, report)
		if err != nil {
			return r, err
		}
		r.Boot = &proof
	}
	return r, convert.Publish(ctx, p.Store, t, admitted.Approval, made)
}

func (a *app) printConverted(r job.Result) error {
	if a.output == outputJSON {
		return a.printJSON(r)
	}
	p := printer{w: a.out}
	p.line("%s", r.Output)
	p.result(r)
	for _, w := range r.Warnings {
		p.field("warning", w)
	}
	p.pvs(r.PVS)
	return p.err
}
