package deb

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// ErrFormat: the bytes are not a Debian package, or a damaged one.
var ErrFormat = errors.New("not a valid Debian package")

const (
	// MaxUnpacked bounds the bytes of the kept files of one package.
	MaxUnpacked = 1 << 30
	// maxDictionary is twice that of the strongest preset of xz, in bytes.
	maxDictionary = 128 << 20
	// maxMembers bounds the ar members in front of the data: deb(5) has two.
	maxMembers = 16
)

// File is a regular file or a symbolic link of a package.
type File struct {
	Perm uint32 // permission bits
	Link string // the target of a symbolic link, empty for a regular file
	Data []byte // the contents of a regular file
}

// Unpack adds the files of a package to the tree whose paths, such as
// /usr/bin/env, keep accepts. A file that is in the tree already is an error,
// as two packages never have the same one. Directories and devices are left
// out. Errors wrap ErrFormat.
func (t Tree) Unpack(pkg []byte, keep func(path string) bool) error {
	name, data, err := dataMember(pkg)
	if err != nil {
		return err
	}
	r, err := Decompress(path.Ext(name), data)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrFormat, name, err)
	}
	defer r.Close()
	if err := t.untar(r, keep); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrFormat, name, err)
	}
	return nil
}

// An ar archive, see ar(5) and deb(5).
const (
	arMagic      = "!<arch>\n"
	arHeaderSize = 60 // bytes
	arSizeAt     = 48 // ten decimal digits
	arEndAt      = 58
	arEnd        = "`\n"
)

// dataMember finds the archive of the package's files.
func dataMember(pkg []byte) (name string, data []byte, err error) {
	rest, ok := bytes.CutPrefix(pkg, []byte(arMagic))
	if !ok {
		return "", nil, fmt.Errorf("%w: it begins with %q, want %q", ErrFormat, pkg[:min(len(arMagic), len(pkg))], arMagic)
	}
	for member := range maxMembers {
		at := len(pkg) - len(rest)
		if len(rest) == 0 {
			return "", nil, fmt.Errorf("%w: there is no data.tar", ErrFormat)
		}
		if len(rest) < arHeaderSize || string(rest[arEndAt:arHeaderSize]) != arEnd {
			return "", nil, fmt.Errorf("%w: there is no ar header at offset %d", ErrFormat, at)
		}
		name = strings.TrimSuffix(strings.TrimRight(string(rest[:16]), " "), "/")
		digits := strings.TrimRight(string(rest[arSizeAt:arEndAt]), " ")
		size, err := strconv.ParseUint(digits, 10, 40)
		if err != nil || size > uint64(len(rest)-arHeaderSize) {
			return "", nil, fmt.Errorf("%w: the ar member at offset %d has %q bytes, the file %d", ErrFormat, at, digits, len(rest)-arHeaderSize)
		}
		rest = rest[arHeaderSize:]
		if member == 0 && (name != "debian-binary" || !bytes.HasPrefix(rest[:size], []byte("2."))) {
			return "", nil, fmt.Errorf("%w: it begins with the member %q, want debian-binary of version 2", ErrFormat, name)
		}
		if strings.HasPrefix(name, "data.tar") {
			return name, rest[:size], nil
		}
		rest = rest[min(size+size%2, uint64(len(rest))):]
	}
	return "", nil, fmt.Errorf("%w: there is no data.tar among the first %d members", ErrFormat, maxMembers)
}

// Decompress reads what xz, zstd or gzip has compressed, told by the extension
// of the file's name: ".xz", ".zst" or ".gz". Any other means as it is.
func Decompress(extension string, data []byte) (io.ReadCloser, error) {
	switch extension {
	case ".xz":
		r, err := newXZ(data)
		if err != nil {
			return nil, err
		}
		return io.NopCloser(r), nil
	case ".zst":
		r, err := zstd.NewReader(bytes.NewReader(data), zstd.WithDecoderMaxWindow(maxDictionary), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		return r.IOReadCloser(), nil
	case ".gz":
		return gzip.NewReader(bytes.NewReader(data))
	case ".tar", "":
		return io.NopCloser(bytes.NewReader(data)), nil
	}
	return nil, fmt.Errorf("compressed as %s, want .xz, .zst or .gz", extension)
}

// The parts of an .xz file's first block, xz file format 1.2.0, 2.1.1 and 3.1.
const (
	xzStreamHeader = 12 // bytes
	xzLZMA2        = 0x21
	xzSizesPresent = 0xc0
	xzFilterCount  = 0x03
)

// newXZ refuses a dictionary that no real package needs: the decoder would
// allocate what the header says.
func newXZ(data []byte) (io.Reader, error) {
	if len(data) < xzStreamHeader+8 {
		return nil, io.ErrUnexpectedEOF
	}
	block := data[xzStreamHeader:]
	// Packages have LZMA2 alone; the sizes in front of it are variable.
	if flags := block[1]; block[0] != 0 && flags&xzFilterCount == 0 {
		filter := block[2:min(len(block), 4*(int(block[0])+1))]
		for sizes := flags & xzSizesPresent; sizes != 0; sizes &= sizes - 1 {
			i := bytes.IndexFunc(filter, func(r rune) bool { return r < 0x80 })
			filter = filter[i+1:]
		}
		if len(filter) >= 3 && filter[0] == xzLZMA2 {
			if bits := filter[2] & 0x3f; dictionary(bits) > maxDictionary {
				return nil, fmt.Errorf("a dictionary of %d bytes, want at most %d", dictionary(bits), maxDictionary)
			}
		}
	}
	return xz.NewReader(bufio.NewReader(bytes.NewReader(data)))
}

// dictionary is the size that LZMA2's one byte of properties stands for, xz
// file format 5.3.1.
func dictionary(bits byte) uint64 {
	return uint64(2|bits&1) << (bits/2 + 11)
}

// untar adds the files of a tar archive.
func (t Tree) untar(r io.Reader, keep func(string) bool) error {
	left := int64(MaxUnpacked)
	archive := tar.NewReader(r)
	for {
		h, err := archive.Next()
		if err == io.EOF {
			return drain(r)
		}
		if err != nil {
			return err
		}
		name := path.Clean("/" + h.Name)
		if !keep(name) {
			continue
		}
		file := File{Perm: uint32(h.Mode) & 0o777}
		switch h.Typeflag {
		case tar.TypeReg:
			if file.Data, err = io.ReadAll(io.LimitReader(archive, left+1)); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if left -= int64(len(file.Data)); left < 0 {
				return fmt.Errorf("%s: the files have over %d bytes", name, int64(MaxUnpacked))
			}
		case tar.TypeSymlink:
			if file.Link = h.Linkname; file.Link == "" {
				return fmt.Errorf("%s: a link to nothing", name)
			}
		case tar.TypeLink:
			target, ok := t[path.Clean("/"+h.Linkname)]
			if !ok {
				return fmt.Errorf("%s: a hard link to %s, which is not kept", name, h.Linkname)
			}
			file = target
		default:
			continue
		}
		if _, twice := t[name]; twice {
			return fmt.Errorf("%s: it is there twice", name)
		}
		t[name] = file
	}
}

// drain reads what is behind the end of a tar archive, which is padding, so
// that the checksum at the end of the compressed data is verified.
func drain(r io.Reader) error {
	n, err := io.Copy(io.Discard, io.LimitReader(r, 1<<20))
	if err == nil && n == 1<<20 {
		return fmt.Errorf("over %d bytes follow the end", n)
	}
	return err
}
