package diskimage

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"

	"imageport/engine/disk/chain"
	"imageport/engine/disk/vhd"
	"imageport/engine/disk/vhdx"
	"imageport/job"
)

// Inspect describes an image. If its parents cannot be opened, but the image
// itself can, Info has a Problem and the layers that could be read.
func Inspect(ctx context.Context, in Input) (Info, error) {
	c, err := Open(ctx, in)
	if err == nil {
		return Describe(c), c.Close()
	}
	if ctx.Err() != nil || !unreadable(err) {
		return Info{}, err
	}
	layers, readErr := readableLayers(ctx, in)
	if readErr != nil {
		return Info{}, readErr
	}
	if len(layers) == 0 {
		return Info{}, err // it is about the image itself
	}
	info := describe(layers)
	problem := newProblem(in.Name, err)
	info.Problem = &problem
	return info, nil
}

// readableLayers opens the image, its parent and so on, each for itself, as
// far as they can be read and belong together. It gives them with the lowest
// first. The error is not about their contents.
func readableLayers(ctx context.Context, in Input) ([]chain.Layer, error) {
	l, err := readLayer(ctx, in)
	if err != nil || l == nil {
		return nil, err
	}
	layers := []chain.Layer{*l}
	for len(layers) < chain.MaxLayers {
		child := &layers[len(layers)-1]
		parent, err := readParent(ctx, in.Folder, child, layers)
		if err != nil {
			return nil, err
		}
		if parent == nil {
			break
		}
		layers = append(layers, *parent)
	}
	slices.Reverse(layers)
	return layers, nil
}

// readParent finds the parent of child, as a chain does; nil if it is not
// there. above are the layers that it cannot be, because they are known.
func readParent(ctx context.Context, folder chain.Folder, child *chain.Layer, above []chain.Layer) (*chain.Layer, error) {
	for _, link := range parentLinks(*child) {
		name := path.Base(strings.ReplaceAll(link.Path, `\`, "/"))
		if slices.ContainsFunc(above, func(l chain.Layer) bool { return strings.EqualFold(l.Name, name) }) {
			continue
		}
		parent, err := readLayer(ctx, Input{Folder: folder, Name: name})
		if err != nil {
			return nil, err
		}
		if parent != nil && isParent(*child, *parent) {
			child.Parent = &link
			return parent, nil
		}
	}
	return nil, nil
}

func parentLinks(l chain.Layer) []chain.ParentLink {
	var links []chain.ParentLink
	add := func(kind, path string) {
		if path != "" {
			links = append(links, chain.ParentLink{Kind: kind, Path: path})
		}
	}
	if l.VHDX != nil && l.VHDX.Parent != nil {
		add("relative path", l.VHDX.Parent.RelativePath)
		add("absolute path", l.VHDX.Parent.AbsolutePath)
		add("volume path", l.VHDX.Parent.VolumePath)
	}
	if l.VHD != nil && l.VHD.Parent != nil {
		add("relative path", l.VHD.Parent.RelativePath)
		add("absolute path", l.VHD.Parent.AbsolutePath)
		add("parent name", l.VHD.Parent.Name)
	}
	return links
}

func isParent(child, parent chain.Layer) bool {
	switch {
	case child.VHDX != nil && parent.VHDX != nil:
		return vhdx.VerifyParent(*child.VHDX, *parent.VHDX) == nil
	case child.VHD != nil && parent.VHD != nil:
		return vhd.VerifyParent(*child.VHD, *parent.VHD) == nil
	}
	return false
}

// readLayer reads what one file says about itself; nil if it is no image that
// can be opened, or not there.
func readLayer(ctx context.Context, in Input) (_ *chain.Layer, err error) {
	f, err := in.Folder.Open(ctx, in.Name)
	if err != nil {
		if ctx.Err() == nil && unreadable(err) {
			return nil, nil
		}
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	kind, err := vhdx.SniffFile(f, f.Size())
	if err != nil {
		return nil, err
	}
	l := &chain.Layer{Name: in.Name, Container: chain.Container(kind), FileSize: f.Size(), ModTime: f.ModTime()}
	switch l.Container {
	case chain.VHDX:
		var im *vhdx.Image
		if im, err = vhdx.OpenWith(f, f.Size(), vhdx.OpenOptions{ReplayLog: true}); err == nil {
			addVHDX(l, im.Info())
		}
	case chain.VHD:
		var im *vhd.Image
		if im, err = vhd.Open(f, f.Size()); err == nil {
			addVHD(l, im.Info())
		}
	default:
		return nil, nil
	}
	if err != nil && refused(err) {
		return nil, nil
	}
	return l, err
}

// unreadable tells whether err is about what is, or is not, there under the
// name of a file, and not about the way to it.
func unreadable(err error) bool {
	code := job.CodeOf(err)
	return errors.Is(err, fs.ErrNotExist) || refused(err) || code == job.ImageNotFound || code == job.ShareDenied
}

func addVHDX(l *chain.Layer, info vhdx.Info) {
	l.Type, l.VirtualSize, l.BlockSize = info.Type.String(), info.VirtualSize, int64(info.BlockSize)
	l.LogicalSectorSize, l.PhysicalSectorSize = info.LogicalSectorSize, info.PhysicalSectorSize
	l.ID, l.Creator, l.VHDX = info.DataWriteGUID.String(), info.Creator, &info
}

func addVHD(l *chain.Layer, info vhd.Info) {
	l.Type, l.VirtualSize, l.BlockSize = info.Type.String(), info.VirtualSize, int64(info.BlockSize)
	l.LogicalSectorSize, l.PhysicalSectorSize = vhd.SectorSize, vhd.SectorSize
	l.ID, l.Creator, l.VHD = info.UniqueID.String(), info.Creator, &info
}
