package copier

import (
	"errors"
	"fmt"
	"io"
	"iter"

	"imageport/engine/disk"
)

// The kinds of refusal. Errors of source and target are wrapped as they are.
var (
	// ErrOptions: the options contradict each other or are out of bounds.
	ErrOptions = errors.New("invalid copy options")
	// ErrState: a State is malformed or belongs to another copy.
	ErrState = errors.New("copy state does not fit")
	// ErrRanges: the extents of the source or the ranges to skip are not in
	// order, not aligned, or not inside the disk.
	ErrRanges = errors.New("invalid ranges")
)

// Bounds and defaults of Options.
const (
	DefaultParallel = 8
	MaxParallel     = 256
	// DefaultUnitSize is the largest request that an SMB server answers in
	// one round trip.
	DefaultUnitSize = 1 << 20
	MinUnitSize     = zeroBlock
	MaxUnitSize     = 16 << 20
	// MaxBuffers bounds Parallel x UnitSize, the bytes of all buffers. Beside
	// them a copy holds less than 4 MiB, whatever the size of the disk: two
	// windows of the plan, each windowUnits items of 72 bytes and windowParts
	// parts of 16, and the runs of a State.
	MaxBuffers = 64 << 20
	// DefaultCheckpointEvery is what ten seconds of 1 Gbit/s carry.
	DefaultCheckpointEvery = 1 << 30
)

// Target takes the copy. WriteAt is called concurrently for ranges that do not
// overlap, all inside the size of the source. Sync returns when everything
// that was written before it began is durable.
type Target interface {
	io.WriterAt
	Sync() error
}

// ZeroRanger is a Target that can make n bytes from off on read as zeros
// cheaper than by writing them. It is used where the target is not zero
// already, and concurrently with WriteAt. An error that is
// errors.ErrUnsupported makes the copier write zeros instead.
type ZeroRanger interface {
	ZeroRange(off, n int64) error
}

// Range is a stretch of a disk in bytes, in multiples of the sector size.
type Range struct{ Offset, Length int64 }

// Options of a copy. The zero value copies exactly, to a target of which
// nothing is known.
type Options struct {
	// Parallel is how many units are read and written at a time; 0 means
	// DefaultParallel. Over a network it wants bandwidth x round trip / UnitSize.
	// Units of that number take at most MaxBuffers.
	Parallel int
	// UnitSize is the size of a unit of work in bytes, a power of two from
	// MinUnitSize to MaxUnitSize; 0 means that of Resume or DefaultUnitSize.
	// Units lie on multiples of it on the disk.
	UnitSize int
	// TargetIsZero says that the target reads as zeros, but for what an
	// earlier try of this copy wrote: zeros of the source are not written.
	TargetIsZero bool
	// Skip gives ranges that need not be copied, such as the free clusters of
	// a file system, ascending and apart. They are not read, become zeros in
	// the target and count as zeros in the digests. Nil copies everything.
	Skip iter.Seq2[Range, error]

	// Source is the identity of what is copied: it must differ when any byte
	// of the result may, and so covers contents and Skip. Required for
	// Resume and Checkpoint.
	Source string
	// Resume continues the copy of which this is a state: the target must be
	// the same one. Source, size, UnitSize and digests must be as they were.
	Resume *State
	// Checkpoint is given the state after every CheckpointEvery bytes of work
	// (0 means DefaultCheckpointEvery), each time after a Sync of the target,
	// and once at the end. It is called by one goroutine at a time, beside
	// the copying, with states that only grow. Its error ends the copy.
	Checkpoint      func(State) error
	CheckpointEvery int64
	// Progress is told what is done after every piece of work, by one
	// goroutine at a time; the copy waits for it.
	Progress func(Progress)

	// CRC computes the CRC-32C of the disk from those of its units; it costs
	// about 40 ms a GB.
	CRC bool
	// SHA256 computes the SHA-256 of the disk. It has to go through the bytes
	// in disk order on one core, holes included: work is then done in disk
	// order, at most at the speed of that core (1.5-2 GB/s with SHA
	// instructions), and a terabyte of holes costs some ten minutes.
	SHA256 bool
}

// Progress is how far a copy is. Figures but DoneBytes are of this try alone.
type Progress struct {
	// DoneBytes of TotalBytes are in the target: copied, known to be zero, or
	// taken from Resume. TotalBytes is the size of the disk.
	DoneBytes, TotalBytes int64
	// ReadBytes were asked from the source, WrittenBytes given to WriteAt and
	// ZeroedBytes to ZeroRange.
	ReadBytes, WrittenBytes, ZeroedBytes int64
}

// Report is what a complete copy did.
type Report struct {
	Progress
	// ResumedBytes were done by earlier tries.
	ResumedBytes int64
	// SkippedBytes are stored in the source and were left out by Skip, as far
	// as this try planned it.
	SkippedBytes int64
	// CRC32C (Castagnoli) of the disk, with Options.CRC.
	CRC32C uint32
	// SHA256 of the disk, with Options.SHA256; else nil.
	SHA256 []byte
}

// complete checks the options and fills in what was left to us.
func (o Options) complete(src disk.Disk) (Options, error) {
	invalid := func(format string, args ...any) (Options, error) {
		return o, fmt.Errorf("copier: %s: %w", fmt.Sprintf(format, args...), ErrOptions)
	}
	if o.UnitSize == 0 {
		o.UnitSize = DefaultUnitSize
		if o.Resume != nil {
			o.UnitSize = int(min(o.Resume.UnitBytes, MaxUnitSize+1))
		}
	}
	if o.Parallel == 0 {
		o.Parallel = DefaultParallel
	}
	if o.CheckpointEvery == 0 {
		o.CheckpointEvery = DefaultCheckpointEvery
	}
	size, sector := src.Size(), src.SectorSize()
	switch {
	case size < 0:
		return invalid("the source has a size of %d bytes", size)
	case sector < 1 || sector > MinUnitSize || MinUnitSize%sector != 0:
		return invalid("the source has sectors of %d bytes", sector)
	case !validUnitSize(int64(o.UnitSize)):
		return invalid("UnitSize %d is no power of two from %d to %d", o.UnitSize, MinUnitSize, MaxUnitSize)
	case o.Parallel < 1 || o.Parallel > MaxParallel:
		return invalid("Parallel %d is not from 1 to %d", o.Parallel, MaxParallel)
	case o.Parallel*o.UnitSize > MaxBuffers:
		return invalid("%d units of %d bytes at a time are more than %d bytes", o.Parallel, o.UnitSize, MaxBuffers)
	case o.CheckpointEvery < 0:
		return invalid("CheckpointEvery %d is negative", o.CheckpointEvery)
	case o.Source == "" && (o.Resume != nil || o.Checkpoint != nil):
		return invalid("Resume and Checkpoint need the identity of the Source")
	}
	return o, nil
}

func validUnitSize(n int64) bool {
	return n >= MinUnitSize && n <= MaxUnitSize && n&(n-1) == 0
}
