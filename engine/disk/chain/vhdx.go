package chain

import (
	"fmt"

	"imageport/engine/disk"
	"imageport/engine/disk/container"
	"imageport/engine/disk/vhdx"
)

type vhdxImage struct{ *vhdx.Image }

func openVHDX(f File, replayLog bool, tables *container.Cache) (image, error) {
	im, err := vhdx.OpenWith(f, f.Size(), vhdx.OpenOptions{ReplayLog: replayLog, Cache: tables})
	if err != nil {
		return nil, err
	}
	return vhdxImage{im}, nil
}

func (im vhdxImage) describe(l *Layer) {
	info := im.Info()
	l.Container, l.Type = VHDX, info.Type.String()
	l.VirtualSize, l.BlockSize = info.VirtualSize, int64(info.BlockSize)
	l.LogicalSectorSize, l.PhysicalSectorSize = info.LogicalSectorSize, info.PhysicalSectorSize
	l.ID, l.Creator = info.DataWriteGUID.String(), info.Creator
	l.VHDX = &info
}

func (im vhdxImage) parentPaths() ([]parentPath, bool) {
	p := im.Info().Parent
	if p == nil {
		return nil, false
	}
	// [MS-VHDX] 2.6.2.6.3 has the volume path second. All name the same file,
	// and the absolute path is the one that people see in messages.
	return []parentPath{
		{"relative path", p.RelativePath},
		{"absolute path", p.AbsolutePath},
		{"volume path", p.VolumePath},
	}, true
}

func (im vhdxImage) verifyParent(parent image) error {
	p, ok := parent.(vhdxImage)
	if !ok {
		return fmt.Errorf("found a VHD, but a VHDX knows its parent by a data write GUID, which only a VHDX has: %w", ErrMixedContainers)
	}
	return also(ErrParentMismatch, vhdx.VerifyParent(im.Info(), p.Info()), vhdx.ErrParentMismatch)
}

func (im vhdxImage) identify(f File) (string, error) {
	id, err := vhdx.ReadIdentity(f, f.Size())
	return id.String(), also(ErrChanged, err, vhdx.ErrNotVHDX, vhdx.ErrCorrupt, vhdx.ErrUnsupported)
}

func (im vhdxImage) contents() (disk.Mapped, error) {
	if info := im.Info(); info.Type == vhdx.Differencing {
		return im.Disk(hole{info.VirtualSize, info.LogicalSectorSize})
	}
	return im.Disk(nil)
}
