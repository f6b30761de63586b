package upgrade

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"imageport/engine/catalogue"
	"imageport/engine/disk/vhd"
	"imageport/engine/publish"
	"imageport/engine/reverse"
	"imageport/engine/share"
	"imageport/engine/source"
	"imageport/engine/windows/pvstarget"
	"imageport/firstboot/embedded"
	"imageport/firstboot/plan"
	"imageport/job"
)

// Product is the name of the PVS target software in a catalogue.
const Product = "pvs-target"

// arch is the only one that there is a runner for.
const arch = "x64"

// roomFor is what must be free on the volume of the Windows: the installer
// unpacks itself, and keeps what it replaces.
const (
	roomFactor  = 3
	roomReserve = 1 << 30
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
	found, err := all.Find(Product, version, arch)
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
	copied, err := reverse.Preflight(ctx, store, t.Copy)
	if err != nil {
		return Admitted{}, err
	}
	out := Admitted{
		Approval: Approval{Copy: copied.Approval, Catalogue: c, Installer: installer},
		Preview:  copied.Preview,
	}
	a := &out.Approval
	if err := t.inspect(ctx, store, a); err != nil {
		return Admitted{}, err
	}
	if err := pvstarget.Refuse(a.Before); err != nil {
		return Admitted{}, job.At(t.Copy.Input, err)
	}
	if out.Done, err = t.compare(a.Before, installer); err != nil {
		return Admitted{}, err
	}
	if want := need*roomFactor + roomReserve; !out.Done && a.Before.FreeBytes < want {
		return Admitted{}, job.Errorf(job.WindowsFull, "Make room on it in a maintenance version, or shrink what is on it",
			"the Windows in %s has %d MiB free, and the installation needs %d MiB", t.Copy.Input, a.Before.FreeBytes>>20, want>>20)
	}
	if err := t.admitOutput(ctx, store, &out); err != nil {
		return Admitted{}, err
	}
	r := &out.Preview
	r.Warnings = append(r.Warnings, a.Before.Warnings...)
	for _, reason := range a.Before.PendingReboot {
		r.Warnings = append(r.Warnings, fmt.Sprintf("a restart is pending in the image (%s): its Windows is started once more before the installation", reason))
	}
	r.PVSTarget = a.Before.Version
	r.Upgrade = &job.Upgrade{From: a.Before.Version, To: installer.ProductVersion, Installer: installer.File, SHA256: installer.SHA256, Skipped: out.Done}
	return out, nil
}

// sizeOf is the size of all files of the installer, in bytes.
func sizeOf(ctx context.Context, dial Dial, c Catalogue, installer catalogue.Installer) (int64, error) {
	var total int64
	for _, f := range catalogue.Files(installer) {
		file, err := catalogue.OpenFile(ctx, c.dial(dial), f.Path)
		if errors.Is(err, fs.ErrNotExist) {
			return 0, job.Errorf(job.InstallerNotFound, "Put it there, or run imageport catalogue check", "%s names %s for version %s, and there is no such file", c, f.Path, installer.Version)
		}
		if err != nil {
			return 0, job.At("the catalogue's "+f.Path, err)
		}
		total += file.Size()
		if err := file.Close(); err != nil {
			return 0, job.At("the catalogue's "+f.Path, err)
		}
	}
	return total, nil
}

// inspect looks at the image and its Windows.
func (t Task) inspect(ctx context.Context, store share.Store, a *Approval) error {
	im, err := source.Open(ctx, source.Input{Store: store, Name: t.Copy.Input, Format: t.Copy.Format, Access: source.Scattered})
	if err != nil {
		return err
	}
	defer im.Close()
	if err := im.Same(a.Copy.Source); err != nil {
		return err
	}
	if im.Top().VHD != nil && a.Copy.SizeBytes > vhd.MaxSize {
		return job.Errorf(job.BadRequest, "Choose a smaller outputSizeMb", "the output is to have %d MiB, and a VHD has %d at most", a.Copy.SizeBytes>>20, vhd.MaxSize>>20)
	}
	a.BlockBytes = im.Layers()[0].BlockSize
	a.Before, err = pvstarget.InspectFor(ctx, im.Chain, a.want().Options())
	return job.At(t.Copy.Input, err)
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
	if out.Done {
		return nil
	}
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
