package activities

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/activity"

	"imageport/engine/publish"
	"imageport/engine/upgrade"
	"imageport/engine/windows/pvstarget"
	"imageport/job"
	"imageport/job/durable"
	"imageport/job/seed"
	"imageport/platforms"
)

// PreflightUpgradeInput asks whether the PVS target software of a vDisk may be
// upgraded.
type PreflightUpgradeInput struct {
	job.Target
	Task    upgrade.Task       `json:"task"`
	Options job.UpgradeOptions `json:"options"`
}

// UpgradeAdmitted is the outcome of its preflight.
type UpgradeAdmitted struct {
	upgrade.Admitted
	// Disk is the working disk, and Guest the machine that it is started in.
	Disk  platforms.OutputDisk `json:"disk"`
	Guest platforms.Guest      `json:"guest"`
}

// PreflightUpgrade refuses everything that can be refused before a CE exists: it
// looks for the installer, dials the share, inspects the image, and asks the
// platform about the CE, the working disk and the guest. It changes nothing.
func (c *Controller) PreflightUpgrade(ctx context.Context, in PreflightUpgradeInput) (UpgradeAdmitted, error) {
	var out UpgradeAdmitted
	driver, guests, err := c.guests(ctx, in.Target)
	if err != nil {
		return out, err
	}
	catalogue, err := c.catalogue(in.Platform)
	if err != nil {
		return out, err
	}
	installer, err := upgrade.Resolve(ctx, c.Dial, catalogue, in.Task.Version)
	if err != nil {
		return out, err
	}
	if err := c.refuseOtherWritersOf(ctx, in.Task.Copy.Storage, in.Task.Output); err != nil {
		return out, err
	}
	release, err := turn(ctx, preflights, "wait for the checks of other jobs")
	if err != nil {
		return out, err
	}
	defer release()
	store, err := c.Dial(ctx, in.Task.Copy.Storage)
	if err != nil {
		return out, err
	}
	defer store.Close()
	if out.Admitted, err = upgrade.Preflight(ctx, store, c.Dial, in.Task, catalogue, installer); err != nil || out.Done {
		return out, err
	}
	ce := seed.Name(in.Task.Copy.Key)
	a, before := out.Approval, out.Approval.Before
	out.Disk = guests.WorkingDisk(ce)
	out.Disk.SizeBytes, out.Disk.Firmware = a.Copy.SizeBytes, out.Preview.Firmware
	out.Guest = platforms.Guest{
		Disk: out.Disk.Name, Firmware: out.Preview.Firmware, WindowsBuild: before.Build, Server: before.Server,
		MemoryMB: int(in.Options.MemoryMB), CPUs: in.Options.CPUs, NIC: nicOf(in.Options, before),
	}
	if out.Guest.MemoryMB == 0 {
		out.Guest.MemoryMB = job.DefaultGuestMemoryMB
	}
	if out.Guest.CPUs == 0 {
		out.Guest.CPUs = job.DefaultGuestCPUs
	}
	if controllers := out.Preview.Controllers; slices.Contains(controllers, job.AHCI) {
		out.Guest.Controller = job.AHCI // every Windows since 8 has that driver from the start
	} else if len(controllers) > 0 {
		out.Guest.Controller = controllers[0]
	}
	if err := guests.CheckOutputDisk(ctx, out.Disk); err != nil {
		return out, diskError(in.Platform, err)
	}
	if err := guests.CheckGuest(ctx, out.Guest); err != nil {
		return out, platforms.JobError(in.Platform, err)
	}
	return out, c.checkCE(ctx, driver, CreateCEInput{Target: in.Target, Name: ce, Job: in.Task.Copy.Job})
}

// nics are models of network cards by how Windows knows them on the PCI bus.
var nics = map[string]string{
	"VEN_15AD&DEV_07B0": "vmxnet3",
	"VEN_8086&DEV_10D3": "e1000e",
	"VEN_8086&DEV_100F": "e1000",
}

// nicOf is the network card of a guest: of the model that its Windows has, as one
// of another would stay in it as a card that is not there. Without one whose
// model is known there is none.
func nicOf(o job.UpgradeOptions, before pvstarget.Facts) string {
	if o.NIC == job.NICNone {
		return ""
	}
	for _, n := range before.NICs {
		for id, model := range nics {
			if strings.Contains(strings.ToUpper(n), id) {
				return model
			}
		}
	}
	return ""
}

// catalogue is the worker's, if a CE on the platform can read it.
func (c *Controller) catalogue(platform string) (upgrade.Catalogue, error) {
	switch {
	case c.Catalogue == (upgrade.Catalogue{}):
		return c.Catalogue, job.Errorf(job.InstallerNotFound, "Say under [catalogue] in the worker's configuration where the installers are; imageport catalogue add makes such a folder", "the worker has no catalogue of installers")
	case c.Catalogue.Share == nil && platform != job.PlatformLocal:
		return c.Catalogue, job.Errorf(job.InstallerNotFound, "Put the catalogue on a share, and name that under [catalogue] in the worker's configuration",
			"the catalogue of installers is the directory %s of the worker, which Compositing Engines on platform %s cannot read", c.Catalogue.Dir, platform)
	}
	return c.Catalogue, nil
}

// guests gives the platform's driver, if it has guests.
func (c *Controller) guests(ctx context.Context, target job.Target) (platforms.Driver, guestDisks, error) {
	driver, err := c.Platforms.Driver(ctx, target)
	if err != nil {
		return nil, nil, err
	}
	if g, ok := driver.(guestDisks); ok {
		return driver, g, nil
	}
	return nil, nil, job.Errorf(job.UnsupportedOperation, "Use a platform that can: vSphere, XenServer or qemu", "platform %s cannot start a copy of a vDisk in this release: upgradePvs does not run there", target.Platform)
}

// guestDisks is a driver with guests.
type guestDisks interface {
	platforms.OutputDisks
	platforms.Guests
}

// GuestInput names the guest of a Compositing Engine, and what it is.
type GuestInput struct {
	job.Target
	CE    string          `json:"ce"`
	Guest platforms.Guest `json:"guest"`
	// Until is when its time is up.
	Until time.Time `json:"until,omitzero"`
}

// StartGuest starts what is on the working disk of a CE that is switched off.
func (c *Controller) StartGuest(ctx context.Context, in GuestInput) (platforms.GuestState, error) {
	_, guests, err := c.guests(ctx, in.Target)
	if err != nil {
		return platforms.GuestState{}, err
	}
	state, err := guests.StartGuest(ctx, in.CE, in.Guest)
	if err != nil {
		return state, platforms.JobError(in.Platform, err)
	}
	activity.GetLogger(ctx).Info("guest is on", "ce", in.CE, "ref", state.Ref)
	return state, nil
}

// GuestEnd is how a guest was found when it was over.
type GuestEnd struct {
	upgrade.Ended
	// Screen is a picture of its screen at the time-out, as PNG.
	Screen []byte `json:"screen,omitempty"`
}

// guestInterval is how often the platform is asked for a guest: short for one that
// ends at once, longer for one that takes its time.
const (
	firstGuestInterval = 250 * time.Millisecond
	guestInterval      = 5 * time.Second
)

// WaitGuest waits until a guest is off. When its time is up, it takes a picture
// and switches it off. A platform that does not answer says nothing about the
// guest.
func (c *Controller) WaitGuest(ctx context.Context, in GuestInput) (GuestEnd, error) {
	_, guests, err := c.guests(ctx, in.Target)
	if err != nil {
		return GuestEnd{}, err
	}
	log := activity.GetLogger(ctx)
	wait := firstGuestInterval
	for {
		durable.Report(ctx, job.Progress{Step: fmt.Sprintf("guest (until %s at most)", in.Until.UTC().Format("15:04 MST"))})
		guest, err := guests.FindGuest(ctx, in.CE)
		switch {
		case ctx.Err() != nil:
			return GuestEnd{}, ctx.Err()
		case errors.Is(err, platforms.ErrNotFound):
			return GuestEnd{Ended: upgrade.Ended{Fault: "the machine is not there any more"}}, nil
		case err != nil:
			log.Warn("cannot see how the guest is", "ce", in.CE, "error", err)
		case !guest.On:
			return GuestEnd{Ended: upgrade.Ended{Fault: guest.Fault}}, nil
		}
		if time.Now().After(in.Until) {
			return c.expire(ctx, guests, in, guest.Fault)
		}
		select {
		case <-ctx.Done():
			return GuestEnd{}, ctx.Err()
		case <-activity.GetWorkerStopChannel(ctx):
			return GuestEnd{}, errors.New("the worker stops: another one waits")
		case <-time.After(min(wait, time.Until(in.Until)+time.Millisecond)):
		}
		wait = min(wait*3/2, guestInterval)
	}
}

// expire ends a guest whose time is up.
func (c *Controller) expire(ctx context.Context, guests guestDisks, in GuestInput, fault string) (GuestEnd, error) {
	end := GuestEnd{Ended: upgrade.Ended{TimedOut: true, Fault: fault}}
	var err error
	if end.Screen, err = guests.GuestScreen(ctx, in.CE); err != nil {
		activity.GetLogger(ctx).Warn("there is no picture of the guest", "ce", in.CE, "error", err)
	}
	if err := guests.StopGuest(ctx, in.CE); err != nil {
		return GuestEnd{}, durable.Retried(platforms.JobError(in.Platform, err))
	}
	return end, nil
}

// RemoveGuest removes the guest of a CE, and leaves the disk to it. Every failure
// is retried.
func (c *Controller) RemoveGuest(ctx context.Context, in GuestInput) error {
	_, guests, err := c.guests(ctx, in.Target)
	if err != nil {
		return durable.Retried(err)
	}
	if err := guests.RemoveGuest(ctx, in.CE); err != nil {
		return durable.Retried(platforms.JobError(in.Platform, err))
	}
	return nil
}

// FinishUpgradeInput says how an upgrade ends on the share.
type FinishUpgradeInput struct {
	Task     upgrade.Task     `json:"task"`
	Approval upgrade.Approval `json:"approval"`
	// Piece is the exported file, nil where the job did not get so far.
	Piece *publish.Piece `json:"piece,omitempty"`
	Keep  bool           `json:"keep"`
}

// FinishUpgrade is Finish for an upgrade.
func (c *Controller) FinishUpgrade(ctx context.Context, in FinishUpgradeInput) error {
	store, err := c.Dial(ctx, in.Task.Copy.Storage)
	if err != nil {
		return durable.Retried(err)
	}
	defer store.Close()
	return finished(upgrade.Finish(ctx, store, in.Task, in.Approval, in.Piece, in.Keep))
}
