package workflows

import (
	"slices"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"imageport/job"
	"imageport/job/durable"
	"imageport/job/seed"
)

// changeLogs is the version of jobs that ask their CEs for a log: 1. Those of
// releases that did not have none.
const changeLogs = "logs"

// keptLogs are the logs that the job was handed over.
type keptLogs struct {
	logs job.Logs
	// closed says that the current CE has nothing more to say.
	closed bool
}

// openLogs lets clients ask for the logs.
func (j *lifecycle) openLogs(ctx workflow.Context) error {
	return workflow.SetQueryHandlerWithOptions(ctx, durable.QueryLogs, func() (job.Logs, error) { return j.allLogs(), nil },
		workflow.QueryHandlerOptions{Description: "The logs that the job has: of its Compositing Engines, of the guest, and of what the platform said"})
}

// allLogs brings together what was handed over and what the status has.
func (j *lifecycle) allLogs() job.Logs {
	all := job.Logs{JobID: j.status.JobID, RunID: j.status.RunID, Logs: slices.Clone(j.logs.logs.Logs)}
	if g := j.status.Guest; g != nil {
		all.Add(job.Log{Source: job.LogGuest, Name: "runner", Text: g.Log})
		for _, log := range g.Logs {
			all.Add(job.Log{Source: job.LogGuest, Name: log.Name, Text: log.Tail})
		}
	}
	if r := j.status.Result; r != nil && r.Boot != nil {
		all.Add(job.Log{Source: job.LogGuest, Name: "firmware", Text: r.Boot.Console})
	}
	return all
}

// keepLog asks the current CE for its log, before it is destroyed or switched
// off. It is a matter of seconds and never of the job's outcome: a CE that does
// not answer has no log.
func (j *lifecycle) keepLog(ctx workflow.Context) {
	if j.enrolled.Key == "" || j.logs.closed || workflow.GetVersion(ctx, changeLogs, workflow.DefaultVersion, 1) < 1 {
		return
	}
	j.logs.closed = true
	var log job.Log
	ctx = handingOver(ctx, seed.Queue(j.status.CE), "get the log of "+j.status.CE)
	if workflow.ExecuteActivity(ctx, ce.HandOverLog).Get(ctx, &log) != nil {
		return
	}
	// Of what a CE says of itself, only the text counts.
	j.logs.logs.Add(job.Log{Source: job.LogCE, Name: j.status.CE, At: workflow.Now(ctx), OmittedBytes: max(log.OmittedBytes, 0), Text: log.Text})
}

// noteLoss keeps what the platform, or its console, says of a CE that is lost.
func (j *lifecycle) noteLoss(ctx workflow.Context, lost *ceLost) {
	j.logs.closed = true
	j.noteFault(ctx, j.status.CE, lost.cause)
}

// noteFault keeps what the platform says of the end of a machine.
func (j *lifecycle) noteFault(ctx workflow.Context, machine, fault string) {
	if fault != "" {
		j.logs.logs.Add(job.Log{Source: job.LogPlatform, Name: machine, At: workflow.Now(ctx), Text: fault + "\n"})
	}
}

// handingOver is for what is good to have, from a CE that is there.
func handingOver(ctx workflow.Context, queue, summary string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:              queue,
		Summary:                summary,
		ScheduleToStartTimeout: 5 * time.Second,
		StartToCloseTimeout:    10 * time.Second,
		RetryPolicy:            &temporal.RetryPolicy{MaximumAttempts: 1},
	})
}
