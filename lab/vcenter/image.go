package vcenter

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vmdk"
)

// errNoImage: the file is not the descriptor of a flat disk.
var errNoImage = errors.New("not the descriptor of a flat disk")

const (
	// maxDescriptor bounds what is read as one. Theirs have some 600 bytes.
	maxDescriptor = 64 << 10
	// noParent is the content id that says that there is none.
	noParent = vmdk.DiskContentID(0xffffffff)
)

// image is a virtual disk in a datastore: a descriptor, and beside it a sparse
// file with the disk's bytes.
type image struct {
	path      string // of the descriptor
	flat      string // of the bytes
	uuid      string // with dashes, lower case; empty if the simulator made it
	sizeBytes int64
	thin      bool
}

// flatPath is that of the bytes to a descriptor's.
func flatPath(path string) string { return simulator.VirtualDiskBackingFileName(path) }

// readImage reads the descriptor of an image that is there.
func readImage(path string) (image, error) {
	f, err := os.Open(path)
	if err != nil {
		return image{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxDescriptor))
	if err != nil {
		return image{}, err
	}
	if !bytes.HasPrefix(text, []byte("# Disk DescriptorFile")) {
		return image{}, fmt.Errorf("%s: %w", path, errNoImage)
	}
	d, err := vmdk.ParseDescriptor(bytes.NewReader(text))
	if err != nil {
		return image{}, fmt.Errorf("%s: %w: %w", path, errNoImage, err)
	}
	if len(d.Extent) != 1 || !filepath.IsLocal(d.Extent[0].Info) {
		return image{}, fmt.Errorf("%s: %w: %d extents", path, errNoImage, len(d.Extent))
	}
	return image{
		path:      path,
		flat:      filepath.Join(filepath.Dir(path), d.Extent[0].Info),
		uuid:      parseUUID(d.DDB["uuid"]),
		sizeBytes: d.Capacity(),
		thin:      d.DDB["thinProvisioned"] == "1",
	}, nil
}

// makeImage makes an empty image, or completes one of which the simulator has
// made the two files.
func makeImage(path string, sizeBytes int64, thin bool) (image, error) {
	id, err := newUUID()
	if err != nil {
		return image{}, err
	}
	i := image{path: path, flat: flatPath(path), uuid: id, sizeBytes: sizeBytes, thin: thin}
	f, err := os.OpenFile(i.flat, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return image{}, err
	}
	if err := errors.Join(f.Truncate(sizeBytes), f.Close()); err != nil {
		return image{}, err
	}
	return i, i.describe()
}

// describe writes the descriptor.
func (i image) describe() error {
	d := vmdk.NewDescriptor(vmdk.Extent{Size: i.sizeBytes / vmdk.SectorSize, Info: filepath.Base(i.flat)})
	id, err := uuid.Parse(i.uuid)
	if err != nil {
		return err
	}
	d.CID, d.ParentCID = vmdk.DiskContentID(id.ID())&^1, noParent
	d.DDB["uuid"] = formatUUID(id)
	d.DDB["adapterType"] = "lsilogic"
	d.DDB["virtualHWVersion"] = "19"
	if i.thin {
		d.DDB["thinProvisioned"] = "1"
	}
	var text bytes.Buffer
	if err := d.Write(&text); err != nil {
		return err
	}
	return os.WriteFile(i.path, text.Bytes(), 0o600)
}

// grow gives the image a larger size.
func (i image) grow(sizeBytes int64) (image, error) {
	if err := os.Truncate(i.flat, sizeBytes); err != nil {
		return image{}, err
	}
	i.sizeBytes = sizeBytes
	return i, i.describe()
}

// remove deletes both files.
func (i image) remove() error {
	return errors.Join(ignoreMissing(os.Remove(i.flat)), ignoreMissing(os.Remove(i.path)))
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// move gives the image another name.
func (i image) move(path string) (image, error) {
	to := i
	to.path, to.flat = path, flatPath(path)
	if err := os.Rename(i.flat, to.flat); err != nil {
		return image{}, err
	}
	if err := to.describe(); err != nil {
		return image{}, errors.Join(err, os.Rename(to.flat, i.flat))
	}
	return to, os.Remove(i.path)
}

// copyTo copies the bytes to another image of the same size; holes stay holes.
func (i image) copyTo(to image) error {
	src, err := os.Open(i.flat)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to.flat, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer dst.Close()
	for at := int64(0); ; {
		data, err := unix.Seek(int(src.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil
		}
		if err != nil {
			return err
		}
		hole, err := unix.Seek(int(src.Fd()), data, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.NewOffsetWriter(dst, data), io.NewSectionReader(src, data, hole-data)); err != nil {
			return err
		}
		at = hole
	}
}

// serial is what a guest sees.
func (i image) serial() string { return strings.ReplaceAll(i.uuid, "-", "") }

// newUUID makes one as ESXi does: VMware's own prefix, the rest random.
func newUUID() (string, error) {
	var id uuid.UUID
	if _, err := rand.Read(id[:]); err != nil {
		return "", err
	}
	copy(id[:], []byte{0x60, 0x00, 0xc2, 0x90 | id[3]&0x0f})
	return id.String(), nil
}

// formatUUID writes it as descriptors have it: 16 bytes, a dash in the middle.
func formatUUID(id uuid.UUID) string {
	return fmt.Sprintf("% x-% x", id[:8], id[8:])
}

// parseUUID reads any way to write one, and gives "" for none.
func parseUUID(s string) string {
	digits := strings.NewReplacer(" ", "", "-", "").Replace(s)
	b, err := hex.DecodeString(digits)
	if err != nil || len(b) != 16 {
		return ""
	}
	return uuid.UUID(b).String()
}
