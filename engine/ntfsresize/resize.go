package ntfsresize

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync/atomic"

	"imageport/engine/fusefile"
	"imageport/engine/windows/ntfs"
)

// Info says how far a volume can be shrunk.
type Info struct {
	// MinBytes is the smallest partition that the volume can be shrunk to, in
	// bytes, with a reserve of a cluster. Data near its end makes no
	// difference: it is moved.
	MinBytes int64
	// VolumeBytes is the volume's size now, without the backup boot sector;
	// ClusterSize that of a cluster. Both are in bytes.
	VolumeBytes, ClusterSize int64
}

// Info examines the volume in a partition of size bytes. It reads all metadata:
// the whole $MFT, and $Bitmap. A volume that cannot be shrunk at all gives
// ErrBlocked.
func (t Tool) Info(ctx context.Context, volume io.ReaderAt, size int64) (Info, error) {
	found, err := inspect(volume, size)
	if err != nil {
		return Info{}, err
	}
	output, err := t.show(ctx, readOnly(ctx, volume, size), "--info", "--force", "--no-progress-bar")
	if err != nil {
		return Info{}, err
	}
	smallest, err := number(output, "You might resize at")
	if err != nil {
		return Info{}, err
	}
	return Info{MinBytes: smallest, VolumeBytes: found.TotalBytes, ClusterSize: int64(found.ClusterSize)}, nil
}

// Plan is what a shrink will do.
type Plan struct {
	// Size and NewSize are the partition's, before and after, in bytes.
	Size, NewSize int64
	// MovedBytes is the data behind the new end, which moves to before it.
	MovedBytes int64
	// JournalBytes is the size of $LogFile, which is emptied: all its bytes
	// become 0xff.
	JournalBytes int64
	// MaxWritten bounds the bytes of the volume that change, counted in pages
	// of 4 KiB: the above, and the records and maps of it.
	MaxWritten int64

	flags uint16 // of $VOLUME_INFORMATION, to be restored
	// fits: there is nothing to do but to end the volume earlier.
	fits bool
}

// Plan has ntfsresize try the shrink of the volume in a partition of size bytes
// to newSize bytes on a file that cannot be written.
func (t Tool) Plan(ctx context.Context, volume io.ReaderAt, size, newSize int64) (Plan, error) {
	found, err := inspect(volume, size)
	if err != nil {
		return Plan{}, err
	}
	sector, cluster := int64(found.SectorSize), int64(found.ClusterSize)
	if newSize <= 0 || newSize >= size || newSize%sector != 0 {
		return Plan{}, fmt.Errorf("%w: from %d to %d bytes, with sectors of %d", ErrSize, size, newSize, sector)
	}
	p := Plan{Size: size, NewSize: newSize, flags: found.Flags}
	// ntfsresize would do nothing, or enlarge the volume.
	if (newSize-sector)/cluster >= found.TotalBytes/cluster {
		p.fits = true
		p.MaxWritten = 2 * page
		return p, nil
	}
	output, err := t.show(ctx, readOnly(ctx, volume, size), "--no-action", "--force", "--no-progress-bar", "--size", strconv.FormatInt(newSize, 10))
	if err != nil {
		return Plan{}, err
	}
	if !strings.Contains(output, "test run ended successfully") {
		return Plan{}, fmt.Errorf("%w: the test run has no end: %s", ErrTool, ownWords(output))
	}
	moved, err := number(output, "Needed relocations")
	if err != nil {
		return Plan{}, err
	}
	if moved < 0 || moved > found.TotalBytes/cluster {
		return Plan{}, fmt.Errorf("%w: it wants to move %d of %d clusters", ErrTool, moved, found.TotalBytes/cluster)
	}
	p.MovedBytes = moved * cluster
	p.JournalBytes = found.journal
	// A moved piece changes the record of its file; with pieces of a cluster,
	// that is as many pages, but no more than $MFT has. $Bitmap is written as
	// a whole, and may get a new place.
	bitmap := newSize/cluster/8 + cluster
	p.MaxWritten = p.MovedBytes + p.JournalBytes + min(moved*page, found.mft) + bitmap + fixedPages*page
	return p, nil
}

const (
	// page is the granularity of changes that Plan counts in, in bytes.
	page = 4096
	// fixedPages are those of the boot sectors, $Volume, $BadClus and $Bitmap's
	// records, $MFTMirr, the $MFT's own bitmap and extension records, and of
	// areas that begin or end within a page.
	fixedPages = 48
)

// Shrink makes the volume in a partition of size bytes end within newSize
// bytes. It plans first; progress, which may be nil, is then called with the
// bytes written so far and those expected, from one goroutine at a time. If it
// fails the volume may be in pieces, except for errors that Plan gives too.
func (t Tool) Shrink(ctx context.Context, volume fusefile.File, size, newSize int64, progress func(done, total int64)) (Plan, error) {
	p, err := t.Plan(ctx, volume, size, newSize)
	if err != nil {
		return Plan{}, err
	}
	if !p.fits {
		if err := t.resize(ctx, volume, p, progress); err != nil {
			return Plan{}, err
		}
	}
	if err := settle(volume, p); err != nil {
		return Plan{}, err
	}
	if progress != nil {
		progress(p.MaxWritten, p.MaxWritten)
	}
	return p, nil
}

func (t Tool) resize(ctx context.Context, volume fusefile.File, p Plan, progress func(done, total int64)) error {
	watched := &counted{File: volume, total: p.MaxWritten}
	mount := func(dir string) (*fusefile.Mounted, error) {
		return fusefile.Mount(ctx, dir, fileName, watched, p.Size)
	}
	stop := watched.report(progress)
	defer stop()
	// One --force: it stands for the question whether to proceed. Of a dirty
	// volume it would take another.
	output, err := t.show(ctx, mount, "--force", "--no-progress-bar", "--size", strconv.FormatInt(p.NewSize, 10))
	if err != nil {
		return err
	}
	if !strings.Contains(output, "Successfully resized NTFS") {
		return fmt.Errorf("%w: it has not come to its end: %s", ErrTool, ownWords(output))
	}
	return nil
}

// fileName is what the volume is called where ntfsresize sees it.
const fileName = "volume"

func readOnly(ctx context.Context, volume io.ReaderAt, size int64) func(string) (*fusefile.Mounted, error) {
	return func(dir string) (*fusefile.Mounted, error) {
		return fusefile.MountReadOnly(ctx, dir, fileName, volume, size)
	}
}

// examined is what inspect has found.
type examined struct {
	ntfs.State
	journal, mft int64 // sizes of $LogFile and $MFT in bytes
}

// inspect refuses what must not be shrunk although ntfsresize might.
func inspect(volume io.ReaderAt, size int64) (examined, error) {
	var found examined
	v, err := ntfs.Open(volume, size)
	if err != nil {
		return found, err
	}
	found.State = v.State()
	if found.Dirty {
		return found, fmt.Errorf("%w: Windows wants to run chkdsk on it (volume flags 0x%04x)", ErrUnclean, found.Flags)
	}
	clean, err := v.LogFileClean()
	if err != nil {
		return found, err
	}
	if !clean {
		return found, fmt.Errorf("%w: $LogFile holds changes that are not on the volume yet", ErrUnclean)
	}
	hibernated, err := v.Hibernated()
	if err != nil {
		return found, err
	}
	if hibernated {
		return found, fmt.Errorf("%w: Windows has hibernated, or was shut down for a fast start", ErrUnclean)
	}
	for name, size := range map[string]*int64{`\$LogFile`: &found.journal, `\$MFT`: &found.mft} {
		f, err := v.Open(name)
		if err != nil {
			return found, err
		}
		*size = f.Size()
	}
	return found, nil
}

// counted counts what is written to a volume.
type counted struct {
	fusefile.File
	total int64
	done  atomic.Int64
}

func (c *counted) WriteAt(b []byte, off int64) (int, error) {
	n, err := c.File.WriteAt(b, off)
	c.done.Add(int64(n))
	return n, err
}
