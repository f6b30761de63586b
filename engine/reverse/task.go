package reverse

import (
	"io"

	"imageport/engine/source"
	"imageport/job"
)

// Task is one copy: which image, on whose behalf, and what is to become of it.
type Task struct {
	// Job is the workflow id, Key the short name of the job's run.
	Job     string              `json:"job"`
	Key     string              `json:"key"`
	Storage job.StorageLocation `json:"storage"`
	Input   string              `json:"input"` // file name of the image
	// Format must be that of the image, where it is given.
	Format job.ImageFormat `json:"format,omitempty"`
	// SizeMB is the size of the output disk in MiB; 0 is what the image needs.
	SizeMB     int64 `json:"sizeMb,omitempty"`
	IgnoreLock bool  `json:"ignoreLock,omitempty"`
	// FixUps is job.FixUpsNone or "", Verify job.VerifyFull or "".
	FixUps string `json:"fixups,omitempty"`
	Verify string `json:"verify,omitempty"`
	// Platform is one of job.Platform…; it decides which drivers are native.
	Platform string `json:"platform"`
}

// Approval is what preflight found out: the job may go ahead on this source,
// with a disk of this size and with this plan.
type Approval struct {
	// Source are the files of the image, from the base to the image itself.
	Source []source.Layer `json:"source"`
	// SizeBytes is the size of the output disk, a multiple of job.DiskUnit.
	SizeBytes int64 `json:"sizeBytes"`
	// PlanDigest is the SHA-256 of the fix-ups; "" without. The Compositing
	// Engine plans again and must come to the same.
	PlanDigest string `json:"planDigest,omitempty"`
	// UsedOnly leaves out what NTFS has free: the disk reads as zeros there. It is
	// for whoever wants the files, not every bit.
	UsedOnly bool `json:"usedOnly,omitempty"`
}

// Admitted is the outcome of a preflight.
type Admitted struct {
	Approval Approval `json:"approval"`
	// Preview is what the job will make, as the result of a dry run.
	Preview job.Result `json:"preview"`
	// Server tells that the Windows is one for servers.
	Server bool `json:"server,omitempty"`
}

// Copied is what a complete copy did.
type Copied struct {
	// CRC32C (Castagnoli) of the image's contents, in hexadecimal, with what was
	// left out as zeros.
	CRC32C string `json:"crc32c"`
	// BytesRead were asked of the share by this call, and BytesWritten given to
	// the disk. ResumedBytes of the image were on the disk before it.
	BytesRead    int64 `json:"bytesRead"`
	BytesWritten int64 `json:"bytesWritten"`
	ResumedBytes int64 `json:"resumedBytes,omitempty"`
	// VerifiedBytes were read back from the disk.
	VerifiedBytes int64 `json:"verifiedBytes"`
}

// DiskRef says which of the disks of a Compositing Engine is meant.
type DiskRef struct {
	// Selector is one of package blockdev.
	Selector string `json:"selector"`
}

// Disk is the output disk. Reads and writes are concurrent, those at the same
// time to ranges apart. What it does not have reads as io.EOF.
type Disk interface {
	io.ReaderAt
	io.WriterAt
	// ZeroRange makes a range read as zeros; errors.ErrUnsupported if it cannot.
	ZeroRange(off, n int64) error
	// Sync returns when everything written is durable.
	Sync() error
	// DropCache forgets what is kept of the disk in memory, as far as that is
	// possible: what is read afterwards comes from the disk.
	DropCache() error
	// Size in bytes; a disk may be larger than it was asked for.
	Size() int64
}
