package plan

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// The kinds of failure of this package; every error wraps one of them.
var (
	// ErrPlan: plan.json, or a Plan, is not one that a runner can follow.
	ErrPlan = errors.New("not a plan of the first-boot runner")
	// ErrState: state.json is torn, or not what a runner writes.
	ErrState = errors.New("not a state of the first-boot runner")
	// ErrOtherPlan: a State is sound, but not of the Plan it was found with.
	ErrOtherPlan = errors.New("the state belongs to another plan")
)

// Sizes of the files, in bytes. Larger ones are not read.
const (
	MaxPlanBytes  = 256 << 10
	MaxStateBytes = 256 << 10
)

// ParsePlan reads plan.json. A member that this version does not know is an
// error: it may be what the plan depends on.
func ParsePlan(b []byte) (Plan, error) {
	var p Plan
	if len(b) > MaxPlanBytes {
		return Plan{}, fmt.Errorf("%w: %d bytes, at most %d expected", ErrPlan, len(b), MaxPlanBytes)
	}
	if err := decode(b, &p); err != nil {
		return Plan{}, fmt.Errorf("%w: %w", ErrPlan, err)
	}
	if err := p.Validate(); err != nil {
		return Plan{}, err
	}
	return p, nil
}

// ParseState reads state.json, which a Windows had its hands on.
func ParseState(b []byte) (State, error) {
	var s State
	if len(b) > MaxStateBytes {
		return State{}, fmt.Errorf("%w: %d bytes, at most %d expected", ErrState, len(b), MaxStateBytes)
	}
	if err := decode(b, &s); err != nil {
		return State{}, fmt.Errorf("%w: %w", ErrState, err)
	}
	if err := s.Validate(); err != nil {
		return State{}, err
	}
	return s, nil
}

// decode takes one JSON value and nothing but space behind it.
func decode(b []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("at offset %d of %d: %w", d.InputOffset(), len(b), err)
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("at offset %d of %d: more than one JSON value", d.InputOffset(), len(b))
	}
	return nil
}

// Encode gives the bytes of state.json. It shortens texts for people that are
// too long, and fails if the state is not one that ParseState would take.
func (s State) Encode() ([]byte, error) {
	s.Steps = append([]StepState(nil), s.Steps...)
	for i := range s.Steps {
		s.Steps[i].Note = shorten(s.Steps[i].Note)
	}
	if s.Failure != nil {
		f := *s.Failure
		f.Message = shorten(f.Message)
		s.Failure = &f
	}
	if err := s.Validate(); err != nil {
		return nil, err
	}
	return encode(s, ErrState)
}

// Encode gives the bytes of plan.json.
func (p Plan) Encode() ([]byte, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	b, err := encode(p, ErrPlan)
	if err == nil && len(b) > MaxPlanBytes {
		return nil, fmt.Errorf("%w: %d bytes, at most %d expected", ErrPlan, len(b), MaxPlanBytes)
	}
	return b, err
}

func encode(v any, kind error) ([]byte, error) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", kind, err)
	}
	return append(b, '\n'), nil
}
