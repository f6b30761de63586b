package vsphere

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/vmware/govmomi/ovf"

	"imageport/platforms/appliancefile"
)

// maxDescriptor bounds the OVF descriptor that is read from an archive, in bytes.
const maxDescriptor = 1 << 20

// ova is an OVA (DMTF DSP0243 1.1, 5.3): a tar archive with an OVF descriptor
// first, and the disks that it refers to.
type ova struct {
	digest     string // SHA-256 of the whole file, in hexadecimal
	descriptor string
	networks   []string // by the descriptor's names
	members    map[string]member
}

// member is where a file lies in the archive, in bytes.
type member struct{ offset, size int64 }

// newOVAFile gives the OVA of the appliance at the path.
func newOVAFile(path string) *appliancefile.File[*ova] {
	return appliancefile.New(appliancefile.Kind{Name: "OVA", Format: "ova", Section: "vsphere"}, path,
		func(ctx context.Context, file *os.File, _ int64) (*ova, error) { return readOVA(ctx, file) })
}

func readOVA(ctx context.Context, file io.ReadSeeker) (*ova, error) {
	sum := sha256.New()
	if _, err := io.Copy(sum, appliancefile.Until(ctx, file)); err != nil {
		return nil, err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	o := &ova{digest: hex.EncodeToString(sum.Sum(nil)), members: make(map[string]member)}
	for archive := tar.NewReader(file); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("it is no tar archive, or it is cut off: %w", err)
		}
		offset, err := file.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		name := path.Clean(header.Name)
		o.members[name] = member{offset: offset, size: header.Size}
		if o.descriptor != "" || !strings.EqualFold(path.Ext(name), ".ovf") {
			continue
		}
		if header.Size > maxDescriptor {
			return nil, fmt.Errorf("its descriptor %s has %d bytes, want %d at most", name, header.Size, maxDescriptor)
		}
		text, err := io.ReadAll(archive)
		if err != nil {
			return nil, fmt.Errorf("its descriptor %s: %w", name, err)
		}
		o.descriptor = string(text)
	}
	if o.descriptor == "" {
		return nil, errors.New("there is no OVF descriptor (.ovf) in it")
	}
	return o, o.check()
}

// check refuses what cannot be imported.
func (o *ova) check() error {
	e, err := ovf.Unmarshal(strings.NewReader(o.descriptor))
	if err != nil {
		return fmt.Errorf("its descriptor: %w", err)
	}
	if e.VirtualSystem == nil {
		return errors.New("its descriptor describes no VM")
	}
	if len(e.References) == 0 {
		return errors.New("its descriptor refers to no disk")
	}
	for _, f := range e.References {
		m, ok := o.members[path.Clean(f.Href)]
		if !ok {
			return fmt.Errorf("its descriptor refers to %s, which is not in it", f.Href)
		}
		if f.Size != 0 && int64(f.Size) != m.size {
			return fmt.Errorf("%s in it has %d bytes, its descriptor says %d", f.Href, m.size, f.Size)
		}
	}
	if e.Network != nil {
		for _, n := range e.Network.Networks {
			o.networks = append(o.networks, n.Name)
		}
	}
	return nil
}

// content gives a file of the archive, which is the OVA.
func (o *ova) content(archive io.ReaderAt, name string) (*io.SectionReader, error) {
	m, ok := o.members[path.Clean(name)]
	if !ok {
		return nil, fmt.Errorf("the appliance's OVA has no %s", name)
	}
	return io.NewSectionReader(archive, m.offset, m.size), nil
}
