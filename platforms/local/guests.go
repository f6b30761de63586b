package local

import (
	"context"
	"fmt"
	"os/exec"

	"imageport/platforms"
	"imageport/platforms/cedir"
	"imageport/platforms/outputdir"
)

var _ platforms.Guests = (*Driver)(nil)

// newGuests gives what keeps the guests of the driver's CEs: processes of the
// program that Config.Guest names.
func (d *Driver) newGuests() *cedir.Guests {
	return &cedir.Guests{Store: d.store, Check: d.checkGuest, Command: d.guestCommand}
}

// WorkingDisk implements platforms.Guests.
func (d *Driver) WorkingDisk(ce string) platforms.OutputDisk { return outputdir.WorkingDisk(ce) }

// CheckGuest implements platforms.Guests. It says nothing of the machine's
// hardware: what there is of it the program decides.
func (d *Driver) CheckGuest(ctx context.Context, guest platforms.Guest) error {
	return d.guests.CheckGuest(ctx, guest)
}

// StartGuest implements platforms.Guests.
func (d *Driver) StartGuest(ctx context.Context, ce string, guest platforms.Guest) (platforms.GuestState, error) {
	return d.guests.StartGuest(ctx, ce, guest)
}

// FindGuest implements platforms.Guests. A guest whose program has failed has a
// Fault: its exit status, and the last line of its standard error. If the
// worker that started it was gone by then, nobody knows.
func (d *Driver) FindGuest(ctx context.Context, ce string) (platforms.GuestState, error) {
	return d.guests.FindGuest(ctx, ce)
}

// GuestScreen implements platforms.Guests. There is none.
func (d *Driver) GuestScreen(ctx context.Context, ce string) ([]byte, error) {
	_, err := d.guests.FindGuest(ctx, ce)
	if err == nil {
		err = platforms.Errorf(platforms.BadRequest, "the guest of %s: %w: it is a process", ce, platforms.ErrNoScreen)
	}
	return nil, err
}

// StopGuest implements platforms.Guests. The program gets SIGTERM first, as an
// agent does.
func (d *Driver) StopGuest(ctx context.Context, ce string) error {
	return d.guests.StopGuest(ctx, ce)
}

// RemoveGuest implements platforms.Guests.
func (d *Driver) RemoveGuest(ctx context.Context, ce string) error {
	return d.guests.RemoveGuest(ctx, ce)
}

func (d *Driver) checkGuest(_ context.Context, guest platforms.Guest) error {
	if err := d.disks.CheckName(guest.Disk); err != nil {
		return err
	}
	if len(d.cfg.Guest) == 0 {
		return platforms.Errorf(platforms.BadRequest, "platform local has no machine to start a disk in: set guest under [local] to a program that is one, or use another platform")
	}
	if _, err := exec.LookPath(d.cfg.Guest[0]); err != nil {
		return fmt.Errorf("the program of guests (guest under [local]): %w", err)
	}
	return nil
}

// guestCommand gives the process that starts what is on the disk.
func (d *Driver) guestCommand(_ context.Context, dir, room string, guest platforms.Guest) (*exec.Cmd, error) {
	o, err := d.disks.Find(dir, guest.Disk)
	if err != nil {
		return nil, err
	}
	args := append(append([]string{}, d.cfg.Guest[1:]...), o.Partial)
	cmd := exec.Command(d.cfg.Guest[0], args...) // not CommandContext: the guest outlives the call
	cmd.Dir, cmd.Env = room, environment()
	return cmd, nil
}
