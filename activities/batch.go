package activities

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"go.temporal.io/sdk/activity"

	"imageport/engine/pvs"
	"imageport/engine/share"
	"imageport/job"
	"imageport/job/durable"
	"imageport/platforms"
)

// ListImagesInput asks for the images of a folder.
type ListImagesInput struct {
	Storage job.StorageLocation `json:"storage"`
	Pattern string              `json:"pattern"` // as in job.BatchRequest
	// Format is the only one that counts, "" for any.
	Format      job.ImageFormat `json:"format,omitempty"`
	AllVersions bool            `json:"allVersions,omitempty"`
}

// ListImages gives the names of the images that match, sorted. Of the versions of
// a vDisk, which their names tell, only the latest is one, unless AllVersions is
// set. The error is a BadRequest if there are more than maxImages.
func (c *Controller) ListImages(ctx context.Context, in ListImagesInput) ([]string, error) {
	store, err := c.Dial(ctx, in.Storage)
	if err != nil {
		return nil, err
	}
	defer store.Close()
	files, err := store.List(ctx)
	if err != nil {
		return nil, err
	}
	found := matching(files, in)
	if n := len(found); n > maxImages {
		return nil, job.Errorf(job.BadRequest, "Choose a narrower pattern", "the pattern %q matches %d files: a batch may have %d images", in.Pattern, n, job.MaxBatchImages)
	}
	return found, nil
}

// maxImages is how many images ListImages gives: some are the outputs of others.
const maxImages = 4 * job.MaxBatchImages

// imageFormats are the formats of images, by extension.
var imageFormats = map[string]job.ImageFormat{
	".vhdx": job.FormatVHDX, ".avhdx": job.FormatVHDX, ".vhd": job.FormatVHD, ".avhd": job.FormatVHD,
}

func matching(files []share.Info, in ListImagesInput) []string {
	names := make([]string, len(files))
	for i, f := range files {
		names[i] = f.Name
	}
	pattern := strings.ToLower(in.Pattern)
	match := func(name string) bool {
		ok, err := path.Match(pattern, name)
		return ok && err == nil
	}
	var found []string
	for _, file := range names {
		name := strings.ToLower(file)
		ext := path.Ext(name)
		format, isImage := imageFormats[ext]
		if !isImage || in.Format != "" && format != in.Format || !match(name) && !match(strings.TrimSuffix(name, ext)) {
			continue
		}
		if !in.AllVersions && isOlder(names, file) {
			continue
		}
		found = append(found, file)
	}
	slices.SortFunc(found, func(a, b string) int {
		return cmp.Or(cmp.Compare(strings.ToLower(a), strings.ToLower(b)), cmp.Compare(a, b))
	})
	return found
}

// isOlder reports whether the file is an older version of a vDisk of the folder.
// Of server.2016.vhdx beside server.2019.vhdx nobody can tell: without server.vhdx
// or server.xml they are two vDisks, as leaving one out would go unnoticed.
func isOlder(names []string, file string) bool {
	if _, err := pvs.NextVersion(names, file); !errors.Is(err, pvs.ErrNotLatest) {
		return false
	}
	n, ok := pvs.ParseName(file)
	if !ok || n.Number == 0 || n.Differencing {
		return true
	}
	return slices.ContainsFunc(names, func(name string) bool {
		base := strings.ToLower(strings.TrimSuffix(name, path.Ext(name)))
		_, isImage := imageFormats[strings.ToLower(path.Ext(name))]
		return base == strings.ToLower(n.Disk) && (isImage || strings.EqualFold(name, n.Manifest()))
	})
}

// OutputAt is an output to look for: a file of a folder, or a disk of a platform.
type OutputAt struct {
	Storage job.StorageLocation `json:"storage,omitzero"`
	File    string              `json:"file,omitempty"` // "" for a disk
	Disk    string              `json:"disk,omitempty"`
	Target  job.Target          `json:"target,omitzero"` // of a disk
}

// FindOutputs tells which of the outputs are there, by their index. It changes
// nothing. An output that cannot be looked for counts as missing: its job says
// why, and keeps no other from being begun.
func (c *Controller) FindOutputs(ctx context.Context, outputs []OutputAt) ([]int, error) {
	search := outputSearch{Controller: c, folders: map[job.StorageLocation]map[string]bool{}, silent: map[string]bool{}}
	var there []int
	for i, o := range outputs {
		durable.Report(ctx, job.Progress{Step: fmt.Sprintf("look for output %d of %d", i+1, len(outputs))})
		var found bool
		if o.File != "" {
			found = search.folder(ctx, o.Storage)[strings.ToLower(o.File)]
		} else {
			found = search.disk(ctx, o)
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if found {
			there = append(there, i)
		}
	}
	return there, nil
}

// outputSearch asks each folder and each platform that does not answer once.
type outputSearch struct {
	*Controller
	folders map[job.StorageLocation]map[string]bool // names in lower case
	silent  map[string]bool                         // job.Target.Label
}

// folder gives the files of a folder, by their names in lower case.
func (s outputSearch) folder(ctx context.Context, where job.StorageLocation) map[string]bool {
	names, known := s.folders[where]
	if known {
		return names
	}
	names = map[string]bool{}
	s.folders[where] = names
	store, err := s.Dial(ctx, where)
	if err == nil {
		defer store.Close()
		var files []share.Info
		files, err = store.List(ctx)
		for _, f := range files {
			names[strings.ToLower(f.Name)] = true
		}
	}
	if err != nil {
		activity.GetLogger(ctx).Warn("cannot look for outputs", "host", where.Host, "error", err)
	}
	return names
}

// disk looks for a disk. What else keeps it from being made does not count.
func (s outputSearch) disk(ctx context.Context, o OutputAt) bool {
	label := o.Target.Label()
	if s.silent[label] {
		return false
	}
	driver, err := s.Platforms.Driver(ctx, o.Target)
	if err == nil {
		var disks platforms.OutputDisks
		if disks, err = outputDisks(o.Target.Platform, driver); err == nil {
			// Any size will do: the name is what is asked about.
			err = disks.CheckOutputDisk(ctx, platforms.OutputDisk{Name: o.Disk, SizeBytes: 1 << 30, Provision: job.ProvisionThin})
		}
	}
	switch platforms.KindOf(err) {
	case platforms.Foreign:
		return true
	case platforms.Busy:
		s.silent[label] = true
		activity.GetLogger(ctx).Warn("cannot look for outputs", "platform", label, "error", err)
	}
	return false
}
