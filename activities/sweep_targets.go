package activities

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.temporal.io/api/enums/v1"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"

	"imageport/job"
	"imageport/job/durable"
)

const (
	// jobsPage is how many jobs one call of visibility gives.
	jobsPage = 200
	// maxHistories bounds the jobs whose requests a sweep reads; the latest ones
	// come first.
	maxHistories = 5000
	// maxTargetsBytes bounds the targets that are kept from sweep to sweep, as
	// JSON: they travel in histories. The ones used last stay.
	maxTargetsBytes = 512 << 10
	// maxTargetBytes is for one of them. A chain of certificates fits.
	maxTargetBytes = 32 << 10
	// visibleWithin is how long visibility may take until it shows what a job
	// has done.
	visibleWithin = 15 * time.Minute
)

// FindTargetsInput says what is known from the last sweep.
type FindTargetsInput struct {
	Known []job.SweepTarget `json:"known,omitempty"`
	// Since is when the last sweep has started. Where it is zero, the last one
	// that the server remembers is gone on from, or all jobs are looked at.
	Since time.Time `json:"since,omitzero"`
}

// Targets are the places where CEs of the resource location may be.
type Targets struct {
	Targets []job.SweepTarget `json:"targets"`
}

// FindTargets gathers the places where CEs of the resource location may be: the
// platforms that the worker's configuration places, what is known, and what the
// jobs since then have used. Their requests are read from their histories.
func (c *Controller) FindTargets(ctx context.Context, in FindTargetsInput) (Targets, error) {
	known := targetSet{}
	if in.Since.IsZero() && len(in.Known) == 0 {
		if last := c.lastSweep(ctx); last != nil {
			in.Known, in.Since = last.Targets, last.Started
		}
	}
	for _, t := range in.Known {
		if t.PlacedByRequest() {
			known.add(t.Target, t.LastUsed)
		}
	}
	if err := c.addJobs(ctx, known, in.Since); err != nil {
		return Targets{}, err
	}
	targets := make([]job.SweepTarget, 0, len(c.Platforms)+len(known))
	for _, name := range c.Platforms.Names() {
		t := job.SweepTarget{Target: job.Target{Platform: job.CanonicalPlatform(name)}}
		if !t.PlacedByRequest() {
			targets = append(targets, t)
		}
	}
	kept, dropped := known.latest(maxTargetsBytes)
	if dropped > 0 {
		activity.GetLogger(ctx).Warn("jobs use more places than a sweep can keep in mind: those used least recently are not looked at", "places", dropped)
	}
	return Targets{append(targets, kept...)}, nil
}

// lastSweep is the result of the last sweep that completed, or nil: without it,
// this one only has more to read.
func (c *Controller) lastSweep(ctx context.Context) *job.SweepResult {
	temporal, log := activity.GetClient(ctx), activity.GetLogger(ctx)
	found, err := temporal.ListWorkflow(ctx, &workflowservice.ListWorkflowExecutionsRequest{
		Namespace: activity.GetInfo(ctx).Namespace,
		PageSize:  1, // the latest
		Query:     fmt.Sprintf("WorkflowType = '%s' AND TaskQueue = %s AND ExecutionStatus = 'Completed'", durable.WorkflowSweep, quote(c.Owner)),
	})
	if err != nil {
		log.Warn("cannot look for the sweep before this one", "error", err)
		return nil
	}
	if len(found.GetExecutions()) == 0 {
		return nil
	}
	e := found.GetExecutions()[0].GetExecution()
	var last job.SweepResult
	if err := temporal.GetWorkflow(ctx, e.GetWorkflowId(), e.GetRunId()).Get(ctx, &last); err != nil {
		log.Warn("cannot read what the sweep before this one has found", "error", err)
		return nil
	}
	return &last
}

// addJobs adds the targets of the jobs that run, or have started or ended since
// then. A job without the search attribute of its platform was not admitted: it
// has made nothing.
func (c *Controller) addJobs(ctx context.Context, known targetSet, since time.Time) error {
	placed := []string{job.PlatformVSphere, job.PlatformXenServer, job.PlatformAzure, job.PlatformGCP}
	query := fmt.Sprintf("TaskQueue = %s AND WorkflowType IN (%s) AND %s IN (%s)", quote(c.Owner),
		quote(string(job.OpReverseImage), string(job.OpConvertToUEFI), string(job.OpUpgradePVS)), durable.AttrPlatform.GetName(), quote(placed...))
	if !since.IsZero() {
		at := quote(since.Add(-visibleWithin).UTC().Format(time.RFC3339))
		query += fmt.Sprintf(" AND (ExecutionStatus = 'Running' OR StartTime >= %s OR CloseTime >= %s)", at, at)
	}
	temporal := activity.GetClient(ctx)
	request := &workflowservice.ListWorkflowExecutionsRequest{Namespace: activity.GetInfo(ctx).Namespace, PageSize: jobsPage, Query: query}
	for read := 0; ; {
		found, err := temporal.ListWorkflow(ctx, request)
		if err != nil {
			return fmt.Errorf("list the jobs of resource location %s: %w", c.Owner, err)
		}
		for _, info := range found.GetExecutions() {
			if read++; read > maxHistories {
				activity.GetLogger(ctx).Warn("there are more jobs than a sweep reads: where the oldest ones ran is not looked at", "jobs", maxHistories)
				return nil
			}
			durable.Report(ctx, job.Progress{Step: fmt.Sprintf("read request %d", read)})
			body, err := requestOf(ctx, temporal, info)
			if err != nil {
				return err
			}
			target, err := job.ParseTarget(body)
			if err != nil {
				continue // it was no request of ours
			}
			known.add(target, lastUse(info))
		}
		if request.NextPageToken = found.GetNextPageToken(); len(request.NextPageToken) == 0 {
			return nil
		}
	}
}

// lastUse is when a job has used its target last, as far as it matters: one that
// runs is found again.
func lastUse(info *workflowpb.WorkflowExecutionInfo) time.Time {
	if info.GetCloseTime() != nil {
		return info.GetCloseTime().AsTime()
	}
	return info.GetStartTime().AsTime()
}

// requestOf reads the body that a job was started with. It is empty where the
// server has forgotten it meanwhile.
func requestOf(ctx context.Context, temporal client.Client, info *workflowpb.WorkflowExecutionInfo) ([]byte, error) {
	history, err := temporal.WorkflowService().GetWorkflowExecutionHistory(ctx, &workflowservice.GetWorkflowExecutionHistoryRequest{
		Namespace:              activity.GetInfo(ctx).Namespace,
		Execution:              info.GetExecution(),
		MaximumPageSize:        1,
		HistoryEventFilterType: enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT,
	})
	if isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the request of job %s: %w", info.GetExecution().GetWorkflowId(), err)
	}
	for _, e := range history.GetHistory().GetEvents() {
		if input := e.GetWorkflowExecutionStartedEventAttributes().GetInput().GetPayloads(); len(input) > 0 {
			return input[0].GetData(), nil
		}
	}
	return nil, nil
}

// targetSet holds each target once, by its JSON.
type targetSet map[string]job.SweepTarget

func (s targetSet) add(t job.Target, used time.Time) {
	t.CENetwork = nil // a CE's own, and different for each
	key, err := json.Marshal(t)
	if err != nil || len(key) > maxTargetBytes {
		return // no driver has made anything of that
	}
	if have, ok := s[string(key)]; !ok || have.LastUsed.Before(used) {
		s[string(key)] = job.SweepTarget{Target: t, LastUsed: used}
	}
}

// latest gives the targets that were used last and have room in that many
// bytes, in the order of their JSON, and how many have not.
func (s targetSet) latest(room int) (kept []job.SweepTarget, dropped int) {
	keys := slices.SortedFunc(maps.Keys(s), func(a, b string) int {
		return cmp.Or(s[b].LastUsed.Compare(s[a].LastUsed), cmp.Compare(a, b))
	})
	fit := len(keys)
	for i, key := range keys {
		if room -= len(key); room < 0 {
			fit = i
			break
		}
	}
	dropped = len(keys) - fit
	keys = keys[:fit]
	slices.Sort(keys)
	for _, key := range keys {
		kept = append(kept, s[key])
	}
	return kept, dropped
}

// quote writes values for a visibility query, with commas between them.
func quote(values ...string) string {
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = "'" + strings.ReplaceAll(v, "'", "''") + "'"
	}
	return strings.Join(quoted, ", ")
}
