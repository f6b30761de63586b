package container

import (
	"errors"
	"fmt"
	"io"
)

// Problem is an error about one structure of a file. To open an image gives
// one, to check it all of them: errors.As tells what an error is about.
type Problem struct {
	// Structure is what is wrong, such as "payload BAT entry".
	Structure string
	// Offset is where it lies in the file, in bytes.
	Offset int64
	// Detail says what was found and, mostly, what was expected.
	Detail string
	// Kind is one of the format's errors, such as vhdx.ErrCorrupt.
	Kind error
	// Readable tells that the disk can be read all the same: another copy of
	// the structure is good, or nothing that is read depends on it.
	Readable bool
}

func (p *Problem) Error() string {
	return fmt.Sprintf("%s at offset %#x: %s: %v", p.Structure, p.Offset, p.Detail, p.Kind)
}

// Unwrap gives the kind.
func (p *Problem) Unwrap() error { return p.Kind }

// Refuse is an error about one structure. The format says what was found and
// what was expected.
func Refuse(kind error, structure string, off int64, format string, args ...any) *Problem {
	return &Problem{Structure: structure, Offset: off, Detail: fmt.Sprintf(format, args...), Kind: kind}
}

// ReadFull reads a structure that the file must hold whole: it is a problem of
// the kind corrupt if it does not, and the reader's own error is passed on.
func ReadFull(r io.ReaderAt, corrupt error, structure string, off int64, p []byte) error {
	n, err := r.ReadAt(p, off)
	switch {
	case n == len(p):
		return nil
	case err == nil || err == io.EOF || err == io.ErrUnexpectedEOF:
		return Refuse(corrupt, structure, off, "the file ends after %d of %d bytes", n, len(p))
	default:
		return fmt.Errorf("reading %s at offset %#x: %w", structure, off, err)
	}
}

// MaxProblems is how many problems a check reports before it gives up on a file.
const MaxProblems = 1000

// errEnough ends a check that has reported MaxProblems.
var errEnough = errors.New("enough problems")

// Note takes what a check finds: nil, or a problem, which is reported. Any
// error that it gives ends the check.
type Note func(error) error

// Collect runs checks, one after the other, and reports the problems that they
// note, the first MaxProblems. It fails with any other error of theirs.
func Collect(report func(Problem), checks ...func(Note) error) error {
	found := 0
	note := func(err error) error {
		var problem *Problem
		if !errors.As(err, &problem) {
			return err
		}
		report(*problem)
		if found++; found == MaxProblems {
			return errEnough
		}
		return nil
	}
	for _, check := range checks {
		if err := check(note); err == errEnough {
			return nil
		} else if err != nil {
			return err
		}
	}
	return nil
}
