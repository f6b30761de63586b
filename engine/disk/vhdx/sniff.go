package vhdx

import (
	"bytes"
	"io"
)

// SniffSize is the number of bytes from the start of a file that Sniff can
// make use of.
const SniffSize = isoOffset + 5

// isoOffset is the first volume descriptor's identifier (ECMA-119 8.1).
const isoOffset = 0x8001

// Sniff names the image format of a file by the signature in its first bytes,
// for a refusal that says what a file is instead of a VHDX: "vhdx", "vhd",
// "vmdk", "qcow2", "vdi" or "iso", and "" for what it does not know. A fixed
// VHD has its signature at the end only: see SniffFile.
func Sniff(header []byte) (kind string) {
	for _, format := range []struct {
		kind      string
		offset    int
		signature string
	}{
		{"vhdx", 0, fileSignature},
		{"vhd", 0, vhdCookie},
		{"vmdk", 0, "KDMV"},
		{"vmdk", 0, "COWD"},
		{"vmdk", 0, "# Disk DescriptorFile"},
		{"qcow2", 0, "QFI\xfb"},
		{"vdi", 0x40, "\x7f\x10\xda\xbe"},
		{"iso", isoOffset, "CD001"},
	} {
		if len(header) > format.offset && bytes.HasPrefix(header[format.offset:], []byte(format.signature)) {
			return format.kind
		}
	}
	return ""
}

// vhdCookie begins the footer of a VHD, its last 512 bytes, and the copy of it
// at the start of dynamic and differencing ones.
const vhdCookie = "conectix"

// SniffFile is Sniff for a whole file of size bytes.
func SniffFile(r io.ReaderAt, size int64) (kind string, err error) {
	head := make([]byte, max(0, min(size, SniffSize)))
	if n, err := r.ReadAt(head, 0); n < len(head) {
		return "", err
	}
	if kind := Sniff(head); kind != "" || size < 512 {
		return kind, nil
	}
	// Before Virtual PC 2004, a footer had 511 bytes.
	footer := make([]byte, 1+len(vhdCookie))
	if n, err := r.ReadAt(footer, size-512); n < len(footer) {
		return "", err
	}
	if string(footer[:len(vhdCookie)]) == vhdCookie || string(footer[1:]) == vhdCookie {
		return "vhd", nil
	}
	return "", nil
}
