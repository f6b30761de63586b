package xenserver

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"

	"imageport/platforms"
)

// guestSuffix makes the name of a guest of its CE's. It is for people: marks decide.
const guestSuffix = "-guest"

// isGuest reports whether the VM was made to be a guest of that CE.
func (v *vm) isGuest(ce string) bool {
	return !v.Template && v.Marks.complete() && v.Marks[keyCE] == ce && v.Marks[keyRole] == string(roleGuest) && v.Name == ce+guestSuffix
}

// started reports whether the VM was switched on, or is about to be.
func (v *vm) started() bool { return v.on() || v.Marks[keyStarted] != "" }

func (v *vm) guestState(address string) platforms.GuestState {
	state := platforms.GuestState{On: v.Power != halted, Started: v.Power != halted || v.started(), Ref: address + "/" + v.UUID}
	if v.Power != halted && v.Power != running {
		state.Fault = "the VM is " + strings.ToLower(v.Power)
	}
	return state
}

// betterGuest orders the VMs that were made to be the guest of one CE: one that was
// started is the guest, and there is one such at most.
func betterGuest(a, b *vm) int {
	rank := func(v *vm) int {
		switch {
		case v.started():
			return 0
		case v.Marks[keyEnding] == "":
			return 1
		}
		return 2
	}
	return cmp.Or(rank(a)-rank(b), cmp.Compare(a.UUID, b.UUID))
}

// lookGuests reads the VMs that were made to be the guest of the CE, the one that
// counts first. Other VMs of that name are none of ours.
func (d *Driver) lookGuests(ctx context.Context, ce string) ([]*vm, error) {
	named, err := d.namedVMs(ctx, ce+guestSuffix)
	if err != nil {
		return nil, err
	}
	all := slices.DeleteFunc(named, func(v *vm) bool { return !v.isGuest(ce) })
	slices.SortFunc(all, betterGuest)
	return all, nil
}

// withGuest calls do with the guest of the CE until that is done, or there is none.
// The CE need not be there.
func (d *Driver) withGuest(ctx context.Context, ce string, do func(*vm) (done bool, err error)) error {
	if err := checkCEName(ce); err != nil {
		return err
	}
	return d.patiently(ctx, func() (bool, error) {
		all, err := d.lookGuests(ctx, ce)
		if err != nil || len(all) == 0 {
			return err == nil, err
		}
		return do(all[0])
	})
}

// dropGuests removes all VMs that were made to be the guest of the CE. Their disk
// stays.
func (d *Driver) dropGuests(ctx context.Context, ce string) error {
	all, err := d.lookGuests(ctx, ce)
	if err != nil {
		return err
	}
	for _, g := range all {
		if err := d.dropGuest(ctx, g); err != nil {
			return err
		}
	}
	return nil
}

// dropGuest removes a VM that was made to be a guest. It is marked first, so that
// nobody takes it for one that is to be started.
func (d *Driver) dropGuest(ctx context.Context, g *vm) error {
	if g.Marks[keyEnding] == "" {
		if _, err := d.addMark(ctx, "VM", g.ref, keyEnding, d.now()); err != nil {
			return goneOr(err, "mark the guest as ending")
		}
	}
	if err := d.powerOff(ctx, g); err != nil {
		return goneOr(err, "the guest")
	}
	return goneOr(d.client.Call(ctx, "VM.destroy", nil, g.ref), "remove the guest")
}

// refuseGuest fails with Busy if the CE has a guest.
func (d *Driver) refuseGuest(ctx context.Context, ce string) error {
	all, err := d.lookGuests(ctx, ce)
	if err == nil && len(all) > 0 {
		err = platforms.Errorf(platforms.Busy, "its guest is there (%s): remove that first", all[0].UUID)
	}
	return err
}

// lastGuest gives the number and the UUID of the CE's last guest. The number is 0 if
// it never had one.
func (m marks) lastGuest() (n int, uuid string) {
	for key, value := range m {
		number, ok := strings.CutPrefix(key, keyGuest)
		if i, err := strconv.Atoi(number); ok && err == nil && i > n {
			n, uuid = i, value
		}
	}
	return n, uuid
}
