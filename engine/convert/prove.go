package convert

import (
	"context"
	"errors"
	"sync/atomic"

	"imageport/engine/bootproof"
	"imageport/engine/disk"
	"imageport/engine/diskimage"
	"imageport/engine/share"
	"imageport/engine/source"
	"imageport/engine/windows/bootconv"
	"imageport/engine/windows/ntfs"
	"imageport/job"
)

// ProveBoot starts the composed output under UEFI firmware, reading it and its
// parents from the share, and tells how far that got.
func ProveBoot(ctx context.Context, store share.Store, c Composed, report func(job.Progress)) (job.BootProof, error) {
	output := c.Pieces[0]
	report(job.Progress{Step: "boot " + output.Name})
	chain, err := diskimage.Open(ctx, diskimage.Input{Folder: source.Folder(store, source.Scattered, new(atomic.Int64)), Name: output.Partial})
	if err != nil {
		return job.BootProof{}, job.At(output.Partial, err)
	}
	defer chain.Close()
	proof, err := Boot(ctx, chain)
	if err != nil {
		return proof, job.At(output.Name, err)
	}
	return proof, nil
}

// Boot starts a disk under UEFI firmware, which cannot write to it, and tells
// how far that got.
func Boot(ctx context.Context, d disk.Disk) (job.BootProof, error) {
	about, err := bootconv.Describe(d)
	if err != nil {
		return job.BootProof{}, diskimage.Coded(err)
	}
	var opt bootproof.Options
	for _, p := range about.Partitions {
		if p.Role != bootconv.RoleWindows {
			continue
		}
		opt.WindowsRange = bootproof.Range{Offset: p.StartBytes, Length: p.SizeBytes}
		if opt.Loader, err = loaderAt(d, p.StartBytes, p.SizeBytes); err != nil {
			return job.BootProof{}, diskimage.Coded(err)
		}
	}
	proof, err := bootproof.Prove(ctx, d, opt)
	return proof, diskimage.Coded(err)
}

// loaderAt is where on the disk the Windows loader lies; nil where that cannot
// be said, because it is compressed.
func loaderAt(d disk.Disk, start, size int64) ([]bootproof.Range, error) {
	const loader = `\Windows\System32\winload.efi`
	volume, err := ntfs.Open(disk.Section(d, start, size), size)
	if err != nil {
		return nil, err
	}
	f, err := volume.Open(loader)
	if errors.Is(err, ntfs.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	extents, err := f.Extents()
	if err != nil {
		return nil, nil // nothing depends on it but how sure the proof is
	}
	var ranges []bootproof.Range
	for _, e := range extents {
		ranges = append(ranges, bootproof.Range{Offset: start + e.VolumeOffset, Length: e.Length})
	}
	return ranges, nil
}
