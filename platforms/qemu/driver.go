package qemu

import (
	"context"
	"sync"

	"imageport/platforms"
	"imageport/platforms/cedir"
	"imageport/platforms/outputdir"
)

// Driver is the platforms.Driver of the platform qemu.
type Driver struct {
	cfg   Config
	store *cedir.Store
	disks *outputdir.Disks
	// guests are those of all CEs of the store.
	guests *cedir.Guests

	probing sync.Mutex
	probed  string // what "auto" stands for, once that is known
}

var (
	_ platforms.Driver      = (*Driver)(nil)
	_ platforms.Neighbour   = (*Driver)(nil)
	_ platforms.OutputDisks = (*Driver)(nil)
)

// New gives the driver for the CEs in cfg.StateDir. Several drivers, also in
// several processes, may work on one state directory.
func New(cfg Config) (*Driver, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	d := &Driver{cfg: cfg}
	d.store, err = cedir.Open(cedir.Config{
		Platform: "qemu", StateDir: cfg.StateDir, Grace: cfg.Grace, StartTimeout: cfg.StartTimeout, Now: cfg.Now,
		Start: d.start, Adopt: true, Quit: quit, Discard: outputdir.Discard, Describe: d.describe,
	})
	if err != nil {
		return nil, err
	}
	d.disks = &outputdir.Disks{
		Platform: "qemu", Store: d.store, Dir: cfg.OutputDir, Formats: []platforms.DiskFormat{platforms.VMDK, platforms.VHDX, platforms.Raw},
		Make: d.makeDisk, Verify: d.verifyDisk, Attach: d.attach, Detach: d.detach,
	}
	d.guests = d.newGuests()
	return d, nil
}

// Create implements platforms.Driver.
func (d *Driver) Create(ctx context.Context, ce platforms.Spec) (platforms.Instance, error) {
	return d.store.Create(ctx, ce)
}

// Stop implements platforms.Driver.
func (d *Driver) Stop(ctx context.Context, name string) error { return d.store.Stop(ctx, name) }

// Destroy implements platforms.Driver.
func (d *Driver) Destroy(ctx context.Context, name string) error { return d.store.Destroy(ctx, name) }

// Find implements platforms.Driver. The Fault of a CE that is Running says
// that its firmware found nothing to boot: it will not do anything any more.
func (d *Driver) Find(ctx context.Context, name string) (platforms.Instance, error) {
	return d.store.Find(ctx, name)
}

// List implements platforms.Driver.
func (d *Driver) List(ctx context.Context) ([]platforms.Instance, error) { return d.store.List(ctx) }

// CheckOutputDisk implements platforms.OutputDisks.
func (d *Driver) CheckOutputDisk(ctx context.Context, disk platforms.OutputDisk) error {
	if err := d.checkOutputDir(ctx); err != nil {
		return cedir.Fail("check", "output disk", err)
	}
	return d.disks.CheckOutputDisk(ctx, disk)
}

// AddOutputDisk implements platforms.OutputDisks.
func (d *Driver) AddOutputDisk(ctx context.Context, ce string, disk platforms.OutputDisk) (platforms.OutputDiskRef, error) {
	return d.disks.AddOutputDisk(ctx, ce, disk)
}

// KeepOutputDisk implements platforms.OutputDisks.
func (d *Driver) KeepOutputDisk(ctx context.Context, ce, name string) error {
	return d.disks.KeepOutputDisk(ctx, ce, name)
}

// WorkerHost implements platforms.Neighbour. It is empty if the network is not
// QEMU's own: which address of this machine a bridge leads to is for the
// worker's configuration to say.
func (d *Driver) WorkerHost() string {
	if d.cfg.Network == networkUser {
		return userNetworkHost
	}
	return ""
}
