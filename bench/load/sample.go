package main

import (
	"context"
	"slices"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/history/v1"

	"imageport/bench/internal/rig"
)

// sample is what the history of a job tells. work, boot and rest add up to total.
type sample struct {
	total time.Duration
	work  time.Duration // activities ran, but for the watch over the Compositing Engine
	boot  time.Duration // else, from the Compositing Engine's start to its first activity
	rest  time.Duration // else: the job waited for Temporal, or for a worker to take a task
	line  time.Duration // of rest: until the worker took the job's first task
	// attempts of activities, beyond the first ones.
	retries int
	events  int
}

// span is a part of a job's time.
type span struct{ from, to time.Time }

// sample reads the history of a job.
func (b *bench) sample(ctx context.Context, of rig.Job) (sample, error) {
	var s sample
	var whole, boot span
	var spans []span
	names, began := map[int64]string{}, map[int64]time.Time{} // of activities, by the event that scheduled them
	for e, err := range rig.Events(ctx, b.Site, of) {
		if err != nil {
			return sample{}, err
		}
		s.events++
		at := e.GetEventTime().AsTime()
		if whole.from.IsZero() {
			whole.from = at
		}
		whole.to = at
		switch e.GetEventType() {
		case enums.EVENT_TYPE_WORKFLOW_TASK_STARTED:
			if s.line == 0 {
				s.line = at.Sub(whole.from)
			}
		case enums.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
			names[e.GetEventId()] = e.GetActivityTaskScheduledEventAttributes().GetActivityType().GetName()
		case enums.EVENT_TYPE_ACTIVITY_TASK_STARTED:
			a := e.GetActivityTaskStartedEventAttributes()
			s.retries += int(a.GetAttempt()) - 1
			name := names[a.GetScheduledEventId()]
			if name == "WatchCE" {
				continue
			}
			began[a.GetScheduledEventId()] = at
			if !boot.from.IsZero() && boot.to.IsZero() {
				boot.to = at
			}
		}
		if of, closed := closes(e); closed {
			if from, ok := began[of]; ok {
				spans = append(spans, span{from, at})
			}
			if names[of] == "CreateCE" {
				boot = span{from: at}
			}
		}
	}
	s.total = whole.to.Sub(whole.from)
	s.work = covered(spans)
	if !boot.to.IsZero() {
		s.boot = covered(append(spans, boot)) - s.work
	}
	s.rest = s.total - s.work - s.boot
	return s, nil
}

// closing are the attributes of events that end an activity.
type closing interface{ GetScheduledEventId() int64 }

// closes gives the event that scheduled the activity which e ends.
func closes(e *history.HistoryEvent) (scheduled int64, closed bool) {
	var c closing
	switch e.GetEventType() {
	case enums.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
		c = e.GetActivityTaskCompletedEventAttributes()
	case enums.EVENT_TYPE_ACTIVITY_TASK_FAILED:
		c = e.GetActivityTaskFailedEventAttributes()
	case enums.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT:
		c = e.GetActivityTaskTimedOutEventAttributes()
	case enums.EVENT_TYPE_ACTIVITY_TASK_CANCELED:
		c = e.GetActivityTaskCanceledEventAttributes()
	default:
		return 0, false
	}
	return c.GetScheduledEventId(), true
}

// covered is the time that the spans cover together.
func covered(spans []span) time.Duration {
	spans = slices.Clone(spans)
	slices.SortFunc(spans, func(a, b span) int { return a.from.Compare(b.from) })
	var total time.Duration
	var until time.Time
	for _, s := range spans {
		if s.from.Before(until) {
			s.from = until
		}
		if s.to.After(s.from) {
			total += s.to.Sub(s.from)
			until = s.to
		}
	}
	return total
}
