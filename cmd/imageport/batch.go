package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"imageport/job"
	"imageport/starter"
)

func (a *app) batchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "batch",
		Short: "Run one operation on many images",
		Long: `Run one operation on many images: a list of them, or those of a folder that match a
pattern. Each is a job of its own, which "imageport jobs" shows; so many run at a time as
the request says. A batch goes on past failures, and to start it again does what is left.`,
		Example: `  imageport batch start -f batch.json --wait
  imageport batch show batch/5f3b/floor-3
  imageport batch report batch/5f3b/floor-3 --html report.html`,
		Args: cobra.ArbitraryArgs,
		RunE: group,
	}
	cmd.AddCommand(a.batchStartCommand(), a.batchListCommand(), a.batchShowCommand(), a.batchWatchCommand(), a.batchReportCommand(), a.batchCancelCommand())
	return cmd
}

func (a *app) batchStartCommand() *cobra.Command {
	var file string
	var wait bool
	cmd := &cobra.Command{
		Use:   "start -f file",
		Short: "Start a batch",
		Long: `Start a batch. The file is JSON:

  {
    "name": "floor-3",
    "operation": "convertToUefi",
    "template": { the operation's request, without the image and its output },
    "pattern": "win10*",
    "output": "{name}-uefi",
    "concurrency": {"perShare": 2, "perHost": 4, "total": 8}
  }

Instead of the pattern it may list "images": names, or objects of inputImageFilename and
what else of the template is different for this one. {name} is the image's name without its
extension. A pattern matches the latest versions of vDisks only, unless allVersions is true.

An image whose output is there is left out, unless onlyMissing is false. After a failure the
others go on, unless continueOnError is false. With dryRun, each job only plans.

The exit code of --wait is 1 if a job has failed, 3 if the batch was canceled.`,
		Example: `  imageport batch start -f batch.json
  imageport batch start -f batch.json --wait
  imageport batch start -f - -o json < batch.json`,
		Args: cobra.NoArgs,
		RunE: a.do(func(ctx context.Context, _ []string) error { return a.startBatch(ctx, file, wait) }),
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "`file` with the batch's JSON, - for the standard input")
	cmd.Flags().BoolVar(&wait, "wait", false, "show progress and wait until the batch has ended")
	_ = cmd.MarkFlagRequired("file") // it fails for a flag that is not there
	return cmd
}

func (a *app) startBatch(ctx context.Context, file string, wait bool) error {
	body, err := a.readBody(file)
	if err != nil {
		return err
	}
	if _, _, err := job.ParseBatch(body); err != nil {
		return err // as StartBatch would say it, but without a Temporal server
	}
	return a.jobs(ctx, func(c *starter.Client) error {
		started, err := c.StartBatch(ctx, body)
		if err != nil {
			return stopped(ctx, err, `whether it was started, "imageport batch list" tells`)
		}
		a.warn(started.Warnings)
		if wait {
			return a.awaitBatch(ctx, c, started.JobID)
		}
		if a.output == outputJSON {
			return a.printJSON(started)
		}
		p := printer{w: a.out}
		p.line("batch started")
		p.field("batch", started.JobID)
		p.field("run", started.RunID)
		p.field("watch", fmt.Sprintf("imageport batch watch '%s'", started.JobID))
		return p.err
	})
}

// awaitBatch follows a batch to its end, prints its report, and says how it ended.
func (a *app) awaitBatch(ctx context.Context, c *starter.Client, id string) error {
	r, err := a.followBatch(ctx, c, id, batchGoesOn(id), nil)
	if err != nil {
		return err
	}
	if err := a.printBatch(r); err != nil {
		return err
	}
	return batchOutcome(r)
}

func (a *app) batchListCommand() *cobra.Command {
	var f starter.BatchFilter
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List batches, the running ones first",
		Example: `  imageport batch list --state running
  imageport batch list --resource-location 5f3b -o json`,
		Args: cobra.NoArgs,
		RunE: a.do(func(ctx context.Context, _ []string) error {
			return a.jobs(ctx, func(c *starter.Client) error {
				list, err := c.ListBatches(ctx, f)
				if err != nil {
					return err
				}
				return a.printBatches(list)
			})
		}),
	}
	choose(cmd, &f.State, "state", "only batches in this `state`: "+strings.Join(texts(states), ", "), states...)
	cmd.Flags().StringVar(&f.ResourceLocation, "resource-location", "", "only batches of the resource location with this `id`")
	f.Limit = 100
	cmd.Flags().Var((*count)(&f.Limit), "limit", "at most this `number` of batches")
	return cmd
}

func (a *app) printBatches(list []job.BatchReport) error {
	if a.output == outputJSON {
		if list == nil {
			list = []job.BatchReport{} // [] and not null
		}
		return a.printJSON(list)
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "STATE\tSTARTED\tTOOK\tBATCH")
	for _, r := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.State, r.Started.Local().Format(time.DateTime), batchTook(r, time.Now()), cell(r.BatchID))
	}
	return w.Flush()
}

func (a *app) batchShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show batch",
		Short: "Show how a batch stands, or how it ended",
		Example: `  imageport batch show batch/5f3b/floor-3
  imageport batch show batch/5f3b/floor-3 -o json | jq .counts`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeBatches(""),
		RunE: a.do(func(ctx context.Context, args []string) error {
			return a.jobs(ctx, func(c *starter.Client) error {
				r, err := c.Batch(ctx, args[0])
				if err != nil {
					return err
				}
				return a.printBatch(r)
			})
		}),
	}
}

func (a *app) batchWatchCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "watch batch",
		Short: "Show the progress of a batch until it has ended",
		Long: `Show the progress of a batch until it has ended, then its report. With -o json, every
change is printed as one line of JSON. ^C ends the watching, not the batch.`,
		Example:           `  imageport batch watch batch/5f3b/floor-3`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeBatches(job.StateRunning),
		RunE: a.do(func(ctx context.Context, args []string) error {
			return a.jobs(ctx, func(c *starter.Client) error {
				if a.output != outputJSON {
					return a.awaitBatch(ctx, c, args[0])
				}
				r, err := a.followBatch(ctx, c, args[0], batchGoesOn(args[0]), func(r job.BatchReport) error { return a.printLine(r) })
				if err != nil {
					return err
				}
				return batchOutcome(r)
			})
		}),
	}
}

func (a *app) batchCancelCommand() *cobra.Command {
	var reason string
	var wait bool
	cmd := &cobra.Command{
		Use:   "cancel batch",
		Short: "Stop a batch and its running jobs",
		Long: `Stop a batch. Its running jobs remove what they made; outputs of jobs that have completed
stay. What was not begun is left.`,
		Example: `  imageport batch cancel batch/5f3b/floor-3
  imageport batch cancel batch/5f3b/floor-3 --reason "wrong folder" --wait`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeBatches(job.StateRunning),
		RunE: a.do(func(ctx context.Context, args []string) error {
			return a.jobs(ctx, func(c *starter.Client) error { return a.cancelBatch(ctx, c, args[0], reason, wait) })
		}),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "`text` to keep with the batch")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until the batch has ended; success means that it was canceled")
	return cmd
}

func (a *app) cancelBatch(ctx context.Context, c *starter.Client, id, reason string, wait bool) error {
	if err := c.CancelBatch(ctx, id, reason); err != nil {
		return err
	}
	if !wait {
		if a.output == outputJSON {
			r, err := c.Batch(ctx, id)
			if err != nil {
				return err
			}
			return a.printJSON(r)
		}
		_, err := fmt.Fprintf(a.out, "cancellation of %s requested\n", plain(id))
		return err
	}
	r, err := a.followBatch(ctx, c, id, "the batch stops all the same", nil)
	if err != nil {
		return err
	}
	if err := a.printBatch(r); err != nil {
		return err
	}
	switch r.State {
	case job.StateCanceled:
		return nil
	case job.StateCompleted:
		return job.Errorf(job.JobEnded, "", "the batch ended before it could be canceled")
	}
	return batchOutcome(r)
}

// completeBatches completes the ids of the batches in that state, "" for all.
func (a *app) completeBatches(state job.State) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completeTimeout)
		defer cancel()
		var ids []cobra.Completion
		err := a.jobs(ctx, func(c *starter.Client) error {
			list, err := c.ListBatches(ctx, starter.BatchFilter{State: state})
			seen := map[string]bool{} // batches of a name share the id
			for _, r := range list {
				if !seen[r.BatchID] {
					seen[r.BatchID] = true
					ids = append(ids, cobra.CompletionWithDesc(r.BatchID, string(r.State)))
				}
			}
			return err
		})
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return ids, cobra.ShellCompDirectiveNoFileComp
	}
}
