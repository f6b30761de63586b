package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync/atomic"
	"time"

	"imageport/engine/disk/chain"
	"imageport/engine/disk/container"
	"imageport/engine/diskimage"
	"imageport/engine/share"
	"imageport/job"
)

// FileID identifies one version of a file on the share.
type FileID struct {
	SizeBytes int64     `json:"sizeBytes"`
	Modified  time.Time `json:"modified"`
}

// Layer identifies one file of the image.
type Layer struct {
	Name string `json:"name"`
	File FileID `json:"file"`
	ID   string `json:"id"` // what children know it by
}

// Input says which image to open, and what for.
type Input struct {
	Store share.Store
	Name  string // of the file
	// Format must be that of the image, where it is given.
	Format job.ImageFormat
	Access Access
}

// Image is an open image with its parents. Its contents are those of the
// embedded chain.
type Image struct {
	*chain.Chain
	name  string
	files []Layer
	read  *atomic.Int64
}

// Open opens an image and all of its parents. An image that is not there is
// job.ImageNotFound, one of another format job.WrongFormat.
func Open(ctx context.Context, in Input) (*Image, error) {
	im := &Image{name: in.Name, read: new(atomic.Int64)}
	c, err := diskimage.Open(ctx, diskimage.Input{Folder: Folder(in.Store, in.Access, im.read), Name: in.Name})
	if errors.Is(err, fs.ErrNotExist) && !errors.Is(err, chain.ErrParentMissing) {
		return nil, job.Errorf(job.ImageNotFound, "Check inputImageFilename and sharePath", "there is no image %s", in.Name)
	}
	if err != nil {
		return nil, job.At(in.Name, err)
	}
	im.Chain = c
	for _, l := range c.Layers() {
		im.files = append(im.files, Layer{l.Name, FileID{l.FileSize, l.ModTime.UTC()}, l.ID})
	}
	wanted := map[job.ImageFormat]chain.Container{job.FormatVHDX: chain.VHDX, job.FormatVHD: chain.VHD}
	if found := im.Top().Container; in.Format != "" && found != wanted[in.Format] {
		err := job.Errorf(job.WrongFormat, "Give the inputImageFormat that the file has", "by its signature the file is a %s, the request says %s", found, in.Format)
		return nil, errors.Join(job.At(in.Name, err), c.Close())
	}
	return im, nil
}

// Name is the name of the image's own file.
func (im *Image) Name() string { return im.name }

// Files are the files of the image, from the base to the image itself.
func (im *Image) Files() []Layer { return im.files }

// File is the image's own file.
func (im *Image) File() Layer { return im.files[len(im.files)-1] }

// Top is the image without its parents.
func (im *Image) Top() chain.Layer {
	layers := im.Layers()
	return layers[len(layers)-1]
}

// ReadBytes is how much was asked of the share so far.
func (im *Image) ReadBytes() int64 { return im.read.Load() }

// Sound looks at all structures of all files: opening checks only what it needs.
// The first problem is the error, but for those that may be passed over; nil
// passes over none.
func (im *Image) Sound(ctx context.Context, passOver func(container.Problem) bool) error {
	var broken error
	err := im.Check(ctx, func(layer int, p container.Problem) {
		if broken == nil && (passOver == nil || !passOver(p)) {
			broken = diskimage.Coded(fmt.Errorf("%s: %w", im.files[layer].Name, &p))
		}
	})
	return errors.Join(err, broken)
}

// Same refuses, with job.SourceChanged, an image that is not the one that was
// approved.
func (im *Image) Same(approved []Layer) error {
	const remedy = "Start the job again while nobody writes to the image"
	for i, l := range im.files {
		if i < len(approved) && approved[i] != l {
			was := approved[i]
			return job.Errorf(job.SourceChanged, remedy, "%s changed while the job ran: preflight saw %s with %d bytes of %s, now it is %s with %d bytes of %s",
				im.name, was.Name, was.File.SizeBytes, was.File.Modified, l.Name, l.File.SizeBytes, l.File.Modified)
		}
	}
	if len(im.files) != len(approved) {
		return job.Errorf(job.SourceChanged, remedy, "%s changed while the job ran: preflight saw a chain of %d files, now there are %d", im.name, len(approved), len(im.files))
	}
	return nil
}

// Untouched refuses, with job.SourceChanged, an image of which a file is not
// what was opened any more.
func (im *Image) Untouched(ctx context.Context) error { return diskimage.Coded(im.Unchanged(ctx)) }
