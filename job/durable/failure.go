package durable

import (
	"context"
	"errors"
	"fmt"
	"strings"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"

	"imageport/job"
)

// Failure gives the error that an activity or workflow returns to Temporal for
// err: the code becomes the failure type, the whole job.Error its details, and
// codes that no retry can help are non-retryable. Cancellation and errors that
// are failures already pass unchanged.
func Failure(err error) error {
	if err == nil || temporal.IsCanceledError(err) || errors.Is(err, context.Canceled) {
		return err
	}
	if _, isFailure := errors.AsType[*temporal.ApplicationError](err); isFailure {
		return err
	}
	e, ok := errors.AsType[*job.Error](err)
	if !ok {
		// Not one of ours: a time-out, a lost worker or a defect. Retried.
		return application(&job.Error{Code: job.Internal, Message: err.Error()}, false)
	}
	if err != error(e) { // keep the context that was wrapped around it
		e = &job.Error{Code: e.Code, Message: strings.ReplaceAll(err.Error(), e.Error(), e.Message), Remedy: e.Remedy, RetryAfter: e.RetryAfter}
	}
	return application(e, !e.Code.Transient())
}

// Retried is Failure for activities that have to succeed in the end: whatever
// the code, another attempt is made. Somebody may have to do something first,
// such as put a password right, but need not start anything again.
func Retried(err error) error {
	failure := Failure(err)
	if app, ok := failure.(*temporal.ApplicationError); ok && app.NonRetryable() {
		return application(FromFailure(failure), false)
	}
	return failure
}

func application(e *job.Error, nonRetryable bool) error {
	return temporal.NewApplicationErrorWithOptions(string(e.Code)+": "+e.Error(), string(e.Code), temporal.ApplicationErrorOptions{NonRetryable: nonRetryable, NextRetryDelay: e.RetryAfter, Details: []any{*e}})
}

// FromFailure gives the job.Error that a failure of a workflow or activity
// stands for. It never gives nil for an error.
func FromFailure(err error) *job.Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*job.Error](err); ok {
		return e
	}
	if app, ok := innermost(err); ok {
		var e job.Error
		if app.HasDetails() && app.Details(&e) == nil && e.Code != "" {
			return &e
		}
		return &job.Error{Code: job.Internal, Message: app.Message()}
	}
	if t, ok := errors.AsType[*temporal.TimeoutError](err); ok {
		return &job.Error{Code: job.Internal, Message: fmt.Sprintf("no answer in time (%s): %s", t.TimeoutType(), err), Remedy: "Look at the worker's log, then start the job again"}
	}
	return &job.Error{Code: job.Internal, Message: err.Error()}
}

// innermost finds the last ApplicationError in err's chain: the one that the
// activity returned.
func innermost(err error) (*temporal.ApplicationError, bool) {
	var found *temporal.ApplicationError
	for err != nil {
		app, ok := errors.AsType[*temporal.ApplicationError](err)
		if !ok {
			break
		}
		found, err = app, errors.Unwrap(app)
	}
	return found, found != nil
}

// NotStarted reports whether err says that nobody took an activity from its
// queue in time.
func NotStarted(err error) bool {
	t, ok := errors.AsType[*temporal.TimeoutError](err)
	return ok && t.TimeoutType() == enumspb.TIMEOUT_TYPE_SCHEDULE_TO_START
}
