package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"imageport/job"
	"imageport/starter"
)

// maxBodyBytes bounds a request: Temporal takes no more than 2 MiB.
const maxBodyBytes = 2 << 20

func (a *app) startCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "start",
		Short: "Start a job",
		Long: `Start a job with the JSON body of the specification. An image has one running job at a
time: to start a second one is refused.`,
		Example: `  imageport start convert-to-uefi -f body.json --wait`,
		Args:    cobra.ArbitraryArgs,
		RunE:    group,
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
	file      string
	requestID string
	wait      bool
}

func (a *app) startOperation(name string, op job.Operation, short string) *cobra.Command {
	var f startFlags
	cmd := &cobra.Command{
		Use:   name + " -f file",
		Short: short,
		Example: fmt.Sprintf(`  imageport start %[1]s -f body.json
  imageport start %[1]s -f body.json --wait
  imageport start %[1]s -f - -o json < body.json`, name),
		Args: cobra.NoArgs,
		RunE: a.do(func(ctx context.Context, _ []string) error { return a.start(ctx, op, f) }),
	}
	cmd.Flags().StringVarP(&f.file, "file", "f", "", "`file` with the request's JSON body, - for the standard input")
	cmd.Flags().StringVar(&f.requestID, "request-id", "", "an `id` of your own: starting again with the same one gives the same job")
	cmd.Flags().BoolVar(&f.wait, "wait", false, "show progress and wait until the job has ended")
	_ = cmd.MarkFlagRequired("file") // it fails for a flag that is not there
	return cmd
}

func (a *app) start(ctx context.Context, op job.Operation, f startFlags) error {
	body, err := a.readBody(f.file)
	if err != nil {
		return err
	}
	return a.jobs(ctx, func(c *starter.Client) error {
		var opts []starter.StartOption
		if f.requestID != "" {
			opts = append(opts, starter.RequestID(f.requestID))
		}
		started, err := c.Start(ctx, op, body, opts...)
		if err != nil {
			return err
		}
		for _, w := range started.Warnings {
			fmt.Fprintf(a.err, "imageport: warning: %s\n", w)
		}
		if f.wait {
			s, err := a.follow(ctx, c, started.RunID, nil)
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

func (a *app) readBody(file string) ([]byte, error) {
	in := a.in
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	body, err := io.ReadAll(io.LimitReader(in, maxBodyBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read the request: %w", err)
	}
	if len(body) > maxBodyBytes {
		return nil, job.Errorf(job.BadRequest, "Check that it is the right file", "the request %s is longer than %d bytes", file, maxBodyBytes)
	}
	return body, nil
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
