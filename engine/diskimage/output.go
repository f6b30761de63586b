package diskimage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/google/uuid"

	"imageport/engine/disk/chain"
	"imageport/engine/disk/copier"
	"imageport/engine/share"
	"imageport/job"
)

// Output says what a new image is to be, and where.
type Output struct {
	Store  share.Store
	Name   string
	Format Format
	// Replace allows a file of that name to be there: it is replaced once the
	// image is complete. That takes two renames, with nothing of that name for
	// the moment between them.
	Replace bool
	// Identity must be another for every image.
	Identity Identity

	// Parent, if not nil, is an open VHDX or VHD in the folder of the output,
	// which becomes a differencing image of it: of the same container, that
	// holds only what differs. These pages are kept in memory until the end;
	// MaxChangedBytes bounds them, and is DefaultMaxChangedBytes if 0.
	Parent          *chain.Chain
	MaxChangedBytes int64

	// Device is the path of a block device, or of a file, that exists and is
	// overwritten with a raw disk, instead of a new file Name in Store.
	Device string

	// What follows is for Convert.

	// SHA256 computes the digest of the disk's contents, in disk order on one
	// core.
	SHA256 bool
	// UsedOnly leaves out the free clusters of NTFS volumes: they become
	// zeros. Volumes that do not allow it are copied whole, with a warning.
	UsedOnly bool
	// IDOf, if not nil, gives the image's ID once the contents of the disk are
	// known, by their CRC-32C: for images that must not share one with others of
	// the same origin. Identity.ID is then only what the name of the incomplete
	// file and the virtual disk ID of a VHDX come from. It is for an image that
	// has an ID, and no parent.
	IDOf func(crc32c uint32) uuid.UUID
	// Written, if not nil, is shown everything that is not zero of the disk's
	// contents before it is written. It is called concurrently, and neither
	// keeps nor changes p. It is for a new file without a parent.
	Written func(p []byte, off int64)
	// Resume keeps what is done of a raw disk when the conversion ends early,
	// beside the output, and goes on from it if the conversion is the same.
	// The Store must be a Reopener.
	Resume bool
	// CheckpointEvery is how many bytes Resume may have to copy again; 0 for
	// DefaultCheckpointEvery.
	CheckpointEvery int64
}

// Made describes a new image.
type Made struct {
	Name             string `json:"name"`
	Container        string `json:"container"`
	Type             string `json:"type,omitempty"`
	VirtualSizeBytes int64  `json:"virtualSizeBytes"`
	FileSizeBytes    int64  `json:"fileSizeBytes"`
	// ID is "" for a raw disk.
	ID string `json:"id,omitempty"`
	// CopiedBytes were written (to a differencing image: compared with the
	// parent), ReadBytes was read for it.
	CopiedBytes int64 `json:"copiedBytes"`
	ReadBytes   int64 `json:"readBytes"`
	// SkippedBytes are stored in the source and were left out as free
	// clusters; ResumedBytes of the disk were done by earlier tries.
	SkippedBytes int64 `json:"skippedBytes"`
	ResumedBytes int64 `json:"resumedBytes,omitempty"`
	// CRC32C (Castagnoli) and SHA256 are those of the contents of the disk, in
	// hexadecimal, with what was left out as zeros. Create gives none.
	CRC32C   string   `json:"crc32c,omitempty"`
	SHA256   string   `json:"sha256,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
}

// cleanupTime is how long an interrupted operation may take to remove what it
// has written.
const cleanupTime = 30 * time.Second

// partial is the name of the image until it is complete.
func (o *Output) partial() string { return o.Name + "." + o.Identity.ID.String()[:8] + ".partial" }

// replaced is the name of the file that is replaced, while it is.
func (o *Output) replaced() string { return o.Name + "." + o.Identity.ID.String()[:8] + ".replaced" }

// validate checks what the output is to be, for a disk of that shape, and
// completes it.
func (o *Output) validate(size int64, sector int) error {
	if o.Device != "" && o.Format.Container != chain.Raw {
		return job.Errorf(job.BadRequest, "Leave the format out", "an existing device or file gets a raw disk, not a %s", o.Format.Container)
	}
	validate := o.Format.validate
	if o.Parent != nil {
		validate = o.validateChild
	}
	if err := validate(size, sector); err != nil {
		return err
	}
	if o.IDOf != nil && (o.Parent != nil || o.Format.Container == chain.Raw) {
		return job.Errorf(job.BadRequest, "Leave it out", "only a fixed or dynamic image can have an ID by its contents")
	}
	if o.Written != nil && (o.Parent != nil || o.Device != "") {
		return job.Errorf(job.BadRequest, "Leave it out", "what is written can only be shown of a new image without a parent")
	}
	if !o.Resume {
		return nil
	}
	if o.Device != "" {
		return job.Errorf(job.BadRequest, "Copy to it from the start", "a copy to an existing device or file cannot be resumed: there is no place for its state")
	}
	if o.Format.Container != chain.Raw {
		return job.Errorf(job.BadRequest, "Convert to raw, or from the start",
			"a conversion to %s cannot be resumed: where its blocks lie is in memory until it is complete", o.Format.Container)
	}
	if _, ok := o.Store.(Reopener); !ok {
		return job.Errorf(job.BadRequest, "Convert to a local file, or from the start", "a conversion to this folder cannot be resumed: its files cannot be opened again for writing")
	}
	return nil
}

// admit refuses an output whose name is taken, or is that of one of the files
// that it is made from.
func (o *Output) admit(ctx context.Context, sources []chain.Layer) error {
	if o.Device != "" {
		return nil // which looks when it opens it
	}
	if o.Parent != nil {
		sources = append(sources, o.Parent.Layers()...)
		if err := o.admitParent(ctx); err != nil {
			return err
		}
	}
	there, err := o.Store.Stat(ctx, o.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !o.Replace {
		return o.exists()
	}
	return notASource(o.Name, there.Size, there.ModTime, sources)
}

// notASource refuses to overwrite a file that may be one of those that the
// output is made from. The two may be the same file by different paths: what
// it looks like tells. A copy that also has its time is refused too, which is
// no loss.
func notASource(name string, size int64, modified time.Time, sources []chain.Layer) error {
	for _, l := range sources {
		if l.FileSize == size && sameTime(l.ModTime, modified) {
			return job.Errorf(job.OutputExists, "Choose another name for the output",
				"%s has size and time of %s, which is part of the image itself: it cannot be replaced", name, l.Name)
		}
	}
	return nil
}

// shareTick is the unit of times on a share, [MS-FSCC] 2.1.1. Local file
// systems have finer ones.
const shareTick = 100 * time.Nanosecond

// sameTime tells whether two times may be those of one file, by a share and by
// a local path.
func sameTime(a, b time.Time) bool { return a.Sub(b).Abs() < shareTick }

func (o *Output) exists() error {
	return job.Errorf(job.OutputExists, "Choose another name, or replace it with --force", "there is a file %s already: %w", o.Name, fs.ErrExist)
}

// filler writes the contents of the disk to w. opt says how w takes a copy.
type filler func(w writer, opt copier.Options) error

// written is what write has written.
type written struct {
	fileSize int64
	warnings []string
}

// write has fill write the disk, and gives the image its name. Whatever goes
// wrong, nothing of it stays, but for what Resume and Device say.
func (o *Output) write(ctx context.Context, src source, fill filler, progress func(done, total int64)) (written, error) {
	switch {
	case o.Device != "":
		return o.writeDevice(src, fill)
	case o.Resume:
		n, err := o.writeResumable(ctx, src, fill)
		return written{fileSize: n}, err
	}
	n, err := o.writeNew(ctx, src, fill, progress)
	return written{fileSize: n}, err
}

// source is the disk that is written. layers are nil, and disk too, if it is
// empty.
type source struct {
	disk   *chain.Chain
	size   int64
	sector int
}

func (s source) layers() []chain.Layer {
	if s.disk == nil {
		return nil
	}
	return s.disk.Layers()
}

func (o *Output) writeNew(ctx context.Context, src source, fill filler, progress func(done, total int64)) (fileSize int64, err error) {
	f, err := o.Store.CreateExcl(ctx, o.partial())
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			err = o.remove(ctx, err, o.partial())
		}
	}()
	fileSize, err = o.fill(ctx, f, src, fill, progress)
	if err = errors.Join(err, f.Close()); err != nil {
		return 0, err
	}
	// From here on, to go on is quicker than to go back.
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	return fileSize, o.publish(context.WithoutCancel(ctx), o.partial())
}

// remove removes what is left because of err, also if ctx has ended, and gives
// err with what cannot be removed.
func (o *Output) remove(ctx context.Context, err error, names ...string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
	defer cancel()
	for _, name := range names {
		if left := o.Store.Remove(ctx, name); left != nil && !errors.Is(left, fs.ErrNotExist) {
			err = fmt.Errorf("%w; and the incomplete %s could not be removed: %w", err, name, left)
		}
	}
	return err
}

func (o *Output) fill(ctx context.Context, f file, src source, fill filler, progress func(done, total int64)) (int64, error) {
	if o.Parent != nil {
		w := newChildWriter(ctx, f, o, progress)
		if err := fill(w, copier.Options{}); err != nil {
			return 0, err
		}
		return w.Finish()
	}
	w, err := newWriter(f, o.Format, src.size, src.sector, o.Identity)
	if err != nil {
		return 0, err
	}
	if err := fill(w, copier.Options{TargetIsZero: true}); err != nil {
		return 0, err
	}
	return w.Finish()
}

// publish gives the complete image its name. A store does not replace: the file
// that is in the way gets another name first, and it back if that fails.
func (o *Output) publish(ctx context.Context, partial string) error {
	aside := false
	if o.Replace {
		err := o.Store.Rename(ctx, o.Name, o.replaced())
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		aside = err == nil
	}
	if err := o.Store.Rename(ctx, partial, o.Name); err != nil {
		if errors.Is(err, fs.ErrExist) {
			err = o.exists()
		}
		if aside {
			if back := o.Store.Rename(ctx, o.replaced(), o.Name); back != nil {
				err = fmt.Errorf("%w; and the file that was to be replaced is now %s: %w", err, o.replaced(), back)
			}
		}
		return err
	}
	if aside {
		if err := o.Store.Remove(ctx, o.replaced()); err != nil {
			return job.Errorf(job.CleanupFailed, "Remove it", "%s is complete, but the file that it replaces is still there as %s: %w", o.Name, o.replaced(), err)
		}
	}
	return nil
}

// made describes the image after write.
func (o *Output) made(size int64, done written) Made {
	m := Made{
		Name: o.Name, Container: string(o.Format.Container), Type: o.Format.Type,
		VirtualSizeBytes: size, FileSizeBytes: done.fileSize, Warnings: done.warnings,
	}
	if o.Device != "" {
		m.Name = o.Device
	}
	if o.Format.Container != chain.Raw {
		m.ID = o.Identity.ID.String()
	}
	return m
}
