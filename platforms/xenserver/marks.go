package xenserver

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"imageport/job/seed"
	"imageport/platforms"
)

// What we know of a VM or a VDI stands in its other_config, under these keys.
const (
	keyCE      = "imageport-ce"      // name of the CE: a copy under another name is not one
	keyJob     = "imageport-job"     // workflow
	keyRun     = "imageport-run"     // run of it that asked first
	keyOwner   = "imageport-owner"   // resource location
	keyCreated = "imageport-created" // RFC 3339

	// keyVerdict decides between VMs of one CE, see elect. A key can be added
	// once only.
	keyVerdict = "imageport-verdict"
	keyEnding  = "imageport-ending" // the VM is being removed
	// keyDisk begins the keys of output disks, by the number of the VM's device.
	keyDisk = "imageport-disk-"

	keyRole      = "imageport-role"      // what a VDI, or a VM that is no CE, is for
	keyVM        = "imageport-vm"        // UUID of the CE's VM that it was made for
	keyAppliance = "imageport-appliance" // SHA-256 of the appliance in a VDI
	keyComplete  = "imageport-complete"  // the appliance is in the VDI, all of it
	// keyGuest begins the keys of a CE's guests, by their numbers; the value is the
	// UUID of the VM. The one of the highest number is the guest, if it is there.
	keyGuest     = "imageport-guest-"
	keyGuestDisk = "imageport-guest-disk" // UUID of the VDI that a guest starts from
	keyStarted   = "imageport-started"    // a guest was switched on, or is about to be: when, and by whom
	keyKept      = "imageport-kept"       // UUID of the VM that has completed the VDI, which is not ours any more
)

// The verdicts.
const (
	elected  = "elected"
	rejected = "rejected"
)

// role is what a VDI is for.
type role string

const (
	roleAppliance role = "appliance" // what CEs are copied from
	roleSystem    role = "system"    // of one CE
	roleOutput    role = "output"
	roleGuest     role = "guest" // of a VM
)

// marks is the other_config of a VM or a VDI.
type marks map[string]string

// newMarks gives the marks of something that is made for the CE.
func newMarks(ce platforms.Spec, now time.Time) marks {
	return marks{
		keyCE: ce.Name, keyJob: ce.Job, keyRun: ce.RunID, keyOwner: ce.Owner, keyCreated: now.UTC().Format(time.RFC3339Nano),
	}
}

// of gives the marks for something else of the same CE.
func (m marks) of(vm string, r role) marks {
	of := marks{keyVM: vm, keyRole: string(r)}
	for _, key := range []string{keyCE, keyJob, keyRun, keyOwner, keyCreated} {
		of[key] = m[key]
	}
	return of
}

// complete reports whether the marks are those of something that imageport made.
func (m marks) complete() bool {
	return seed.ValidName(m[keyCE]) && m[keyJob] != "" && m[keyOwner] != ""
}

func (m marks) instance(state platforms.State, ref string) platforms.Instance {
	in := platforms.Instance{Name: m[keyCE], Job: m[keyJob], RunID: m[keyRun], Owner: m[keyOwner], State: state, Ref: ref}
	if t, err := time.Parse(time.RFC3339Nano, m[keyCreated]); err == nil {
		in.Created = t
	}
	return in
}

// claim is what a CE's VM knows of an output disk. Its key, which says on which
// device the disk is, can be added once only: of two callers who have both made a
// VDI, it decides whose is the disk. Claims stay as long as the VM.
type claim struct {
	// Name is the disk's, when it is complete.
	Name      string `json:"name"`
	VDI       string `json:"vdi"` // UUID
	SizeBytes int64  `json:"sizeBytes"`

	device int
}

// Output disks are on the devices from firstDevice on. A VM with UEFI or BIOS has
// its first four devices emulated, under the numbers of IDE disks (xen-api,
// device_number.ml), and cannot have a disk added there while it runs. After the
// last one, numbers are formed in another way.
const firstDevice, lastDevice = 4, 15

// vbdNumber is how a guest knows the device.
func vbdNumber(device int) uint64 { return 51712 + 16*uint64(device) }

func (c claim) key() string { return keyDisk + strconv.Itoa(c.device) }

func (c claim) text() (string, error) {
	b, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("record %s: %w", c.Name, err)
	}
	return string(b), nil
}

// claims gives those of a VM, in the order of their devices.
func (m marks) claims() ([]claim, error) {
	var all []claim
	for key, text := range m {
		number, ok := strings.CutPrefix(key, keyDisk)
		if !ok {
			continue
		}
		var c claim
		var err error
		if c.device, err = strconv.Atoi(number); err == nil {
			err = json.Unmarshal([]byte(text), &c)
		}
		if err != nil {
			return nil, platforms.Errorf(platforms.Internal, "the CE's record of an output disk, %.100q = %.100q, cannot be read: %w", key, text, err)
		}
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b claim) int { return a.device - b.device })
	return all, nil
}
