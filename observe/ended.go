package observe

import (
	"strings"
	"time"

	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"imageport/job"
	"imageport/job/durable"
)

// operations are the workflow types that are jobs.
var operations = []job.Operation{job.OpConvertToUEFI, job.OpReverseImage, job.OpUpgradePVS}

// Interceptors are for workers: they count the jobs and sweeps that end there.
func (t *Telemetry) Interceptors() []interceptor.WorkerInterceptor {
	if t == nil || t.measures == nil {
		return nil
	}
	return []interceptor.WorkerInterceptor{&endings{m: t.measures, now: t.now}}
}

// endings looks at workflows when they end. A worker that dies in that moment
// counts nothing, or the next one counts the same job: counters are for rates,
// the truth about jobs is in Temporal.
type endings struct {
	interceptor.WorkerInterceptorBase
	m   *measures
	now func() time.Time
}

// InterceptWorkflow implements interceptor.WorkerInterceptor.
func (e *endings) InterceptWorkflow(_ workflow.Context, next interceptor.WorkflowInboundInterceptor) interceptor.WorkflowInboundInterceptor {
	in := &ending{endings: e}
	in.Next = next
	return in
}

type ending struct {
	interceptor.WorkflowInboundInterceptorBase
	*endings
}

// ExecuteWorkflow runs the workflow, and reads what comes of it.
func (e *ending) ExecuteWorkflow(ctx workflow.Context, in *interceptor.ExecuteWorkflowInput) (any, error) {
	result, err := e.Next.ExecuteWorkflow(ctx, in)
	if workflow.IsReplaying(ctx) {
		return result, err
	}
	info := workflow.GetInfo(ctx)
	if sweep, ok := result.(*job.SweepResult); ok && err == nil && sweep != nil {
		if !sweep.DryRun {
			e.m.sweep(sweep, e.now())
		}
		return result, err
	}
	for _, op := range operations {
		if string(op) == info.WorkflowType.Name {
			platform, _ := workflow.GetTypedSearchAttributes(ctx).GetKeyword(durable.AttrPlatform)
			res, _ := result.(*job.Result)
			e.m.end(op, platform, res, err, workflow.Now(ctx).Sub(info.WorkflowStartTime))
		}
	}
	return result, err
}

// end counts a job.
func (m *measures) end(op job.Operation, platform string, r *job.Result, err error, took time.Duration) {
	state, code := job.StateCompleted, ""
	switch {
	case temporal.IsCanceledError(err):
		state = job.StateCanceled
	case err != nil:
		state, code = job.StateFailed, m.codes.label(string(durable.FromFailure(err).Code))
	}
	platform = platformLabel(platform)
	m.ended.WithLabelValues(string(op), platform, string(state), code).Inc()
	m.duration.WithLabelValues(string(op), platform, string(state)).Observe(took.Seconds())
	if err == nil && r != nil && !r.DryRun {
		m.bytes.WithLabelValues(string(op), platform, "read").Add(float64(max(0, r.BytesRead)))
		m.bytes.WithLabelValues(string(op), platform, "written").Add(float64(max(0, r.BytesWritten)))
	}
}

// sweep shows what a sweep has found.
func (m *measures) sweep(r *job.SweepResult, now time.Time) {
	m.ces.Reset()
	m.oldestCE.Reset()
	unreachable := 0
	type count struct{ own, others int }
	seen := map[string]count{} // by vCenter, pool and so on: the same CEs are seen through several credentials
	for _, t := range r.Targets {
		if t.Error != "" {
			unreachable++
			continue
		}
		c := seen[t.Label()]
		seen[t.Label()] = count{max(c.own, t.CEs), max(c.others, t.Others)}
	}
	for where, c := range seen {
		m.ces.WithLabelValues(platformLabel(where), "own").Add(float64(c.own))
		m.ces.WithLabelValues(platformLabel(where), "other").Add(float64(c.others))
	}
	oldest := map[string]time.Duration{}
	for _, ce := range r.Kept {
		platform := platformLabel(ce.Platform)
		oldest[platform] = max(oldest[platform], time.Duration(ce.Age))
	}
	for platform, age := range oldest {
		m.oldestCE.WithLabelValues(platform).Set(age.Seconds())
	}
	for _, ce := range r.Removed {
		m.swept.WithLabelValues(platformLabel(ce.Platform), "removed").Inc()
	}
	for _, ce := range r.Failed {
		m.swept.WithLabelValues(platformLabel(ce.Platform), "failed").Inc()
	}
	m.unreachable.Set(float64(unreachable))
	m.lastSweep.WithLabelValues().Set(float64(now.UnixMilli()) / 1000)
}

// platformLabel is the platform of a name or of a job.Target's label, and
// "other" for what there is not.
func platformLabel(name string) string {
	name, _, _ = strings.Cut(name, " ")
	switch name = job.CanonicalPlatform(name); name {
	case job.PlatformVSphere, job.PlatformXenServer, job.PlatformAzure, job.PlatformGCP, job.PlatformQEMU, job.PlatformLocal:
		return name
	}
	return "other"
}
