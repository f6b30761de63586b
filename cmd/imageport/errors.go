package main

import (
	"context"
	"errors"
	"fmt"

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
		fmt.Fprintf(a.err, "imageport: interrupted: %s\n", err)
		return exitInterrupted
	}
	code, text := job.CodeOf(err), err.Error()
	if code != "" {
		text = string(code) + ": " + text
	}
	if next := nextStep(err, cmd.CommandPath()); next != "" {
		text += ". " + next
	}
	fmt.Fprintf(a.err, "imageport: %s\n", text)
	switch code {
	case job.JobCanceled:
		return exitCanceled
	case job.JobTerminated:
		return exitTerminated
	}
	return exitFailed
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
