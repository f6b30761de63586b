package bcd

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf16"
)

var le = binary.LittleEndian

// Kind is what sort of device an element names.
type Kind int

const (
	KindUnknown   Kind = iota // kept as it is, in Raw
	KindBoot                  // the partition that the boot manager was loaded from
	KindPartition             // Ref
	KindLocate                // the partition that has the file named by Element, or by Path
	KindRAMDisk               // an image, the file Path on On
	KindFile                  // the file Path on On
	KindVHD                   // a virtual disk; On is a KindFile
)

// Device is the decoded data of a device element. Which fields are used depends
// on the kind.
type Device struct {
	Kind    Kind
	Options GUID         // the object with options for the device; of the outermost device only
	Ref     PartitionRef // KindPartition
	Element ElementID    // KindLocate
	Path    string       // KindRAMDisk, KindFile, KindLocate
	On      *Device      // what the file lies on (nil: BootDevice); KindLocate: where to look, if not nil
	Raw     []byte       // KindUnknown: the descriptor
}

// Style is the kind of partition table that a reference is about.
type Style uint32

const (
	StyleGPT Style = 0
	StyleMBR Style = 1
)

// PartitionRef identifies a partition: by disk signature and byte offset in an
// MBR disk, by two GUIDs in a GPT disk.
type PartitionRef struct {
	Style     Style
	Signature uint32 // MBR
	Offset    uint64 // MBR, in bytes
	Disk      GUID   // GPT
	Partition GUID   // GPT
}

// MBRPartition refers to the partition that begins at a byte offset of the disk
// with the signature.
func MBRPartition(signature uint32, offset uint64) PartitionRef {
	return PartitionRef{Style: StyleMBR, Signature: signature, Offset: offset}
}

// GPTPartition refers to a partition by the GUIDs in the partition table.
func GPTPartition(disk, partition GUID) PartitionRef {
	return PartitionRef{Style: StyleGPT, Disk: disk, Partition: partition}
}

func (r PartitionRef) String() string {
	if r.Style == StyleMBR {
		return fmt.Sprintf("partition at byte %#x of MBR disk %08x", r.Offset, r.Signature)
	}
	return fmt.Sprintf("partition %s of GPT disk %s", Braced(r.Partition), Braced(r.Disk))
}

// BootDevice is the partition that the boot manager was loaded from.
func BootDevice() Device { return Device{Kind: KindBoot} }

// PartitionDevice is a partition.
func PartitionDevice(r PartitionRef) Device { return Device{Kind: KindPartition, Ref: r} }

// LocateDevice is the partition that has the file which the element e of the
// same object names.
func LocateDevice(e ElementID) Device { return Device{Kind: KindLocate, Element: e} }

// FileDevice is a file on a device.
func FileDevice(on Device, path string) Device {
	return Device{Kind: KindFile, On: &on, Path: path}
}

// RAMDiskDevice is an image loaded into memory, with an object of options.
func RAMDiskDevice(options GUID, on Device, path string) Device {
	return Device{Kind: KindRAMDisk, Options: options, On: &on, Path: path}
}

// VHDDevice is a virtual disk, the file path on a device.
func VHDDevice(on Device, path string) Device {
	file := FileDevice(on, path)
	return Device{Kind: KindVHD, On: &file}
}

func (d Device) String() string {
	on := "boot"
	if d.On != nil {
		on = d.On.String()
	}
	switch d.Kind {
	case KindBoot:
		return "boot"
	case KindPartition:
		return d.Ref.String()
	case KindLocate:
		s := "locate=" + d.Element.Name(0)
		if d.Path != "" {
			s = "locate=" + d.Path
		}
		if d.On != nil {
			s += " in " + on
		}
		return s
	case KindRAMDisk:
		return fmt.Sprintf("ramdisk=[%s]%s", on, d.Path)
	case KindFile:
		return fmt.Sprintf("file=[%s]%s", on, d.Path)
	case KindVHD:
		return "vhd=" + on
	}
	return fmt.Sprintf("unknown device of %d bytes", len(d.Raw))
}

// Walk calls f for the device and those it lies on, from the outside in.
func (d *Device) Walk(f func(d *Device, depth int)) {
	for depth := 0; d != nil; depth++ {
		f(d, depth)
		d = d.On
	}
}

// The data of a device element is the GUID of an options object and a
// descriptor:
//
//	0  device type    4 flags    8 size of the descriptor    12 zero    16 body
//
// Sizes, byte for byte, of what is in a body:
//
//	partition  partition 16, local device type 4 (0: hard disk), style 4, disk 16, zero 16
//	boot       zero 56
//	locate     how 4 (0: by element, 1: by path), element 4, offset in the descriptor of
//	           another one or 0, path with NUL, that descriptor
//	local      local device type 4; for a RAM disk and a virtual disk zero 20; then a file
//	           (RAM disk, file) or a descriptor (virtual disk)
//	file       version 4, its size 4, kind 4, descriptor, path with NUL
//
// In a partition of an MBR disk the fields hold the byte offset and the
// signature.
const (
	deviceLocal     = 0
	deviceBoot      = 5
	devicePartition = 6
	deviceLocate    = 8

	localRAMDisk = 3
	localFile    = 5
	localVHD     = 6

	flagRAMDisk = 1

	headerSize    = 16
	partitionSize = 0x48
	bootSize      = 0x48

	fileVersion = 1
	filePath    = 5

	maxDevices = 8 // nested in each other
)

// Encode is the data of a device element.
func (d Device) Encode() []byte {
	return append(appendGUID(nil, d.Options), d.descriptor(0)...)
}

func (d Device) descriptor(depth int) []byte {
	if depth > maxDevices { // a cycle
		return nil
	}
	on := BootDevice()
	if d.On != nil {
		on = *d.On
	}
	var typ, flags uint32
	var body []byte
	switch d.Kind {
	case KindBoot:
		typ, body = deviceBoot, make([]byte, bootSize-headerSize)
	case KindPartition:
		typ, body = devicePartition, d.Ref.encode()
	case KindLocate:
		typ = deviceLocate
		path := appendPath(nil, d.Path)
		var how, offset uint32
		if d.Path != "" {
			how = 1
		}
		if d.On != nil {
			offset = uint32(headerSize + 12 + len(path))
		}
		body = le.AppendUint32(body, how)
		body = le.AppendUint32(body, uint32(d.Element))
		body = le.AppendUint32(body, offset)
		body = append(body, path...)
		if d.On != nil {
			body = append(body, on.descriptor(depth+1)...)
		}
	case KindRAMDisk:
		typ, flags = deviceLocal, flagRAMDisk
		body = append(le.AppendUint32(nil, localRAMDisk), make([]byte, 20)...)
		body = append(body, fileRecord(on.descriptor(depth+1), d.Path)...)
	case KindFile:
		typ = deviceLocal
		body = append(le.AppendUint32(nil, localFile), fileRecord(on.descriptor(depth+1), d.Path)...)
	case KindVHD:
		typ = deviceLocal
		body = append(le.AppendUint32(nil, localVHD), make([]byte, 20)...)
		body = append(body, on.descriptor(depth+1)...)
	default:
		return d.Raw
	}
	b := le.AppendUint32(nil, typ)
	b = le.AppendUint32(b, flags)
	b = le.AppendUint32(b, uint32(headerSize+len(body)))
	b = le.AppendUint32(b, 0)
	return append(b, body...)
}

func fileRecord(descriptor []byte, path string) []byte {
	encoded := appendPath(nil, path)
	b := le.AppendUint32(nil, fileVersion)
	b = le.AppendUint32(b, uint32(12+len(descriptor)+len(encoded)))
	b = le.AppendUint32(b, filePath)
	b = append(b, descriptor...)
	return append(b, encoded...)
}

func (r PartitionRef) encode() []byte {
	b := make([]byte, 0, partitionSize-headerSize)
	if r.Style == StyleMBR {
		b = le.AppendUint64(b, r.Offset)
		b = le.AppendUint64(b, 0)
	} else {
		b = appendGUID(b, r.Partition)
	}
	b = le.AppendUint32(b, 0)
	b = le.AppendUint32(b, uint32(r.Style))
	if r.Style == StyleMBR {
		b = le.AppendUint32(b, r.Signature)
	} else {
		b = appendGUID(b, r.Disk)
	}
	return b[:partitionSize-headerSize]
}

func decodePartitionRef(body []byte) PartitionRef {
	if Style(le.Uint32(body[20:])) == StyleMBR {
		return MBRPartition(le.Uint32(body[24:]), le.Uint64(body))
	}
	return GPTPartition(readGUID(body[24:]), readGUID(body))
}

var errShortDevice = errors.New("device element of fewer than 16 bytes")

// DecodeDevice reads the data of a device element. What it does not know, or
// would not encode to the same bytes, becomes a KindUnknown, also inside of
// another device: Encode always gives back b.
func DecodeDevice(b []byte) (Device, error) {
	if len(b) < 16 {
		return Device{}, fmt.Errorf("%w: %w", ErrCorrupt, errShortDevice)
	}
	d := decodeDescriptor(b[16:], 0)
	d.Options = readGUID(b)
	return d, nil
}

// decodeDescriptor reads a descriptor that fills b.
func decodeDescriptor(b []byte, depth int) Device {
	if depth < maxDevices && len(b) >= headerSize && uint64(le.Uint32(b[8:])) == uint64(len(b)) {
		if d := decodeBody(le.Uint32(b), b, depth); bytes.Equal(d.descriptor(0), b) {
			return d
		}
	}
	return Device{Kind: KindUnknown, Raw: bytes.Clone(b)}
}

func decodeBody(typ uint32, b []byte, depth int) Device {
	body := b[headerSize:]
	switch {
	case typ == deviceBoot:
		return BootDevice()
	case typ == devicePartition && len(b) == partitionSize:
		return PartitionDevice(decodePartitionRef(body))
	case typ == deviceLocate && len(body) >= 12:
		d := LocateDevice(ElementID(le.Uint32(body[4:])))
		path := body[12:]
		if on := le.Uint32(body[8:]); on != 0 {
			if on < headerSize+12 || uint64(on) > uint64(len(b)) {
				break
			}
			inner := decodeDescriptor(b[on:], depth+1)
			d.On, path = &inner, b[headerSize+12:on]
		}
		d.Path = decodePath(path)
		return d
	case typ == deviceLocal && len(body) >= 4:
		switch local, rest := le.Uint32(body), body[4:]; {
		case local == localFile:
			return decodeFile(KindFile, rest, depth)
		case local == localRAMDisk && len(rest) >= 20:
			return decodeFile(KindRAMDisk, rest[20:], depth)
		case local == localVHD && len(rest) >= 20:
			inner := decodeDescriptor(rest[20:], depth+1)
			return Device{Kind: KindVHD, On: &inner}
		}
	}
	return Device{}
}

// decodeFile reads a file record. The size in the descriptor inside of it says
// where the path begins.
func decodeFile(kind Kind, b []byte, depth int) Device {
	if len(b) < 12+headerSize {
		return Device{}
	}
	inner := b[12:]
	n := le.Uint32(inner[8:])
	if n < headerSize || uint64(n) > uint64(len(inner)) {
		return Device{}
	}
	on := decodeDescriptor(inner[:n], depth+1)
	return Device{Kind: kind, On: &on, Path: decodePath(inner[n:])}
}

func appendPath(b []byte, path string) []byte {
	for _, u := range utf16.Encode([]rune(path + "\x00")) {
		b = le.AppendUint16(b, u)
	}
	return b
}

// decodePath is the inverse of appendPath for what that makes.
func decodePath(b []byte) string {
	if len(b) < 2 {
		return ""
	}
	units := make([]uint16, len(b)/2-1)
	for i := range units {
		units[i] = le.Uint16(b[2*i:])
	}
	return string(utf16.Decode(units))
}

// rawRefs finds the partitions of MBR disks in a descriptor of unknown kind, by
// what any descriptor of a partition looks like, and where their bodies begin.
func rawRefs(raw []byte) (refs []PartitionRef, at []int) {
	for i := 0; i+partitionSize <= len(raw); i += 2 {
		body := raw[i+headerSize : i+partitionSize]
		if le.Uint32(raw[i:]) == devicePartition && le.Uint32(raw[i+8:]) == partitionSize &&
			le.Uint32(body[16:]) == 0 && Style(le.Uint32(body[20:])) == StyleMBR {
			refs, at = append(refs, decodePartitionRef(body)), append(at, i+headerSize)
			i += partitionSize - 2
		}
	}
	return refs, at
}
