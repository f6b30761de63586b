package chain_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
)

// A second reader and writer, written by the letter of the specifications and
// apart from the packages under test: whole images in memory, a sector at a
// time, no checks. They are slow, and short enough to be seen to be right.

var le, be = binary.LittleEndian, binary.BigEndian

// GUIDs of [MS-VHDX] as they lie in the file.
var (
	idBAT      = "\x66\x77\xc2\x2d\x23\xf6\x00\x42\x9d\x64\x11\x5e\x9b\xfd\x4a\x08"
	idMetadata = "\x06\xa2\x7c\x8b\x90\x47\x9a\x4b\xb8\xfe\x57\x5f\x05\x0f\x88\x6e"

	idFileParameters = "\x37\x67\xa1\xca\x36\xfa\x43\x4d\xb3\xb6\x33\xf0\xaa\x44\xe7\x6b"
	idDiskSize       = "\x24\x42\xa5\x2f\x1b\xcd\x76\x48\xb2\x11\x5d\xbe\xd8\x3b\xf4\xb8"
	idDiskID         = "\xab\x12\xca\xbe\xe6\xb2\x23\x45\x93\xef\xc3\x09\xe0\x00\xc7\x46"
	idLogicalSector  = "\x1d\xbf\x41\x81\x6f\xa9\x09\x47\xba\x47\xf2\x33\xa8\xfa\xab\x5f"
	idPhysicalSector = "\xc7\x48\xa3\xcd\x5d\x44\x71\x44\x9c\xc9\xe9\x88\x52\x51\xc5\x56"
)

// plainVHDX decodes a VHDX file to the bytes of its disk. parent is the
// parent's disk, or nil.
func plainVHDX(file, parent []byte) []byte {
	// 2.2.3: region table. The log is taken as empty.
	var bat, metadata []byte
	table := file[192<<10:]
	for i := range le.Uint32(table[8:]) {
		entry := table[16+32*i:]
		off, n := le.Uint64(entry[16:]), le.Uint32(entry[24:])
		switch string(entry[:16]) {
		case idBAT:
			bat = file[off : off+uint64(n)]
		case idMetadata:
			metadata = file[off : off+uint64(n)]
		}
	}
	// 2.6: metadata.
	item := make(map[string][]byte)
	for i := range le.Uint16(metadata[10:]) {
		entry := metadata[32+32*int(i):]
		off, n := le.Uint32(entry[16:]), le.Uint32(entry[20:])
		item[string(entry[:16])] = metadata[off : off+n]
	}
	blockSize := int(le.Uint32(item[idFileParameters]))
	size := int(le.Uint64(item[idDiskSize]))
	sectorSize := int(le.Uint32(item[idLogicalSector]))

	// 2.5: BAT.
	chunkRatio := (1 << 23) * sectorSize / blockSize
	disk := make([]byte, size)
	for off := 0; off < size; off += sectorSize {
		block, within := off/blockSize, off%blockSize
		entry := le.Uint64(bat[8*(block+block/chunkRatio):])
		data := int(entry>>20<<20) + within
		sector := disk[off : off+sectorSize]
		switch entry & 7 {
		case 0: // PAYLOAD_BLOCK_NOT_PRESENT
			if parent != nil {
				copy(sector, parent[off:])
			}
		case 6: // PAYLOAD_BLOCK_FULLY_PRESENT
			copy(sector, file[data:])
		case 7: // PAYLOAD_BLOCK_PARTIALLY_PRESENT
			chunk := block / chunkRatio
			bitmap := le.Uint64(bat[8*(chunk*(chunkRatio+1)+chunkRatio):]) >> 20 << 20
			bit := off/sectorSize - chunk*(1<<23)
			if file[int(bitmap)+bit/8]>>(bit%8)&1 == 1 {
				copy(sector, file[data:])
			} else {
				copy(sector, parent[off:])
			}
		}
	}
	return disk
}

// plainVHD decodes a VHD file to the bytes of its disk, after the Microsoft
// VHD Image Format Specification 1.0. parent is the parent's disk, or nil.
func plainVHD(file, parent []byte) []byte {
	footer := file[len(file)-512:]
	disk := make([]byte, be.Uint64(footer[48:]))
	if be.Uint32(footer[60:]) == 2 { // fixed
		copy(disk, file)
		return disk
	}
	header := file[be.Uint64(footer[16:]):]
	table := file[be.Uint64(header[16:]):]
	blockSize := int(be.Uint32(header[32:]))
	bitmapSize := (blockSize/512/8 + 511) / 512 * 512
	for off := 0; off < len(disk); off += 512 {
		block, within := off/blockSize, off%blockSize
		present := false
		entry := be.Uint32(table[4*block:])
		start := int(entry) * 512
		if entry != 0xffffffff {
			bit := within / 512
			present = file[start+bit/8]>>(7-bit%8)&1 == 1
		}
		switch {
		case present:
			copy(disk[off:off+512], file[start+bitmapSize+within:])
		case parent != nil:
			copy(disk[off:off+512], parent[off:])
		}
	}
	return disk
}

// plainSeal computes the checksum of a header, region table or log entry.
func plainSeal(p []byte) {
	clear(p[4:8])
	le.PutUint32(p[4:], crc32.Checksum(p, crc32.MakeTable(crc32.Castagnoli)))
}

// plainBase encodes a disk as a dynamic VHDX without a parent. Blocks of zeros
// are left out. id is the DataWriteGUID as it lies in the file.
func plainBase(disk []byte, blockSize, sectorSize int, id [16]byte) []byte {
	file := make([]byte, 4*mib)
	copy(file, "vhdxfile")
	for i := range 2 {
		p := file[(i+1)<<16:][:4096]
		copy(p, "head")
		p[8] = byte(i + 1)        // sequence number
		copy(p[32:], id[:])       // data write GUID
		p[66] = 1                 // version
		le.PutUint32(p[68:], mib) // log length
		le.PutUint64(p[72:], mib) // log offset
		plainSeal(p)

		p = file[(i+3)<<16:][:65536]
		copy(p, "regi")
		p[8] = 2
		for j, id := range []string{idMetadata, idBAT} {
			entry := p[16+32*j:]
			copy(entry, id)
			le.PutUint64(entry[16:], uint64(2+j)*mib)
			le.PutUint32(entry[24:], mib)
			entry[28] = 1 // required
		}
		plainSeal(p)
	}
	metadata := file[2*mib:]
	copy(metadata, "metadata")
	for i, item := range []struct {
		id    string
		value []byte
	}{
		{idFileParameters, le.AppendUint64(nil, uint64(blockSize))},
		{idDiskSize, le.AppendUint64(nil, uint64(len(disk)))},
		{idDiskID, make([]byte, 16)},
		{idLogicalSector, le.AppendUint32(nil, uint32(sectorSize))},
		{idPhysicalSector, le.AppendUint32(nil, 4096)},
	} {
		metadata[10]++
		entry := metadata[32*(i+1):]
		at := 64<<10 + 16*i
		copy(entry, item.id)
		le.PutUint32(entry[16:], uint32(at))
		le.PutUint32(entry[20:], uint32(len(item.value)))
		entry[24] = 4 // required
		copy(metadata[at:], item.value)
	}
	chunkRatio := (1 << 23) * sectorSize / blockSize
	for block := 0; block*blockSize < len(disk); block++ {
		data := make([]byte, blockSize)
		copy(data, disk[block*blockSize:])
		if bytes.Count(data, []byte{0}) < blockSize {
			le.PutUint64(file[3*mib+8*(block+block/chunkRatio):], uint64(len(file))|6)
			file = append(file, data...)
		}
	}
	return file
}

// plainLog makes a VHDX's log dirty, [MS-VHDX] 2.3: one entry whose data
// sector puts sevens over the first 4 KiB of the first block in the file.
func plainLog(file []byte) {
	const logGUID = "0123456789abcdef"
	var bat []byte
	table := file[192<<10:]
	for i := range le.Uint32(table[8:]) {
		if entry := table[16+32*i:]; string(entry[:16]) == idBAT {
			bat = file[le.Uint64(entry[16:]):][:le.Uint32(entry[24:])]
		}
	}
	target := uint64(0)
	for target == 0 { // the first block that is in the file
		target, bat = le.Uint64(bat)>>20<<20, bat[8:]
	}

	for i := range 2 {
		header := file[(i+1)<<16:][:4096]
		copy(header[48:], logGUID)
		plainSeal(header)
	}
	header := file[1<<16:]
	entry := file[le.Uint64(header[72:]):][:8192]
	clear(entry)
	copy(entry, "loge")
	le.PutUint32(entry[8:], 8192) // entry length
	le.PutUint64(entry[16:], 1)   // sequence number
	le.PutUint32(entry[24:], 1)   // descriptors
	copy(entry[32:], logGUID)
	le.PutUint64(entry[48:], uint64(len(file))) // flushed file offset
	le.PutUint64(entry[56:], uint64(len(file))) // last file offset

	data := bytes.Repeat([]byte{7}, 4096)
	desc := entry[64:]
	copy(desc, "desc")
	copy(desc[4:8], data[4092:]) // trailing bytes
	copy(desc[8:16], data[:8])   // leading bytes
	le.PutUint64(desc[16:], target)
	le.PutUint64(desc[24:], 1)

	sector := entry[4096:]
	copy(sector[4:], data[:4096])
	copy(sector, "data")
	le.PutUint32(sector[4:], 0) // high half of the sequence number
	copy(sector[8:], data[8:4092])
	le.PutUint32(sector[4092:], 1) // low half
	plainSeal(entry)
}
