package platforms

import (
	"context"
	"time"

	"imageport/job/seed"
)

// Driver makes and removes CEs on one platform. All methods may be called at
// the same time, also by several workers. The context belongs to the call: a
// driver stores none. Failures are of type *Error.
type Driver interface {
	// Check reports whether Create can be expected to succeed for ce, without
	// making anything that would have to be removed.
	Check(ctx context.Context, ce Spec) error

	// Create makes the CE and starts it. It is idempotent by name: called
	// again, by two callers at once, or after a crash in the middle of an
	// earlier call, it gives the same one CE. A CE that is there but has
	// stopped is started again with the seed of this call. It fails with
	// Foreign if the name belongs to another job or owner.
	//
	// When ctx ends, Create returns soon, and leaves nothing or something that
	// Destroy removes.
	Create(ctx context.Context, ce Spec) (Instance, error)

	// Stop switches the CE off, as pulling its plug does, and leaves it with its
	// disks: Create starts it again. To stop what is off or not there is a
	// success.
	Stop(ctx context.Context, name string) error

	// Destroy stops the CE and removes it and everything that belongs to it.
	// To destroy what is not there is a success.
	Destroy(ctx context.Context, name string) error

	// Find gives the CE of that name, also one made by a worker that is gone.
	// If there is none, the error wraps ErrNotFound.
	Find(ctx context.Context, name string) (Instance, error)

	// List gives all CEs of the platform that imageport made, of every owner,
	// sorted by name, including those whose creation was cut short.
	List(ctx context.Context) ([]Instance, error)
}

// Neighbour is a Driver whose CEs run on the worker's own machine.
type Neighbour interface {
	// WorkerHost is the address under which they reach that machine, or "" if
	// the driver does not know.
	WorkerHost() string
}

// Spec says which CE to make.
type Spec struct {
	// Name is the CE's name on the platform and its identity, see seed.ValidName.
	Name string
	// Job is the id of the workflow that the CE works for.
	Job string
	// RunID is the run of that workflow which asked first. It helps to find
	// the run, and is no part of the identity: a reset gives a job a new run.
	RunID string
	// Owner is the resource location. It keeps two installations that share a
	// platform from touching each other's CEs.
	Owner string
	// Seed is what the agent in the CE is told.
	Seed seed.Seed
}

// Validate refuses a Spec that no driver can work with.
func (s Spec) Validate() error {
	switch {
	case !seed.ValidName(s.Name):
		return Errorf(BadRequest, "%q is no name for a CE (ce- and 12 hexadecimal digits)", s.Name)
	case s.Job == "":
		return Errorf(BadRequest, "%s: no job", s.Name)
	case s.Owner == "":
		return Errorf(BadRequest, "%s: no owner", s.Name)
	case s.Seed.Name != s.Name:
		return Errorf(BadRequest, "%s: its seed is for %q", s.Name, s.Seed.Name)
	}
	if _, err := s.Seed.Encode(); err != nil {
		return &Error{Kind: BadRequest, Err: err}
	}
	return nil
}

// Instance is a CE as it is found on the platform.
type Instance struct {
	Name string
	// Job, RunID and Owner are the marks that Create left. They are empty if
	// the creation was cut short before the marks were made.
	Job, RunID, Owner string
	State             State
	// Created is when the CE was made, by the platform's clock.
	Created time.Time
	// Ref is what the platform itself calls the CE, for people.
	Ref string
	// Fault says why the CE is Stopped, as far as the platform or the CE's
	// console tells; it is one line, for people. One of a CE that is Running
	// says why it will not do anything any more.
	Fault string
}

// State is what the platform knows of a CE.
type State string

const (
	// Running means that the CE is switched on. Whether its agent works is
	// for the orchestration to see.
	Running State = "running"
	// Stopped means that there is something of the CE, but it does not run: it
	// was never started, has switched itself off, or was killed.
	Stopped State = "stopped"
)
