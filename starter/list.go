package starter

import (
	"context"
	"fmt"
	"strings"

	"go.temporal.io/api/workflowservice/v1"

	"imageport/job"
	"imageport/job/durable"
)

// Filter says which jobs to list. An empty field filters nothing.
type Filter struct {
	State            job.State
	Operation        job.Operation
	Platform         string
	ResourceLocation string
	// Image is a part of the image's path or name, in any case.
	Image string
	// Limit is the largest number of jobs to give; 0 is 100.
	Limit int
}

// maxPage is how many jobs one call asks for.
const maxPage = 200

// List gives the jobs that the namespace remembers: the running ones first,
// then the ended ones, both the latest first. It asks no worker, so a status
// has no warnings, progress, error or result: Get has. A job that has just
// started or ended may not show it yet.
func (c *Client) List(ctx context.Context, f Filter) ([]job.Status, error) {
	query, err := f.query()
	if err != nil {
		return nil, err
	}
	limit := f.Limit
	if limit <= 0 {
		limit = 100
	}
	part := strings.ToLower(strings.ReplaceAll(f.Image, "/", `\`))
	var jobs []job.Status
	var page []byte
	for {
		found, err := c.temporal.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{
			Query:         query,
			PageSize:      int32(min(limit, maxPage)),
			NextPageToken: page,
		})
		if err != nil {
			return nil, failure("list the jobs", err)
		}
		for _, info := range found.GetExecutions() {
			s := summary(info)
			if !strings.Contains(strings.ToLower(s.Image), part) {
				continue
			}
			if jobs = append(jobs, s); len(jobs) == limit {
				return jobs, nil
			}
		}
		if page = found.GetNextPageToken(); len(page) == 0 {
			return jobs, nil
		}
	}
}

// statuses are Temporal's names of the states.
var statuses = map[job.State]string{
	job.StateRunning:    "'Running'",
	job.StateCompleted:  "'Completed'",
	job.StateFailed:     "'Failed', 'TimedOut'",
	job.StateCanceled:   "'Canceled'",
	job.StateTerminated: "'Terminated'",
}

// query is the filter as a visibility query.
func (f Filter) query() (string, error) {
	types := make([]string, len(operations))
	for i, op := range operations {
		types[i] = quote(string(op))
	}
	if f.Operation != "" {
		if !isOperation(string(f.Operation)) {
			return "", job.Errorf(job.BadRequest, "Use one of "+join(operations), "there is no operation %q", f.Operation)
		}
		types = []string{quote(string(f.Operation))}
	}
	terms := []string{fmt.Sprintf("WorkflowType IN (%s)", strings.Join(types, ", "))}
	if f.State != "" {
		names, ok := statuses[f.State]
		if !ok {
			return "", job.Errorf(job.BadRequest, "Use one of running, completed, failed, canceled, terminated", "there is no state %q", f.State)
		}
		terms = append(terms, fmt.Sprintf("ExecutionStatus IN (%s)", names))
	}
	if f.Platform != "" {
		terms = append(terms, durable.AttrPlatform.GetName()+" = "+quote(job.CanonicalPlatform(f.Platform)))
	}
	if f.ResourceLocation != "" {
		terms = append(terms, "TaskQueue = "+quote(f.ResourceLocation))
	}
	return strings.Join(terms, " AND "), nil
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
