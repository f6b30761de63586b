package vhd

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"time"
	"unicode/utf16"
)

// SectorSize is the logical sector size in bytes of every VHD.
const SectorSize = 512

// MaxSize is the largest virtual size in bytes, 2040 GiB: what 32-bit sector
// numbers in the BAT leave once the structures have their place.
const MaxSize = 2040 << 30

const (
	mib = 1 << 20

	footerSize = 512
	// oldFooterSize is the size before Virtual PC 2004: the same footer
	// without its last, reserved byte. See "Hard Disk Footer Format".
	oldFooterSize = 511
	headerSize    = 1024
	batEntrySize  = 4

	footerCookie = "conectix"
	headerCookie = "cxsparse"
	// formatVersion is 1.0, of footers and headers. A minor version may add
	// only what an older reader can ignore.
	formatVersion  = 1 << 16
	majorVersion   = 0xffff << 16
	noDataOffset   = math.MaxUint64
	absent         = math.MaxUint32 // in the BAT
	minBlockSize   = 512 << 10
	maxBlockSize   = 256 << 20
	maxLocators    = 8
	locatorSize    = 24
	parentNameSize = 512
)

var (
	be = binary.BigEndian
	le = binary.LittleEndian
)

// checksum is the one's complement of the sum of all bytes of a footer or
// header, with its Checksum field, 4 bytes at field, taken as zero.
func checksum(p []byte, field int) uint32 {
	var sum uint32
	for i, b := range p {
		if i < field || i >= field+4 {
			sum += uint32(b)
		}
	}
	return ^sum
}

// epoch is the zero of VHD time stamps, which count seconds in 32 bits.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func timestamp(t time.Time) (uint32, error) {
	seconds := t.Unix() - epoch.Unix()
	if seconds < 0 || seconds > math.MaxUint32 {
		return 0, fmt.Errorf("vhd: time stamp %s is not from 2000 to 2136", t.UTC().Format(time.RFC3339))
	}
	return uint32(seconds), nil
}

// decodeUTF16 decodes up to the first NUL; a last odd byte is dropped.
func decodeUTF16(order binary.ByteOrder, p []byte) string {
	var units []uint16
	for ; len(p) >= 2; p = p[2:] {
		unit := order.Uint16(p)
		if unit == 0 {
			break
		}
		units = append(units, unit)
	}
	return string(utf16.Decode(units))
}

func encodeUTF16(order binary.AppendByteOrder, s string) []byte {
	var p []byte
	for _, unit := range utf16.Encode([]rune(s)) {
		p = order.AppendUint16(p, unit)
	}
	return p
}

// geometry is how a dynamic or differencing disk is cut into blocks, each of
// which is stored behind its sector bitmap.
type geometry struct {
	virtualSize int64
	blockSize   int64
}

// blocks is the number of BAT entries that the disk needs.
func (g geometry) blocks() int64 { return (g.virtualSize + g.blockSize - 1) / g.blockSize }

// bitmapSize is the space of a block's sector bitmap in bytes: one bit per
// sector, padded to a sector.
func (g geometry) bitmapSize() int64 { return roundUp(g.blockSize/SectorSize/8, SectorSize) }

// blockLength is the part of a block inside the virtual disk: less than the
// block size in a last block.
func (g geometry) blockLength(block int64) int64 {
	return min(g.blockSize, g.virtualSize-block*g.blockSize)
}

// blockEnd is where the part of a block inside the virtual disk ends in the
// file, whose bitmap begins at start.
func (g geometry) blockEnd(block, start int64) int64 {
	return start + g.bitmapSize() + g.blockLength(block)
}

// stride is the most that a block takes in a file of ours.
func (g geometry) stride() int64 { return roundUp(g.bitmapSize(), blockAlignment) + g.blockSize }

// validBlockSize holds for the sizes that this package reads and writes.
func validBlockSize(size uint32) bool {
	return size >= minBlockSize && size <= maxBlockSize && bits.OnesCount32(size) == 1
}

func validVirtualSize(size int64) bool {
	return size > 0 && size <= MaxSize && size%SectorSize == 0
}

// roundUp rounds n up to a multiple of unit, a power of two.
func roundUp(n, unit int64) int64 { return (n + unit - 1) &^ (unit - 1) }

// zeros is what isZero compares with and what padding is cut from.
var zeros [64 << 10]byte

func isZero(p []byte) bool {
	for len(p) > len(zeros) {
		if !bytes.Equal(p[:len(zeros)], zeros[:]) {
			return false
		}
		p = p[len(zeros):]
	}
	return bytes.Equal(p, zeros[:len(p)])
}
