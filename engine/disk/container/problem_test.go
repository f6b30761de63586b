package container_test

import (
	"errors"
	"testing"

	"imageport/engine/disk/container"
)

var errKind = errors.New("corrupt file")

// TestCollect goes on after a problem, and not after another error.
func TestCollect(t *testing.T) {
	broken := errors.New("broken")
	noting := func(errs ...error) func(container.Note) error {
		return func(note container.Note) error {
			for _, err := range errs {
				if err := note(err); err != nil {
					return err
				}
			}
			return nil
		}
	}
	problem := container.Refuse(errKind, "header", 16, "found %d, expected 1", 2)
	many := make([]error, 2*container.MaxProblems)
	for i := range many {
		many[i] = problem
	}
	for _, c := range []struct {
		what   string
		checks []func(container.Note) error
		found  int
		want   error
	}{
		{"nothing", []func(container.Note) error{noting(nil, nil)}, 0, nil},
		{"several", []func(container.Note) error{noting(problem, nil, problem), noting(problem)}, 3, nil},
		{"an error in between", []func(container.Note) error{noting(problem, broken, problem), noting(problem)}, 1, broken},
		{"too many", []func(container.Note) error{noting(many...), noting(broken)}, container.MaxProblems, nil},
	} {
		found := 0
		err := container.Collect(func(p container.Problem) {
			found++
			if p.Error() != "header at offset 0x10: found 2, expected 1: corrupt file" || !errors.Is(&p, errKind) {
				t.Errorf("%s: %v", c.what, &p)
			}
		}, c.checks...)
		if found != c.found || err != c.want {
			t.Errorf("%s: %d problems and %v, want %d and %v", c.what, found, err, c.found, c.want)
		}
	}
}
