package starter

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"imageport/job"
	"imageport/job/durable"
)

// Filter says which jobs to list. An empty field filters nothing.
type Filter struct {
	State            job.State
	Operation        job.Operation
	Platform         string
	ResourceLocation string
	// Image is a part of the image's path or name, in any case. With * or ? in it,
	// it is a pattern for the whole name or, where it has folders, for as much of
	// the end of the path.
	Image string
	// Phase is what a running job is doing, and where an ended one stopped.
	Phase job.Phase
	// Since leaves out jobs that were started before.
	Since time.Time
	// Within are the only resource locations whose jobs may be given; nil is all.
	Within []string
	// Limit is the largest number of jobs to give; 0 is 100.
	Limit int
}

// limit is what Limit means.
func (f Filter) limit() int {
	if f.Limit <= 0 {
		return 100
	}
	return f.Limit
}

// List gives the jobs that the namespace remembers: the running ones first,
// then the ended ones, both the latest first. It asks no worker, so a status
// has no warnings, progress, error or result: Get has. A job that has just
// started or ended may not show it yet.
func (c *Client) List(ctx context.Context, f Filter) ([]job.Status, error) {
	var jobs []job.Status
	rest, cursor := f, ""
	for {
		rest.Limit = f.limit() - len(jobs)
		page, err := c.Page(ctx, rest, cursor)
		if err != nil {
			return nil, err
		}
		jobs = append(jobs, page.Jobs...)
		if cursor = page.Next; cursor == "" || len(jobs) >= f.limit() {
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

// phases are all there are.
var phases = []job.Phase{job.PhasePreflight, job.PhaseCreateCE, job.PhaseEnrol, job.PhaseCompose, job.PhaseBoot, job.PhaseVerify, job.PhasePublish, job.PhaseTearDown, job.PhaseDone}

// matches gives the filter for the paths of images.
func (f Filter) matches() func(image string) bool {
	clean := func(text string) string { return strings.ToLower(strings.ReplaceAll(text, `\`, "/")) }
	part := clean(f.Image)
	if !strings.ContainsAny(part, "*?") {
		return func(image string) bool { return strings.Contains(clean(image), part) }
	}
	pattern := strings.ReplaceAll(strings.Trim(part, "/"), "[", `\[`)
	elements := strings.Count(pattern, "/") + 1
	return func(image string) bool {
		names := strings.Split(strings.TrimLeft(clean(image), "/"), "/")
		matched, _ := path.Match(pattern, strings.Join(names[max(0, len(names)-elements):], "/")) // there is no bad pattern left
		return matched
	}
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
	if f.Phase != "" {
		if !slices.Contains(phases, f.Phase) {
			return "", job.Errorf(job.BadRequest, "Use one of "+join(phases), "there is no phase %q", f.Phase)
		}
		terms = append(terms, durable.AttrPhase.GetName()+" = "+quote(string(f.Phase)))
	}
	if f.ResourceLocation != "" {
		terms = append(terms, "TaskQueue = "+quote(f.ResourceLocation))
	}
	if !f.Since.IsZero() {
		terms = append(terms, "StartTime >= "+quote(f.Since.UTC().Format(time.RFC3339Nano)))
	}
	if f.Within != nil {
		within := make([]string, len(f.Within))
		for i, location := range f.Within {
			within[i] = quote(location)
		}
		terms = append(terms, fmt.Sprintf("TaskQueue IN (%s)", strings.Join(within, ", ")))
	}
	return strings.Join(terms, " AND "), nil
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
