package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"imageport/job"
)

// Exit codes, as the help of the program lists them.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitCanceled    = 3
	exitTerminated  = 4
	exitInterrupted = 130 // 128 + SIGINT, as shells have it
)

// report tells the user what went wrong, and gives the exit code.
func (a *app) report(cmd *cobra.Command, err error) int {
	if err == nil {
		return exitOK
	}
	if !a.running {
		fmt.Fprintf(a.err, "imageport: %s\nSee %s --help\n", err, cmd.CommandPath())
		return exitUsage
	}
	if _, ok := errors.AsType[said](err); ok {
		return exitFailed
	}
	if errors.Is(err, context.Canceled) {
		a.printError(job.Error{Message: "interrupted: " + err.Error()})
		return exitInterrupted
	}
	told := job.Error{Code: job.CodeOf(err), Message: err.Error(), Remedy: nextStep(err, cmd.CommandPath())}
	if e, ok := errors.AsType[*job.Error](err); ok && told.Remedy == "" {
		told.Message, told.Remedy = strings.TrimSuffix(told.Message, ". "+e.Remedy), e.Remedy
	}
	a.printError(told)
	switch told.Code {
	case job.JobCanceled:
		return exitCanceled
	case job.JobTerminated:
		return exitTerminated
	}
	return exitFailed
}

// printError prints an error, in the form that the user asked for.
func (a *app) printError(e job.Error) {
	if a.output == outputJSON {
		_ = printJSONLine(a.err, map[string]job.Error{"error": e}) // where it cannot be written, nobody can be told
		return
	}
	text := e.Error()
	if e.Code != "" {
		text = string(e.Code) + ": " + text
	}
	fmt.Fprintf(a.err, "imageport: %s\n", plain(text))
}

// said is an error that the user was told already.
type said struct{ error }

// outcome is the error of a job that has ended, nil if it has completed.
func outcome(s job.Status) error {
	switch {
	case s.State == job.StateCompleted:
		return nil
	case s.State == job.StateCanceled:
		return job.Errorf(job.JobCanceled, "", "job %s was canceled", s.JobID)
	case s.Error != nil:
		return s.Error
	}
	return job.Errorf(job.Internal, "Look at the job in Temporal's Web UI", "job %s is %s", s.JobID, s.State)
}

// interrupted is what to say when ^C has ended a command.
type interrupted string

func (i interrupted) Error() string { return string(i) }

// Is makes it a cancellation, for the exit code.
func (i interrupted) Is(target error) bool { return target == context.Canceled }
