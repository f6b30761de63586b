package platformtest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"imageport/job/seed"
	"imageport/platforms"
)

// Verb is a method of platforms.Driver, platforms.OutputDisks,
// platforms.OutputVMs or platforms.Guests.
type Verb string

const (
	Check     Verb = "Check"
	Create    Verb = "Create"
	Stop      Verb = "Stop"
	Destroy   Verb = "Destroy"
	Find      Verb = "Find"
	List      Verb = "List"
	CheckDisk Verb = "CheckOutputDisk"
	AddDisk   Verb = "AddOutputDisk"
	KeepDisk  Verb = "KeepOutputDisk"
	CheckVM   Verb = "CheckOutputVM"
	MakeVM    Verb = "MakeOutputVM"

	CheckGuest  Verb = "CheckGuest"
	StartGuest  Verb = "StartGuest"
	FindGuest   Verb = "FindGuest"
	GuestScreen Verb = "GuestScreen"
	StopGuest   Verb = "StopGuest"
	RemoveGuest Verb = "RemoveGuest"
)

// Call is a verb with all that it may be called with.
type Call struct {
	Verb  Verb
	CE    platforms.Spec
	Disk  platforms.OutputDisk
	VM    platforms.OutputVM
	Guest platforms.Guest
}

// Do makes the call of d. That a guest shows no picture is a success.
func (c Call) Do(ctx context.Context, d platforms.Driver) error {
	var err error
	switch c.Verb {
	case Check:
		err = d.Check(ctx, c.CE)
	case Create, Restart:
		_, err = d.Create(ctx, c.CE)
	case Stop:
		err = d.Stop(ctx, c.CE.Name)
	case Destroy:
		err = d.Destroy(ctx, c.CE.Name)
	case Find:
		_, err = d.Find(ctx, c.CE.Name)
	case List:
		_, err = d.List(ctx)
	case CheckDisk:
		err = d.(platforms.OutputDisks).CheckOutputDisk(ctx, c.Disk)
	case AddDisk:
		_, err = d.(platforms.OutputDisks).AddOutputDisk(ctx, c.CE.Name, c.Disk)
	case KeepDisk:
		err = d.(platforms.OutputDisks).KeepOutputDisk(ctx, c.CE.Name, c.Disk.Name)
	case CheckVM:
		err = d.(platforms.OutputVMs).CheckOutputVM(ctx, c.VM)
	case MakeVM:
		_, err = d.(platforms.OutputVMs).MakeOutputVM(ctx, c.VM)
	case CheckGuest:
		err = d.(platforms.Guests).CheckGuest(ctx, c.Guest)
	case StartGuest:
		_, err = d.(platforms.Guests).StartGuest(ctx, c.CE.Name, c.Guest)
	case FindGuest:
		_, err = d.(platforms.Guests).FindGuest(ctx, c.CE.Name)
	case GuestScreen:
		if _, err = d.(platforms.Guests).GuestScreen(ctx, c.CE.Name); errors.Is(err, platforms.ErrNoScreen) {
			err = nil
		}
	case StopGuest:
		err = d.(platforms.Guests).StopGuest(ctx, c.CE.Name)
	case RemoveGuest:
		err = d.(platforms.Guests).RemoveGuest(ctx, c.CE.Name)
	default:
		err = fmt.Errorf("there is no verb %q", c.Verb)
	}
	return err
}

// Harness is one empty platform for one test. It fails the test when it
// cannot do what it is asked for.
type Harness interface {
	// Open gives a driver such as a worker has that just started.
	Open(t testing.TB) platforms.Driver
	// Cut makes the call in a worker of its own, which dies after step n of
	// it, counted from 0. It reports whether the call came to its end instead,
	// which is then a success.
	Cut(t testing.TB, call Call, n int) (finished bool)
	// Kill ends the CE without its or any driver's assistance.
	Kill(t testing.TB, name string)
	// Plant puts something on the platform that imageport did not make, under
	// the name of a CE, and gives a function that tells whether it is intact.
	Plant(t testing.TB, name string) (intact func() bool)
	// Agents counts the agents that run for the CE.
	Agents(t testing.TB, name string) int
	// Leftovers names all that is on the platform and was not planted, but for
	// output disks, output VMs, and what CEs share and no job removes.
	Leftovers(t testing.TB) []string
}

// Failing is a Harness that can make a CE give up.
type Failing interface {
	// GiveUp makes the CE say on its console that it gives up, for that cause,
	// and end.
	GiveUp(t testing.TB, name, cause string)
}

// Telling is a Harness that sees what a CE is told.
type Telling interface {
	// Seed gives the seed that the CE finds when it starts now.
	Seed(t testing.TB, name string) seed.Seed
}

// Faulty is a Harness of a platform that can fail.
type Faulty interface {
	// Fail makes the platform fail whenever the call is made, at a step of it
	// without which it cannot succeed, in a way that the driver is to give that
	// kind, until heal is called. Drivers are opened anew after Fail and heal. It
	// gives nil, and changes nothing, if the call cannot fail like that.
	Fail(t testing.TB, call Call, kind platforms.Kind) (heal func())
}

// Sessions is a Harness of a platform that one logs in to.
type Sessions interface {
	// EndSessions ends the sessions of all drivers that are open, without their
	// knowledge.
	EndSessions(t testing.TB)
}

// Slow is a Harness of a platform that can take its time.
type Slow interface {
	// Delay makes the platform take that long, from now on, for what makes a
	// CE: whether or not who asked for it still waits, it then lands.
	Delay(t testing.TB, d time.Duration)
}

// OutputHarness is the Harness of a driver that implements
// platforms.OutputDisks. The disks' place is empty at first: not even the
// folders are there that the names of disks have.
type OutputHarness interface {
	Harness
	// OutputDisk gives the n-th disk that the suite asks for, from 0, of 64 MiB
	// or one job.DiskUnit, thin, in the platform's own format. All have different names, in one folder.
	OutputDisk(n int) platforms.OutputDisk
	// OtherDisks gives disks of other names, one for each other format and way
	// to provision that the platform has, and such as it has not.
	OtherDisks() []platforms.OutputDisk
	// BadDiskNames gives names that no disk can have, for what is in them.
	BadDiskNames() []string
	// Outputs names, sorted, all that is in the place of output disks and was
	// not planted: complete disks by their names, what else there is by whatever
	// name.
	Outputs(t testing.TB) []string
	// PlantOutput puts something where the output disk of that name goes, and
	// gives a function that tells whether it is intact.
	PlantOutput(t testing.TB, name string) (intact func() bool)
	// RemoveOutput removes a complete output disk, as its owner may.
	RemoveOutput(t testing.TB, name string)
	// Attached counts the output disks that the CE has.
	Attached(t testing.TB, ce string) int
}

// Writing is an OutputHarness that can do to an output disk what a CE does.
type Writing interface {
	// WriteDisk writes to a disk that is attached, and puts that on stable storage.
	WriteDisk(t testing.TB, ce string, disk platforms.OutputDiskRef, at int64, b []byte)
	// ReadDisk reads from a disk that is attached.
	ReadDisk(t testing.TB, ce string, disk platforms.OutputDiskRef, at int64, n int) []byte
	// ReadOutput reads from a complete disk.
	ReadOutput(t testing.TB, name string, at int64, n int) []byte
}

// VMHarness is the Harness of a driver that implements platforms.OutputVMs.
type VMHarness interface {
	OutputHarness
	// OutputVM gives the n-th VM that the suite asks for, around the disk
	// OutputDisk(n). All have different names.
	OutputVM(n int) platforms.OutputVM
	// VMs names, sorted, all VMs that are neither CEs nor planted, also what is
	// not complete.
	VMs(t testing.TB) []string
	// VMState tells of an output VM whether it is switched on, and the names of
	// its disks.
	VMState(t testing.TB, name string) (on bool, disks []string)
	// PlantVM puts a VM that imageport did not make where the output VM of that
	// name goes, and gives a function that tells whether it is intact.
	PlantVM(t testing.TB, name string) (intact func() bool)
	// RemoveVM removes an output VM and its disks, as their owner may.
	RemoveVM(t testing.TB, name string)
}

// GuestHarness is the Harness of a driver that implements platforms.Guests. What
// a guest of the suite has on its disk neither writes there nor switches the
// machine off.
type GuestHarness interface {
	OutputHarness
	// Guest gives the machine for the disk OutputDisk(n), as small as may be.
	Guest(n int) platforms.Guest
	// GuestsOn counts the machines that are switched on as guests of the CE.
	GuestsOn(t testing.TB, ce string) int
	// SwitchOff ends the guest of the CE as one ends that switches itself off.
	SwitchOff(t testing.TB, ce string)
}

// GuestWriting is a GuestHarness that can do to a disk what a guest does.
type GuestWriting interface {
	Writing
	// WriteGuest writes to the disk of a guest that is on.
	WriteGuest(t testing.TB, ce string, at int64, b []byte)
}

// Losing is a GuestHarness of a platform on which a guest can be without its CE.
type Losing interface {
	// LoseCE removes a CE that is off, and nothing else, as somebody may who does not
	// know of the rest.
	LoseCE(t testing.TB, ce string)
}
