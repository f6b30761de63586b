package bootcheck

import (
	"encoding/binary"
	"fmt"

	"github.com/google/uuid"
)

// Device types, and the style of the disk of a partition.
const (
	deviceLocal     = 0 // a file or RAM disk on another device
	deviceBoot      = 5 // what was booted from
	devicePartition = 6
	deviceLocate    = 8 // what has a certain file

	styleGPT = 0
	styleMBR = 1
)

// Lengths of descriptors, in bytes.
const (
	descriptorHeader    = 16 // type, flags, length of all, 0
	partitionDescriptor = 0x48
)

// device is a decoded device element.
type device struct {
	kind    uint32
	options uuid.UUID // the object with a RAM disk's options

	style           uint32    // of the disk of a partition
	partition, disk uuid.UUID // styleGPT
	signature       uint32    // styleMBR
	offset          uint64    // styleMBR: of the partition, in bytes

	locate uint32 // the element that names the file; 0: none that we know

	inner *device // deviceLocal: where the file is, if known
	path  string  // and what it is called
}

// parseDevice decodes an element: the GUID of an object with options, and a
// descriptor.
func parseDevice(b []byte) (device, bool) {
	if len(b) < 16+descriptorHeader {
		return device{}, false
	}
	d, ok := parseDescriptor(b[16:], 0)
	d.options = guidAt(b)
	return d, ok
}

func parseDescriptor(b []byte, depth int) (device, bool) {
	if len(b) < descriptorHeader || depth > 4 {
		return device{}, false
	}
	le := binary.LittleEndian
	d := device{kind: le.Uint32(b)}
	n := le.Uint32(b[8:])
	if n < descriptorHeader || int64(n) > int64(len(b)) {
		return d, false
	}
	body := b[descriptorHeader:n]
	switch d.kind {
	case deviceBoot:
	case devicePartition:
		if len(body) < partitionDescriptor-descriptorHeader {
			return d, false
		}
		d.partition, d.offset = guidAt(body), le.Uint64(body)
		d.style = le.Uint32(body[20:])
		d.disk, d.signature = guidAt(body[24:]), le.Uint32(body[24:])
	case deviceLocate:
		if len(body) < 8 {
			return d, false
		}
		if le.Uint32(body) == 0 {
			d.locate = le.Uint32(body[4:])
		}
	case deviceLocal:
		d.parseFile(b[:n], depth)
	}
	return d, true
}

// parseFile decodes the file that a local device is made of: version 1, length,
// kind 5, the descriptor of a device and a path there. It lies at the end of
// the descriptor, behind fields that depend on the kind of local device.
func (d *device) parseFile(b []byte, depth int) {
	const header = 12
	le := binary.LittleEndian
	for at := descriptorHeader + 4; at+header < len(b); at += 4 {
		if le.Uint32(b[at:]) != 1 || uint64(at)+uint64(le.Uint32(b[at+4:])) != uint64(len(b)) || le.Uint32(b[at+8:]) != 5 {
			continue
		}
		file := b[at+header:]
		inner, ok := parseDescriptor(file, depth+1)
		if !ok {
			continue
		}
		d.inner, d.path = &inner, utf16Text(file[le.Uint32(file[8:]):])
		return
	}
}

// mbrPartitions finds every descriptor of a partition of an MBR disk in the
// bytes of an element, wherever it is: the nesting of devices that we do not
// know must not hide one.
func mbrPartitions(b []byte) []device {
	le := binary.LittleEndian
	var found []device
	for at := 0; at+partitionDescriptor <= len(b); at++ {
		d := b[at:]
		if n := int64(le.Uint32(d[8:])); le.Uint32(d) != devicePartition || n < partitionDescriptor || n > int64(len(d)) || le.Uint32(d[0x24:]) != styleMBR {
			continue
		}
		found = append(found, device{kind: devicePartition, style: styleMBR, offset: le.Uint64(d[0x10:]), signature: le.Uint32(d[0x28:])})
	}
	return found
}

// String describes the device to people.
func (d device) String() string {
	switch {
	case d.kind == deviceBoot:
		return "the partition booted from"
	case d.kind == devicePartition && d.style == styleGPT:
		return fmt.Sprintf("partition %v of disk %v", d.partition, d.disk)
	case d.kind == devicePartition && d.style == styleMBR:
		return fmt.Sprintf("the partition at byte %d of the MBR disk 0x%08x", d.offset, d.signature)
	case d.kind == devicePartition:
		return fmt.Sprintf("a partition of a disk of style %d", d.style)
	case d.kind == deviceLocate && d.locate != 0:
		return fmt.Sprintf("the partition with what element %08x names", d.locate)
	case d.kind == deviceLocal && d.inner != nil:
		return fmt.Sprintf("the file %s on %v", d.path, *d.inner)
	}
	return fmt.Sprintf("a device of type %d", d.kind)
}
