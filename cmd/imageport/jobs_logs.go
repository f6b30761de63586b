package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"imageport/job"
	"imageport/starter"
)

// followInterval is how often jobs logs -f looks for more.
const followInterval = 2 * time.Second

// allSources stands for every source of logs.
const allSources = job.LogSource("all")

func (a *app) jobsLogsCommand() *cobra.Command {
	source, follow := allSources, false
	cmd := &cobra.Command{
		Use:   "logs job",
		Short: "Show the logs of a job",
		Long: `Show the logs of a job: those of its Compositing Engines (ce), which hand them over at
their end; those of the Windows that was started (guest); and what the platform and the
worker ran into (platform). The newest 64 KiB of each are kept, 256 KiB in all, without
what looks like a secret.`,
		Example: `  imageport jobs logs ips/files/pvs/store/win10.vhdx
  imageport jobs logs ips/files/pvs/store/win10.vhdx --source guest
  imageport jobs logs ips/files/pvs/store/win10.vhdx -f`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeJobs(""),
		RunE: a.do(func(ctx context.Context, args []string) error {
			only := source
			if source == allSources {
				only = ""
			}
			return a.jobs(ctx, func(c *starter.Client) error {
				if follow {
					return a.followLogs(ctx, c, args[0], only)
				}
				logs, err := c.Logs(ctx, args[0])
				if err != nil {
					return err
				}
				logs = logs.Of(only)
				if a.output == outputJSON {
					return a.printJSON(logs)
				}
				return a.printLogs(logs, &shownLogs{})
			})
		}),
	}
	sources := append(slices.Clone(job.LogSources), allSources)
	choose(cmd, &source, "source", "only this `source`: "+strings.Join(texts(sources), ", "), sources...)
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until the job has ended; with -o json, a line for each log that has grown")
	return cmd
}

// shownLogs is how much of a job's logs was printed.
type shownLogs struct {
	bytes    map[string]int64 // by log: up to where
	warnings []string
	heading  string // the last one
}

// news gives what of a log was not printed yet.
func (s *shownLogs) news(log job.Log) (text string, ok bool) {
	key := fmt.Sprintf("%s/%s/%s", log.Source, log.Name, log.At)
	if s.bytes == nil {
		s.bytes = make(map[string]int64)
	}
	shown, end := s.bytes[key], log.OmittedBytes+int64(len(log.Text))
	s.bytes[key] = max(end, shown)
	if end <= shown {
		return "", false
	}
	return log.Text[max(shown-log.OmittedBytes, 0):], true
}

// printLogs prints what was not printed yet, each log under a heading.
func (a *app) printLogs(logs job.Logs, s *shownLogs) error {
	for _, w := range logs.Warnings {
		if !slices.Contains(s.warnings, w) {
			s.warnings = append(s.warnings, w)
			fmt.Fprintf(a.err, "imageport: warning: %s\n", plain(w))
		}
	}
	p := printer{w: a.out}
	for _, log := range logs.Logs {
		text, ok := s.news(log)
		if !ok {
			continue
		}
		heading := fmt.Sprintf("--- %s %s", log.Source, log.Name)
		if !log.At.IsZero() {
			heading += " at " + log.At.Local().Format(time.DateTime)
		}
		if heading != s.heading {
			p.line("%s", heading)
			if log.OmittedBytes > 0 {
				p.line("(%s before were not kept)", sizeText(log.OmittedBytes))
			}
			s.heading = heading
		}
		p.line("%s", strings.TrimSuffix(strings.ReplaceAll(text, "\r\n", "\n"), "\n"))
	}
	return p.err
}

// followLogs prints logs as they come, until the job has ended.
func (a *app) followLogs(ctx context.Context, c *starter.Client, id string, only job.LogSource) error {
	var shown shownLogs
	for {
		s, err := c.Get(ctx, id)
		if err == nil {
			id = s.RunID // and not the image's next job
			err = a.printMore(ctx, c, id, only, &shown)
		}
		if errors.Is(err, context.Canceled) {
			return interrupted("the job goes on")
		}
		if err != nil {
			return err
		}
		if s.State != job.StateRunning {
			return nil
		}
		select {
		case <-ctx.Done():
			return interrupted("the job goes on")
		case <-time.After(followInterval):
		}
	}
}

func (a *app) printMore(ctx context.Context, c *starter.Client, id string, only job.LogSource, shown *shownLogs) error {
	logs, err := c.Logs(ctx, id)
	if err != nil {
		return err
	}
	if logs = logs.Of(only); a.output != outputJSON {
		return a.printLogs(logs, shown)
	}
	for _, log := range logs.Logs {
		text, ok := shown.news(log)
		if !ok {
			continue
		}
		log.OmittedBytes += int64(len(log.Text) - len(text))
		log.Text = text
		if err := a.printLine(log); err != nil {
			return err
		}
	}
	return nil
}
