package reverse

import (
	"context"
	"errors"
	"fmt"

	"imageport/engine/disk/container"
	"imageport/engine/disk/gpt"
	"imageport/engine/disk/vhdx"
	"imageport/engine/diskimage"
	"imageport/engine/share"
	"imageport/engine/source"
	"imageport/job"
)

const mib = 1 << 20

// Preflight finds every reason to refuse the task that the image gives, decides
// on the size of the disk, and plans the fix-ups. It changes nothing.
func Preflight(ctx context.Context, store share.Store, t Task) (Admitted, error) {
	im, err := Open(ctx, store, t)
	if err != nil {
		return Admitted{}, err
	}
	defer im.Close()
	out, err := Admit(ctx, im, t)
	if err == nil {
		err = out.Plan(ctx, im, t)
	}
	if err != nil {
		return Admitted{}, err
	}
	return out, im.Untouched(ctx)
}

// Open opens the task's image for its preflight, unless PVS has it in use.
func Open(ctx context.Context, store share.Store, t Task) (*source.Image, error) {
	if !t.IgnoreLock {
		if err := source.Unlocked(ctx, store, t.Input); err != nil {
			return nil, err
		}
	}
	return t.open(ctx, store, source.Scattered)
}

// Admit is what Preflight asks of every image that is to be copied, whatever is
// on its disk. Plan is to follow.
func Admit(ctx context.Context, im *source.Image, t Task) (Admitted, error) {
	if s := im.SectorSize(); s != 512 {
		return Admitted{}, job.Errorf(job.UnsupportedDisk, "Make the vDisk anew with sectors of 512 bytes", "%s has sectors of %d bytes: the disks of platforms have 512, and its partition table would not be found", t.Input, s)
	}
	if err := im.Sound(ctx, replayed); err != nil {
		return Admitted{}, job.At(t.Input, err)
	}
	asked, err := t.outputSize(im.Size())
	if err != nil {
		return Admitted{}, err
	}
	size := wholeUnits(asked, job.DiskUnit(t.Platform))
	out := Admitted{
		Approval: Approval{Source: im.Files(), SizeBytes: size},
		Preview:  job.Result{VirtualSizeBytes: im.Size(), SizeBytes: size},
	}
	for _, l := range im.Files() {
		out.Preview.Source = append(out.Preview.Source, job.Parent{File: l.Name, SizeBytes: l.File.SizeBytes, Modified: l.File.Modified, ID: l.ID})
	}
	for _, l := range im.Layers() {
		if l.VHDX != nil && l.VHDX.DirtyLog {
			out.warn("the log of %s is not empty: what it holds was taken into account, and the file was left as it is", l.Name)
		}
	}
	if size != asked {
		out.warn("the disk has %d MiB in place of %d: platform %s has disks of whole GiB", size/mib, asked/mib, t.Platform)
	}
	return out, nil
}

// Plan decides what is changed on the copy, so that it starts on the platform;
// nothing is with job.FixUpsNone.
func (a *Admitted) Plan(ctx context.Context, im *source.Image, t Task) error {
	if t.FixUps == job.FixUpsNone {
		return a.describe(im)
	}
	return a.plan(ctx, t, im)
}

// replayed passes over what the log of a VHDX makes good, which is replayed in
// memory.
func replayed(p container.Problem) bool { return errors.Is(p.Kind, vhdx.ErrDirtyLog) }

// outputSize is that of the disk, which takes all of the image.
func (t Task) outputSize(virtual int64) (int64, error) {
	need := wholeUnits(virtual, mib) / mib
	if t.SizeMB == 0 {
		return need * mib, nil
	}
	if t.SizeMB < need {
		return 0, tooSmall(t, virtual, t.SizeMB*mib)
	}
	return t.SizeMB * mib, nil
}

// wholeUnits is the least multiple of the unit that has so many bytes.
func wholeUnits(bytes, unit int64) int64 { return (bytes + unit - 1) / unit * unit }

// tooSmall refuses a disk of size bytes.
func tooSmall(t Task, virtual, size int64) error {
	need := wholeUnits(virtual, mib) / mib
	return job.Errorf(job.OutputTooSmall, fmt.Sprintf("Set outputSizeMb to %d or more, or leave it out", need),
		"the output disk is to have %d MiB, and %s has a virtual size of %d MiB (%d bytes)", size/mib, t.Input, need, virtual)
}

func (a *Admitted) warn(format string, args ...any) {
	a.Preview.Warnings = append(a.Preview.Warnings, fmt.Sprintf(format, args...))
}

// describe tells what an image starts from that is copied to the bit.
func (a *Admitted) describe(im *source.Image) error {
	a.Preview.Firmware = job.BIOS
	_, err := gpt.Read(im.Chain)
	switch {
	case err == nil:
		a.Preview.Firmware = job.UEFI
		if a.Approval.SizeBytes > im.Size() {
			a.warn("the disk is larger than the vDisk, and the backup of its partition table is not at the end: without fix-ups it is left where it is")
		}
	case errors.Is(err, gpt.ErrCorrupt):
		a.Preview.Firmware = job.UEFI
		a.warn("%s", err)
	case !errors.Is(err, gpt.ErrNotGPT):
		return job.At(im.Name(), diskimage.Coded(err))
	}
	return nil
}

// plan plans the fix-ups.
func (a *Admitted) plan(ctx context.Context, t Task, im *source.Image) error {
	plan, err := t.plan(ctx, im, a.Approval.SizeBytes)
	if e, ok := errors.AsType[*job.Error](err); ok && ofWindows(e.Code) {
		return job.Errorf(e.Code, fmt.Sprintf("%s; or copy the vDisk as it is with \"fixups\": %q", e.Remedy, job.FixUpsNone), "%s", e.Message)
	}
	if err != nil {
		return err
	}
	r := &a.Preview
	r.Firmware, r.Controllers, r.FixUps = plan.Firmware, plan.Controllers, plan.FixUps
	r.WindowsProduct, r.WindowsBuild, a.Server = plan.Product, plan.Build, plan.Server
	r.Warnings = append(r.Warnings, plan.Warnings...)
	if len(plan.Writes) > 0 {
		a.Approval.PlanDigest = plan.Digest()
	}
	return nil
}

// ofWindows reports whether a refusal is about what is on the disk, for which
// nobody asks who wants it as it is. That of missing drivers says so itself.
func ofWindows(c job.Code) bool {
	switch c {
	case job.NativeDriversMissing, job.SourceChanged, job.ImageNotFound, job.ShareAuthFailed, job.ShareNotFound, job.ShareDenied, job.DiskCorrupt:
		return false
	}
	return !c.Transient()
}
