package activities

import (
	"context"
	"fmt"

	"imageport/engine/reverse"
	"imageport/job"
	"imageport/job/durable"
	"imageport/job/seed"
	"imageport/platforms"
)

// PreflightReverseInput asks whether a vDisk may become a disk of the platform.
type PreflightReverseInput struct {
	job.Target
	Task reverse.Task `json:"task"`
	// Disk is the output; its size is what preflight finds out.
	Disk platforms.OutputDisk `json:"disk"`
	// OutputID is that of the request.
	OutputID string `json:"outputId"`
	// VM is the name of the VM to be left around the disk, "" for none.
	VM string `json:"vm,omitempty"`
}

// PreflightReverse refuses everything that can be refused before a CE exists:
// it dials the share, inspects the image and plans fix-ups, and asks the platform
// about the CE, the disk and the VM. It changes nothing.
func (c *Controller) PreflightReverse(ctx context.Context, in PreflightReverseInput) (reverse.Admitted, error) {
	driver, err := c.Platforms.Driver(ctx, in.Target)
	if err != nil {
		return reverse.Admitted{}, err
	}
	disks, err := outputDisks(in.Platform, driver)
	if err != nil {
		return reverse.Admitted{}, err
	}
	if err := c.refuseOtherWriters(ctx, in.OutputID); err != nil {
		return reverse.Admitted{}, err
	}
	release, err := turn(ctx, preflights, "wait for the checks of other jobs")
	if err != nil {
		return reverse.Admitted{}, err
	}
	defer release()
	store, err := c.Dial(ctx, in.Task.Storage)
	if err != nil {
		return reverse.Admitted{}, err
	}
	defer store.Close()
	admitted, err := reverse.Preflight(ctx, store, in.Task)
	if err != nil {
		return reverse.Admitted{}, err
	}
	in.Disk.SizeBytes = admitted.Approval.SizeBytes
	if err := disks.CheckOutputDisk(ctx, in.Disk); err != nil {
		return reverse.Admitted{}, diskError(in.Platform, err)
	}
	if in.VM != "" {
		vms, err := outputVMs(in.Platform, driver)
		if err != nil {
			return reverse.Admitted{}, err
		}
		if err := vms.CheckOutputVM(ctx, outputVM(in.VM, c.Owner, in.Disk.Name, in.Task, admitted)); err != nil {
			return reverse.Admitted{}, platforms.JobError(in.Platform, err)
		}
	}
	return admitted, c.checkCE(ctx, driver, CreateCEInput{Target: in.Target, Name: seed.Name(in.Task.Key), Job: in.Task.Job})
}

// diskError is JobError for an output disk: what is in its place is the user's.
func diskError(platform string, err error) error {
	if platforms.KindOf(err) == platforms.Foreign {
		return job.Errorf(job.OutputExists, "Choose another outputDiskName, or remove what is there if nothing needs it", "platform %s: %w", platform, err)
	}
	return platforms.JobError(platform, err)
}

// OutputDiskInput names the output disk of a Compositing Engine.
type OutputDiskInput struct {
	job.Target
	CE   string               `json:"ce"`
	Disk platforms.OutputDisk `json:"disk"`
}

// AddOutputDisk attaches the output disk to the running Compositing Engine. It is
// empty if it was not there.
func (c *Controller) AddOutputDisk(ctx context.Context, in OutputDiskInput) (platforms.OutputDiskRef, error) {
	driver, err := c.Platforms.Driver(ctx, in.Target)
	if err != nil {
		return platforms.OutputDiskRef{}, err
	}
	disks, err := outputDisks(in.Platform, driver)
	if err != nil {
		return platforms.OutputDiskRef{}, err
	}
	ref, err := disks.AddOutputDisk(ctx, in.CE, in.Disk)
	if err != nil {
		return platforms.OutputDiskRef{}, diskError(in.Platform, err)
	}
	return ref, nil
}

// KeepOutputDisk gives the output disk its name and leaves it to the user.
func (c *Controller) KeepOutputDisk(ctx context.Context, in OutputDiskInput) error {
	driver, err := c.Platforms.Driver(ctx, in.Target)
	if err != nil {
		return durable.Retried(err)
	}
	disks, err := outputDisks(in.Platform, driver)
	if err != nil {
		return err
	}
	switch err := disks.KeepOutputDisk(ctx, in.CE, in.Disk.Name); platforms.KindOf(err) {
	case "":
		return nil
	case platforms.Foreign, platforms.NotFound: // nothing but a person helps
		return diskError(in.Platform, err)
	default:
		return durable.Retried(platforms.JobError(in.Platform, err))
	}
}

// MakeOutputVMInput orders the VM around a kept disk.
type MakeOutputVMInput struct {
	job.Target
	Name     string           `json:"name"`
	Disk     string           `json:"disk"`
	Task     reverse.Task     `json:"task"`
	Admitted reverse.Admitted `json:"admitted"`
}

// MakeOutputVM leaves a VM around the kept disk, switched off, and gives what
// the platform calls it.
func (c *Controller) MakeOutputVM(ctx context.Context, in MakeOutputVMInput) (string, error) {
	driver, err := c.Platforms.Driver(ctx, in.Target)
	if err != nil {
		return "", err
	}
	vms, err := outputVMs(in.Platform, driver)
	if err != nil {
		return "", err
	}
	ref, err := vms.MakeOutputVM(ctx, outputVM(in.Name, c.Owner, in.Disk, in.Task, in.Admitted))
	if err != nil {
		return "", platforms.JobError(in.Platform, err)
	}
	return ref, nil
}

func outputVM(name, owner, disk string, t reverse.Task, a reverse.Admitted) platforms.OutputVM {
	vm := platforms.OutputVM{
		Name: name, Job: t.Job, Owner: owner, Disk: disk,
		Firmware: a.Preview.Firmware, WindowsBuild: a.Preview.WindowsBuild, Server: a.Server,
	}
	if len(a.Preview.Controllers) > 0 {
		vm.Controller = a.Preview.Controllers[0]
	}
	return vm
}

func outputDisks(platform string, d platforms.Driver) (platforms.OutputDisks, error) {
	if disks, ok := d.(platforms.OutputDisks); ok {
		return disks, nil
	}
	return nil, job.Errorf(job.UnsupportedOperation, "Use another platform", "platform %s has no output disks in this release: reverseImage does not run there", platform)
}

func outputVMs(platform string, d platforms.Driver) (platforms.OutputVMs, error) {
	if vms, ok := d.(platforms.OutputVMs); ok {
		return vms, nil
	}
	return nil, fmt.Errorf("createVm: %w", job.Errorf(job.UnsupportedOperation, "Leave createVm out and attach the disk to a VM yourself", "platform %s cannot leave a VM in this release", platform))
}
