package upgrade

import (
	"context"
	"errors"
	"fmt"

	"imageport/engine/catalogue"
	"imageport/engine/disk/vhd"
	"imageport/engine/diskimage"
	"imageport/engine/inject"
	"imageport/engine/publish"
	"imageport/engine/reverse"
	"imageport/engine/share"
	"imageport/engine/source"
	"imageport/engine/windows/pvstarget"
	"imageport/firstboot/embedded"
	"imageport/firstboot/plan"
	"imageport/job"
)

// Resolve finds the installer in the catalogue, and sees that its files are
// there. The error is a job.Error.
func Resolve(ctx context.Context, dial Dial, c Catalogue, version string) (catalogue.Installer, error) {
	if _, err := embedded.Runner(); err != nil {
		return catalogue.Installer{}, job.Errorf(job.ToolMissing, "Build the program with make build", "there is nothing to put into the image: %w", err)
	}
	store, err := c.Open(ctx, dial, "")
	if err != nil {
		return catalogue.Installer{}, job.At("the catalogue of installers", err)
	}
	defer store.Close()
	all, err := catalogue.Load(ctx, store)
	if err != nil {
		return catalogue.Installer{}, job.At(c.String(), err)
	}
	found, err := all.Find(catalogue.ProductPVSTarget, version, catalogue.ArchX64) // the runner is for x64
	if err != nil {
		return catalogue.Installer{}, job.At(c.String(), err)
	}
	return found, nil
}

// Preflight finds every reason to refuse the task that image, share and installer
// give, decides on the size of the working disk, and plans what makes it start. It
// changes nothing.
func Preflight(ctx context.Context, store share.Store, dial Dial, t Task, c Catalogue, installer catalogue.Installer) (Admitted, error) {
	need, err := sizeOf(ctx, dial, c, installer)
	if err != nil {
		return Admitted{}, err
	}
	im, err := reverse.Open(ctx, store, t.Copy)
	if err != nil {
		return Admitted{}, err
	}
	defer im.Close()
	// First what holds for any copy of the image; what its Windows needs to start
	// comes when it is known to be one that can be upgraded.
	copied, err := reverse.Admit(ctx, im, t.Copy)
	if err != nil {
		return Admitted{}, err
	}
	out := Admitted{Approval: Approval{Catalogue: c, Installer: installer, BlockBytes: im.Layers()[0].BlockSize}}
	if err := t.inspect(ctx, im, &out); err != nil {
		return Admitted{}, err
	}
	if out.Done {
		bare := t.Copy
		bare.FixUps = job.FixUpsNone
		err = copied.Plan(ctx, im, bare)
	} else {
		err = t.prepare(ctx, im, need, out.Approval, &copied)
	}
	if err != nil {
		return Admitted{}, err
	}
	out.Approval.Copy, out.Preview = copied.Approval, copied.Preview
	if !out.Done {
		if err := t.admit(ctx, store, dial, &out); err != nil {
			return Admitted{}, err
		}
	}
	a, r := out.Approval, &out.Preview
	r.Warnings = append(r.Warnings, a.Before.Warnings...)
	for _, reason := range a.Before.PendingReboot {
		r.Warnings = append(r.Warnings, fmt.Sprintf("a restart is pending in the image (%s): its Windows is started once more before the installation", reason))
	}
	r.WindowsProduct, r.WindowsBuild, r.PVSTarget = a.Before.Product, a.Before.Build, a.Before.Version
	r.Upgrade = &job.Upgrade{From: a.Before.Version, To: installer.ProductVersion, Installer: installer.File, SHA256: installer.SHA256, Skipped: out.Done}
	return out, im.Untouched(ctx)
}

// sizeOf is the size of all files of the installer, in bytes.
func sizeOf(ctx context.Context, dial Dial, c Catalogue, installer catalogue.Installer) (int64, error) {
	var total int64
	for _, f := range catalogue.Files(installer) {
		file, err := c.file(ctx, dial, f, installer)
		if err != nil {
			return 0, err
		}
		total += file.Size()
		if err := file.Close(); err != nil {
			return 0, job.At("the catalogue's "+f.Path, err)
		}
	}
	return total, nil
}

// inspect looks at the Windows in the image, refuses one that cannot be upgraded,
// and says whether there is anything to do.
func (t Task) inspect(ctx context.Context, im *source.Image, out *Admitted) error {
	a := &out.Approval
	var err error
	if a.Before, err = pvstarget.InspectFor(ctx, im.Chain, a.want().Options()); err != nil {
		return job.At(t.Copy.Input, diskimage.Coded(err))
	}
	if err := pvstarget.Refuse(a.Before); err != nil {
		return job.At(t.Copy.Input, err)
	}
	out.Done, err = t.compare(a.Before, a.Installer)
	return err
}

// prepare refuses a Windows in which the installation, whose files have need
// bytes, has no place, and plans what makes the copy start.
func (t Task) prepare(ctx context.Context, im *source.Image, need int64, a Approval, copied *reverse.Admitted) error {
	if size := copied.Approval.SizeBytes; im.Top().VHD != nil && size > vhd.MaxSize {
		return job.Errorf(job.BadRequest, "Choose a smaller outputSizeMb", "the output is to have %d MiB, and a VHD has %d at most", size>>20, vhd.MaxSize>>20)
	}
	if want := inject.Room(need); a.Before.FreeBytes < want {
		return job.Errorf(job.WindowsFull, "Make room on it in a maintenance version, or shrink what is on it",
			"the Windows in %s has %d MiB free, and the installation needs %d MiB", t.Copy.Input, a.Before.FreeBytes>>20, want>>20)
	}
	if err := inject.Unused(ctx, im.Chain, a.partition()); err != nil {
		return job.At(t.Copy.Input, diskimage.Coded(err))
	}
	copied.Approval.UsedOnly = true
	return hasToStart(copied.Plan(ctx, im, t.Copy))
}

// admit refuses an output that cannot be, and an installer that is another.
func (t Task) admit(ctx context.Context, store share.Store, dial Dial, out *Admitted) error {
	if err := t.admitOutput(ctx, store, out); err != nil {
		return err
	}
	// Last, as it reads all of the files. The Compositing Engine hashes them again
	// when it puts them in; but then a machine was made and a disk copied, to tell
	// what can be told in seconds now. What a program says of its version is the
	// business of those who wrote the catalogue.
	findings := catalogue.CheckInstaller(ctx, out.Approval.Catalogue.dial(dial), out.Approval.Installer, true)
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, f := range findings {
		if f.Code != job.CatalogueInvalid {
			return job.At(out.Approval.Catalogue.String(), f.Err())
		}
		out.Preview.Warnings = append(out.Preview.Warnings, f.Err().Error())
	}
	return nil
}

// hasToStart gives a refusal of package reverse the remedy that is one here: there,
// a disk need not be made to start.
func hasToStart(err error) error {
	e, ok := errors.AsType[*job.Error](err)
	if !ok {
		return err
	}
	switch e.Code {
	case job.NativeDriversMissing:
		return job.Errorf(e.Code, "Install the drivers of the platform in the vDisk's master: the copy has to start there", "%s", e.Message)
	case job.HiveNoSpace, job.FileNotEditableInPlace, job.HiveCorrupt:
		return job.Errorf(e.Code, "Boot the image once in a maintenance version and shut it down", "%s", e.Message)
	}
	return err
}

// compare says whether there is nothing to do, or refuses a version that the
// installer cannot upgrade.
func (t Task) compare(before pvstarget.Facts, installer catalogue.Installer) (done bool, err error) {
	has, wants := before.Version, installer.ProductVersion
	switch {
	case pvstarget.Matches(has, wants):
		return !t.Force, nil
	case pvstarget.Compare(has, wants) > 0:
		return false, job.Errorf(job.PVSDowngrade, "Choose a newer version of the catalogue", "%s has version %s of the PVS target software, and %s is %s: installers do not go back", t.Copy.Input, has, installer.Version, wants)
	case installer.MinFrom != "" && pvstarget.Compare(has, installer.MinFrom) < 0:
		return false, job.Errorf(job.PVSTooOld, "Upgrade to a version in between first; or make a disk with reverseImage, remove the old software there, and install anew",
			"%s has version %s of the PVS target software, and version %s can be installed over %s or newer", t.Copy.Input, has, installer.Version, installer.MinFrom)
	}
	return false, nil
}

// admitOutput refuses an output that cannot be, and finds the one to be replaced.
func (t Task) admitOutput(ctx context.Context, store share.Store, out *Admitted) (err error) {
	if err := store.Writable(ctx); err != nil {
		return err
	}
	if out.Approval.Existing, err = publish.Admit(ctx, store, t.names(), t.Overwrite, out.Approval.Copy.Source...); err != nil {
		return err
	}
	// What is in use, and the tables of the image: 8 bytes for a MiB, and some.
	size := out.Preview.SizeBytes
	return publish.Room(ctx, store, size-out.Approval.Before.FreeBytes+size>>14)
}

// Plan is what the runner is told.
func (t Task) Plan(a Approval) plan.Plan {
	return plan.Plan{
		Version:           plan.Version,
		Job:               t.Copy.Job,
		MaxBoots:          maxBoots,
		DeadlineSeconds:   int(t.Timeout.Seconds()),
		SettleSeconds:     settleSeconds,
		MaxPendingReboots: maxPendingReboots,
		Steps:             catalogue.Steps(a.Installer),
	}
}

// The bounds of the runner (research: what installers in the field need).
const (
	maxBoots          = 8
	settleSeconds     = 600
	maxPendingReboots = 2
)
