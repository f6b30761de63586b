package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"imageport/job"
	"imageport/job/durable"
)

const (
	defaultSweepEvery = 15 * time.Minute
	// sweepCatchUp is how late a sweep may begin after an outage of the server:
	// one that was missed is nothing to make up for.
	sweepCatchUp = time.Minute
	// scheduleWithin is how long the server may take to answer about the schedule.
	scheduleWithin = 10 * time.Second
)

// scheduleSweeps makes sure that the resource location is swept. A schedule that
// is there stays as it is: an operator may have changed or paused it. Jobs do
// not depend on it, so what goes wrong is only logged.
func (w *Worker) scheduleSweeps(running context.Context) {
	every := cmp.Or(w.cfg.SweepEvery, defaultSweepEvery)
	if every < 0 {
		return
	}
	ctx, cancel := context.WithTimeout(running, scheduleWithin)
	defer cancel()
	id := durable.SweepSchedule(w.cfg.ResourceLocation)
	log := cmp.Or(w.cfg.Log, slog.Default()).With("schedule", id)
	_, err := w.client.ScheduleClient().Create(ctx, sweepSchedule(w.cfg.ResourceLocation, every))
	switch {
	case err == nil:
		log.Info("made the schedule that removes what jobs leave behind", "every", every)
	case errors.Is(err, temporal.ErrScheduleAlreadyRunning):
		w.compareSchedule(ctx, log, w.client.ScheduleClient().GetHandle(ctx, id), every)
	case running.Err() != nil: // the worker is told to end
	default:
		log.Warn("no schedule for sweeps: what a job leaves behind that is terminated stays until imageport sweep is run", "error", err)
	}
}

// sweepSchedule is the schedule of a resource location. Not all of them begin
// at the same moment.
func sweepSchedule(resourceLocation string, every time.Duration) client.ScheduleOptions {
	id := durable.SweepSchedule(resourceLocation)
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(resourceLocation)) // it never fails
	offset := time.Duration(hash.Sum32()) * time.Millisecond % every
	return client.ScheduleOptions{
		ID:   id,
		Spec: client.ScheduleSpec{Intervals: []client.ScheduleIntervalSpec{{Every: every, Offset: offset.Truncate(time.Second)}}},
		Action: &client.ScheduleWorkflowAction{
			ID:            id,
			Workflow:      durable.WorkflowSweep,
			Args:          []any{job.SweepRequest{}},
			TaskQueue:     resourceLocation,
			StaticSummary: "remove the Compositing Engines of jobs that run no more",
		},
		Overlap:       enums.SCHEDULE_OVERLAP_POLICY_SKIP,
		CatchupWindow: sweepCatchUp,
		Note: fmt.Sprintf("Removes the Compositing Engines of resource location %s whose jobs run no more, as those of jobs that were terminated. "+
			"Made by imageport worker, which leaves it as it is from then on: change or pause it as you like", resourceLocation),
	}
}

// compareSchedule says where the schedule is not what the configuration asks for.
func (w *Worker) compareSchedule(ctx context.Context, log *slog.Logger, schedule client.ScheduleHandle, every time.Duration) {
	d, err := schedule.Describe(ctx)
	if err != nil {
		return // that it is there is known
	}
	if d.Schedule.State != nil && d.Schedule.State.Paused {
		log.Warn("the schedule that removes what jobs leave behind is paused", "note", d.Schedule.State.Note)
	}
	if spec := d.Schedule.Spec; spec != nil && len(spec.Intervals) == 1 && spec.Intervals[0].Every != every {
		log.Warn("the schedule that removes what jobs leave behind keeps its own interval: to have the configured one, delete it and start the worker again",
			"every", spec.Intervals[0].Every, "configured", every)
	}
}
