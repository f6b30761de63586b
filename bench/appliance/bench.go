package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
)

// bench lets the test kit's machines run outside of a test. What it does not
// have, they do not use.
type bench struct {
	testing.TB
	ctx      context.Context
	dir      string
	failed   bool
	cleanups []func()
}

// failure is what Fatalf panics with.
type failure struct{ error }

// inTest runs f, and gives its error or that of the test kit. Then, whatever
// was started for it ends.
func inTest(ctx context.Context, dir string, f func(*bench) error) (err error) {
	b := &bench{ctx: ctx, dir: dir}
	defer func() {
		switch p := recover().(type) {
		case nil:
		case failure:
			err = errors.Join(err, p.error)
		default:
			panic(p)
		}
		b.failed = err != nil
		b.end()
	}()
	return f(b)
}

// alone runs f with a bench of its own: the machines end with it.
func (b *bench) alone(f func(*bench) error) error { return inTest(b.ctx, b.dir, f) }

func (b *bench) end() {
	for _, f := range slices.Backward(b.cleanups) {
		f()
	}
}

func (b *bench) Helper()                  {}
func (b *bench) Context() context.Context { return b.ctx }
func (b *bench) Failed() bool             { return b.failed }
func (b *bench) Cleanup(f func())         { b.cleanups = append(b.cleanups, f) }
func (b *bench) Logf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}
func (b *bench) Fatalf(format string, args ...any) { panic(failure{fmt.Errorf(format, args...)}) }

func (b *bench) TempDir() string {
	dir, err := os.MkdirTemp(b.dir, "")
	if err != nil {
		b.Fatalf("%w", err)
	}
	return dir
}
