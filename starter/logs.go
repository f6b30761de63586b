package starter

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.temporal.io/api/enums/v1"
	failurepb "go.temporal.io/api/failure/v1"
	"go.temporal.io/api/history/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/temporal"

	"imageport/job"
	"imageport/job/durable"
)

// logAttempts is the name of the logs of what had to be tried again.
const logAttempts = "attempts"

// Logs gives what is kept of a job's logs, without secrets: of its Compositing
// Engines, which hand theirs over at their end; of the guest; what the platform
// said; and every attempt of the job that failed, as Temporal has recorded it.
// Where no worker answers there are only those, and a warning.
func (c *Client) Logs(ctx context.Context, id string) (job.Logs, error) {
	d, err := c.find(ctx, id)
	if err != nil {
		return job.Logs{}, err
	}
	return c.logs(ctx, d)
}

func (c *Client) logs(ctx context.Context, d *description) (job.Logs, error) {
	e := d.GetWorkflowExecutionInfo().GetExecution()
	logs, err := c.keptLogs(ctx, d)
	if err != nil {
		return job.Logs{}, err
	}
	logs.JobID, logs.RunID = e.GetWorkflowId(), e.GetRunId()
	tried := attempts{queue: d.GetWorkflowExecutionInfo().GetTaskQueue(), scheduled: make(map[int64]scheduled)}
	if err := c.events(ctx, d, func(e *history.HistoryEvent) { tried.note(e) }); err != nil {
		return job.Logs{}, err
	}
	for _, a := range d.GetPendingActivities() {
		if a.GetLastFailure() != nil && a.GetActivityType().GetName() != durable.ActivityWatch {
			tried.add(job.LogPlatform, a.GetLastStartedTime().AsTime(), fmt.Sprintf("%s is on attempt %d, the one before failed", a.GetActivityType().GetName(), a.GetAttempt()), a.GetLastFailure())
		}
	}
	logs.Add(tried.ce.Log(job.LogCE, logAttempts))
	logs.Add(tried.worker.Log(job.LogPlatform, logAttempts))
	return logs, nil
}

// keptLogs asks the worker. The error is only ever the context's.
func (c *Client) keptLogs(ctx context.Context, d *description) (job.Logs, error) {
	info := d.GetWorkflowExecutionInfo()
	patience, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	var kept, logs job.Logs
	value, err := c.temporal.QueryWorkflow(patience, info.GetExecution().GetWorkflowId(), info.GetExecution().GetRunId(), durable.QueryLogs)
	if err == nil {
		err = value.Get(&kept)
	}
	if ctx.Err() != nil {
		return logs, fmt.Errorf("get the logs of job %s: %w", info.GetExecution().GetWorkflowId(), ctx.Err())
	}
	if err != nil {
		_, late := errors.AsType[*serviceerror.DeadlineExceeded](err)
		cause := ": " + err.Error()
		if late || errors.Is(err, context.DeadlineExceeded) {
			cause = ""
		}
		logs.Warnings = append(logs.Warnings, fmt.Sprintf("no worker of resource location %q gives the logs of the Compositing Engines and of the guest%s", info.GetTaskQueue(), cause))
		return logs, nil
	}
	for _, log := range kept.Logs { // once more: the worker may be of another release
		logs.Add(log)
	}
	return logs, nil
}

// events calls f for every event of the run's history.
func (c *Client) events(ctx context.Context, d *description, f func(*history.HistoryEvent)) error {
	e := d.GetWorkflowExecutionInfo().GetExecution()
	events := c.temporal.GetWorkflowHistory(ctx, e.GetWorkflowId(), e.GetRunId(), false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		event, err := events.Next()
		if err != nil {
			return failure("read the history of job "+e.GetWorkflowId(), err)
		}
		f(event)
	}
	return nil
}

// attempts are the failed ones of a job's activities and of its worker.
type attempts struct {
	queue      string // the worker's
	ce, worker job.Tail
	scheduled  map[int64]scheduled // by the event's id
}

// scheduled is an activity.
type scheduled struct {
	name   string
	source job.LogSource
}

func (a *attempts) note(e *history.HistoryEvent) {
	at := e.GetEventTime().AsTime()
	if s := e.GetActivityTaskScheduledEventAttributes(); s != nil {
		source := job.LogPlatform
		if s.GetTaskQueue().GetName() != a.queue {
			source = job.LogCE
		}
		a.scheduled[e.GetEventId()] = scheduled{s.GetActivityType().GetName(), source}
		return
	}
	if f := e.GetWorkflowTaskFailedEventAttributes(); f.GetFailure() != nil {
		a.add(job.LogPlatform, at, "the worker could not carry the job on", f.GetFailure())
		return
	}
	var of int64
	var what string
	var why *failurepb.Failure
	if s := e.GetActivityTaskStartedEventAttributes(); s.GetLastFailure() != nil {
		of, why, what = s.GetScheduledEventId(), s.GetLastFailure(), fmt.Sprintf("attempt %d began, the one before failed", s.GetAttempt())
	} else if f := e.GetActivityTaskFailedEventAttributes(); f != nil {
		of, why, what = f.GetScheduledEventId(), f.GetFailure(), "failed"
	} else if t := e.GetActivityTaskTimedOutEventAttributes(); t != nil {
		of, why, what = t.GetScheduledEventId(), t.GetFailure(), "did not end in time"
	} else {
		return
	}
	activity := a.scheduled[of]
	if activity.name == durable.ActivityWatch { // is tried again whenever a worker stops
		return
	}
	a.add(activity.source, at, activity.name+": "+what, why)
}

// add adds a line.
func (a *attempts) add(source job.LogSource, at time.Time, what string, why *failurepb.Failure) {
	cause := ""
	if why != nil {
		e := durable.FromFailure(temporal.GetDefaultFailureConverter().FailureToError(why))
		cause = strings.ReplaceAll(fmt.Sprintf(": %s: %s", e.Code, e), "\n", "\n  ")
	}
	line := at.UTC().Format(time.RFC3339) + " " + what + cause
	if source == job.LogCE {
		a.ce.Add(line)
	} else {
		a.worker.Add(line)
	}
}
