package vhd

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/google/uuid"
)

// Geometry is the cylinders, heads and sectors per track that old BIOS calls
// show a guest.
type Geometry struct {
	Cylinders       uint16
	Heads           uint8
	SectorsPerTrack uint8
}

// maxGeometry is all that the fields can say: disks above 127 GiB have it, and
// so do all those of `qemu-img -o force_size`.
var maxGeometry = Geometry{65535, 16, 255}

// Size is the capacity in bytes.
func (g Geometry) Size() int64 {
	return int64(g.Cylinders) * int64(g.Heads) * int64(g.SectorsPerTrack) * SectorSize
}

// geometryOf is the CHS calculation of the specification's appendix. Its
// capacity may be a little less than size.
func geometryOf(size int64) Geometry {
	sectors := min(size, maxGeometry.Size()) / SectorSize
	var perTrack, heads, tracks int64
	if sectors >= 65535*16*63 {
		perTrack, heads = 255, 16
		tracks = sectors / perTrack
	} else {
		perTrack = 17
		tracks = sectors / perTrack
		heads = max(4, (tracks+1023)/1024)
		for _, larger := range []int64{31, 63} {
			if tracks < heads*1024 && heads <= 16 {
				break
			}
			perTrack, heads = larger, 16
			tracks = sectors / perTrack
		}
	}
	return Geometry{uint16(tracks / heads), uint8(heads), uint8(perTrack)}
}

// Values of the footer's Disk Type field.
const (
	typeFixed        = 2
	typeDynamic      = 3
	typeDifferencing = 4
)

// footer is the hard disk footer, in the specification's terms.
type footer struct {
	dataOffset     uint64
	timestamp      uint32
	creatorApp     string // 4 bytes
	creatorVersion uint32
	creatorHost    string // 4 bytes
	originalSize   uint64
	currentSize    uint64
	geometry       Geometry
	diskType       uint32
	uniqueID       uuid.UUID
	savedState     bool
}

const (
	footerChecksum = 64 // offset of the field
	// featureReserved is a bit of the Features field that is always set.
	featureReserved = 2
)

// parseFooter verifies and decodes a footer that lies at off in the file.
func parseFooter(p []byte, structure string, off int64) (footer, error) {
	if string(p[:8]) != footerCookie {
		return footer{}, refuse(ErrNotVHD, structure, off, "found cookie %q, expected %q", p[:8], footerCookie)
	}
	if found, want := be.Uint32(p[footerChecksum:]), checksum(p, footerChecksum); found != want {
		return footer{}, corrupt(structure, off, "found checksum %#08x, expected %#08x", found, want)
	}
	if version := be.Uint32(p[12:]); version&majorVersion != formatVersion {
		return footer{}, refuse(ErrUnsupported, structure, off, "found version %#08x, expected %#08x", version, formatVersion)
	}
	f := footer{
		dataOffset:     be.Uint64(p[16:]),
		timestamp:      be.Uint32(p[24:]),
		creatorApp:     string(p[28:32]),
		creatorVersion: be.Uint32(p[32:]),
		creatorHost:    string(p[36:40]),
		originalSize:   be.Uint64(p[40:]),
		currentSize:    be.Uint64(p[48:]),
		geometry:       Geometry{be.Uint16(p[56:]), p[58], p[59]},
		diskType:       be.Uint32(p[60:]),
		uniqueID:       uuid.UUID(p[68:84]),
		savedState:     p[84] != 0,
	}
	switch {
	case f.diskType < typeFixed || f.diskType > typeDifferencing:
		return footer{}, refuse(ErrUnsupported, structure, off, "found disk type %d, expected 2 (fixed), 3 (dynamic) or 4 (differencing)", f.diskType)
	case f.currentSize == 0 || f.currentSize%SectorSize != 0:
		return footer{}, corrupt(structure, off, "found a current size of %d bytes, expected a multiple of %d", f.currentSize, SectorSize)
	case f.currentSize > MaxSize:
		return footer{}, refuse(ErrUnsupported, structure, off, "found a current size of %d bytes, expected at most %d", f.currentSize, int64(MaxSize))
	}
	return f, nil
}

func (f footer) encode() []byte {
	p := make([]byte, footerSize)
	copy(p, footerCookie)
	be.PutUint32(p[8:], featureReserved)
	be.PutUint32(p[12:], formatVersion)
	be.PutUint64(p[16:], f.dataOffset)
	be.PutUint32(p[24:], f.timestamp)
	copy(p[28:32], f.creatorApp)
	be.PutUint32(p[32:], f.creatorVersion)
	copy(p[36:40], f.creatorHost)
	be.PutUint64(p[40:], f.originalSize)
	be.PutUint64(p[48:], f.currentSize)
	be.PutUint16(p[56:], f.geometry.Cylinders)
	p[58], p[59] = f.geometry.Heads, f.geometry.SectorsPerTrack
	be.PutUint32(p[60:], f.diskType)
	copy(p[68:], f.uniqueID[:])
	be.PutUint32(p[footerChecksum:], checksum(p, footerChecksum))
	return p
}

// newFooter is the footer of a disk of ours: of Windows 10, so that every
// reader takes its current size.
func newFooter(diskType uint32, size int64, id uuid.UUID, created uint32) footer {
	f := footer{
		dataOffset:     footerSize,
		timestamp:      created,
		creatorApp:     "win ",
		creatorVersion: 10 << 16,
		creatorHost:    "Wi2k",
		originalSize:   uint64(size),
		currentSize:    uint64(size),
		geometry:       geometryOf(size),
		diskType:       diskType,
		uniqueID:       id,
	}
	if diskType == typeFixed {
		f.dataOffset = noDataOffset
	}
	return f
}

// virtualSize is the size that the creator shows a guest. Virtual PC, Virtual
// Server and QEMU of old show what the geometry holds, everybody else the
// current size. A geometry that says nothing, or more than the file holds, is
// nobody's.
func (f footer) virtualSize() int64 {
	current := int64(f.currentSize)
	switch f.creatorApp {
	case "vpc ", "vs  ", "qemu":
		if chs := f.geometry.Size(); f.geometry != maxGeometry && chs > 0 && chs <= current {
			return chs
		}
	}
	return current
}

// creator names the program: "win 10.0".
func (f footer) creator() string {
	app := bytes.TrimRight([]byte(f.creatorApp), " \x00")
	return fmt.Sprintf("%s %d.%d", bytes.ToValidUTF8(app, []byte("?")), f.creatorVersion>>16, f.creatorVersion&0xffff)
}

// foundFooter is the footer to go by.
type foundFooter struct {
	footer
	offset int64 // where it was found
	// dataEnd is where the trailing footer begins, or the file ends that has none.
	dataEnd int64
	// problems are those of the other footer, and what this one says that
	// keeps nobody from reading the disk.
	problems []Problem
}

const trailingFooter, footerCopy = "footer", "footer copy"

// findFooter reads the footer at the end of the file and, of dynamic and
// differencing images, its copy at the start. One of the two is enough.
func findFooter(r io.ReaderAt, size int64) (*foundFooter, error) {
	if size < footerSize {
		return nil, refuse(ErrNotVHD, trailingFooter, 0, "the file has %d bytes, expected at least %d", size, footerSize)
	}
	last := make([]byte, footerSize)
	found := &foundFooter{offset: size - footerSize}
	if err := readFull(r, trailingFooter, found.offset, last); err != nil {
		return nil, err
	}
	short := string(last[1:9]) == footerCookie
	if short {
		last = append(last[1:], 0)
		found.offset = size - oldFooterSize
	}
	found.dataEnd = found.offset
	f, lastErr := parseFooter(last, trailingFooter, found.offset)
	if short && lastErr == nil && f.creatorApp != "vpc " {
		lastErr = corrupt(trailingFooter, found.offset, "the file ends after %d of %d bytes", oldFooterSize, footerSize)
	}
	found.footer = f
	if errors.Is(lastErr, ErrUnsupported) {
		return nil, lastErr
	}

	first := make([]byte, footerSize)
	var firstErr error
	if fixed := lastErr == nil && f.diskType == typeFixed; !fixed {
		if err := readFull(r, footerCopy, 0, first); err != nil {
			return nil, err
		}
		if f, firstErr = parseFooter(first, footerCopy, 0); firstErr == nil && f.diskType == typeFixed {
			// What lies at the start of a fixed image is its guest's.
			firstErr = refuse(ErrNotVHD, footerCopy, 0, "found type fixed, which has no copy")
		}
		switch {
		case lastErr == nil && firstErr != nil:
			found.note(firstErr, "the footer at the end of the file is used")
		case lastErr == nil && !bytes.Equal(first, last):
			found.note(corrupt(footerCopy, 0, "differs from the footer at offset %#x", found.offset), "which is used")
		case lastErr == nil:
		case firstErr == nil:
			found.note(lastErr, "the copy at offset 0 is used")
			if string(last[:8]) != footerCookie {
				found.dataEnd = size
			}
			found.footer, found.offset = f, 0
		case string(last[:8]) != footerCookie && string(first[:8]) == footerCookie:
			return nil, firstErr
		default:
			return nil, lastErr
		}
	}
	found.noteContents()
	return found, nil
}

// note adds a problem of a footer that the disk can be read without.
func (f *foundFooter) note(err error, instead string) {
	var p *Problem
	if !errors.As(err, &p) {
		return
	}
	kind := p.Kind
	if kind == ErrNotVHD {
		kind = ErrCorrupt // the other footer says that the file is one
	}
	f.problems = append(f.problems, Problem{
		Structure: p.Structure, Offset: p.Offset, Detail: p.Detail + "; " + instead, Kind: kind, Readable: true,
	})
}

// noteContents adds what a valid footer says that is strange.
func (f *foundFooter) noteContents() {
	g := f.geometry
	switch found := fmt.Sprintf("found a geometry of %d cylinders, %d heads and %d sectors per track", g.Cylinders, g.Heads, g.SectorsPerTrack); {
	case g.Heads == 0 || g.SectorsPerTrack == 0:
		f.note(corrupt(trailingFooter, f.offset, "%s, expected one like %v", found, geometryOf(int64(f.currentSize))), "it is not used")
	case g != maxGeometry && g.Size() > int64(f.currentSize):
		f.note(corrupt(trailingFooter, f.offset, "%s, %d bytes, expected at most the current size of %d", found, g.Size(), f.currentSize), "it is not used")
	}
	if f.savedState {
		f.note(refuse(ErrUnsupported, trailingFooter, f.offset, "says that a virtual machine was saved, not shut down"), "its memory is not read")
	}
}

// warnings are the problems for people that only describe the image.
func (f *foundFooter) warnings() []string {
	var all []string
	for _, p := range f.problems {
		all = append(all, fmt.Sprintf("%s at offset %#x: %s", p.Structure, p.Offset, p.Detail))
	}
	return all
}
