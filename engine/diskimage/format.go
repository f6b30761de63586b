package diskimage

import (
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/google/uuid"

	"imageport/engine/disk/chain"
	"imageport/engine/disk/vhd"
	"imageport/engine/disk/vhdx"
	"imageport/job"
)

// Format says what an image is to be. The zero values of all but Container are
// defaults.
type Format struct {
	Container chain.Container
	// Type is "dynamic", the default, or "fixed"; "differencing", which need
	// not be said, for an image with a parent; "" for a raw disk.
	Type string
	// BlockBytes is the block size of a VHDX or a dynamic VHD: 0 for what
	// Windows has by default, 32 and 2 MiB, and 2 MiB with a parent.
	BlockBytes int64
}

// ContainerOf gives the container that the name of an output promises, by its
// extension. That of a differencing disk is for an image with a parent only.
func ContainerOf(name string, hasParent bool) (chain.Container, error) {
	switch ext := strings.ToLower(path.Ext(name)); ext {
	case ".vhdx":
		return chain.VHDX, nil
	case ".vhd":
		return chain.VHD, nil
	case ".raw", ".img":
		return chain.Raw, nil
	case ".avhdx", ".avhd":
		if hasParent {
			return chain.Container(ext[2:]), nil
		}
		return "", job.Errorf(job.BadRequest, "Name its parent, or choose a name that ends in .vhdx or .vhd",
			"%s has the name of a differencing disk, which needs a parent", name)
	}
	return "", job.Errorf(job.BadRequest, "Name the format with --to, or a file that ends in .vhdx, .vhd or .raw",
		"the name %s does not tell the format", name)
}

// validate completes the format for a disk of that shape.
func (f *Format) validate(size int64, sector int) error {
	bad := func(remedy, format string, args ...any) error {
		return job.Errorf(job.BadRequest, remedy, format, args...)
	}
	switch f.Container {
	case chain.Raw:
		if f.Type != "" || f.BlockBytes != 0 {
			return bad("Leave them out", "a raw disk has neither a type nor blocks")
		}
		return nil
	case chain.VHD, chain.VHDX:
	default:
		return bad("Choose raw, vhdx or vhd", "there is no format %q", f.Container)
	}
	if f.Type == "" {
		f.Type = vhdx.Dynamic.String()
	}
	if f.Type != vhdx.Dynamic.String() && f.Type != vhdx.Fixed.String() {
		return bad("Choose fixed or dynamic; a differencing image needs a --parent", "images of type %q cannot be made", f.Type)
	}
	if f.BlockBytes < 0 || f.BlockBytes > maxBlockBytes {
		return badBlocks(f.BlockBytes)
	}
	if f.Container == chain.VHD && (size > vhd.MaxSize || sector != vhd.SectorSize) {
		return job.Errorf(job.UnsupportedDisk, "Make a VHDX",
			"a VHD has at most %d bytes in sectors of %d, this disk has %d in sectors of %d", int64(vhd.MaxSize), vhd.SectorSize, size, sector)
	}
	return nil
}

// maxBlockBytes is the largest block size of both containers.
const maxBlockBytes = 256 << 20

func badBlocks(n int64) error {
	return job.Errorf(job.BadRequest, "Choose a power of two up to 256 MiB", "a block size of %d bytes is not supported", n)
}

// Identity is what makes a new image different from all others.
type Identity struct {
	// ID is what children will know the image by. Other GUIDs of a VHDX are
	// derived from it.
	ID uuid.UUID
	// Created is noted in a VHD.
	Created time.Time
	// Creator names the program, in a VHDX.
	Creator string
}

// file is what an image is written to.
type file interface {
	io.WriterAt
	Sync() error
}

// writer writes the contents of a new image.
type writer interface {
	io.WriterAt
	// Finish completes and syncs the file, and gives its size in bytes.
	Finish() (sizeBytes int64, err error)
}

// newWriter begins an image of a valid format in an empty file.
func newWriter(f file, format Format, size int64, sector int, id Identity) (w writer, err error) {
	switch format.Container {
	case chain.VHDX:
		kind := vhdx.Dynamic
		if format.Type == vhdx.Fixed.String() {
			kind = vhdx.Fixed
		}
		w, err = vhdx.Create(f, vhdx.Options{
			Type: kind, SizeBytes: size, BlockSize: uint32(format.BlockBytes), LogicalSectorSize: sector,
			DataWriteGUID: id.ID,
			FileWriteGUID: id.fileWrite(),
			VirtualDiskID: uuid.NewSHA1(id.ID, []byte("virtual disk")),
			Creator:       id.Creator,
		})
	case chain.VHD:
		kind := vhd.Dynamic
		if format.Type == vhd.Fixed.String() {
			kind = vhd.Fixed
		}
		w, err = vhd.Create(f, vhd.Options{
			Type: kind, SizeBytes: size, BlockSize: uint32(format.BlockBytes), UniqueID: id.ID, Timestamp: id.Created,
		})
	default:
		return newRawWriter(f, size)
	}
	if err != nil {
		// Nothing has been written: it is about the options.
		return nil, job.Errorf(job.BadRequest, "Choose others", "such an image cannot be made: %w", err)
	}
	return w, nil
}

// identify gives a VHDX or VHD another ID before it is finished.
func identify(w writer, id Identity) error {
	switch w := w.(type) {
	case *vhdx.Writer:
		return w.SetWriteGUIDs(id.fileWrite(), id.ID)
	case *vhd.Writer:
		return w.SetUniqueID(id.ID)
	}
	return fmt.Errorf("a %T has no ID: %w", w, errors.ErrUnsupported)
}

// rawWriter writes a raw disk.
type rawWriter struct {
	file
	size int64
}

// newRawWriter gives the file its size, because zeros at its end will not be
// written.
func newRawWriter(f file, size int64) (writer, error) {
	if _, err := f.WriteAt([]byte{0}, size-1); err != nil {
		return nil, err
	}
	return rawWriter{f, size}, nil
}

// Finish makes the file durable.
func (w rawWriter) Finish() (int64, error) { return w.size, w.Sync() }
