package convert

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/google/uuid"

	"imageport/engine/diskimage"
	"imageport/engine/share"
	"imageport/engine/source"
	"imageport/engine/windows/bootconv"
	"imageport/job"
)

// image is the input, open with its parents.
type image struct{ *source.Image }

// openImage opens the task's image and refuses what cannot be the parent of a
// differencing disk of the format that the request names.
func openImage(ctx context.Context, store share.Store, t Task) (*image, error) {
	opened, err := source.Open(ctx, source.Input{Store: store, Name: t.Input, Format: t.Format, Access: source.Scattered})
	if err != nil {
		return nil, err
	}
	im := &image{opened}
	if err := im.check(ctx); err != nil {
		_ = im.Close()
		return nil, job.At(t.Input, err)
	}
	return im, nil
}

// check refuses what can be read, but not built on.
func (im *image) check(ctx context.Context) error {
	if p := im.Top().VHD; p != nil && p.CurrentSize != p.VirtualSize {
		return job.Errorf(job.UnsupportedDisk, "Convert it with Convert-VHD", "the VHD, made by %q, shows %d bytes of its %d: not every reader would agree on a differencing disk of it", p.Creator, p.VirtualSize, p.CurrentSize)
	}
	for _, l := range im.Layers() {
		if l.VHDX != nil && l.VHDX.DirtyLog {
			return job.Errorf(job.DiskDirtyLog, "Mount it once on Windows (Mount-VHD) and dismount it",
				"the log of %s is not empty: who replays it changes what a differencing disk builds on", l.Name)
		}
	}
	// Opening checks what it needs. A golden image is looked at completely.
	return im.Sound(ctx, nil)
}

// plan inspects the disk and plans its conversion.
func (im *image) plan(ctx context.Context, t Task) (*bootconv.Image, *bootconv.Plan, error) {
	inspected, err := bootconv.Inspect(im.Chain)
	if err != nil {
		return nil, nil, job.At(t.Input, diskimage.Coded(err))
	}
	plan, err := inspected.Plan(ctx, im.seed(t), bootconv.Options{UEFIOptions: t.Options, Shrinker: shrinker{}})
	if err != nil {
		return nil, nil, job.At(t.Input, diskimage.Coded(err))
	}
	return inspected, plan, nil
}

// seed is what every GUID of the output is derived from: the job, the version
// of the image and the output's name. The same job writes the same bytes;
// different jobs, images or outputs share none.
func (im *image) seed(t Task) uuid.UUID {
	space := uuid.NewSHA1(uuid.NameSpaceURL, []byte("imageport:convertToUefi:"+t.Job))
	return uuid.NewSHA1(space, fmt.Appendf(nil, "%s\n%s\n%s", im.Top().ID, t.Input, t.Output))
}

// describe is the part of a result that the plan determines.
func (im *image) describe(t Task, v *Version, plan *bootconv.Plan) job.Result {
	top := im.File()
	r := job.Result{
		Output:           t.path(t.Output),
		OutputFile:       t.Output,
		VirtualSizeBytes: im.Size(),
		Parent:           job.Parent{File: t.Input, SizeBytes: top.File.SizeBytes, Modified: top.File.Modified, ID: top.ID},
		DiskGUID:         plan.DiskGUID().String(),
		ESPPlacement:     plan.ESP.Placement,
		WindowsProduct:   plan.Windows.Product,
		WindowsBuild:     plan.Windows.Build,
		PVSTarget:        plan.Windows.PVSTarget,
		PVS:              t.pvsSteps(v),
	}
	table := plan.Table()
	for _, e := range table.Entries {
		sector := int64(table.SectorSize)
		r.Partitions = append(r.Partitions, job.Partition{
			Number: e.Index + 1, Name: e.Name, Type: e.Type.String(), ID: e.ID.String(),
			StartBytes: int64(e.FirstLBA) * sector, SizeBytes: int64(e.Sectors()) * sector, Windows: e.ID == plan.WindowsID(),
		})
	}
	return r
}

// preview is the result of a dry run.
func (im *image) preview(t Task, v *Version, plan *bootconv.Plan) (job.Result, error) {
	r := im.describe(t, v, plan)
	r.DryRun, r.Warnings = true, plan.Warnings
	if v != nil {
		r.Warnings = append(r.Warnings, v.warnings...)
	}
	var err error
	r.Plan, err = json.Marshal(plan)
	return r, err
}
