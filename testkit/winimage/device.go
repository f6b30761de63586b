package winimage

import (
	"encoding/binary"
	"encoding/hex"
	"strings"
	"unicode/utf16"
)

// Device elements of a boot configuration store: the GUID of an options object,
// then a device descriptor whose size counts from its own beginning. The layout
// is that of the elements in genuine stores; the test has two of them.

const (
	deviceLocal     = 0 // a file on another device; here a RAM disk
	deviceBoot      = 5 // the partition booted from
	devicePartition = 6
	deviceLocate    = 8 // the partition with the file that another element names

	styleMBR = 1

	partitionDescriptorSize = 0x48
	locateDescriptorSize    = 0x1e
	ramdiskHeaderSize       = 0x28
)

// partitionDescriptor names a partition by the disk's signature and its place.
func partitionDescriptor(signature uint32, startBytes int64) []byte {
	le := binary.LittleEndian
	b := make([]byte, partitionDescriptorSize)
	le.PutUint32(b[0x00:], devicePartition)
	le.PutUint32(b[0x08:], partitionDescriptorSize)
	le.PutUint64(b[0x10:], uint64(startBytes))
	le.PutUint32(b[0x24:], styleMBR)
	le.PutUint32(b[0x28:], signature)
	return b
}

// bootDescriptor names the partition booted from.
func bootDescriptor() []byte {
	b := make([]byte, partitionDescriptorSize)
	binary.LittleEndian.PutUint32(b, deviceBoot)
	binary.LittleEndian.PutUint32(b[0x08:], partitionDescriptorSize)
	return b
}

// locateDescriptor names the partition that has the file, or the folder, which
// another element of the same object names.
func locateDescriptor(element uint32) []byte {
	b := make([]byte, locateDescriptorSize)
	binary.LittleEndian.PutUint32(b, deviceLocate)
	binary.LittleEndian.PutUint32(b[0x08:], locateDescriptorSize)
	binary.LittleEndian.PutUint32(b[0x14:], element)
	return b
}

// device is a device element without further options.
func device(descriptor []byte) []byte {
	return append(make([]byte, 16), descriptor...)
}

// ramdiskDevice is a device element for a RAM disk that is made of a file on
// the device that inner describes, with an object of further options.
func ramdiskDevice(options string, inner []byte, path string) []byte {
	le := binary.LittleEndian
	source := le.AppendUint32(nil, 1) // version
	source = le.AppendUint32(source, 0)
	source = le.AppendUint32(source, 5) // file
	source = append(source, inner...)
	source = append(source, utf16String(path)...)
	le.PutUint32(source[4:], uint32(len(source)))

	b := make([]byte, ramdiskHeaderSize, ramdiskHeaderSize+len(source))
	le.PutUint32(b[0x00:], deviceLocal)
	le.PutUint32(b[0x04:], 1) // flags: has options
	le.PutUint32(b[0x08:], uint32(ramdiskHeaderSize+len(source)))
	le.PutUint32(b[0x10:], 3) // RAM disk
	return append(append(guidBytes(options), b...), source...)
}

// guidBytes is the binary form of "{...}": the first three groups are
// little-endian numbers.
func guidBytes(guid string) []byte {
	b, err := hex.DecodeString(strings.NewReplacer("{", "", "}", "", "-", "").Replace(guid))
	if err != nil || len(b) != 16 {
		panic("winimage: not a GUID: " + guid) // our own constants only
	}
	for _, group := range [][]byte{b[:4], b[4:6], b[6:8]} {
		for i, j := 0, len(group)-1; i < j; i, j = i+1, j-1 {
			group[i], group[j] = group[j], group[i]
		}
	}
	return b
}

// utf16String is UTF-16LE with a NUL behind it.
func utf16String(s string) []byte {
	var b []byte
	for _, c := range append(utf16.Encode([]rune(s)), 0) {
		b = binary.LittleEndian.AppendUint16(b, c)
	}
	return b
}
