package starter

import (
	"context"
	"net/url"
	"strings"
	"time"

	"go.temporal.io/api/common/v1"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflow/v1"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"imageport/job"
	"imageport/job/durable"
)

// describe describes the run of d anew.
func (c *Client) describe(ctx context.Context, d *description) (*description, error) {
	e := d.GetWorkflowExecutionInfo().GetExecution()
	again, err := c.temporal.DescribeWorkflowExecution(ctx, e.GetWorkflowId(), e.GetRunId())
	if err != nil {
		return nil, failure("look up job "+e.GetWorkflowId(), err)
	}
	return again, nil
}

func described(d *description) job.Status { return summary(d.GetWorkflowExecutionInfo()) }

// summary is what the server knows of a job without asking a worker. Image and
// output are in the spelling that identifies them: lower case.
func summary(info *workflow.WorkflowExecutionInfo) job.Status {
	attrs := info.GetSearchAttributes().GetIndexedFields()
	s := job.Status{
		JobID:            info.GetExecution().GetWorkflowId(),
		RunID:            info.GetExecution().GetRunId(),
		Operation:        job.Operation(info.GetType().GetName()),
		Platform:         keyword(attrs, durable.AttrPlatform),
		ResourceLocation: info.GetTaskQueue(),
		Image:            unc(keyword(attrs, durable.AttrImage)),
		Output:           output(keyword(attrs, durable.AttrOutput)),
		State:            state(info.GetStatus()),
		Phase:            job.Phase(keyword(attrs, durable.AttrPhase)),
		Started:          info.GetStartTime().AsTime(),
	}
	if s.Image == "" { // no worker has looked at the job yet
		s.Image = unc(s.JobID)
	}
	if s.State == job.StateCompleted {
		s.Phase = job.PhaseDone
	}
	if info.GetCloseTime() != nil {
		ended := info.GetCloseTime().AsTime()
		s.Ended = &ended
	}
	return s
}

func state(status enums.WorkflowExecutionStatus) job.State {
	switch status {
	case enums.WORKFLOW_EXECUTION_STATUS_COMPLETED:
		return job.StateCompleted
	case enums.WORKFLOW_EXECUTION_STATUS_FAILED, enums.WORKFLOW_EXECUTION_STATUS_TIMED_OUT:
		return job.StateFailed
	case enums.WORKFLOW_EXECUTION_STATUS_CANCELED:
		return job.StateCanceled
	case enums.WORKFLOW_EXECUTION_STATUS_TERMINATED:
		return job.StateTerminated
	}
	return job.StateRunning
}

func keyword(attrs map[string]*common.Payload, key temporal.SearchAttributeKeyKeyword) string {
	payload, ok := attrs[key.GetName()]
	if !ok {
		return ""
	}
	var value string
	if converter.GetDefaultDataConverter().FromPayload(payload, &value) != nil {
		return "" // not written by us
	}
	return value
}

// output gives the path or the name of what job.ConvertToUEFI.OutputID or
// job.ReverseImage.OutputID identifies.
func output(id string) string {
	const parts = 5 // disk/platform/where/where/name
	if disk := strings.SplitN(id, "/", parts); len(disk) == parts && disk[0] == "disk" {
		if name, err := url.PathUnescape(disk[parts-1]); err == nil {
			return name
		}
		return disk[parts-1]
	}
	return unc(id)
}

// unc gives the path of what job.Request.WorkflowID identifies, or "" for
// another id.
func unc(id string) string {
	rest, ok := strings.CutPrefix(id, "ips/")
	if !ok {
		return ""
	}
	if decoded, err := url.PathUnescape(rest); err == nil {
		rest = decoded
	}
	host, path, ok := strings.Cut(rest, "/")
	if !ok {
		return ""
	}
	if name, port, ok := cutLast(host, ":"); ok && strings.Trim(port, "0123456789") == "" && !strings.Contains(name, ":") {
		host = name // a UNC path has no port
	}
	return `\\` + host + `\` + strings.ReplaceAll(path, "/", `\`)
}

func cutLast(s, sep string) (before, after string, ok bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// isEnded reports whether the run has ended.
func isEnded(d *description) bool { return described(d).State != job.StateRunning }

// moment formats a time for messages.
func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 MST") }
