package job

import (
	"errors"
	"fmt"
	"time"
)

// Error is a refusal or failure that a person can act on: a stable code, what
// was found where, and what to do about it. Every error that leaves a job is
// one of these; its code is the failure type that Temporal shows.
type Error struct {
	// Code is stable across releases.
	Code Code `json:"code"`
	// Message says what was found, and where.
	Message string `json:"message"`
	// Remedy says what to do. It is empty where nothing but a retry helps.
	Remedy string `json:"remedy,omitempty"`
	// RetryAfter is when another attempt makes sense, where that is known.
	RetryAfter time.Duration `json:"-"`

	cause error
}

// Errorf makes an Error. The message is formatted as by fmt.Errorf: a %w verb
// names the cause.
func Errorf(code Code, remedy, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), Remedy: remedy, cause: errors.Unwrap(err)}
}

// Error gives the message and the remedy.
func (e *Error) Error() string {
	if e.Remedy == "" {
		return e.Message
	}
	return e.Message + ". " + e.Remedy
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.cause }

// CodeOf gives the code of the first Error in err's chain, or "" if there is none.
func CodeOf(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ""
}

// At puts the place in front of an error's message. A job.Error keeps its code
// and remedy.
func At(place string, err error) error {
	if err == nil {
		return nil
	}
	if e, ok := err.(*Error); ok {
		return &Error{Code: e.Code, Message: place + ": " + e.Message, Remedy: e.Remedy, RetryAfter: e.RetryAfter, cause: err}
	}
	return fmt.Errorf("%s: %w", place, err)
}
