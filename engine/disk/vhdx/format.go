package vhdx

import (
	"encoding/binary"
	"hash/crc32"
	"unicode/utf16"

	"github.com/google/uuid"
)

const mib = 1 << 20

// Offsets and sizes of the header section, [MS-VHDX] 2.2.
const (
	fileIdentifierOffset = 0
	creatorOffset        = 8
	creatorSize          = 512
	header1Offset        = 64 << 10
	header2Offset        = 128 << 10
	headerSize           = 4 << 10
	regionTable1Offset   = 192 << 10
	regionTable2Offset   = 256 << 10
	regionTableSize      = 64 << 10
	headerSectionSize    = mib

	fileSignature     = "vhdxfile"
	headerSignature   = "head"
	regionSignature   = "regi"
	metadataSignature = "metadata"

	formatVersion = 1
	// maxTableEntries is the limit of the region and the metadata table.
	maxTableEntries = 2047
	tableEntrySize  = 32
)

// The log, [MS-VHDX] 2.3: entries in sectors of 4 KiB.
const (
	logVersion         = 0
	logSectorSize      = 4 << 10
	logEntryHeaderSize = 64
	logDescriptorSize  = 32

	logEntrySignature  = "loge"
	logDataSignature   = "desc"
	logZeroSignature   = "zero"
	logSectorSignature = "data"
)

// Limits of the metadata items, [MS-VHDX] 2.6.
const (
	metadataTableSize  = 64 << 10
	minBlockSize       = 1 << 20
	maxBlockSize       = 256 << 20
	maxVirtualSize     = 64 << 40
	maxMetadataItem    = 1 << 20
	flagLeaveAllocated = 1 << 0
	flagHasParent      = 1 << 1
	itemIsUser         = 1 << 0
	itemIsVirtualDisk  = 1 << 1
	itemIsRequired     = 1 << 2
)

var (
	batRegionGUID      = uuid.MustParse("2dc27766-f623-4200-9d64-115e9bfd4a08")
	metadataRegionGUID = uuid.MustParse("8b7ca206-4790-4b9a-b8fe-575f050f886e")

	fileParametersGUID     = uuid.MustParse("caa16737-fa36-4d43-b3b6-33f0aa44e76b")
	virtualDiskSizeGUID    = uuid.MustParse("2fa54224-cd1b-4876-b211-5dbed83bf4b8")
	virtualDiskIDGUID      = uuid.MustParse("beca12ab-b2e6-4523-93ef-c309e000c746")
	logicalSectorSizeGUID  = uuid.MustParse("8141bf1d-a96f-4709-ba47-f233a8faab5f")
	physicalSectorSizeGUID = uuid.MustParse("cda348c7-445d-4471-9cc9-e9885251c556")
	parentLocatorGUID      = uuid.MustParse("a8d35f2d-b30b-454d-abf7-d3d84834ab0c")

	vhdxLocatorGUID = uuid.MustParse("b04aefb7-d19e-4a81-b789-25b8e9445913")
)

var (
	le         = binary.LittleEndian
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// checksum is the CRC-32C of a header, a region table or a log entry with the
// Checksum field, bytes 4 to 7, taken as zero. p may be followed by more.
func checksum(p []byte, more ...[]byte) uint32 {
	crc := crc32.Update(0, castagnoli, p[:4])
	crc = crc32.Update(crc, castagnoli, []byte{0, 0, 0, 0})
	crc = crc32.Update(crc, castagnoli, p[8:])
	for _, q := range more {
		crc = crc32.Update(crc, castagnoli, q)
	}
	return crc
}

// guid decodes the on-disk form of a GUID, whose first three fields are
// little-endian. The conversion is its own inverse.
func guid(p []byte) (id uuid.UUID) {
	copy(id[:], p[:16])
	id[0], id[1], id[2], id[3] = id[3], id[2], id[1], id[0]
	id[4], id[5] = id[5], id[4]
	id[6], id[7] = id[7], id[6]
	return id
}

func putGUID(p []byte, id uuid.UUID) {
	id = guid(id[:])
	copy(p, id[:])
}

// decodeUTF16 decodes UTF-16LE; a last odd byte is dropped.
func decodeUTF16(p []byte) string {
	units := make([]uint16, len(p)/2)
	for i := range units {
		units[i] = le.Uint16(p[2*i:])
	}
	return string(utf16.Decode(units))
}

func encodeUTF16(s string) []byte {
	var p []byte
	for _, unit := range utf16.Encode([]rune(s)) {
		p = le.AppendUint16(p, unit)
	}
	return p
}

// blockState is the State field of a BAT entry.
type blockState uint8

// States of payload blocks, [MS-VHDX] 2.5.1.1, and of sector bitmap blocks,
// 2.5.1.2. 4 and 5 are reserved.
const (
	blockNotPresent       blockState = 0
	blockUndefined        blockState = 1
	blockZero             blockState = 2
	blockUnmapped         blockState = 3
	blockFullyPresent     blockState = 6
	blockPartiallyPresent blockState = 7

	bitmapNotPresent blockState = 0
	bitmapPresent    blockState = 6
)

// batEntry is an entry of the block allocation table, [MS-VHDX] 2.5.1: 3 bits
// of state, 17 reserved bits and the file offset in MiB.
type batEntry uint64

const batReservedMask batEntry = 1<<20 - 1<<3

func newBATEntry(state blockState, off int64) batEntry { return batEntry(off) | batEntry(state) }

func (e batEntry) state() blockState { return blockState(e & 7) }

// offsetMiB is the file offset in MiB, below 2^44. In bytes it may not fit an int64.
func (e batEntry) offsetMiB() int64 { return int64(e >> 20) }

// offset is the file offset in bytes of an entry whose offsetMiB was checked.
func (e batEntry) offset() int64 { return e.offsetMiB() * mib }

// geometry is how a virtual disk is cut into payload blocks, and the blocks
// into chunks that share a 1 MiB sector bitmap block, [MS-VHDX] 2.5.
type geometry struct {
	virtualSize int64
	blockSize   int64
	sectorSize  int64
	// chunkRatio is the number of payload blocks per chunk.
	chunkRatio int64
}

// sectorsPerBitmap is the number of bits in a sector bitmap block.
const sectorsPerBitmap = 8 * mib

func newGeometry(virtualSize, blockSize, sectorSize int64) geometry {
	return geometry{virtualSize, blockSize, sectorSize, sectorsPerBitmap * sectorSize / blockSize}
}

func (g geometry) payloadBlocks() int64 { return (g.virtualSize + g.blockSize - 1) / g.blockSize }

func (g geometry) chunks() int64 { return (g.payloadBlocks() + g.chunkRatio - 1) / g.chunkRatio }

// payloadEntry is the BAT index of a payload block: the entry of a chunk's
// bitmap block follows the entries of its payload blocks.
func (g geometry) payloadEntry(block int64) int64 { return block + block/g.chunkRatio }

func (g geometry) bitmapEntry(chunk int64) int64 { return chunk*(g.chunkRatio+1) + g.chunkRatio }

// batEntries is the number of BAT entries that a disk of this type needs: a
// differencing one reaches to the last bitmap entry, others to the last
// payload entry.
func (g geometry) batEntries(differencing bool) int64 {
	if differencing {
		return g.chunks() * (g.chunkRatio + 1)
	}
	return g.payloadEntry(g.payloadBlocks()-1) + 1
}

// blockLength is the part of a payload block inside the virtual disk: less
// than the block size in a last block.
func (g geometry) blockLength(block int64) int64 {
	return min(g.blockSize, g.virtualSize-block*g.blockSize)
}
