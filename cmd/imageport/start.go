package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"imageport/job"
	"imageport/starter"
)

func (a *app) startCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "start",
		Short: "Start a job",
		Long: `Start a job with the JSON body of the specification, from a file or made of flags. An image
has one running job at a time: to start a second one is refused.`,
		Example: `  imageport start convert-to-uefi -f body.json --wait
  imageport start convert-to-uefi --image '\\files\pvs\store\win10.vhdx' --output-image win10-uefi --credential files --platform local --resource-location 5f3b --dry-run --wait`,
		Args: cobra.ArbitraryArgs,
		RunE: group,
	}
	cmd.AddCommand(
		a.startOperation("convert-to-uefi", job.OpConvertToUEFI, "Make a GPT/UEFI differencing disk beside a BIOS/MBR vDisk"),
		a.startOperation("reverse-image", job.OpReverseImage, "Make a native disk of the hypervisor from a vDisk"),
		a.startOperation("upgrade-pvs", job.OpUpgradePVS, "Copy a vDisk, with the PVS target software in it upgraded"),
	)
	return cmd
}

// startFlags are the flags of the commands that start a job.
type startFlags struct {
	body      bodyFlags
	requestID string
	wait      bool
	print     bool
}

// startExamples shows the flags of an operation.
var startExamples = map[job.Operation]string{
	job.OpConvertToUEFI: "--output-image win10-uefi",
	job.OpReverseImage:  "--output-disk win10-disk --set provisionType=Thin",
	job.OpUpgradePVS:    "--output-image win10-2311 --install-pvs 2311",
}

func (a *app) startOperation(name string, op job.Operation, short string) *cobra.Command {
	f := startFlags{body: bodyFlags{operation: op}}
	cmd := &cobra.Command{
		Use:   name,
		Short: short,
		Long: short + `.

The request is the JSON body of the specification: from a file (-f), made of flags, or from a
file with some keys changed by flags. --set gives any key, those of a platform above all; its
value is JSON, or else text: --set datacenter=DC1 --set outputSizeMb=65536. A dot goes into an
object: --set inputStorageLocation.port=1445. --print shows the body instead of starting it.`,
		Example: fmt.Sprintf(`  imageport start %[1]s -f body.json --wait
  imageport start %[1]s -f body.json --dry-run --wait
  imageport start %[1]s -f - -o json < body.json
  imageport start %[1]s --image '\\files\pvs\store\win10.vhdx' %[2]s --credential files --platform local --resource-location 5f3b --print`, name, startExamples[op]),
		Args: cobra.NoArgs,
		PreRunE: func(cmd *cobra.Command, _ []string) error {
			if !f.body.given(cmd) {
				return errors.New("there is no request: give -f with a file, or flags such as --image")
			}
			return nil
		},
	}
	cmd.RunE = a.do(func(ctx context.Context, _ []string) error { return a.start(ctx, cmd, f) })
	f.body.add(a, cmd)
	cmd.Flags().StringVar(&f.requestID, "request-id", "", "an `id` of your own: starting again with the same one gives the same job")
	cmd.Flags().BoolVar(&f.wait, "wait", false, "show progress and wait until the job has ended")
	cmd.Flags().BoolVar(&f.print, "print", false, "print the request's body, and start nothing")
	return cmd
}

func (a *app) start(ctx context.Context, cmd *cobra.Command, f startFlags) error {
	op := f.body.operation
	body, err := a.makeBody(cmd, &f.body)
	if err != nil {
		return err
	}
	if f.print {
		return a.printBody(op, body)
	}
	if _, err := checkBody(op, body); err != nil {
		return err // as Start would say it, but without a Temporal server
	}
	return a.jobs(ctx, func(c *starter.Client) error {
		var opts []starter.StartOption
		if f.requestID != "" {
			opts = append(opts, starter.RequestID(f.requestID))
		}
		started, err := c.Start(ctx, op, body, opts...)
		if err != nil {
			return stopped(ctx, err, `whether it was started, "imageport jobs list" tells`)
		}
		a.warn(started.Warnings)
		if f.wait {
			s, err := a.follow(ctx, c, started.RunID, goesOn(started.RunID), nil)
			if err != nil {
				return err
			}
			if err := a.printStatus(s); err != nil {
				return err
			}
			return outcome(s)
		}
		return a.printStarted(op, started)
	})
}

func (a *app) warn(warnings []string) {
	for _, w := range warnings {
		fmt.Fprintf(a.err, "imageport: warning: %s\n", plain(w))
	}
}

// printBody prints a body, and then says what is wrong with it.
func (a *app) printBody(op job.Operation, body []byte) error {
	if text := bytes.TrimPrefix(body, []byte("\ufeff")); json.Valid(text) {
		if err := a.printJSON(json.RawMessage(text)); err != nil {
			return err
		}
	}
	warnings, err := checkBody(op, body)
	a.warn(warnings)
	return err
}

// checkBody says what is wrong with a body.
func checkBody(op job.Operation, body []byte) (warnings []string, err error) {
	switch op {
	case job.OpConvertToUEFI:
		_, warnings, err = job.Parse[job.ConvertToUEFI](body)
	case job.OpReverseImage:
		_, warnings, err = job.Parse[job.ReverseImage](body)
	case job.OpUpgradePVS:
		_, warnings, err = job.Parse[job.UpgradePVS](body)
	}
	return warnings, err
}

func (a *app) printStarted(op job.Operation, s starter.Started) error {
	if a.output == outputJSON {
		return a.printJSON(s)
	}
	verb := "started"
	if s.Again {
		verb = "was started before"
	}
	_, err := fmt.Fprintf(a.out, "%s %s\n  job    %s\n  run    %s\n  watch  imageport jobs watch %s\n", op, verb, s.JobID, s.RunID, s.RunID)
	return err
}
