package platforms

import (
	"errors"
	"fmt"
	"time"

	"imageport/job"
)

// Kind sorts the failures of all platforms by what can be done about them.
type Kind string

const (
	// NotFound: the CE, or something that the request names, is not there.
	NotFound Kind = "not found"
	// Foreign: the name is taken by something that is not this job's.
	Foreign Kind = "foreign"
	// Busy: locked, throttled, out of reach. The next attempt may succeed.
	Busy Kind = "busy"
	// Full: quota, space or capacity is exhausted. Somebody may free some.
	Full Kind = "full"
	// Denied: the credential is refused or lacks a right.
	Denied Kind = "denied"
	// BadRequest: the request cannot be met by this platform as it stands.
	BadRequest Kind = "bad request"
	// Internal: anything else.
	Internal Kind = "internal"
)

// ErrNotFound is wrapped by the error of Driver.Find for a CE that is not there.
var ErrNotFound = errors.New("no such Compositing Engine")

// Error is a failure of a platform.
type Error struct {
	Kind Kind
	// Err says what failed, on what, and how.
	Err error
	// RetryAfter is when the platform wants to be asked again, 0 if it did not say.
	RetryAfter time.Duration
}

// Errorf makes an *Error. The message is formatted as by fmt.Errorf.
func Errorf(kind Kind, format string, args ...any) error {
	return &Error{Kind: kind, Err: fmt.Errorf(format, args...)}
}

// Error gives the message.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf gives the kind of the first *Error in err's chain. It is Internal if
// there is none, and "" if err is nil.
func KindOf(err error) Kind {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}

// JobError turns the failure of a driver of the platform into what leaves the
// job; its code says whether another attempt may succeed. This is the only
// place that decides it. An error that is a *job.Error already stays as it is.
func JobError(platform string, err error) *job.Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*job.Error](err); ok {
		return e
	}
	o, ok := outcomes[KindOf(err)]
	if !ok {
		o = outcomes[Internal]
	}
	out := job.Errorf(o.code, o.remedy, "platform %s: %w", platform, err)
	out.RetryAfter = o.retryAfter
	if e, ok := errors.AsType[*Error](err); ok && e.RetryAfter > 0 {
		out.RetryAfter = e.RetryAfter
	}
	return out
}

var outcomes = map[Kind]struct {
	code   job.Code
	remedy string
	// retryAfter, where it is not 0, is used in place of the retry policy's.
	retryAfter time.Duration
}{
	NotFound:   {code: job.PlatformRefused, remedy: "Check that what the request and the worker's configuration name exists on the platform"},
	Foreign:    {code: job.PlatformRefused, remedy: "The name is taken by something that this job did not make; look at it, and remove it if it is not needed"},
	Busy:       {code: job.PlatformError},
	Full:       {code: job.PlatformFull, remedy: "Free some capacity on the platform", retryAfter: 2 * time.Minute},
	Denied:     {code: job.PlatformRefused, remedy: "Check the platform's credential and its rights"},
	BadRequest: {code: job.BadRequest, remedy: "Correct the request or the worker's configuration"},
	Internal:   {code: job.PlatformError},
}
