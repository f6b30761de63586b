package starter

import (
	"context"
	"path"
	"slices"
	"strings"
	"time"

	"go.temporal.io/api/workflow/v1"

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

// Page is a part of a list of jobs.
type Page struct {
	Jobs []job.Status
	// Next is the cursor of the page that follows, "" after the last one.
	Next string
}

// List gives the jobs that the namespace remembers: the running ones first,
// then the ended ones, both the latest first. It asks no worker, so a status
// has no warnings, progress, error or result: Get has. A job that has just
// started or ended may not show it yet.
func (c *Client) List(ctx context.Context, f Filter) ([]job.Status, error) {
	return everything(limitOf(f.Limit), func(limit int, from string) ([]job.Status, string, error) {
		f.Limit = limit
		p, err := c.Page(ctx, f, from)
		return p.Jobs, p.Next, err
	})
}

// Page gives the jobs of List from a cursor on, at most f.Limit. A page may have
// fewer, even none, and yet not be the last one. Jobs that have started since the
// first page are not given; one that has ended since may be given once more.
func (c *Client) Page(ctx context.Context, f Filter, from string) (Page, error) {
	terms, err := f.terms()
	if err != nil {
		return Page{}, err
	}
	limit := limitOf(f.Limit)
	l := listing{of: kindJob, terms: terms, state: f.State, limit: limit, size: min(limit+1, maxPage)}
	if f.Image != "" { // which the server cannot look for
		l.size = maxPage
	}
	if f.Within != nil && len(f.Within) == 0 {
		return Page{}, nil
	}
	matches := f.matches()
	var p Page
	p.Next, err = c.page(ctx, l, from, func(info *workflow.WorkflowExecutionInfo) bool {
		s := summary(info)
		if !matches(s.Image) {
			return false
		}
		p.Jobs = append(p.Jobs, s)
		return true
	})
	if err != nil {
		return Page{}, err
	}
	return p, nil
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

// terms are the filter as terms of a visibility query, but for the state.
func (f Filter) terms() ([]string, error) {
	types := kindJob.types
	if f.Operation != "" {
		if !slices.Contains(operations, f.Operation) {
			return nil, job.Errorf(job.BadRequest, "Use one of "+join(operations), "there is no operation %q", f.Operation)
		}
		types = []string{string(f.Operation)}
	}
	terms := []string{"WorkflowType IN ('" + strings.Join(types, "', '") + "')"}
	if f.Platform != "" {
		terms = append(terms, durable.AttrPlatform.GetName()+" = "+quote(job.CanonicalPlatform(f.Platform)))
	}
	if f.Phase != "" {
		if !slices.Contains(phases, f.Phase) {
			return nil, job.Errorf(job.BadRequest, "Use one of "+join(phases), "there is no phase %q", f.Phase)
		}
		terms = append(terms, durable.AttrPhase.GetName()+" = "+quote(string(f.Phase)))
	}
	if f.ResourceLocation != "" {
		terms = append(terms, "TaskQueue = "+quote(f.ResourceLocation))
	}
	if !f.Since.IsZero() {
		terms = append(terms, "StartTime >= "+quote(f.Since.UTC().Format(time.RFC3339Nano)))
	}
	if len(f.Within) > 0 {
		terms = append(terms, within(f.Within))
	}
	return terms, nil
}
