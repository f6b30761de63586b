package biosboot

import (
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

const (
	// SectorSize is that of the disk, in bytes: LBA count sectors of this size.
	SectorSize = 512
	// MBRSize is the size of the code of the master boot record, in bytes: the
	// disk signature and the partition table follow.
	MBRSize = 440
	// Stage2Size is the size of the second stage, in bytes: whole sectors.
	Stage2Size = 4 * SectorSize
)

// ErrPlace says that the UKI or the second stage cannot lie where it shall.
var ErrPlace = errors.New("impossible place on the disk")

// Place is where things lie on the disk, each in one piece.
type Place struct {
	UKI    uint64 // first LBA of the UKI
	Stage2 uint64 // first LBA of the second stage
}

// Code is a boot loader for one UKI at one place.
type Code struct {
	// MBR is for the first MBRSize bytes of LBA 0. The BIOS wants the signature
	// 55 AA at the end of that sector; a protective MBR has it.
	MBR []byte
	// Stage2 is for Place.Stage2, best in a BIOS boot partition.
	Stage2 []byte
}

// The loader as assembled: LBA 0, whose offset MBRSize and following belong to
// others, and the second stage.
//
//go:embed loader/loader.bin
var loader []byte

// Offsets of parameters in the loader (see mbr.S and stage2.S), in bytes: of the LBA of
// the second stage from its start, of the others from the second stage. All are
// little-endian.
const (
	offStage2LBA = 432 // u64

	offSum       = 4  // u32: makes the sum of all u32 zero
	offRunStart  = 8  // u32, and the end
	offInitrdLow = 16 // u32, and the end
	offPieces    = 24 // setup, command line, kernel, initrd:
	pieceSize    = 24
	offLBA       = 0  // u64
	offBytes     = 8  // u32
	offCRC       = 16 // u32
)

// Install makes the boot loader for a UKI of size bytes. All that is to be done
// to the UKI, such as signing it, has to be done before.
//
// Its errors are ErrNotUKI, ErrAlignment, ErrKernel, ErrTooBig, ErrPlace, and
// those of the UKI's reader.
func Install(uki io.ReaderAt, size int64, at Place) (Code, error) {
	if err := at.check(size); err != nil {
		return Code{}, err
	}
	img, err := readImage(uki, size)
	if err != nil {
		return Code{}, err
	}

	mbr := append([]byte(nil), loader[:MBRSize]...)
	stage2 := append([]byte(nil), loader[SectorSize:]...)
	le := binary.LittleEndian
	le.PutUint64(mbr[offStage2LBA:], at.Stage2)
	le.PutUint32(stage2[offRunStart:], img.memory.runStart)
	le.PutUint32(stage2[offRunStart+4:], img.memory.runEnd)
	le.PutUint32(stage2[offInitrdLow:], img.memory.initrdLow)
	le.PutUint32(stage2[offInitrdLow+4:], img.memory.initrdEnd)
	for i, p := range img.pieces {
		sum, err := checksum(uki, p)
		if err != nil {
			return Code{}, err
		}
		b := stage2[offPieces+i*pieceSize:]
		le.PutUint64(b[offLBA:], at.UKI+uint64(p.offset)/SectorSize)
		le.PutUint32(b[offBytes:], uint32(p.size))
		le.PutUint32(b[offCRC:], sum)
	}
	var sum uint32
	for i := 0; i < len(stage2); i += 4 {
		sum += le.Uint32(stage2[i:])
	}
	le.PutUint32(stage2[offSum:], -sum)
	return Code{MBR: mbr, Stage2: stage2}, nil
}

// check returns an ErrPlace for what no disk of ours can have. LBA 0 is the
// master boot record.
func (at Place) check(size int64) error {
	const maxLBA = 1 << 48 // the loader shows as many bits
	end := at.UKI + (uint64(max(size, 0))+SectorSize-1)/SectorSize
	stage2End := at.Stage2 + Stage2Size/SectorSize
	switch {
	case at.UKI == 0 || at.UKI >= maxLBA || at.Stage2 == 0 || at.Stage2 >= maxLBA:
		return fmt.Errorf("biosboot: UKI at LBA %d, second stage at LBA %d, must be 1 to %d: %w", at.UKI, at.Stage2, uint64(maxLBA-1), ErrPlace)
	case at.UKI < stage2End && at.Stage2 < end:
		return fmt.Errorf("biosboot: the UKI, LBA %d to %d, overlaps the second stage, LBA %d to %d: %w", at.UKI, end-1, at.Stage2, stage2End-1, ErrPlace)
	}
	return nil
}

// checksum is the CRC-32 of a piece.
func checksum(uki io.ReaderAt, p piece) (uint32, error) {
	h := crc32.NewIEEE()
	n, err := io.Copy(h, io.NewSectionReader(uki, p.offset, p.size))
	if err == nil && n != p.size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return 0, fmt.Errorf("biosboot: read the UKI, offset %d, %d bytes: %w", p.offset, p.size, err)
	}
	return h.Sum32(), nil
}
