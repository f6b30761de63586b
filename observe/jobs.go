package observe

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/workflow/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"imageport/job"
	"imageport/job/durable"
)

const (
	// lookEvery is how often Temporal is asked how the jobs stand, lookWithin how
	// long it may take. What was seen longer ago than staleAfter is not shown.
	lookEvery  = 15 * time.Second
	lookWithin = 10 * time.Second
	staleAfter = 2 * time.Minute
	// maxRunning bounds the running jobs that are looked at, pageSize those in one
	// answer.
	maxRunning = 5000
	pageSize   = 1000
)

// standing shows how the jobs stand, as Temporal's visibility has it. Temporal is
// asked at its own pace, not at that of whoever scrapes.
type standing struct {
	now  func() time.Time
	last atomic.Pointer[look]
}

// look is one answer.
type look struct {
	at      time.Time
	metrics []prometheus.Metric
}

var (
	descRunning = prometheus.NewDesc("imageport_jobs_running", "Running jobs by the phase that they are in.", []string{"operation", "platform", "phase"}, nil)
	descOldest  = prometheus.NewDesc("imageport_job_oldest_seconds", "Age of the oldest running job.", []string{"operation"}, nil)
	descJobs    = prometheus.NewDesc("imageport_jobs", "Jobs by state that Temporal remembers, which it does for as long as the namespace retains them.", []string{"operation", "state"}, nil)
)

// Describe implements prometheus.Collector.
func (s *standing) Describe(into chan<- *prometheus.Desc) {
	into <- descRunning
	into <- descOldest
	into <- descJobs
}

// Collect implements prometheus.Collector.
func (s *standing) Collect(into chan<- prometheus.Metric) {
	last := s.last.Load()
	if last == nil || s.now().Sub(last.at) > staleAfter {
		return
	}
	for _, m := range last.metrics {
		into <- m
	}
}

// Follow asks Temporal how the jobs of a resource location stand, or all jobs of
// the namespace if it is "", every quarter of a minute until ctx ends. Without
// metrics it returns at once.
func (t *Telemetry) Follow(ctx context.Context, c client.Client, namespace, resourceLocation string) {
	if t == nil || t.measures == nil {
		return
	}
	silent := false
	for {
		seen, err := t.look(ctx, c, namespace, resourceLocation)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			t.standing.last.Store(&look{t.now(), seen})
		case !silent: // once, until it answers again
			t.log.Warn("metrics: Temporal does not say how the jobs stand", "error", err)
		}
		silent = err != nil
		select {
		case <-ctx.Done():
			return
		case <-time.After(lookEvery):
		}
	}
}

// look asks once.
func (t *Telemetry) look(ctx context.Context, c client.Client, namespace, resourceLocation string) ([]prometheus.Metric, error) {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	where := ""
	if resourceLocation != "" {
		where = " AND TaskQueue = '" + strings.ReplaceAll(resourceLocation, "'", "''") + "'"
	}
	var found []prometheus.Metric
	for _, op := range operations {
		counted, err := c.CountWorkflow(ctx, &workflowservice.CountWorkflowExecutionsRequest{
			Namespace: namespace, Query: fmt.Sprintf("WorkflowType = '%s'%s GROUP BY ExecutionStatus", op, where),
		})
		if err != nil {
			return nil, err
		}
		byState := map[job.State]int64{job.StateRunning: 0, job.StateCompleted: 0, job.StateFailed: 0, job.StateCanceled: 0, job.StateTerminated: 0}
		for _, group := range counted.GetGroups() {
			var status string
			if len(group.GetGroupValues()) == 1 && converter.GetDefaultDataConverter().FromPayload(group.GetGroupValues()[0], &status) == nil {
				if state, known := states[status]; known {
					byState[state] += group.GetCount()
				}
			}
		}
		for state, n := range byState {
			found = append(found, prometheus.MustNewConstMetric(descJobs, prometheus.GaugeValue, float64(n), string(op), string(state)))
		}
	}
	running, err := t.running(ctx, c, namespace, where)
	return append(found, running...), err
}

// states are the states of jobs by Temporal's names.
var states = map[string]job.State{
	"Running": job.StateRunning, "Completed": job.StateCompleted, "Failed": job.StateFailed, "TimedOut": job.StateFailed,
	"Canceled": job.StateCanceled, "Terminated": job.StateTerminated,
}

// running looks at the running jobs.
func (t *Telemetry) running(ctx context.Context, c client.Client, namespace, where string) ([]prometheus.Metric, error) {
	types := make([]string, len(operations))
	for i, op := range operations {
		types[i] = "'" + string(op) + "'"
	}
	request := &workflowservice.ListWorkflowExecutionsRequest{
		Namespace: namespace, PageSize: pageSize,
		Query: fmt.Sprintf("WorkflowType IN (%s) AND ExecutionStatus = 'Running'%s", strings.Join(types, ", "), where),
	}
	counts, oldest := map[[3]string]int{}, map[string]time.Duration{}
	for _, op := range operations {
		oldest[string(op)] = 0
	}
	for n := 0; n < maxRunning; {
		page, err := c.ListWorkflow(ctx, request)
		if err != nil {
			return nil, err
		}
		for _, info := range page.GetExecutions() {
			if info.GetStatus() != enums.WORKFLOW_EXECUTION_STATUS_RUNNING {
				continue
			}
			n++
			op := info.GetType().GetName()
			counts[[3]string{op, platformLabel(keyword(info, durable.AttrPlatform)), phaseLabel(keyword(info, durable.AttrPhase))}]++
			oldest[op] = max(oldest[op], t.now().Sub(info.GetStartTime().AsTime()))
		}
		if request.NextPageToken = page.GetNextPageToken(); len(request.NextPageToken) == 0 {
			break
		}
	}
	var found []prometheus.Metric
	for labels, n := range counts {
		found = append(found, prometheus.MustNewConstMetric(descRunning, prometheus.GaugeValue, float64(n), labels[:]...))
	}
	for op, age := range oldest {
		found = append(found, prometheus.MustNewConstMetric(descOldest, prometheus.GaugeValue, age.Seconds(), op))
	}
	return found, nil
}

// keyword is the value of a search attribute, or "".
func keyword(info *workflow.WorkflowExecutionInfo, key temporal.SearchAttributeKeyKeyword) string {
	var value string
	if payload, ok := info.GetSearchAttributes().GetIndexedFields()[key.GetName()]; !ok || converter.GetDefaultDataConverter().FromPayload(payload, &value) != nil {
		return ""
	}
	return value
}

// phaseLabel is the phase, and that of a job that no worker has begun with where
// there is none.
func phaseLabel(phase string) string {
	switch p := job.Phase(phase); p {
	case job.PhasePreflight, job.PhaseCreateCE, job.PhaseEnrol, job.PhaseCompose, job.PhaseBoot, job.PhaseVerify, job.PhasePublish, job.PhaseTearDown, job.PhaseDone:
		return phase
	case "":
		return "waiting"
	}
	return "other"
}

var _ prometheus.Collector = (*standing)(nil)
