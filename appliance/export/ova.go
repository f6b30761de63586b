package export

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"text/template"

	"imageport/job/seed"
)

// hardwareVersion is that of ESXi 6.5: the first with all that we ask for, and
// older than any vSphere that is still maintained.
const hardwareVersion = 13

//go:embed descriptor.ovf.tmpl
var descriptorText string

// descriptorTemplate makes the OVF descriptor (DMTF DSP0243 1.1) of the VM.
var descriptorTemplate = template.Must(template.New("descriptor.ovf").
	Option("missingkey=error").
	Funcs(template.FuncMap{"xml": escapeXML}).
	Parse(descriptorText))

// descriptor is what the template is filled in with.
type descriptor struct {
	Name, Version   string
	DiskFile        string
	FileBytes       int   // of the VMDK
	CapacityBytes   int64 // of the disk
	PopulatedBytes  int64 // of it, without zeros
	HardwareVersion int
	SeedKey         string
}

func escapeXML(s string) (string, error) {
	var b strings.Builder
	err := xml.EscapeText(&b, []byte(s))
	return b.String(), err
}

// writeOVA writes the descriptor, its manifest and the disk, in the order that
// lets a reader check the disk while it passes by (DSP0243 5.1, 5.3).
func writeOVA(m *meter, w io.Writer, u *UKI, opt Options) (Layout, error) {
	disk, l, err := newDisk(u, opt, mib)
	if err != nil {
		return Layout{}, err
	}
	// The descriptor and the manifest precede the VMDK and need its size and
	// hash: it waits in memory.
	var vmdk bytes.Buffer
	if err := writeVMDK(m, &vmdk, disk, vmdkContentID(u)); err != nil {
		return Layout{}, err
	}
	var ovf bytes.Buffer
	d := descriptor{
		Name: opt.Name, Version: opt.Version,
		DiskFile: opt.Name + "-disk1.vmdk", FileBytes: vmdk.Len(),
		CapacityBytes: disk.size, HardwareVersion: hardwareVersion, SeedKey: seed.Key,
	}
	for _, p := range disk.parts {
		d.PopulatedBytes += int64(len(p.data))
	}
	if err := descriptorTemplate.Execute(&ovf, d); err != nil {
		return Layout{}, fmt.Errorf("export: OVF descriptor: %w", err)
	}
	manifest := fmt.Sprintf("SHA256(%s.ovf)= %x\nSHA256(%s)= %x\n",
		opt.Name, sha256.Sum256(ovf.Bytes()), d.DiskFile, sha256.Sum256(vmdk.Bytes()))

	archive := tar.NewWriter(w)
	for _, member := range []struct {
		name string
		data []byte
	}{
		{opt.Name + ".ovf", ovf.Bytes()},
		{opt.Name + ".mf", []byte(manifest)},
		{d.DiskFile, vmdk.Bytes()},
	} {
		header := &tar.Header{
			Typeflag: tar.TypeReg, Format: tar.FormatUSTAR,
			Name: member.name, Size: int64(len(member.data)), Mode: 0o644, ModTime: opt.Time,
		}
		if err := archive.WriteHeader(header); err != nil {
			return Layout{}, fmt.Errorf("export: write: %w", err)
		}
		if _, err := archive.Write(member.data); err != nil {
			return Layout{}, fmt.Errorf("export: write: %w", err)
		}
	}
	if err := archive.Close(); err != nil {
		return Layout{}, fmt.Errorf("export: write: %w", err)
	}
	return l, nil
}

// vmdkContentID avoids the two content ids that mean that there is none.
func vmdkContentID(u *UKI) uint32 {
	if id := u.id32("VMDK"); id < 0xFFFFFFFE {
		return id
	}
	return 1
}
