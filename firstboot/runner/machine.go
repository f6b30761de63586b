package runner

import (
	"context"
	"errors"
	"time"

	"imageport/firstboot/plan"
)

// Machine is the Windows that the runner is in. Contexts end when that Windows is
// going down: a call then returns soon, and what its error says no longer counts.
type Machine interface {
	// Now is the machine's clock, which may be set at any time. Uptime is how long
	// this start of Windows is ago, by a clock that nobody sets.
	Now() time.Time
	Uptime() time.Duration
	// Sleep returns early, with an error, when the context ends.
	Sleep(ctx context.Context, d time.Duration) error

	// ReadFile reads a file of the runner's folder. If there is none, the error
	// wraps fs.ErrNotExist.
	ReadFile(name string, maxBytes int) ([]byte, error)
	// WriteState replaces state.json: when it returns nil, the new one is on the
	// disk, and at no time is there anything but the old one or the new.
	WriteState(b []byte) error

	// Settle waits until Windows has started its services and installed its
	// devices, and not longer than limit: that it took longer is no error.
	Settle(ctx context.Context, limit time.Duration) error
	// PendingReboot says what waits for a restart of Windows; "" is nothing.
	PendingReboot() (string, error)
	// Products lists the subkeys of a key below HKEY_LOCAL_MACHINE. There are none
	// below a key that does not exist.
	Products(key string) ([]plan.Product, error)

	// Hash is the SHA-256 of a file in plan.FilesDir, in hexadecimal.
	Hash(ctx context.Context, file string) (string, error)
	// Run runs a program to its end, with all that it has started, in a console
	// session if asked to and there is one. The error wraps ErrTimedOut if it was
	// ended with all that it started, and ErrNotStarted if it never ran.
	Run(ctx context.Context, p Program) (exitCode uint32, err error)

	// Disarm makes this Windows not start the runner again, durably.
	Disarm() error
	// Restart and PowerOff order it, and wait for the end of the context. They
	// return an error if Windows does not go down.
	Restart(ctx context.Context) error
	PowerOff(ctx context.Context) error
}

// Program is what Machine.Run runs.
type Program struct {
	// Name is for people.
	Name string
	// Command is as in plan.Step.
	Command string
	Console bool
	Limit   time.Duration
}

// How a program may fail to come to an end of its own.
var (
	ErrTimedOut   = errors.New("the program did not come to its end in time")
	ErrNotStarted = errors.New("the program was not started")
)

// ErrStopped is returned by Run when Windows went down, or the service was
// stopped, before the plan had come to its end: the next start goes on with it.
var ErrStopped = errors.New("stopped before the end of the plan")
