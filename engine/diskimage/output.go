package diskimage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"imageport/engine/disk/chain"
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
	// CopiedBytes are those that are not zeros, ReadBytes what was read for it.
	CopiedBytes int64 `json:"copiedBytes"`
	ReadBytes   int64 `json:"readBytes"`
}

// cleanupTime is how long an interrupted operation may take to remove what it
// has written.
const cleanupTime = 30 * time.Second

// partial is the name of the image until it is complete.
func (o *Output) partial() string { return o.Name + "." + o.Identity.ID.String()[:8] + ".partial" }

// replaced is the name of the file that is replaced, while it is.
func (o *Output) replaced() string { return o.Name + "." + o.Identity.ID.String()[:8] + ".replaced" }

// admit refuses an output whose name is taken, or is that of one of the files
// that it is made from.
func (o *Output) admit(ctx context.Context, sources []chain.Layer) error {
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
	for _, l := range sources {
		// The two may be the same file by different paths: what it looks like
		// tells. A copy that also has its time is refused too, which is no loss.
		if l.FileSize == there.Size && l.ModTime.Equal(there.ModTime) {
			return job.Errorf(job.OutputExists, "Choose another name for the output",
				"%s has size and time of %s, which is part of the image itself: it cannot be replaced", o.Name, l.Name)
		}
	}
	return nil
}

func (o *Output) exists() error {
	return job.Errorf(job.OutputExists, "Choose another name, or allow it to be replaced", "there is a file %s already: %w", o.Name, fs.ErrExist)
}

// write has fill write the disk, and gives the image its name. Whatever goes
// wrong, nothing of it stays.
func (o *Output) write(ctx context.Context, size int64, sector int, fill func(writer) error) (fileSize int64, err error) {
	f, err := o.Store.CreateExcl(ctx, o.partial())
	if err != nil {
		return 0, err
	}
	defer func() {
		if err == nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
		defer cancel()
		if left := o.Store.Remove(ctx, o.partial()); left != nil && !errors.Is(left, fs.ErrNotExist) {
			err = fmt.Errorf("%w; and the incomplete %s could not be removed: %w", err, o.partial(), left)
		}
	}()
	fileSize, err = o.fill(f, size, sector, fill)
	if err = errors.Join(err, f.Close()); err != nil {
		return 0, err
	}
	// From here on, to go on is quicker than to go back.
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	return fileSize, o.publish(context.WithoutCancel(ctx))
}

func (o *Output) fill(f file, size int64, sector int, fill func(writer) error) (int64, error) {
	w, err := newWriter(f, o.Format, size, sector, o.Identity)
	if err != nil {
		return 0, err
	}
	if err := fill(w); err != nil {
		return 0, err
	}
	return w.Finish()
}

// publish gives the complete image its name. A store does not replace: the file
// that is in the way gets another name first, and it back if that fails.
func (o *Output) publish(ctx context.Context) error {
	aside := false
	if o.Replace {
		err := o.Store.Rename(ctx, o.Name, o.replaced())
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		aside = err == nil
	}
	if err := o.Store.Rename(ctx, o.partial(), o.Name); err != nil {
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
func (o *Output) made(size, fileSize int64) Made {
	m := Made{
		Name: o.Name, Container: string(o.Format.Container), Type: o.Format.Type,
		VirtualSizeBytes: size, FileSizeBytes: fileSize,
	}
	if o.Format.Container != chain.Raw {
		m.ID = o.Identity.ID.String()
	}
	return m
}
