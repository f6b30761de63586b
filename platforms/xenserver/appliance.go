package xenserver

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"imageport/platforms/appliancefile"
)

const (
	sectorSize = 512
	// maxApplianceBytes is more than any appliance has.
	maxApplianceBytes = 8 << 30
)

// errAppliance is wrapped by the errors of files that are no appliance's disk.
var errAppliance = errors.New("want a raw disk or a fixed VHD")

// image is what a disk's file holds.
type image struct {
	digest string // SHA-256 of the disk, in hexadecimal
	size   int64  // of the disk, in bytes, without the footer of a VHD
}

// newApplianceFile gives the file with the appliance's disk at the path.
func newApplianceFile(path string) *appliancefile.File[*image] {
	return appliancefile.New(appliancefile.Kind{Name: "disk", Format: "raw", Section: "xenserver"}, path,
		func(ctx context.Context, file *os.File, size int64) (*image, error) {
			return readImage(ctx, file, size)
		})
}

// formats are the beginnings of files that are not what their bytes are.
var formats = []struct{ name, magic string }{
	{"a growing VHD", "conectix"}, {"VHDX", "vhdxfile"}, {"VMDK", "KDMV"}, {"VMDK", "COWD"}, {"VMDK", "# Disk DescriptorFile"},
	{"qcow2", "QFI\xfb"}, {"gzip", "\x1f\x8b"}, {"xz", "\xfd7zXZ\x00"}, {"zip", "PK\x03\x04"},
}

// readImage looks at a file of that size.
func readImage(ctx context.Context, file io.ReaderAt, size int64) (*image, error) {
	if size < sectorSize || size%sectorSize != 0 || size > maxApplianceBytes {
		return nil, fmt.Errorf("it has %d bytes, a disk has a multiple of %d up to %d: %w", size, sectorSize, int64(maxApplianceBytes), errAppliance)
	}
	var head, foot [sectorSize]byte
	if _, err := file.ReadAt(head[:], 0); err != nil {
		return nil, err
	}
	if _, err := file.ReadAt(foot[:], size-sectorSize); err != nil {
		return nil, err
	}
	for _, f := range formats {
		if bytes.HasPrefix(head[:], []byte(f.magic)) {
			return nil, fmt.Errorf("at offset 0: found %s (%.8q): %w", f.name, head, errAppliance)
		}
	}
	if bytes.Equal(head[257:262], []byte("ustar")) {
		return nil, fmt.Errorf("at offset 257: found a tar archive, such as an OVA: %w", errAppliance)
	}
	i := &image{size: size}
	if bytes.HasPrefix(foot[:], []byte("conectix")) {
		// A fixed VHD is the disk, and after it a footer (VHD specification 1.0,
		// "Hard Disk Footer Format").
		i.size -= sectorSize
		if current := binary.BigEndian.Uint64(foot[48:]); current != uint64(i.size) {
			return nil, fmt.Errorf("at offset %d: found a VHD's footer of a disk of %d bytes, expected %d: %w", size-sectorSize, current, i.size, errAppliance)
		}
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, appliancefile.Until(ctx, io.NewSectionReader(file, 0, i.size))); err != nil {
		return nil, err
	}
	i.digest = hex.EncodeToString(sum.Sum(nil))
	return i, nil
}
