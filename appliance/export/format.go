package export

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
)

// What Load and Write refuse.
var (
	// ErrUKI says that a file is not an EFI program for x86-64 of a size that
	// an appliance has, or that it changed while it was read.
	ErrUKI = errors.New("not a usable UKI")
	// ErrOptions says that an option, or what the BIOS loader gave, has no
	// place in the file.
	ErrOptions = errors.New("invalid export option")
	// ErrFormat says that there is no such format.
	ErrFormat = errors.New("unknown export format")
)

// Format is a kind of file.
type Format string

// The formats.
const (
	// Raw is the disk byte for byte: for XenServer and QEMU.
	Raw Format = "raw"
	// OVA is a tar of an OVF descriptor, its manifest and a streamOptimized
	// VMDK: for vSphere.
	OVA Format = "ova"
	// VHD is a fixed VHD of whole MiB: for Azure.
	VHD Format = "vhd"
	// GCP is a tar.gz of a sparse disk.raw of whole GiB: for Google Cloud.
	GCP Format = "gcp"
	// ISO is a CD-ROM that UEFI firmware starts: for VMs without a boot disk.
	ISO Format = "iso"
)

// maker says how the files of a format are called and made.
type maker struct {
	format Format
	suffix string
	write  func(*meter, io.Writer, *UKI, Options) (Layout, error)
}

var makers = []maker{
	{Raw, ".raw", writeRaw},
	{OVA, ".ova", writeOVA},
	{VHD, ".vhd", writeVHD},
	{GCP, "-gcp.tar.gz", writeGCP},
	{ISO, ".iso", writeISO},
}

// Formats lists all formats.
func Formats() []Format {
	all := make([]Format, len(makers))
	for i, m := range makers {
		all[i] = m.format
	}
	return all
}

// Suffix is how the names of such files end: ".raw", "-gcp.tar.gz". It is
// empty for a format that there is not.
func (f Format) Suffix() string {
	m, _ := f.maker()
	return m.suffix
}

func (f Format) maker() (maker, bool) {
	if i := slices.IndexFunc(makers, func(m maker) bool { return m.format == f }); i >= 0 {
		return makers[i], true
	}
	return maker{}, false
}

// meter moves the bytes of a disk, tells how far it is, and ends with its
// context.
type meter struct {
	ctx         context.Context
	report      func(done, total int64) // may be nil
	done, total int64
}

// moved counts bytes of the disk that are written.
func (m *meter) moved(n int64) error {
	m.done += n
	if m.report != nil {
		m.report(m.done, m.total)
	}
	return m.ctx.Err()
}

// copy moves all of r to w.
func (m *meter) copy(w io.Writer, r io.Reader) error {
	buffer := make([]byte, 1<<20)
	for {
		n, err := io.ReadFull(r, buffer)
		if n > 0 {
			if _, err := w.Write(buffer[:n]); err != nil {
				return fmt.Errorf("export: write: %w", err)
			}
			if err := m.moved(int64(n)); err != nil {
				return err
			}
		}
		switch err {
		case nil:
		case io.EOF, io.ErrUnexpectedEOF:
			return nil
		default:
			return fmt.Errorf("export: read: %w", err)
		}
	}
}
