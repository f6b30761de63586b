package main

import (
	"context"
	"errors"
	"os"

	"github.com/spf13/cobra"

	"imageport/engine/convert"
	"imageport/engine/disk/chain"
	"imageport/engine/diskimage"
	"imageport/engine/fusefile"
	"imageport/engine/windows/bootcheck"
	"imageport/job"
)

// verified is what image verify tells.
type verified struct {
	job.Verification
	Boot *job.BootProof `json:"boot,omitempty"`
}

func (a *app) imageVerifyCommand() *cobra.Command {
	var flags diskFlags
	var boot bootFlags
	cmd := &cobra.Command{
		Use:   "verify image",
		Short: "Verify that an image boots by UEFI: partition tables, boot files, boot configuration",
		Long: `Verify that an image boots by UEFI, by reading it as firmware, boot manager and Windows
do: both partition tables, every file of the EFI system partition, the way from the boot
configuration to Windows, and the drive letters. The exit code is 1 if anything is wrong.

With --boot, its own boot manager is started under UEFI firmware in a virtual machine that
cannot write to it (QEMU and OVMF have to be installed).`,
		Example: `  imageport image verify win10-uefi.avhdx
  imageport image verify win10-uefi.avhdx --boot --screenshot boot.png`,
		Args: cobra.ExactArgs(1),
		RunE: a.do(func(ctx context.Context, args []string) error {
			return a.withImage(ctx, args[0], flags, func(c *chain.Chain) error {
				screen, err := boot.picture()
				if err != nil {
					return err
				}
				found, err := a.verifyImage(ctx, c, boot.boot, screen)
				if err != nil {
					return err
				}
				return a.printVerified(found)
			})
		}),
	}
	flags.add(cmd)
	boot.add(cmd, "start its boot manager under UEFI firmware")
	return cmd
}

func (a *app) verifyImage(ctx context.Context, c *chain.Chain, boot bool, screen picture) (verified, error) {
	var found verified
	var err error
	found.Verification, err = bootcheck.Check(ctx, c, bootcheck.Expected{})
	if errors.Is(err, bootcheck.ErrWrong) {
		return found, job.Errorf(job.VerifyFailed, "Convert the image anew", "%w", err)
	}
	if err != nil || !boot {
		return found, diskimage.Coded(err)
	}
	report, end := a.showSteps("verify")
	defer end()
	report(job.Progress{Step: "boot"})
	_ = fusefile.CleanStale(os.TempDir()) // of runs that were killed; at worst it is left for the next
	proof, err := convert.Boot(ctx, c)
	if err := a.keepScreen(screen, proof, err); err != nil {
		return found, err
	}
	found.Boot = &proof
	return found, nil
}

func (a *app) printVerified(found verified) error {
	if a.output == outputJSON {
		return a.printJSON(found)
	}
	p := printer{w: a.out}
	for _, c := range found.Checks {
		p.line("%-24s %s", c.What, c.Found)
	}
	p.line("%-24s %d files (-o json lists them with their SHA-256)", "EFI system partition", len(found.ESPFiles))
	p.boot(found.Boot)
	return p.err
}
