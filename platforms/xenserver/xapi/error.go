package xapi

import (
	"errors"
	"fmt"
	"strings"
)

// Error is what the pool says of a call that failed.
type Error struct {
	// Code names the error, such as "SR_FULL".
	Code string
	// Params say more, in an order that depends on Code.
	Params []string
}

// Error gives the code with its parameters in parentheses.
func (e *Error) Error() string {
	if len(e.Params) == 0 {
		return e.Code
	}
	return e.Code + " (" + strings.Join(e.Params, ", ") + ")"
}

// Param gives the n-th parameter, "" if there is none.
func (e *Error) Param(n int) string {
	if n >= len(e.Params) {
		return ""
	}
	return e.Params[n]
}

// CodeOf gives the code of the Error in err's chain, "" if there is none.
func CodeOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ""
}

// Codes that the client itself acts upon.
const (
	codeSessionInvalid = "SESSION_INVALID"
	codeHostIsSlave    = "HOST_IS_SLAVE"
	codeHandleInvalid  = "HANDLE_INVALID"
)

// StatusError is an answer by HTTP that is none of XAPI.
type StatusError struct {
	Status int
	// Text is the beginning of what came with it.
	Text string
}

func (e *StatusError) Error() string {
	if e.Text == "" {
		return fmt.Sprintf("HTTP status %d", e.Status)
	}
	return fmt.Sprintf("HTTP status %d: %s", e.Status, e.Text)
}

var (
	// ErrReply is wrapped by the errors of answers that are not what the wire
	// protocol says.
	ErrReply = errors.New("not an answer of XAPI")
	// ErrTaskLost is wrapped by the error of a task that the pool does not know
	// any more: what it did is not known either.
	ErrTaskLost = errors.New("the pool has forgotten the task")
	// ErrTaskCancelled is wrapped by the error of a task that somebody cancelled.
	ErrTaskCancelled = errors.New("the task was cancelled")
	// ErrClosed is what is left of a client that was closed.
	ErrClosed = errors.New("the session was closed")
)
