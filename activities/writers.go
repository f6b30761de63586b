package activities

import (
	"context"
	"fmt"
	"strings"

	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/activity"

	"imageport/job"
	"imageport/job/durable"
)

// refuseOtherWritersOf is refuseOtherWriters for a file on a share.
func (c *Controller) refuseOtherWritersOf(ctx context.Context, where job.StorageLocation, output string) error {
	if output == "" {
		return nil // not known yet
	}
	outputID, err := where.FileID(output)
	if err != nil {
		return err
	}
	return c.refuseOtherWriters(ctx, outputID)
}

// refuseOtherWriters refuses a job whose output another running job writes.
// The workflow id cannot tell: the Temporal CLI takes any. Of two such jobs
// the one that was started first goes on. A job that visibility does not show
// yet slips through; publishing, which never replaces, catches it.
func (c *Controller) refuseOtherWriters(ctx context.Context, outputID string) error {
	info := activity.GetInfo(ctx)
	temporal := activity.GetClient(ctx)
	running, err := temporal.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{
		Namespace: info.Namespace, // the worker's client may have no default
		Query:     fmt.Sprintf("%s = '%s' AND ExecutionStatus = 'Running'", durable.AttrOutput.GetName(), strings.ReplaceAll(durable.Keyword(outputID), "'", "''")),
	})
	if err != nil {
		return fmt.Errorf("looking for other jobs with the output %s: %w", outputID, err)
	}
	self, err := temporal.DescribeWorkflowExecution(ctx, info.WorkflowExecution.ID, info.WorkflowExecution.RunID)
	if err != nil {
		return fmt.Errorf("looking up the job itself: %w", err)
	}
	started := self.GetWorkflowExecutionInfo().GetStartTime().AsTime()
	for _, other := range running.GetExecutions() {
		id, run := other.GetExecution().GetWorkflowId(), other.GetExecution().GetRunId()
		if run == info.WorkflowExecution.RunID {
			continue
		}
		first := other.GetStartTime().AsTime()
		if first.Before(started) || first.Equal(started) && run < info.WorkflowExecution.RunID {
			return job.Errorf(job.OutputInUse, "Wait for that job, or cancel it, or choose another output",
				"job %q, started at %s, writes the same output %s", id, first.Format("2006-01-02 15:04:05 MST"), outputID)
		}
	}
	return nil
}
