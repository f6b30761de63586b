package activities

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/sdk/activity"
	"golang.org/x/sync/errgroup"

	"imageport/job"
	"imageport/job/durable"
	"imageport/job/seed"
	"imageport/platforms"
)

const (
	// looksAtOnce bounds the platforms and jobs that are asked at a time.
	looksAtOnce = 8
	// listWithin is how long one platform may take to list its CEs: one that
	// does not answer must not keep the others from being swept.
	listWithin = time.Minute
	// answerWithin is how long a job may take to say which CE it has.
	answerWithin = 5 * time.Second
	// maxWhyBytes cuts what platforms say.
	maxWhyBytes = 400
)

// FindOrphansInput says where to look, and what to leave alone.
type FindOrphansInput struct {
	Targets []job.Target `json:"targets"`
	// Now is what ages are counted to, MinAge what a CE has to have at least.
	Now    time.Time  `json:"now"`
	MinAge job.Period `json:"minAge"`
}

// Orphans is what a look at the targets has shown.
type Orphans struct {
	// Looks are in the order of the targets.
	Looks []Look `json:"looks"`
	// CEs are those of the resource location, and those without a mark, sorted
	// by platform and name.
	CEs []FoundCE `json:"ces,omitempty"`
}

// Look is what one target has shown. CEs and Others are as in job.SweepTarget.
type Look struct {
	CEs    int    `json:"ces"`
	Others int    `json:"others,omitempty"`
	Error  string `json:"error,omitempty"`
}

// FoundCE is a CE, and whether a job needs it.
type FoundCE struct {
	job.SweptCE
	// Targets are the indexes of the targets that have it.
	Targets []int `json:"targets"`
	// Orphan says that it is to be removed.
	Orphan bool `json:"orphan,omitempty"`
}

// FindOrphans lists the CEs of all targets, and finds out which of them no job
// needs. It changes nothing. A target that cannot be looked at is reported, and
// fails nothing.
func (c *Controller) FindOrphans(ctx context.Context, in FindOrphansInput) (Orphans, error) {
	seen := Orphans{Looks: make([]Look, len(in.Targets))}
	lists := make([][]platforms.Instance, len(in.Targets))
	var group errgroup.Group
	group.SetLimit(looksAtOnce)
	for i, target := range in.Targets {
		group.Go(func() error {
			list, err := c.list(ctx, target)
			if err != nil {
				seen.Looks[i].Error = brief(err)
			}
			lists[i] = list
			return nil
		})
	}
	_ = group.Wait() // none fails
	var instances []platforms.Instance
	index := map[string]int{} // the same CE is seen through several targets
	for i, list := range lists {
		label := in.Targets[i].Label()
		for _, ce := range list {
			if ce.Owner != "" && ce.Owner != c.Owner {
				seen.Looks[i].Others++
				continue
			}
			if ce.Owner != "" {
				seen.Looks[i].CEs++
			}
			at, again := index[label+" "+ce.Name]
			if !again {
				at = len(seen.CEs)
				index[label+" "+ce.Name] = at
				instances = append(instances, ce)
				seen.CEs = append(seen.CEs, FoundCE{SweptCE: job.SweptCE{Platform: label, CE: ce.Name, Job: ce.Job, Age: job.Period(in.Now.Sub(ce.Created))}})
			}
			seen.CEs[at].Targets = append(seen.CEs[at].Targets, i)
		}
	}
	for i, ce := range instances {
		group.Go(func() error {
			v := c.judge(ctx, ce, in.Now, time.Duration(in.MinAge))
			seen.CEs[i].Orphan, seen.CEs[i].Why = v.orphan, v.why
			return nil
		})
	}
	_ = group.Wait() // none fails
	slices.SortFunc(seen.CEs, func(a, b FoundCE) int { return cmp.Or(cmp.Compare(a.Platform, b.Platform), cmp.Compare(a.CE, b.CE)) })
	return seen, ctx.Err()
}

// list lists the CEs of a target. A driver's defect is an error of that target:
// in this goroutine it would end the worker.
func (c *Controller) list(ctx context.Context, target job.Target) (list []platforms.Instance, err error) {
	ctx, cancel := context.WithTimeout(ctx, listWithin)
	defer cancel()
	defer func() {
		if defect := recover(); defect != nil {
			activity.GetLogger(ctx).Error("the driver has a defect", "platform", target.Platform, "panic", defect, "stack", string(debug.Stack()))
			list, err = nil, job.Errorf(job.Internal, "Report it with the worker's log", "platform %s: the driver has a defect: %v", target.Platform, defect)
		}
	}()
	driver, err := c.Platforms.Driver(ctx, target)
	if err != nil {
		return nil, err
	}
	if list, err = driver.List(ctx); err != nil {
		return nil, platforms.JobError(target.Platform, err)
	}
	return list, nil
}

// RemoveOrphanInput names a CE to remove that two looks have found without a
// job. Targets are those that it was seen through.
type RemoveOrphanInput struct {
	Targets []job.Target `json:"targets"`
	CE      string       `json:"ce"`
	Now     time.Time    `json:"now"`
	MinAge  job.Period   `json:"minAge"`
}

// OrphanRemoved says how that went.
type OrphanRemoved struct {
	// Kept is why it was not removed after all, "" if it is gone.
	Kept string `json:"kept,omitempty"`
}

// RemoveOrphan destroys a CE, with all that belongs to it, after a last look:
// its job may have been reset and need it again. One that is not there is gone.
func (c *Controller) RemoveOrphan(ctx context.Context, in RemoveOrphanInput) (OrphanRemoved, error) {
	var failed error
	for _, target := range in.Targets {
		found, kept, err := c.removeFrom(ctx, target, in)
		switch {
		case err != nil:
			failed = cmp.Or(failed, err) // another target's credential may have the right
		case found:
			return OrphanRemoved{Kept: kept}, nil
		}
	}
	return OrphanRemoved{}, failed
}

// removeFrom removes the CE through one target, unless kept says why it must
// stay.
func (c *Controller) removeFrom(ctx context.Context, target job.Target, in RemoveOrphanInput) (found bool, kept string, err error) {
	driver, err := c.Platforms.Driver(ctx, target)
	if err != nil {
		return false, "", err
	}
	ce, err := driver.Find(ctx, in.CE)
	if errors.Is(err, platforms.ErrNotFound) {
		return false, "", nil
	}
	if err != nil {
		return false, "", platforms.JobError(target.Platform, err)
	}
	if ce.Owner != "" && ce.Owner != c.Owner {
		return true, fmt.Sprintf("it belongs to resource location %s now", ce.Owner), nil
	}
	v := c.judge(ctx, ce, in.Now, time.Duration(in.MinAge))
	if !v.orphan {
		return true, v.why, ctx.Err()
	}
	activity.GetLogger(ctx).Info("removing a Compositing Engine that no job needs", "ce", ce.Name, "ref", ce.Ref, "job", ce.Job, "why", v.why)
	if err := driver.Destroy(ctx, ce.Name); err != nil {
		return true, "", platforms.JobError(target.Platform, err)
	}
	return true, "", nil
}

// verdict says whether a CE is to be removed, and why, or why not.
type verdict struct {
	orphan bool
	why    string
}

// judge decides about a CE that has our mark or none. In doubt, it stays.
func (c *Controller) judge(ctx context.Context, ce platforms.Instance, now time.Time, minAge time.Duration) verdict {
	age := now.Sub(ce.Created)
	keep := func(format string, args ...any) verdict { return verdict{why: fmt.Sprintf(format, args...)} }
	switch {
	case !seed.ValidName(ce.Name):
		return keep("its name is not that of a Compositing Engine")
	case ce.Created.IsZero():
		return keep("the platform does not say how old it is")
	case age < minAge:
		return keep("it is younger than %s", job.Period(minAge))
	}
	if ce.Job == "" || ce.Owner == "" {
		return c.stranger(age, "nobody has put its job on it")
	}
	v, known := c.ask(ctx, ce)
	if v.orphan && !known {
		return c.stranger(age, v.why)
	}
	return v
}

// stranger judges a CE of which no job is known. It may be that of another
// Temporal server or namespace, whose resource location has the same name; so it
// stays until it has ended by itself, and is of use to nobody. Our own jobs are
// known for longer: a namespace remembers for a day at least.
func (c *Controller) stranger(age time.Duration, why string) verdict {
	if age < c.CELifetime {
		return verdict{why: fmt.Sprintf("%s: it stays until it is older than %s", why, job.Period(c.CELifetime))}
	}
	return verdict{orphan: true, why: fmt.Sprintf("%s, and it is older than %s", why, job.Period(c.CELifetime))}
}

// ask finds out whether the CE's job needs it. A verdict that it does not is
// worth nothing unless the run that had it made is known to this server.
func (c *Controller) ask(ctx context.Context, ce platforms.Instance) (v verdict, known bool) {
	temporal := activity.GetClient(ctx)
	current, err := temporal.DescribeWorkflowExecution(ctx, ce.Job, "")
	if isNotFound(err) {
		return verdict{orphan: true, why: "Temporal knows no such job"}, false
	}
	if err != nil {
		return verdict{why: "Temporal does not say whether its job runs: " + brief(err)}, false
	}
	info := current.GetWorkflowExecutionInfo()
	if v = c.askRun(ctx, info, ce.Name); !v.orphan {
		return v, true
	}
	if ce.RunID == "" || ce.RunID == info.GetExecution().GetRunId() {
		return v, true
	}
	switch _, err := temporal.DescribeWorkflowExecution(ctx, ce.Job, ce.RunID); {
	case isNotFound(err), isInvalid(err):
		return verdict{orphan: true, why: "Temporal knows no such run of its job"}, false
	case err != nil:
		return verdict{why: "Temporal does not say whether its job runs: " + brief(err)}, false
	}
	return v, true
}

// ended are the states in which a workflow does nothing any more, in words. In
// every other one, it is asked.
var ended = map[enums.WorkflowExecutionStatus]string{
	enums.WORKFLOW_EXECUTION_STATUS_COMPLETED:  "has completed",
	enums.WORKFLOW_EXECUTION_STATUS_FAILED:     "has failed",
	enums.WORKFLOW_EXECUTION_STATUS_CANCELED:   "was canceled",
	enums.WORKFLOW_EXECUTION_STATUS_TERMINATED: "was terminated",
	enums.WORKFLOW_EXECUTION_STATUS_TIMED_OUT:  "has timed out",
}

// askRun finds out whether a job's present run needs the CE of that name.
func (c *Controller) askRun(ctx context.Context, info *workflowpb.WorkflowExecutionInfo, name string) verdict {
	if how, over := ended[info.GetStatus()]; over {
		return verdict{orphan: true, why: fmt.Sprintf("its job %s at %s", how, info.GetCloseTime().AsTime().Format("2006-01-02 15:04:05 MST"))}
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	var status job.Status
	answer, err := activity.GetClient(ctx).QueryWorkflow(ctx, info.GetExecution().GetWorkflowId(), info.GetExecution().GetRunId(), durable.QueryStatus)
	if err == nil {
		err = answer.Get(&status)
	}
	switch {
	case err != nil:
		return verdict{why: "its job runs, and does not say which one it has: " + brief(err)}
	case status.CE == name:
		return verdict{why: "its job runs"}
	case status.State != job.StateRunning:
		return verdict{why: "its job has ended just now"}
	case status.CE == "":
		// A job that was reset to its beginning comes back to the CE that it has.
		return verdict{why: "its job runs, and has not come to its Compositing Engine yet"}
	}
	return verdict{orphan: true, why: "its job runs on " + status.CE}
}

// brief is an error as one line that has room in a result.
func brief(err error) string {
	text := strings.Join(strings.Fields(err.Error()), " ")
	if len(text) > maxWhyBytes {
		text = strings.ToValidUTF8(text[:maxWhyBytes], "") + "…"
	}
	return text
}

func isNotFound(err error) bool {
	_, ok := errors.AsType[*serviceerror.NotFound](err)
	return ok
}

// isInvalid reports whether the server says that what it was asked for is
// malformed.
func isInvalid(err error) bool {
	_, ok := errors.AsType[*serviceerror.InvalidArgument](err)
	return ok
}
