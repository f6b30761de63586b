package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"imageport/engine/bootproof"
	"imageport/engine/convert"
	"imageport/engine/fusefile"
	"imageport/engine/share"
	"imageport/job"
)

func (a *app) imageConvertCommand() *cobra.Command {
	var flags conversionFlags
	var boot bootFlags
	cmd := &cobra.Command{
		Use:   "convert image [output]",
		Short: "Convert an image to UEFI, as a differencing disk beside it",
		Long: `Convert an image from BIOS and MBR to UEFI and GPT, as a differencing disk beside it. The
image stays as it is. The output appears under its name when it is complete, and was
verified; nothing is left of one that fails or is interrupted. What one that was killed
has left is named by the next.

An output without extension gets .avhdx or .avhd, which is what PVS looks for. Its name has
to be one that PVS takes: at most 52 characters of ASCII.`,
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
				screen, err := boot.picture()
				if err != nil {
					return err
				}
				r, err := a.convertImage(ctx, p, t, boot.boot, screen)
				if err != nil {
					return err
				}
				return a.printConverted(r)
			})
		}),
	}
	flags.add(cmd)
	boot.add(cmd, "start the result's boot manager under UEFI firmware before it gets its name")
	return cmd
}

// cleanupTime is how long an interrupted conversion may take to remove what it
// has written.
const cleanupTime = 30 * time.Second

// convertImage does what the workflow does, in this process.
func (a *app) convertImage(ctx context.Context, p place, t convert.Task, boot bool, screen picture) (r job.Result, err error) {
	if boot {
		if err := bootproof.Available(); err != nil {
			return r, err
		}
	}
	_ = fusefile.CleanStale(os.TempDir()) // of runs that were killed; at worst it is left for the next
	admitted, err := convert.Preflight(ctx, p.Store, t)
	if err != nil {
		return r, stopped(ctx, err, nothingChanged)
	}
	t.Output = admitted.Approval.Output
	if err := a.warnOfLeft(ctx, p.Store, t.Output); err != nil {
		return r, stopped(ctx, err, nothingChanged)
	}
	var composed *convert.Composed
	defer func() {
		lasting, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
		defer cancel()
		if failed := convert.Finish(lasting, p.Store, t, admitted.Approval, composed, err == nil); failed != nil {
			err = errors.Join(err, failed)
			return
		}
		err = stopped(ctx, err, "nothing of the conversion is left, and the image is as it was")
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
		if err := a.keepScreen(screen, proof, err); err != nil {
			return r, err
		}
		r.Boot = &proof
	}
	return r, convert.Publish(ctx, p.Store, t, admitted.Approval, made)
}

// warnOfLeft tells of the files that conversions to the same output have on the
// share, which begin with its name: those that still run, or were killed.
func (a *app) warnOfLeft(ctx context.Context, store share.Store, output string) error {
	files, err := store.List(ctx)
	if err != nil {
		return err
	}
	for _, f := range files {
		name := strings.ToLower(f.Name)
		if !strings.HasPrefix(name, strings.ToLower(output)+".") {
			continue
		}
		switch {
		case strings.HasSuffix(name, ".partial"):
			fmt.Fprintf(a.err, "imageport: warning: %s belongs to another conversion: if none is running, it was killed, and you may remove the file\n", f.Name)
		case strings.HasSuffix(name, ".replaced"):
			fmt.Fprintf(a.err, "imageport: warning: %s is what another conversion was to replace: if none is running, it was killed, and you may give the file its name back or remove it\n", f.Name)
		}
	}
	return nil
}

func (a *app) printConverted(r job.Result) error {
	if a.output == outputJSON {
		return a.printJSON(r)
	}
	p := printer{w: a.out}
	p.line("%s", r.Output)
	p.result(r)
	p.warnings(r.Warnings)
	p.pvs(r)
	return p.err
}
