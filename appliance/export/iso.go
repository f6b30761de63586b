package export

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"time"

	"imageport/engine/disk/fat32"
)

// Of ISO 9660 (ECMA-119) and El Torito ("Bootable CD-ROM Format Specification
// 1.0"): sectors of 2048 bytes, and where ours are.
const (
	isoSector = 2048

	isoPrimary    = 16 // fixed by the standard
	isoBootRecord = 17 // fixed by El Torito
	isoTerminator = 18
	isoPathTableL = 19 // little-endian
	isoPathTableM = 20 // big-endian
	isoRoot       = 21
	isoCatalog    = 22
	isoImage      = 32 // 64 KiB

	isoPathTableSize = 10 // bytes: the root directory only
	isoVolume        = "IMAGEPORT_CE"
)

// writeISO writes a CD-ROM that holds an EFI system partition as El Torito's
// image without emulation, which is how UEFI firmware boots CD-ROMs (UEFI
// 13.3.2.1).
func writeISO(m *meter, w io.Writer, u *UKI, opt Options) (Layout, error) {
	v, err := newVolume(u, opt.Time, 0)
	if err != nil {
		return Layout{}, err
	}
	const start = isoImage * isoSector
	disc := &contents{size: start + v.opt.SizeBytes, parts: []part{{0, make([]byte, start+v.used)}}}
	if err := fat32.Format(io.NewOffsetWriter(disc, start), v.opt, v.files); err != nil {
		return Layout{}, fmt.Errorf("export: write the boot image: %w", err)
	}
	if err := disc.holds(u, start+v.ukiOffset()); err != nil {
		return Layout{}, err
	}
	root := isoDirectory(v.opt.SizeBytes, opt.Time)
	for sector, data := range map[int64][]byte{
		isoPrimary:    isoPrimaryDescriptor(disc.size, root, opt),
		isoBootRecord: isoBootRecordDescriptor(),
		isoTerminator: isoDescriptor(255),
		isoPathTableL: isoPathTable(binary.LittleEndian),
		isoPathTableM: isoPathTable(binary.BigEndian),
		isoRoot:       root,
		isoCatalog:    isoBootCatalog(),
	} {
		if _, err := disc.WriteAt(data, sector*isoSector); err != nil {
			return Layout{}, err
		}
	}
	m.total = disc.size
	return Layout{}, m.copy(w, disc.reader())
}

// isoDescriptor begins a volume descriptor (ECMA-119 8.1).
func isoDescriptor(kind byte) []byte {
	d := make([]byte, isoSector)
	d[0] = kind
	copy(d[1:], "CD001")
	d[6] = 1
	return d
}

// isoPrimaryDescriptor is the primary volume descriptor (ECMA-119 8.4).
func isoPrimaryDescriptor(size int64, root []byte, opt Options) []byte {
	d := isoDescriptor(1)
	text := func(at, n int, s string) { copy(d[at:at+n], s+strings.Repeat(" ", n)) }
	text(8, 32, "")         // system
	text(40, 32, isoVolume) // volume
	both32(d[80:], uint32(size/isoSector))
	both16(d[120:], 1) // discs of the set
	both16(d[124:], 1) // this one
	both16(d[128:], isoSector)
	both32(d[132:], isoPathTableSize)
	binary.LittleEndian.PutUint32(d[140:], isoPathTableL)
	binary.BigEndian.PutUint32(d[148:], isoPathTableM)
	copy(d[156:190], root) // the record of the root is the first in it
	text(190, 128, "")     // volume set
	text(318, 128, "")     // publisher
	text(446, 128, "")     // preparer
	text(574, 128, strings.ToUpper(strings.TrimSpace("imageport-ce "+opt.Version)))
	text(702, 37, "") // files with the copyright, abstract and bibliography
	text(739, 37, "")
	text(776, 37, "")
	date := opt.Time.Format("20060102150405") + "00\x00" // 1/100 s, UTC
	never := strings.Repeat("0", 16) + "\x00"
	copy(d[813:], date+date+never+date) // made, changed, expires, valid from
	d[881] = 1                          // version of the directories
	return d
}

// isoBootRecordDescriptor points to the boot catalog (El Torito, figure 7).
func isoBootRecordDescriptor() []byte {
	d := isoDescriptor(0)
	copy(d[7:], "EL TORITO SPECIFICATION")
	binary.LittleEndian.PutUint32(d[71:], isoCatalog)
	return d
}

// isoBootCatalog has the validation entry and the initial entry (El Torito 2.1
// and 2.2).
func isoBootCatalog() []byte {
	const platformEFI = 0xEF
	c := make([]byte, 64)
	le := binary.LittleEndian
	c[0] = 1 // validation entry
	c[1] = platformEFI
	copy(c[4:28], "imageport")
	c[30], c[31] = 0x55, 0xAA
	sum := uint16(0)
	for i := 0; i < 32; i += 2 {
		sum += le.Uint16(c[i:])
	}
	le.PutUint16(c[28:], -sum) // makes the sum of all words 0

	initial := c[32:]
	initial[0] = 0x88 // bootable; the media type 0 is no emulation
	// FAT32 is longer than 16 bits of 512 bytes can say: 0 and 1 mean that the
	// image ends where the disc does (UEFI 13.3.2.1).
	le.PutUint16(initial[6:], 1)
	le.PutUint32(initial[8:], isoImage)
	return c
}

// isoPathTable is a path table (ECMA-119 9.4) with the root directory only.
func isoPathTable(order binary.ByteOrder) []byte {
	t := make([]byte, isoPathTableSize)
	t[0] = 1 // length of the name, which is a zero
	order.PutUint32(t[2:], isoRoot)
	order.PutUint16(t[6:], 1) // number of the parent: itself
	return t
}

// isoDirectory is the root directory: itself, its parent, and the files, which
// show what is on the disc.
func isoDirectory(imageSize int64, t time.Time) []byte {
	const directory = 1 << 1
	d := make([]byte, 0, isoSector)
	d = appendISORecord(d, "\x00", isoRoot, isoSector, directory, t)
	d = appendISORecord(d, "\x01", isoRoot, isoSector, directory, t)
	d = appendISORecord(d, "BOOT.CAT;1", isoCatalog, isoSector, 0, t)
	d = appendISORecord(d, "EFI.IMG;1", isoImage, uint32(imageSize), 0, t)
	return d[:isoSector]
}

// appendISORecord appends a directory record (ECMA-119 9.1).
func appendISORecord(d []byte, name string, sector, size uint32, flags byte, t time.Time) []byte {
	r := make([]byte, roundUp(33+int64(len(name)), 2))
	r[0] = byte(len(r))
	both32(r[2:], sector)
	both32(r[10:], size)
	copy(r[18:], []byte{byte(t.Year() - 1900), byte(t.Month()), byte(t.Day()), byte(t.Hour()), byte(t.Minute()), byte(t.Second()), 0})
	r[25] = flags
	both16(r[28:], 1) // disc of the set
	r[32] = byte(len(name))
	copy(r[33:], name)
	return append(d, r...)
}

// both16 and both32 write a number in both byte orders (ECMA-119 7.2.3, 7.3.3).
func both16(b []byte, n uint16) {
	binary.LittleEndian.PutUint16(b, n)
	binary.BigEndian.PutUint16(b[2:], n)
}

func both32(b []byte, n uint32) {
	binary.LittleEndian.PutUint32(b, n)
	binary.BigEndian.PutUint32(b[4:], n)
}
