package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"imageport/job"
	"imageport/starter"
)

func (a *app) jobsWatchCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "watch job",
		Short: "Show the progress of a job until it has ended",
		Long: `Show the progress of a job until it has ended, then how it ended. The exit code tells the
outcome. With -o json, every change is printed as one line of JSON. ^C ends the watching,
not the job.`,
		Example: `  imageport jobs watch ips/files/pvs/store/win10.vhdx
  imageport jobs watch ips/files/pvs/store/win10.vhdx -o json | jq .phase`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeJobs(job.StateRunning),
		RunE: a.do(func(ctx context.Context, args []string) error {
			return a.jobs(ctx, func(c *starter.Client) error {
				var each func(job.Status) error
				if a.output == outputJSON {
					each = func(s job.Status) error { return a.printLine(s) }
				}
				s, err := a.follow(ctx, c, args[0], goesOn(args[0]), each)
				if err != nil {
					return err
				}
				if each == nil {
					if err := a.printStatus(s); err != nil {
						return err
					}
				}
				return outcome(s)
			})
		}),
	}
}

// follow shows the progress of a job until it has ended, and gives its last
// status. Each status is also given to each, if that is not nil. ^C ends it with
// the error interrupted.
func (a *app) follow(ctx context.Context, c *starter.Client, id string, interrupted interrupted, each func(job.Status) error) (job.Status, error) {
	p := newProgress(a.err, time.Now)
	defer p.end()
	defer p.tick(time.Second)()
	var last job.Status
	for s, err := range c.Watch(ctx, id) {
		if errors.Is(err, context.Canceled) {
			p.end()
			return last, interrupted
		}
		if err != nil {
			return last, err
		}
		last = s
		p.show(s)
		if each != nil {
			if err := each(s); err != nil {
				return last, err
			}
		}
	}
	return last, nil
}

// goesOn is what to say to whom it is not the job's end.
func goesOn(id string) interrupted {
	return interrupted(fmt.Sprintf("the job goes on; imageport jobs watch '%[1]s' shows it again, imageport jobs cancel '%[1]s' stops it", id))
}
