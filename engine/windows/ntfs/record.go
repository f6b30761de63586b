package ntfs

import (
	"encoding/binary"
	"fmt"
)

// Attribute types.
const (
	typeStandardInformation = 0x10
	typeAttributeList       = 0x20
	typeFileName            = 0x30
	typeVolumeName          = 0x60
	typeVolumeInformation   = 0x70
	typeData                = 0x80
	typeIndexRoot           = 0x90
	typeIndexAllocation     = 0xa0
	typeBitmap              = 0xb0
	typeReparsePoint        = 0xc0
	typeEnd                 = 0xffffffff
)

func typeName(t uint32) string {
	switch t {
	case typeStandardInformation:
		return "$STANDARD_INFORMATION"
	case typeAttributeList:
		return "$ATTRIBUTE_LIST"
	case typeFileName:
		return "$FILE_NAME"
	case typeVolumeName:
		return "$VOLUME_NAME"
	case typeVolumeInformation:
		return "$VOLUME_INFORMATION"
	case typeData:
		return "$DATA"
	case typeIndexRoot:
		return "$INDEX_ROOT"
	case typeIndexAllocation:
		return "$INDEX_ALLOCATION"
	case typeBitmap:
		return "$BITMAP"
	case typeReparsePoint:
		return "$REPARSE_POINT"
	}
	return fmt.Sprintf("attribute 0x%x", t)
}

// reference is a file reference: 48 bits of MFT record number, and above them
// the sequence number that the record must have; zero matches any.
type reference uint64

func (r reference) number() uint64   { return uint64(r) & (1<<48 - 1) }
func (r reference) sequence() uint16 { return uint16(r >> 48) }

// Numbers of the FILE records of metadata files. Those below firstUserRecord
// are the volume's own.
const (
	recordMFT       = 0
	recordLogFile   = 2
	recordVolume    = 3
	recordRoot      = 5
	recordBitmap    = 6
	recordUpCase    = 10
	firstUserRecord = 24
)

const (
	recordInUse     = 0x1
	recordDirectory = 0x2
)

// record is one FILE record, with its fixups undone. It is not changed once
// it has been loaded.
type record struct {
	number     uint64
	sequence   uint16
	flags      uint16
	base       reference // of the file that an extension record belongs to; 0 in a base record
	attributes []attribute
	// located says where each attribute of the file lies: in this record, or
	// in others if the file has an attribute list. Empty in extensions.
	located []location
}

func (r *record) isDir() bool { return r.flags&recordDirectory != 0 }

func (r *record) reference() reference {
	return reference(r.number | uint64(r.sequence)<<48)
}

// attribute is the part of an attribute that lies in one record.
type attribute struct {
	typ         uint32
	name        string
	id          uint16
	flags       uint16
	nonResident bool
	value       []byte // resident only

	lowestVCN, highestVCN            int64 // from here on: non-resident only
	mappingPairs                     []byte
	compressionUnit                  uint8 // binary logarithm of clusters
	allocated, dataSize, initialized int64
}

// stride is the number of bytes that one update sequence entry protects, on
// every sector size.
const stride = 512

// undoFixups checks and restores the last two bytes of every stride of a
// multi-sector structure that was protected when written.
func undoFixups(b []byte) error {
	offset := int(binary.LittleEndian.Uint16(b[4:]))
	count := int(binary.LittleEndian.Uint16(b[6:]))
	if count != len(b)/stride+1 {
		return fmt.Errorf("update sequence of %d entries for %d bytes", count, len(b))
	}
	if offset < 8 || offset%2 != 0 || offset+2*count > len(b) {
		return fmt.Errorf("update sequence at offset 0x%x", offset)
	}
	number := binary.LittleEndian.Uint16(b[offset:])
	for i := 1; i < count; i++ {
		end := b[i*stride-2 : i*stride]
		if got := binary.LittleEndian.Uint16(end); got != number {
			return fmt.Errorf("torn write: update sequence number 0x%04x at offset 0x%x, want 0x%04x", got, i*stride-2, number)
		}
		copy(end, b[offset+2*i:offset+2*i+2])
	}
	return nil
}

// parseRecord takes b over. The located field is left to the volume.
func parseRecord(b []byte, number uint64) (*record, error) {
	if magic := string(b[:4]); magic != "FILE" {
		return nil, corruptf("MFT record %d: signature %q, want \"FILE\"", number, magic)
	}
	if err := undoFixups(b); err != nil {
		return nil, corruptf("MFT record %d: %v", number, err)
	}
	r := &record{
		number:   number,
		sequence: binary.LittleEndian.Uint16(b[0x10:]),
		flags:    binary.LittleEndian.Uint16(b[0x16:]),
		base:     reference(binary.LittleEndian.Uint64(b[0x20:])),
	}
	used := int64(binary.LittleEndian.Uint32(b[0x18:]))
	offset := int64(binary.LittleEndian.Uint16(b[0x14:]))
	if used > int64(len(b)) || offset < 0x2a || offset > used {
		return nil, corruptf("MFT record %d: attributes from 0x%x to 0x%x in a record of %d bytes", number, offset, used, len(b))
	}
	for {
		if used-offset < 4 {
			return nil, corruptf("MFT record %d: attributes have no end marker", number)
		}
		typ := binary.LittleEndian.Uint32(b[offset:])
		if typ == typeEnd {
			return r, nil
		}
		length := int64(0)
		if used-offset >= 8 {
			length = int64(binary.LittleEndian.Uint32(b[offset+4:]))
		}
		if length < 0x18 || length > used-offset {
			return nil, corruptf("MFT record %d, %s: length %d at offset 0x%x of the record", number, typeName(typ), length, offset)
		}
		a, err := parseAttribute(b[offset : offset+length])
		if err != nil {
			return nil, corruptf("MFT record %d, %s: %v", number, typeName(typ), err)
		}
		r.attributes = append(r.attributes, a)
		offset += length
	}
}

func parseAttribute(b []byte) (attribute, error) {
	a := attribute{
		typ:         binary.LittleEndian.Uint32(b),
		nonResident: b[8] != 0,
		flags:       binary.LittleEndian.Uint16(b[0x0c:]),
		id:          binary.LittleEndian.Uint16(b[0x0e:]),
	}
	nameOffset, nameLength := int(binary.LittleEndian.Uint16(b[0x0a:])), int(b[9])
	if nameLength > 0 {
		if nameOffset+2*nameLength > len(b) {
			return a, fmt.Errorf("name of %d characters at offset 0x%x", nameLength, nameOffset)
		}
		a.name = decodeName(decodeUnits(b[nameOffset : nameOffset+2*nameLength]))
	}
	if !a.nonResident {
		length := int64(binary.LittleEndian.Uint32(b[0x10:]))
		offset := int64(binary.LittleEndian.Uint16(b[0x14:]))
		if offset+length > int64(len(b)) {
			return a, fmt.Errorf("value of %d bytes at offset 0x%x of an attribute of %d bytes", length, offset, len(b))
		}
		a.value = b[offset : offset+length : offset+length]
		return a, nil
	}
	if len(b) < 0x40 {
		return a, fmt.Errorf("non-resident attribute of %d bytes", len(b))
	}
	a.lowestVCN = int64(binary.LittleEndian.Uint64(b[0x10:]))
	a.highestVCN = int64(binary.LittleEndian.Uint64(b[0x18:]))
	pairs := int(binary.LittleEndian.Uint16(b[0x20:]))
	if pairs < 0x40 || pairs > len(b) {
		return a, fmt.Errorf("run list at offset 0x%x of an attribute of %d bytes", pairs, len(b))
	}
	a.mappingPairs = b[pairs:]
	a.compressionUnit = b[0x22]
	a.allocated = int64(binary.LittleEndian.Uint64(b[0x28:]))
	a.dataSize = int64(binary.LittleEndian.Uint64(b[0x30:]))
	a.initialized = int64(binary.LittleEndian.Uint64(b[0x38:]))
	return a, nil
}

// location says which record holds (a part of) an attribute.
type location struct {
	typ       uint32
	name      string
	lowestVCN int64
	record    reference
	id        uint16
}

// maxAttributeList is the largest attribute list that NTFS makes.
const maxAttributeList = 256 << 10

func parseAttributeList(b []byte) ([]location, error) {
	var list []location
	for offset := 0; offset < len(b); {
		e := b[offset:]
		if len(e) < 0x1a {
			return nil, fmt.Errorf("entry at offset 0x%x is cut short", offset)
		}
		length, nameLength, nameOffset := int(binary.LittleEndian.Uint16(e[4:])), int(e[6]), int(e[7])
		if length < 0x1a || length > len(e) || (nameLength > 0 && nameOffset+2*nameLength > length) {
			return nil, fmt.Errorf("entry at offset 0x%x: length %d, name of %d characters at 0x%x", offset, length, nameLength, nameOffset)
		}
		l := location{
			typ:       binary.LittleEndian.Uint32(e),
			lowestVCN: int64(binary.LittleEndian.Uint64(e[8:])),
			record:    reference(binary.LittleEndian.Uint64(e[0x10:])),
			id:        binary.LittleEndian.Uint16(e[0x18:]),
		}
		if nameLength > 0 {
			l.name = decodeName(decodeUnits(e[nameOffset : nameOffset+2*nameLength]))
		}
		list = append(list, l)
		offset += length
	}
	return list, nil
}
