package platforms

import (
	"context"
	"errors"

	"imageport/job"
)

// ErrNoScreen is wrapped by the error of Guests.GuestScreen on a platform, or of
// a guest, that shows nothing.
var ErrNoScreen = errors.New("there is no picture of the guest's screen")

// Guests is what an OutputDisks implements in addition if it can start what is
// on an output disk: as a VM of its own, the guest, without a network, while its
// CE is switched off. A CE has one guest at most. It belongs to the CE: Destroy
// of the CE removes it, and Create of a CE whose guest is there, on or off, fails
// with Busy. Stop of the CE leaves it alone. List shows the CE, also if the guest
// is all that is left of it. A guest goes on when the worker that started it dies.
// The verbs mean "make it so", as those of Driver do.
type Guests interface {
	// WorkingDisk gives an output disk for a guest, without size: a name that no
	// other disk has, where the platform has its CEs, and the format that suits a
	// disk that is never kept. It is a function of the CE's name, and asks nobody.
	WorkingDisk(ce string) OutputDisk

	// CheckGuest reports whether StartGuest can be expected to succeed, without
	// making anything. The CE and its disk need not be there yet. It fails with
	// BadRequest for a machine that the platform cannot make: among them those
	// without a disk's name, a firmware, memory or a processor.
	CheckGuest(ctx context.Context, guest Guest) error

	// StartGuest makes the guest and switches it on. It fails with Busy while the
	// CE runs, with NotFound if the CE or its disk is not there, and with BadRequest
	// as CheckGuest does, or if the CE has a guest of another disk. Called again,
	// by two callers at once, or after a crash in the middle of an earlier call, it
	// gives the same one guest. A guest is switched on once: one that has been is
	// not again, whether it is still on or has switched itself off. After a crash at
	// the very moment it may count as switched on without having been. When ctx
	// ends, StartGuest returns soon, and leaves nothing, or what another call or
	// RemoveGuest or Destroy takes on from.
	StartGuest(ctx context.Context, ce string, guest Guest) (GuestState, error)

	// FindGuest tells how the guest is. If there is none, the error wraps
	// ErrNotFound.
	FindGuest(ctx context.Context, ce string) (GuestState, error)

	// GuestScreen is a picture of what the guest shows, as PNG, of at most
	// MaxScreen bytes. The error may wrap ErrNoScreen, and does for a guest that is
	// off. If there is none, it wraps ErrNotFound.
	GuestScreen(ctx context.Context, ce string) ([]byte, error)

	// StopGuest switches the guest off, as pulling its plug does. To stop what is
	// off or not there is a success.
	StopGuest(ctx context.Context, ce string) error

	// RemoveGuest switches the guest off and removes it. The disk stays with the CE,
	// with all that the guest wrote to it: Create starts the CE again, and
	// AddOutputDisk finds the disk. To remove what is not there is a success.
	RemoveGuest(ctx context.Context, ce string) error
}

// MaxScreen bounds the picture of a guest's screen, in bytes.
const MaxScreen = 512 << 10

// Guest says which machine to start an output disk in.
type Guest struct {
	// Disk is the OutputDisk.Name of the CE's disk.
	Disk string `json:"disk"`
	// Firmware and Controller are what the disk's content starts from.
	Firmware   job.Firmware   `json:"firmware"`
	Controller job.Controller `json:"controller,omitempty"`
	// WindowsBuild is the build number of the Windows on the disk, 0 if it is not
	// known. Server says that it is one of the server editions.
	WindowsBuild int  `json:"windowsBuild,omitempty"`
	Server       bool `json:"server,omitempty"`
	// MemoryMB and CPUs are those of the machine.
	MemoryMB int `json:"memoryMb"`
	CPUs     int `json:"cpus"`
	// NIC is the model of a network card that is not connected, in the platform's
	// words, such as "vmxnet3"; "" for none.
	NIC string `json:"nic,omitempty"`
}

// GuestState is a guest as it is found on the platform.
type GuestState struct {
	// On says that it is switched on.
	On bool `json:"on"`
	// Started says that it was switched on, as far as is known.
	Started bool `json:"started"`
	// Ref is what the platform itself calls it, for people.
	Ref string `json:"ref"`
	// Fault says why it ended or will not do anything any more, as far as the
	// platform tells; one line, for people.
	Fault string `json:"fault,omitempty"`
}
