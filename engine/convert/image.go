package convert

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync/atomic"

	"github.com/google/uuid"

	"imageport/engine/disk/chain"
	"imageport/engine/disk/container"
	"imageport/engine/diskimage"
	"imageport/engine/share"
	"imageport/engine/windows/bootconv"
	"imageport/job"
)

// image is the input, open with its parents.
type image struct {
	*chain.Chain
	layers []Layer
	// read counts the bytes that were asked of the share.
	read atomic.Int64
}

// openImage opens the task's image and refuses what cannot be the parent of a
// differencing disk of the format that the request names.
func openImage(ctx context.Context, store share.Store, t Task) (*image, error) {
	im := &image{}
	c, err := diskimage.Open(ctx, diskimage.Input{Folder: im.folder(store), Name: t.Input})
	if errors.Is(err, fs.ErrNotExist) && !errors.Is(err, chain.ErrParentMissing) {
		return nil, job.Errorf(job.ImageNotFound, "Check inputImageFilename and sharePath", "there is no image %s", t.Input)
	}
	if err != nil {
		return nil, job.At(t.Input, err)
	}
	im.Chain = c
	for _, l := range c.Layers() {
		im.layers = append(im.layers, Layer{l.Name, FileID{l.FileSize, l.ModTime.UTC()}, l.ID})
	}
	if err := im.check(ctx, t); err != nil {
		_ = c.Close()
		return nil, job.At(t.Input, err)
	}
	return im, nil
}

// folder reads the files of the share through caches, and counts.
func (im *image) folder(store share.Store) chain.Folder {
	return chain.FolderOf(func(ctx context.Context, name string) (share.File, error) {
		f, err := store.Open(ctx, name)
		if err != nil {
			return nil, err
		}
		return cached(counter{f, &im.read}), nil
	})
}

// check refuses what can be read, but not built on.
func (im *image) check(ctx context.Context, t Task) error {
	wanted := map[job.ImageFormat]chain.Container{job.FormatVHDX: chain.VHDX, job.FormatVHD: chain.VHD}
	if found := im.top().Container; t.Format != "" && found != wanted[t.Format] {
		return job.Errorf(job.WrongFormat, "Give the inputImageFormat that the file has", "by its signature the file is a %s, the request says %s", found, t.Format)
	}
	if p := im.top().VHD; p != nil && p.CurrentSize != p.VirtualSize {
		return job.Errorf(job.UnsupportedDisk, "Convert it with Convert-VHD", "the VHD, made by %q, shows %d bytes of its %d: not every reader would agree on a differencing disk of it", p.Creator, p.VirtualSize, p.CurrentSize)
	}
	for _, l := range im.Layers() {
		if l.VHDX != nil && l.VHDX.DirtyLog {
			return job.Errorf(job.DiskDirtyLog, "Mount it once on Windows (Mount-VHD) and dismount it",
				"the log of %s is not empty: who replays it changes what a differencing disk builds on", l.Name)
		}
	}
	// Opening checks what it needs. A golden image is looked at completely.
	var broken error
	err := im.Check(ctx, func(layer int, p container.Problem) {
		if broken == nil {
			broken = diskimage.Coded(fmt.Errorf("%s: %w", im.layers[layer].Name, &p))
		}
	})
	return errors.Join(err, broken)
}

// top is the image itself.
func (im *image) top() chain.Layer {
	layers := im.Layers()
	return layers[len(layers)-1]
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
	return uuid.NewSHA1(space, fmt.Appendf(nil, "%s\n%s\n%s", im.top().ID, t.Input, t.Output))
}

// same reports whether the image is the one that was approved.
func (im *image) same(approved []Layer) bool { return slices.Equal(im.layers, approved) }

// describe is the part of a result that the plan determines.
func (im *image) describe(t Task, v *Version, plan *bootconv.Plan) job.Result {
	top := im.layers[len(im.layers)-1]
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

// cached keeps 64 MiB of a file, in small blocks because what is read is
// scattered: above all the boot files of a Windows, which are read
// when they are copied and again when the copy is verified. Blocks take memory
// once they are read, so a chain of many files takes no more than one.
func cached(f share.File) share.File { return share.BufferedFile(f, 64<<10, 1024) }

// counter counts what is read from a file.
type counter struct {
	share.File
	n *atomic.Int64
}

func (c counter) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.File.ReadAt(p, off)
	c.n.Add(int64(n))
	return n, err
}
