package upgrade

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"

	"imageport/engine/disk/chain"
	"imageport/engine/diskimage"
	"imageport/engine/publish"
	"imageport/engine/share"
	"imageport/engine/source"
	"imageport/job"
)

// sectorBytes is the logical sector size of working disks.
const sectorBytes = 512

// creator is the program that a VHDX says has made it.
const creator = "imageport"

// ExportInput says what of the working disk is written, and as what.
type ExportInput struct {
	// Job is the workflow id. With Key, the file's name and the contents, it
	// decides on the IDs of the image.
	Job string
	// Output is the name that the file is to have, and Key that of the job's run.
	// Attempt makes the file's partial name unique.
	Output, Key, Attempt string
	// Format is that of the image; "" is what the extension of Output says.
	Format job.ImageFormat
	// SizeBytes is the virtual size, in whole sectors of 512 bytes: so much of
	// the disk is exported, which may have more.
	SizeBytes int64
	// BlockBytes is the size of the image's blocks, a power of two; 0 is what
	// Windows has: 32 MiB in a VHDX, 2 MiB in a VHD.
	BlockBytes int64
	// Created is noted in a VHD: a time from 2000 on.
	Created time.Time
	// Existing is the file that the output may replace, nil where there is none.
	Existing *source.FileID
	// Verify is job.VerifyFull to read all of the file back.
	Verify string
}

// Readable is a disk that is only read, as reverse.Disk is one. Reads are
// concurrent, in whole sectors.
type Readable interface {
	io.ReaderAt
	Size() int64
}

// Exported is an image that is written and verified, but does not have its name
// yet.
type Exported struct {
	Piece            publish.Piece `json:"piece"`
	SizeBytes        int64         `json:"sizeBytes"` // of the file
	VirtualSizeBytes int64         `json:"virtualSizeBytes"`
	// SHA256 of the file, in hexadecimal, where it was read back: a file that
	// gets its headers last has none before.
	SHA256 string `json:"sha256,omitempty"`
	// CRC32C (Castagnoli) of the disk in the image, in hexadecimal.
	CRC32C string `json:"crc32c"`
	// ID is what children of the image will know it by.
	ID string `json:"id"`
	// DiskBytes were read from the working disk. SkippedBytes of it were not,
	// because NTFS has them free: they are zeros in the image.
	DiskBytes    int64 `json:"diskBytes"`
	SkippedBytes int64 `json:"skippedBytes"`
	// BytesWritten went to the share, and BytesRead came from it to verify what
	// is there: VerifiedBytes of the file were compared with what was written.
	BytesWritten  int64 `json:"bytesWritten"`
	BytesRead     int64 `json:"bytesRead"`
	VerifiedBytes int64 `json:"verifiedBytes"`
	// Warnings say which volumes were written whole, and why.
	Warnings []string `json:"warnings,omitempty"`
}

// Export writes the disk as a dynamic image without a parent, under a partial
// name, and verifies it. What NTFS has free is neither read nor written, and
// zeros are not written; all else is read once and written once, roughly in the
// order of the disk. Then the file is opened anew from the share, all of its
// structures are checked, and samples of its contents compared with what was
// written; with job.VerifyFull every byte of the file is.
//
// Cut off anywhere, it leaves partial files and nothing else; it removes those
// of earlier attempts. The disk is not changed. A share without space is
// job.ShareFull, an image that does not read as it was written job.VerifyFailed,
// a disk that is too small or cannot be read a PLATFORM code.
func Export(ctx context.Context, store share.Store, e ExportInput, d Readable, report func(job.Progress)) (Exported, error) {
	container, err := e.container()
	if err != nil {
		return Exported{}, err
	}
	if e.SizeBytes <= 0 || e.SizeBytes%sectorBytes != 0 {
		return Exported{}, job.Errorf(job.Internal, "Report it", "an image of %d bytes was asked for, which are no sectors of %d", e.SizeBytes, sectorBytes)
	}
	if found := d.Size(); found < e.SizeBytes {
		return Exported{}, job.Errorf(job.PlatformRefused, "Start the job again; if it fails again, report it", "the working disk has %d bytes, %d were asked for", found, e.SizeBytes)
	}
	report(job.Progress{Step: "export " + e.Output, TotalBytes: e.SizeBytes})
	names := publish.Names{Output: e.Output, Key: e.Key}
	// What cannot be removed, because a Compositing Engine that was lost still
	// has it open on the server, is not in the way.
	_ = publish.RemovePartials(ctx, store, names)
	disk, err := chain.Open(ctx, chain.FolderOf(func(context.Context, string) (workingDisk, error) {
		return workingDisk{d, e.SizeBytes}, nil
	}), "the working disk", chain.Options{Raw: true})
	if err != nil {
		return Exported{}, diskimage.Coded(err)
	}
	defer disk.Close()

	partial := names.Partial(e.Attempt)
	sent := &sentStore{Store: store, keep: e.Verify == job.VerifyFull}
	var samples samples
	made, err := diskimage.Convert(ctx, disk, diskimage.Output{
		Store: sent, Name: partial,
		Format:   diskimage.Format{Container: container, BlockBytes: e.BlockBytes},
		Identity: diskimage.Identity{ID: e.seed("virtual disk"), Created: e.Created, Creator: creator},
		IDOf:     func(crc32c uint32) uuid.UUID { return e.seed(fmt.Sprintf("%08x", crc32c)) },
		Written:  samples.note,
		UsedOnly: true,
	}, func(done, total int64) {
		report(job.Progress{Step: "export " + e.Output, DoneBytes: done, TotalBytes: total})
	})
	if err != nil {
		return Exported{}, err
	}
	out := Exported{
		Piece:     publish.Piece{Name: e.Output, Partial: partial, Existing: e.Existing},
		SizeBytes: made.FileSizeBytes, VirtualSizeBytes: made.VirtualSizeBytes,
		CRC32C: made.CRC32C, ID: made.ID,
		DiskBytes: made.ReadBytes, SkippedBytes: made.SkippedBytes,
		BytesWritten: sent.bytes(), Warnings: made.Warnings,
	}
	if err := out.verify(ctx, store, sent, &samples, report); err != nil {
		return Exported{}, job.At(partial, err)
	}
	return out, nil
}

// container is that of the image.
func (e ExportInput) container() (chain.Container, error) {
	switch e.Format {
	case job.FormatVHDX:
		return chain.VHDX, nil
	case job.FormatVHD:
		return chain.VHD, nil
	case "":
		return diskimage.ContainerOf(e.Output, false)
	}
	return "", job.Errorf(job.BadRequest, "Choose VhdxDiskFormat or VhdDiskFormat", "there is no image format %q", e.Format)
}

// seed gives the image's GUIDs. The same contents written twice for one job
// have the same ones. Those of other contents, of another run of the guest for
// instance, share no ID that a child would link to.
func (e ExportInput) seed(what string) uuid.UUID {
	space := uuid.NewSHA1(uuid.NameSpaceURL, []byte("imageport:upgradePvs:"+e.Job))
	return uuid.NewSHA1(space, fmt.Appendf(nil, "%s\n%s\n%d\n%s", e.Key, e.Output, e.SizeBytes, what))
}

// workingDisk is the disk as a file of the size that is exported.
type workingDisk struct {
	disk Readable
	size int64
}

var _ chain.File = workingDisk{}

func (w workingDisk) Size() int64 { return w.size }

// ModTime is none: nobody else writes to the disk.
func (workingDisk) ModTime() time.Time { return time.Time{} }

// Close leaves the disk to its owner.
func (workingDisk) Close() error { return nil }

func (w workingDisk) ReadAt(p []byte, off int64) (int, error) {
	asked := p[:max(0, min(int64(len(p)), w.size-off))]
	n, err := w.disk.ReadAt(asked, off)
	if n == len(asked) {
		if n < len(p) {
			return n, io.EOF
		}
		return n, nil
	}
	if errors.Is(err, io.EOF) || err == nil {
		err = io.ErrUnexpectedEOF
	}
	err = fmt.Errorf("the working disk: reading %d bytes at offset %d: %w", len(asked), off, err)
	return n, job.Errorf(cmp.Or(job.CodeOf(err), job.PlatformError), "Look at what the platform says of the disk", "%w", err)
}
