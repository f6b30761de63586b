package convert

import (
	"context"
	"errors"
	"io"

	"imageport/engine/ntfsresize"
	"imageport/engine/windows/bootconv"
	"imageport/job"
)

// shrinker is ntfsresize as the conversion's means to shrink volumes.
type shrinker struct{ tool ntfsresize.Tool }

var _ bootconv.Shrinker = shrinker{}

// Try implements bootconv.Shrinker.
func (s shrinker) Try(ctx context.Context, volume io.ReaderAt, size, newSize int64) (bootconv.ShrinkEffect, error) {
	p, err := s.tool.Plan(ctx, volume, size, newSize)
	return bootconv.ShrinkEffect{MovedBytes: p.MovedBytes, WrittenBytes: p.MaxWritten}, shrinkError(err)
}

// Shrink implements bootconv.Shrinker.
func (s shrinker) Shrink(ctx context.Context, volume bootconv.ReadWriterAt, size, newSize int64, progress func(done, total int64)) error {
	_, err := s.tool.Shrink(ctx, volume, size, newSize, progress)
	return shrinkError(err)
}

// shrinkError gives an error of package ntfsresize its code. Those of the share
// below, and of ctx, stay as they are.
func shrinkError(err error) error {
	const makeRoom = "Delete what is not needed on it, or defragment it, in a maintenance version"
	code, remedy := job.Code(""), ""
	switch {
	case err == nil, job.CodeOf(err) != "", errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, ntfsresize.ErrMissing):
		code, remedy = job.ToolMissing, "Install ntfsresize (package ntfs-3g), or do not allow espPlacement shrink"
	case errors.Is(err, ntfsresize.ErrTooSmall), errors.Is(err, ntfsresize.ErrBlocked), errors.Is(err, ntfsresize.ErrSize):
		code, remedy = job.ShrinkBlocked, makeRoom
	case errors.Is(err, ntfsresize.ErrUnclean):
		code, remedy = job.NTFSDirty, "Run chkdsk /f on it in a maintenance version"
	case errors.Is(err, ntfsresize.ErrCorrupt):
		code, remedy = job.NTFSCorrupt, "Run chkdsk /f on it in a maintenance version"
	case errors.Is(err, ntfsresize.ErrTool), errors.Is(err, ntfsresize.ErrVerify):
		code, remedy = job.ToolFailed, "Start the job again; if it fails again, report it"
	default:
		return err
	}
	return job.Errorf(code, remedy, "%w", err)
}
