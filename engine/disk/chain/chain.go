package chain

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"imageport/engine/disk"
	"imageport/engine/disk/container"
	"imageport/engine/disk/vhd"
	"imageport/engine/disk/vhdx"
)

// MaxLayers is the number of files that a chain may have.
const MaxLayers = 64

// Options say what the files cannot say themselves. The zero value opens a
// VHDX or VHD by its signature.
type Options struct {
	// Raw opens the file as a raw image, which has no signature. A file with
	// that of a container is then refused.
	Raw bool
	// RawSectorSize is the logical sector size of a raw image in bytes: 512 if
	// 0, or 4096.
	RawSectorSize int
	// ReplayLogs accepts VHDX files whose log is not empty, of the image and
	// of its parents, and reads them as they are once it is replayed. That
	// happens in memory, of which the logs may take 64 MiB in all. Without it
	// they are vhdx.ErrDirtyLog.
	ReplayLogs bool
}

// Layer describes one file of a chain.
type Layer struct {
	// Name is the file's name in the folder.
	Name      string
	Container Container
	// Type is "fixed", "dynamic", "differencing" or "raw".
	Type string
	// VirtualSize is the size of the disk in bytes, equal in all layers.
	VirtualSize int64
	// BlockSize in bytes is 0 for images that have no blocks.
	BlockSize int64
	// LogicalSectorSize in bytes is equal in all layers.
	LogicalSectorSize, PhysicalSectorSize int
	// FileSize in bytes and ModTime are those of when the file was opened.
	FileSize int64
	ModTime  time.Time
	// ID is what a child names its parent by, as a lower-case GUID: the
	// DataWriteGUID of a VHDX, the unique ID of a VHD; "" for a raw image.
	ID string
	// Creator is the program that made the file, by its own account.
	Creator string
	// Parent tells how the layer below was found; nil for the base.
	Parent *ParentLink
	// VHDX or VHD is all that an image of that container says about itself.
	VHDX *vhdx.Info
	VHD  *vhd.Info
}

// ParentLink is how a parent was found.
type ParentLink struct {
	// Kind is which of the child's paths led to it, such as "relative path",
	// and Path that path as stored. Only its last element was used.
	Kind, Path string
}

// Chain is an open image with all its parents: an immutable disk.Mapped. It is
// safe for concurrent use until Close.
type Chain struct {
	folder Folder
	opt    Options
	// tables is what all layers together keep of their BATs and bitmaps.
	tables *container.Cache
	layers []*layer // from the base to the image itself
	// replayed is the memory that replayed logs take, in bytes.
	replayed int64
}

// maxReplayed bounds the memory for replayed logs. Windows' and QEMU's logs
// have 1 MiB: that of every file of a chain may be dirty.
const maxReplayed = MaxLayers << 20

// cacheBytes are enough for several readers of 64 files: each reader, wherever
// it is on the disk, needs two pieces of up to 64 KiB of each file.
const cacheBytes = 32 << 20

// layer is an open file of a chain.
type layer struct {
	about Layer
	file  File
	image image
	own   disk.Mapped // what this file has of the disk
}

// Open opens the image of that name and, in the same folder, its parents up to
// the base. The folder must not change the files while the chain is in use,
// and is kept for Unchanged.
//
// A parent is looked for under the last element of the child's relative path,
// then of its absolute one. The first file that is the parent counts: one that
// has the name but not the linkage is passed over, and reported if none fits.
func Open(ctx context.Context, folder Folder, name string, opt Options) (*Chain, error) {
	c := &Chain{folder: folder, opt: opt, tables: container.NewCache(cacheBytes)}
	if err := c.open(ctx, name); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	slices.Reverse(c.layers)
	return c, nil
}

// open appends the layers from the image down to the base.
func (c *Chain) open(ctx context.Context, name string) error {
	l, err := c.openLayer(ctx, name, c.opt.Raw)
	for ; err == nil && l != nil; l, err = c.openParent(ctx, l) {
		c.layers = append(c.layers, l)
		if l.own, err = l.image.contents(); err != nil {
			err = fmt.Errorf("%s: %w", l.about.Name, err)
			break
		}
	}
	if err != nil {
		return fmt.Errorf("chain: %w", err)
	}
	return nil
}

// openLayer opens one file. It is closed if it is no image.
func (c *Chain) openLayer(ctx context.Context, name string, raw bool) (*layer, error) {
	f, err := c.folder.Open(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", name, err)
	}
	l := &layer{file: f, about: Layer{Name: name, FileSize: f.Size(), ModTime: f.ModTime()}}
	if raw {
		l.image, err = openRaw(f, c.opt.RawSectorSize)
	} else {
		l.image, err = openContainer(f, c.opt.ReplayLogs, c.tables)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), f.Close())
	}
	l.image.describe(&l.about)
	if info := l.about.VHDX; info != nil {
		if c.replayed += info.ReplayedBytes; c.replayed > maxReplayed {
			err = fmt.Errorf("%s: its log and those of the files above have %d bytes to be replayed, expected at most %d: %w",
				name, c.replayed, int64(maxReplayed), vhdx.ErrUnsupported)
			return nil, errors.Join(err, f.Close())
		}
	}
	return l, nil
}

// openParent finds and opens the parent of the last layer; nil for a base.
func (c *Chain) openParent(ctx context.Context, child *layer) (*layer, error) {
	paths, has := child.image.parentPaths()
	if !has {
		return nil, nil
	}
	if len(c.layers) == MaxLayers {
		return nil, fmt.Errorf("%s is file %d of the chain and has a parent, expected a base: %w",
			child.about.Name, MaxLayers, ErrTooDeep)
	}
	var passed []error
	for _, found := range candidates(paths) {
		parent, err := c.tryParent(ctx, child, found)
		switch {
		case err == nil:
			child.about.Parent = &ParentLink{found.from.kind, found.from.path}
			return parent, nil
		case errors.Is(err, fs.ErrNotExist):
		case errors.Is(err, ErrParentMismatch), errors.Is(err, ErrMixedContainers),
			errors.Is(err, ErrUnknownFormat), errors.Is(err, ErrCycle):
			passed = append(passed, err)
		default:
			return nil, err
		}
	}
	if len(passed) > 0 {
		return nil, errors.Join(passed...)
	}
	return nil, fmt.Errorf("%s: its parent is not in the folder; looked for %s: %w",
		child.about.Name, lookedFor(paths), ErrParentMissing)
}

// tryParent opens a file that may be the parent of child.
func (c *Chain) tryParent(ctx context.Context, child *layer, found candidate) (*layer, error) {
	where := fmt.Sprintf("%s: parent %s, by its %s %q", child.about.Name, found.name, found.from.kind, found.from.path)
	for _, l := range c.layers {
		// A share does not tell names by case, so two spellings are one file.
		if strings.EqualFold(l.about.Name, found.name) {
			return nil, fmt.Errorf("%s: it is in the chain already: %w", where, ErrCycle)
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	parent, err := c.openLayer(ctx, found.name, false)
	if err != nil {
		err = also(ErrParentMismatch, err, ErrUnknownFormat)
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	if err := child.image.verifyParent(parent.image); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", where, err), parent.file.Close())
	}
	return parent, nil
}

// lookedFor says under which names a parent was looked for.
func lookedFor(paths []parentPath) string {
	var names []string
	for _, p := range paths {
		if p.path == "" {
			continue
		}
		if name, ok := baseName(p.path); ok {
			names = append(names, fmt.Sprintf("%s (%s %q)", name, p.kind, p.path))
		} else {
			names = append(names, fmt.Sprintf("nothing (%s %q ends in no file name)", p.kind, p.path))
		}
	}
	if len(names) == 0 {
		return "nothing, because it has no path to it"
	}
	return strings.Join(names, ", ")
}

// top is the layer of the image itself.
func (c *Chain) top() *layer { return c.layers[len(c.layers)-1] }

// Layers describes the files from the base, 0, to the image itself.
func (c *Chain) Layers() []Layer {
	about := make([]Layer, len(c.layers))
	for i, l := range c.layers {
		about[i] = l.about
	}
	return about
}

// Check looks at everything in the files that opening and reading look at only
// when they need it, as the containers' own Check does, and reports what it
// finds and in which of the Layers. It fails only if a file cannot be read or
// ctx ends.
func (c *Chain) Check(ctx context.Context, report func(layer int, p container.Problem)) error {
	for i, l := range c.layers {
		if err := l.image.Check(ctx, func(p container.Problem) { report(i, p) }); err != nil {
			return fmt.Errorf("chain: %s: %w", l.about.Name, err)
		}
	}
	return nil
}

// Unchanged opens every file of the chain anew and compares its size, its
// modification time and its identity with what was opened. The error is
// ErrChanged if a file is another or is gone; others are the folder's.
func (c *Chain) Unchanged(ctx context.Context) error {
	for _, l := range c.layers {
		if err := l.unchanged(ctx, c.folder); err != nil {
			return fmt.Errorf("chain: %s: %w", l.about.Name, err)
		}
	}
	return nil
}

func (l *layer) unchanged(ctx context.Context, folder Folder) (err error) {
	f, err := folder.Open(ctx, l.about.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("it does not exist any more: %w", ErrChanged)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if f.Size() != l.about.FileSize {
		return fmt.Errorf("found %d bytes, opened with %d: %w", f.Size(), l.about.FileSize, ErrChanged)
	}
	if !f.ModTime().Equal(l.about.ModTime) {
		return fmt.Errorf("found modification time %s, opened with %s: %w",
			f.ModTime().UTC().Format(time.RFC3339Nano), l.about.ModTime.UTC().Format(time.RFC3339Nano), ErrChanged)
	}
	id, err := l.image.identify(f)
	if err != nil {
		return fmt.Errorf("reading its identity again: %w", err)
	}
	if id != l.about.ID {
		return fmt.Errorf("found identity %s, opened with %s: %w", id, l.about.ID, ErrChanged)
	}
	return nil
}

// Close closes all files. The chain must not be used any more.
func (c *Chain) Close() error {
	var all []error
	for _, l := range c.layers {
		all = append(all, l.file.Close())
	}
	return errors.Join(all...)
}
