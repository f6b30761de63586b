package main

import (
	"context"

	"github.com/spf13/cobra"

	"imageport/starter"
)

func (a *app) jobsShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show job",
		Short: "Show how a job stands, or how it ended",
		Example: `  imageport jobs show ips/files/pvs/store/win10.vhdx
  imageport jobs show 01a20582-8e9a-7b3c-9d21-3f0c9a6f1e55 -o json`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeJobs(""),
		RunE: a.do(func(ctx context.Context, args []string) error {
			return a.jobs(ctx, func(c *starter.Client) error {
				s, err := c.Get(ctx, args[0])
				if err != nil {
					return err
				}
				return a.printStatus(s)
			})
		}),
	}
}
