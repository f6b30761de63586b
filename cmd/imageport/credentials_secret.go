package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"imageport/job"
)

// maxSecretBytes bounds the files that secrets are read from.
const maxSecretBytes = 64 << 10

// readSecret gives the secret in a file, "-" for standard input, less one line
// break at its end; or where there is no file named, what is typed in at the
// prompt, twice.
func (a *app) readSecret(ctx context.Context, file, flag, prompt string) (string, error) {
	if file == "" {
		return a.promptSecret(ctx, flag, prompt)
	}
	b, err := a.readFile(ctx, file)
	if err != nil {
		return "", err
	}
	b, _ = bytes.CutSuffix(b, []byte("\n"))
	b, _ = bytes.CutSuffix(b, []byte("\r"))
	if len(b) == 0 {
		return "", job.Errorf(job.BadRequest, "Put the secret there", "--%s %s is empty", flag, file)
	}
	return string(b), nil
}

// readFile reads a file, "-" for standard input.
func (a *app) readFile(ctx context.Context, file string) ([]byte, error) {
	in := a.in
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	b, err := interruptible(ctx, func() ([]byte, error) { return io.ReadAll(io.LimitReader(in, maxSecretBytes+1)) })
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	if len(b) > maxSecretBytes {
		return nil, job.Errorf(job.BadRequest, "Name the file with the secret", "%s has more than %d bytes", file, maxSecretBytes)
	}
	return b, nil
}

func (a *app) promptSecret(ctx context.Context, flag, prompt string) (string, error) {
	terminal, ok := a.terminal()
	if !ok {
		return "", job.Errorf(job.BadRequest, fmt.Sprintf("Give --%s file, or --%s - to read it from standard input", flag, flag),
			"standard input is not a terminal: nobody can be asked for the secret")
	}
	first, err := a.typed(ctx, terminal, prompt)
	if err != nil {
		return "", err
	}
	if first == "" {
		return "", job.Errorf(job.BadRequest, "", "nothing was typed in")
	}
	second, err := a.typed(ctx, terminal, prompt+" again")
	if err != nil {
		return "", err
	}
	if first != second {
		return "", job.Errorf(job.BadRequest, "Try again", "it was typed in differently the second time")
	}
	return first, nil
}

// typed reads a line from the terminal, which does not show it.
func (a *app) typed(ctx context.Context, terminal *os.File, prompt string) (string, error) {
	fd := int(terminal.Fd())
	before, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return "", fmt.Errorf("the terminal: %w", err)
	}
	// Before the prompt: whoever types quickly would see the first letters.
	silent := *before
	silent.Lflag &^= unix.ECHO
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &silent); err != nil {
		return "", fmt.Errorf("the terminal: %w", err)
	}
	fmt.Fprintf(a.err, "%s: ", prompt)
	line, err := interruptible(ctx, func() ([]byte, error) { return term.ReadPassword(fd) })
	// What an interrupted user has typed goes, or the shell would get it.
	restore := uint(unix.TCSETS)
	if ctx.Err() != nil {
		restore = unix.TCSETSF
	}
	_ = unix.IoctlSetTermios(fd, restore, before)
	fmt.Fprintln(a.err) // the user's line break was not shown either
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if errors.Is(err, io.EOF) {
		return "", job.Errorf(job.BadRequest, "", "nothing was typed in")
	}
	if err != nil {
		return "", fmt.Errorf("read from the terminal: %w", err)
	}
	return string(line), nil
}

// terminal gives standard input, if somebody sits there.
func (a *app) terminal() (*os.File, bool) {
	f, ok := a.in.(*os.File)
	return f, ok && term.IsTerminal(int(f.Fd()))
}

// interruptible calls f, and does not wait for it any longer when ctx ends:
// reading from a terminal or a pipe cannot be ended.
func interruptible[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() {
		v, err := f()
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.v, r.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}
