package media

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"unicode/utf16"

	"imageport/job/seed"
)

// ConfigISO writes the image of a disc that holds the seed as the file File, of
// 128 KiB.
func ConfigISO(w io.Writer, raw []byte) error {
	if len(raw) == 0 || len(raw) > seed.MaxBytes {
		return fmt.Errorf("config ISO: a seed of %d bytes, want 1 to %d", len(raw), seed.MaxBytes)
	}
	return writeISO(w, "IMAGEPORT_CE", File, raw)
}

// OVFEnvironmentISO writes the image of the disc that vSphere puts into the
// drive of a VM whose OVF asks for the transport "iso", of 128 KiB.
func OVFEnvironmentISO(w io.Writer, raw []byte) error {
	if len(raw) == 0 || len(raw) > seed.MaxBytes {
		return fmt.Errorf("OVF environment ISO: a seed of %d bytes, want 1 to %d", len(raw), seed.MaxBytes)
	}
	return writeISO(w, "OVF ENV", OVFFile, OVFEnvironment(raw))
}

// Where things lie on a disc with one file, in sectors. The first 16 are the
// system area (ECMA-119 6.2.1).
const (
	sectorBytes = 2048

	primarySector    = 16
	jolietSector     = 17
	terminatorSector = 18
	// Every tree has two path tables, one in each byte order.
	primaryTablesSector = 19
	jolietTablesSector  = 21
	primaryRootSector   = 23
	jolietRootSector    = 24
	fileSector          = 25
	// isoSectors leaves room behind the file: drivers read ahead.
	isoSectors = 64
)

// writeISO writes a volume of ECMA-119 with one file in its root directory, and
// the same in Joliet for the name's small letters. All times are "not given".
func writeISO(w io.Writer, label, name string, content []byte) error {
	if len(content) > (isoSectors-fileSector)*sectorBytes {
		return fmt.Errorf("ISO: %s has %d bytes, there is room for %d", name, len(content), (isoSectors-fileSector)*sectorBytes)
	}
	image := make([]byte, isoSectors*sectorBytes)
	sector := func(n int) []byte { return image[n*sectorBytes : (n+1)*sectorBytes] }

	primary := tree{root: primaryRootSector, tables: primaryTablesSector, text: func(s string) []byte { return []byte(s) }}
	joliet := tree{root: jolietRootSector, tables: jolietTablesSector, text: ucs2}
	primary.describe(sector(primarySector), 1, label)
	joliet.describe(sector(jolietSector), 2, label)
	// The escape sequence of Joliet, UCS-2 level 3, in 8.5.6.
	copy(sector(jolietSector)[88:], "%/E")
	identify(sector(terminatorSector), 255)

	for _, t := range []tree{primary, joliet} {
		pathTable(sector(t.tables), t.root, binary.LittleEndian)
		pathTable(sector(t.tables+1), t.root, binary.BigEndian)
	}
	primary.list(sector(primaryRootSector), strings.ToUpper(name)+";1", len(content))
	joliet.list(sector(jolietRootSector), name, len(content))
	copy(image[fileSector*sectorBytes:], content)
	if _, err := w.Write(image); err != nil {
		return fmt.Errorf("ISO: %w", err)
	}
	return nil
}

// tree is one of the two directory trees that a volume has: the names are in
// different alphabets, the files are the same.
type tree struct {
	root, tables int // sectors
	text         func(string) []byte
}

// identify writes what every volume descriptor begins with (ECMA-119 8.1).
func identify(b []byte, kind byte) {
	b[0] = kind
	copy(b[1:], "CD001")
	b[6] = 1
}

// describe writes a primary or supplementary volume descriptor (ECMA-119 8.4,
// 8.5).
func (t tree) describe(b []byte, kind byte, label string) {
	identify(b, kind)
	pad := func(from, to int, s string) {
		field := b[from:to]
		blank := t.text(" ")
		for i := range field {
			field[i] = blank[i%len(blank)]
		}
		copy(field, t.text(s))
	}
	pad(8, 40, "")
	pad(40, 72, label)
	both32(b[80:], isoSectors)
	both16(b[120:], 1) // volumes in the set
	both16(b[124:], 1) // this one's number
	both16(b[128:], sectorBytes)
	both32(b[132:], pathTableBytes)
	binary.LittleEndian.PutUint32(b[140:], uint32(t.tables))
	binary.BigEndian.PutUint32(b[148:], uint32(t.tables+1))
	record(b[156:190], []byte{0}, t.root, sectorBytes, true)
	pad(190, 702, "") // volume set, publisher, preparer, application
	pad(702, 739, "") // the names of three files that it does not have
	pad(739, 776, "")
	pad(776, 813, "")
	for at := 813; at < 881; at += 17 {
		// A date of digits zero and offset zero is "not given" (8.4.26.1).
		copy(b[at:at+16], "0000000000000000")
	}
	b[881] = 1 // version of the file structure
}

// list writes a root directory with one file (ECMA-119 6.8).
func (t tree) list(b []byte, name string, size int) {
	n := record(b, []byte{0}, t.root, sectorBytes, true)
	n += record(b[n:], []byte{1}, t.root, sectorBytes, true)
	record(b[n:], t.text(name), fileSector, size, false)
}

// record writes a directory record (ECMA-119 9.1) and gives its length.
func record(b, name []byte, sector, size int, folder bool) int {
	n := 33 + len(name)
	n += n % 2
	b[0] = byte(n)
	both32(b[2:], uint32(sector))
	both32(b[10:], uint32(size))
	if folder {
		b[25] = 2
	}
	both16(b[28:], 1)
	b[32] = byte(len(name))
	copy(b[33:], name)
	return n
}

// pathTableBytes is the size of a path table with nothing but the root.
const pathTableBytes = 10

// pathTable writes the record of the root (ECMA-119 9.4).
func pathTable(b []byte, root int, order binary.ByteOrder) {
	b[0] = 1
	order.PutUint32(b[2:], uint32(root))
	order.PutUint16(b[6:], 1)
}

// both16 and both32 write a number in both byte orders (ECMA-119 7.2.3, 7.3.3).
func both16(b []byte, v uint16) {
	binary.LittleEndian.PutUint16(b, v)
	binary.BigEndian.PutUint16(b[2:], v)
}

func both32(b []byte, v uint32) {
	binary.LittleEndian.PutUint32(b, v)
	binary.BigEndian.PutUint32(b[4:], v)
}

func ucs2(s string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.BigEndian.AppendUint16(b, u)
	}
	return b
}
