package export

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/klauspost/compress/zlib"
)

// Of a streamOptimized VMDK (VMware, "Virtual Disk Format 5.0", "Hosted Sparse
// Extents" and "Stream-Optimized Compressed Sparse Extents"). All offsets and
// lengths in it are in sectors, little-endian.
const (
	vmdkGrain      = 128 // sectors that are compressed as one
	vmdkGrainBytes = vmdkGrain * sectorSize
	vmdkTableLen   = 512 // entries of a grain table

	vmdkDescriptorAt   = 1
	vmdkDescriptorSize = 20
	vmdkOverhead       = 128 // sectors before the first grain: as VMware has it

	vmdkMagic       = "KDMV"
	vmdkVersion     = 3
	vmdkFlags       = 1<<0 | 1<<16 | 1<<17 // newline test valid, compressed grains, markers
	vmdkDeflate     = 1                    // compressAlgorithm: RFC 1950
	vmdkDirectoryAt = 1<<64 - 1            // GD_AT_END: the footer says where

	markerEnd       = 0
	markerTable     = 1
	markerDirectory = 2
	markerFooter    = 3
)

// vmdkWriter writes front to back.
type vmdkWriter struct {
	w       io.Writer
	at      int64 // bytes written
	sectors int64 // of the disk
}

// writeVMDK writes the disk, whose size is a number of grains. contentID is
// what VMware knows the contents by: any number but the two that mean none.
// Grains of zeros are not in the file, nor are tables without grains.
func writeVMDK(m *meter, out io.Writer, disk *contents, contentID uint32) error {
	w := &vmdkWriter{w: out, sectors: disk.size / sectorSize}
	m.total = disk.size
	if err := w.begin(contentID); err != nil {
		return err
	}
	grain := make([]byte, vmdkGrainBytes)
	zeros := make([]byte, vmdkGrainBytes)
	packed := newGrainPacker()
	var directory []uint32
	for first := int64(0); first < w.sectors; first += vmdkTableLen * vmdkGrain {
		var table [vmdkTableLen]uint32
		for i := range table {
			lba := first + int64(i)*vmdkGrain
			if lba >= w.sectors {
				break
			}
			if n, err := disk.ReadAt(grain, lba*sectorSize); n < len(grain) {
				return fmt.Errorf("export: read the disk at LBA %d: %w", lba, err)
			}
			if err := m.moved(int64(len(grain))); err != nil {
				return err
			}
			if bytes.Equal(grain, zeros) {
				continue
			}
			table[i] = w.sector()
			data, err := packed.pack(lba, grain)
			if err != nil {
				return err
			}
			if err := w.write(data); err != nil {
				return err
			}
		}
		at, err := w.table(table[:])
		if err != nil {
			return err
		}
		directory = append(directory, at)
	}
	return w.end(directory)
}

// begin writes the header and the descriptor.
func (w *vmdkWriter) begin(contentID uint32) error {
	front := make([]byte, vmdkOverhead*sectorSize)
	copy(front, w.header(vmdkDirectoryAt))
	copy(front[vmdkDescriptorAt*sectorSize:][:vmdkDescriptorSize*sectorSize], w.descriptor(contentID))
	return w.write(front)
}

// header is the SparseExtentHeader, which the footer repeats.
func (w *vmdkWriter) header(directoryAt uint64) []byte {
	h := make([]byte, sectorSize)
	le := binary.LittleEndian
	copy(h, vmdkMagic)
	le.PutUint32(h[4:], vmdkVersion)
	le.PutUint32(h[8:], vmdkFlags)
	le.PutUint64(h[12:], uint64(w.sectors))
	le.PutUint64(h[20:], vmdkGrain)
	le.PutUint64(h[28:], vmdkDescriptorAt)
	le.PutUint64(h[36:], vmdkDescriptorSize)
	le.PutUint32(h[44:], vmdkTableLen)
	// 48: rgdOffset. There is no redundant directory.
	le.PutUint64(h[56:], directoryAt)
	le.PutUint64(h[64:], vmdkOverhead)
	// 72: uncleanShutdown. Then what a transfer as text would change.
	copy(h[73:], "\n \r\n")
	le.PutUint16(h[77:], vmdkDeflate)
	return h
}

// descriptor is the text descriptor. The name of the extent means nothing in a
// file that holds it itself; the adapter type is replaced by the VM's.
func (w *vmdkWriter) descriptor(contentID uint32) string {
	const heads, perTrack = 255, 63
	return fmt.Sprintf(`# Disk DescriptorFile
version=1
encoding="UTF-8"
CID=%08x
parentCID=ffffffff
createType="streamOptimized"

# Extent description
RDONLY %d SPARSE "generated-stream.vmdk"

# The Disk Data Base
#DDB

ddb.adapterType = "lsilogic"
ddb.geometry.cylinders = "%d"
ddb.geometry.heads = "%d"
ddb.geometry.sectors = "%d"
ddb.virtualHWVersion = "%d"
`, contentID, w.sectors, w.sectors/(heads*perTrack), heads, perTrack, hardwareVersion)
}

// table writes a grain table with its marker and gives the sector of it, 0 for
// a table without grains, which is not written.
func (w *vmdkWriter) table(entries []uint32) (at uint32, err error) {
	used := false
	for _, e := range entries {
		used = used || e != 0
	}
	if !used {
		return 0, nil
	}
	return w.marked(markerTable, entries)
}

// end writes the grain directory, the footer, and the marker of the end.
func (w *vmdkWriter) end(directory []uint32) error {
	at, err := w.marked(markerDirectory, directory)
	if err != nil {
		return err
	}
	for _, sector := range [][]byte{marker(markerFooter, 1), w.header(uint64(at)), marker(markerEnd, 0)} {
		if err := w.write(sector); err != nil {
			return err
		}
	}
	return nil
}

// marked writes sector numbers, filled up to whole sectors, behind a marker.
func (w *vmdkWriter) marked(kind uint32, numbers []uint32) (at uint32, err error) {
	var data []byte
	for _, n := range numbers {
		data = binary.LittleEndian.AppendUint32(data, n)
	}
	data = append(data, make([]byte, roundUp(int64(len(data)), sectorSize)-int64(len(data)))...)
	if err := w.write(marker(kind, uint64(len(data)/sectorSize))); err != nil {
		return 0, err
	}
	at = w.sector()
	return at, w.write(data)
}

// marker is a metadata marker: its size of 0 tells it from a grain's.
func marker(kind uint32, sectors uint64) []byte {
	m := make([]byte, sectorSize)
	binary.LittleEndian.PutUint64(m, sectors)
	binary.LittleEndian.PutUint32(m[12:], kind)
	return m
}

// sector is the number of the next one. The largest disk of ours is far from
// the limit of 32 bits.
func (w *vmdkWriter) sector() uint32 { return uint32(w.at / sectorSize) }

func (w *vmdkWriter) write(p []byte) error {
	n, err := w.w.Write(p)
	w.at += int64(n)
	if err != nil {
		return fmt.Errorf("export: write the VMDK at offset %d: %w", w.at, err)
	}
	return nil
}

// grainPacker compresses grains. Its compressor is not the standard library's
// so that files do not change with the version of Go.
type grainPacker struct {
	buffer bytes.Buffer
	zlib   *zlib.Writer
}

func newGrainPacker() *grainPacker {
	p := &grainPacker{}
	p.zlib = zlib.NewWriter(&p.buffer)
	return p
}

// pack gives the marker of a grain, its LBA and size, and its data, filled up
// to whole sectors. The result is good until the next call.
func (p *grainPacker) pack(lba int64, grain []byte) ([]byte, error) {
	const header = 12
	p.buffer.Reset()
	p.buffer.Write(make([]byte, header))
	p.zlib.Reset(&p.buffer)
	if _, err := p.zlib.Write(grain); err != nil {
		return nil, fmt.Errorf("export: compress the grain at LBA %d: %w", lba, err)
	}
	if err := p.zlib.Close(); err != nil {
		return nil, fmt.Errorf("export: compress the grain at LBA %d: %w", lba, err)
	}
	size := p.buffer.Len()
	p.buffer.Write(make([]byte, roundUp(int64(size), sectorSize)-int64(size)))
	data := p.buffer.Bytes()
	binary.LittleEndian.PutUint64(data, uint64(lba))
	binary.LittleEndian.PutUint32(data[8:], uint32(size-header))
	return data, nil
}
