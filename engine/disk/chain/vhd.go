package chain

import (
	"fmt"

	"imageport/engine/disk"
	"imageport/engine/disk/container"
	"imageport/engine/disk/vhd"
)

type vhdImage struct{ *vhd.Image }

func openVHD(f File, tables *container.Cache) (image, error) {
	im, err := vhd.OpenWith(f, f.Size(), vhd.OpenOptions{Cache: tables})
	if err != nil {
		return nil, err
	}
	return vhdImage{im}, nil
}

func (im vhdImage) describe(l *Layer) {
	info := im.Info()
	l.Container, l.Type = VHD, info.Type.String()
	l.VirtualSize, l.BlockSize = info.VirtualSize, int64(info.BlockSize)
	l.LogicalSectorSize, l.PhysicalSectorSize = vhd.SectorSize, vhd.SectorSize
	l.ID, l.Creator = info.UniqueID.String(), info.Creator
	l.VHD = &info
}

func (im vhdImage) parentPaths() ([]parentPath, bool) {
	p := im.Info().Parent
	if p == nil {
		return nil, false
	}
	return []parentPath{
		{"relative path", p.RelativePath},
		{"absolute path", p.AbsolutePath},
		{"parent name", p.Name},
	}, true
}

func (im vhdImage) verifyParent(parent image) error {
	p, ok := parent.(vhdImage)
	if !ok {
		return fmt.Errorf("found a VHDX, but a VHD knows its parent by a unique ID, which only a VHD has: %w", ErrMixedContainers)
	}
	return also(ErrParentMismatch, vhd.VerifyParent(im.Info(), p.Info()), vhd.ErrParentMismatch)
}

func (im vhdImage) identify(f File) (string, error) {
	id, err := vhd.ReadIdentity(f, f.Size())
	return id.String(), also(ErrChanged, err, vhd.ErrNotVHD, vhd.ErrCorrupt, vhd.ErrUnsupported)
}

func (im vhdImage) contents() (disk.Mapped, error) {
	if im.Info().Type == vhd.Differencing {
		return im.Disk(hole{im.Info().VirtualSize, vhd.SectorSize})
	}
	return im.Disk(nil)
}
