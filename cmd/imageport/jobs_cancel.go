package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"imageport/job"
	"imageport/starter"
)

func (a *app) jobsCancelCommand() *cobra.Command {
	var reason string
	var wait bool
	cmd := &cobra.Command{
		Use:   "cancel job",
		Short: "Stop a job and remove what it made",
		Long: `Stop a job and remove what it made: its Compositing Engine and its files on the share. The
image itself is never touched.`,
		Example: `  imageport jobs cancel ips/files/pvs/store/win10.vhdx
  imageport jobs cancel ips/files/pvs/store/win10.vhdx --reason "wrong image" --wait`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeJobs(job.StateRunning),
		RunE: a.do(func(ctx context.Context, args []string) error {
			return a.jobs(ctx, func(c *starter.Client) error { return a.cancel(ctx, c, args[0], reason, wait) })
		}),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "`text` to keep with the job")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until the job has ended; success means that it was canceled")
	return cmd
}

func (a *app) cancel(ctx context.Context, c *starter.Client, id, reason string, wait bool) error {
	if err := c.Cancel(ctx, id, reason); err != nil {
		return err
	}
	if !wait {
		s, err := c.Get(ctx, id)
		if err != nil {
			return err
		}
		if a.output == outputJSON {
			return a.printJSON(s)
		}
		_, err = fmt.Fprintf(a.out, "cancellation of %s requested\n", id)
		return err
	}
	s, err := a.follow(ctx, c, id, "the job stops all the same", nil)
	if err != nil {
		return err
	}
	if err := a.printStatus(s); err != nil {
		return err
	}
	switch s.State {
	case job.StateCanceled:
		return nil
	case job.StateCompleted:
		return job.Errorf(job.JobEnded, "", "the job completed before it could be canceled")
	}
	return outcome(s)
}
