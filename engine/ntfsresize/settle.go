package ntfsresize

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"imageport/engine/fusefile"
	"imageport/engine/windows/ntfs"
)

// Of the boot sector: offset of the number of sectors of the volume, 8 bytes.
const totalSectorsAt = 0x28

// settle brings the volume in order behind ntfsresize, which asks for a chkdsk,
// and checks all that Shrink promises, with code of ours.
func settle(volume fusefile.File, p Plan) error {
	if p.fits {
		if err := endAt(volume, p); err != nil {
			return err
		}
	}
	v, err := ntfs.Open(volume, p.NewSize)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrVerify, err)
	}
	mft, err := v.Open(`\$MFT`)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrVerify, err)
	}
	mirror, err := v.Open(`\$MFTMirr`)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrVerify, err)
	}
	if err := setVolumeFlags(volume, mft, v.State().RecordSize, p.flags); err != nil {
		return fmt.Errorf("%w: MFT record %d: %w", ErrVerify, recordVolume, err)
	}
	if err := copyMirror(volume, mft, mirror); err != nil {
		return fmt.Errorf("$MFTMirr: %w", err)
	}
	return verify(volume, p)
}

// endAt moves the end of a volume that fits in its new partition already.
func endAt(volume fusefile.File, p Plan) error {
	v, err := ntfs.Open(volume, p.Size)
	if err != nil {
		return err
	}
	sector := int64(v.State().SectorSize)
	boot := make([]byte, sector)
	if _, err := volume.ReadAt(boot, 0); err != nil {
		return fmt.Errorf("boot sector: %w", err)
	}
	total := min(v.State().TotalBytes, p.NewSize-sector) / sector
	binary.LittleEndian.PutUint64(boot[totalSectorsAt:], uint64(total))
	for _, at := range []int64{p.NewSize - sector, 0} {
		if _, err := volume.WriteAt(boot, at); err != nil {
			return fmt.Errorf("boot sector at offset %d: %w", at, err)
		}
	}
	return nil
}

// $Volume's record, and what is looked for in it.
const (
	recordVolume             = 3
	typeVolumeInformation    = 0x70
	typeEnd                  = 0xffffffff
	volumeFlagsAt            = 10  // in the value of $VOLUME_INFORMATION
	stride                   = 512 // bytes that one update sequence entry protects
	updateSequenceAt         = 4   // offset of its offset and its count
	firstAttributeAt         = 0x14
	attributeLengthAt        = 4
	attributeValueLengthAt   = 0x10
	attributeValueOffsetAt   = 0x14
	smallestAttribute        = 0x18
	smallestUpdateSequenceAt = 8
)

// setVolumeFlags writes the flags of $VOLUME_INFORMATION where they lie, and
// nothing else.
func setVolumeFlags(volume fusefile.File, mft *ntfs.File, recordSize int, flags uint16) error {
	raw := make([]byte, recordSize)
	at := int64(recordVolume * recordSize)
	if _, err := mft.ReadAt(raw, at); err != nil {
		return err
	}
	within, err := volumeFlagsOffset(raw)
	if err != nil {
		return err
	}
	extents, err := mft.Extents()
	if err != nil {
		return err
	}
	at += int64(within)
	for _, e := range extents {
		if at >= e.FileOffset && at+2 <= e.FileOffset+e.Length {
			_, err := volume.WriteAt(binary.LittleEndian.AppendUint16(nil, flags), e.VolumeOffset+at-e.FileOffset)
			return err
		}
	}
	return errors.New("its flags are in no extent of $MFT")
}

// volumeFlagsOffset finds the bytes of a FILE record, as it lies on the disk,
// that hold the flags of $VOLUME_INFORMATION: at the end of a stride, that is
// the entry of the update sequence that stands for them.
func volumeFlagsOffset(raw []byte) (int, error) {
	if len(raw) < stride || string(raw[:4]) != "FILE" {
		return 0, errors.New("no FILE record")
	}
	sequence := int(binary.LittleEndian.Uint16(raw[updateSequenceAt:]))
	count := int(binary.LittleEndian.Uint16(raw[updateSequenceAt+2:]))
	if count != len(raw)/stride+1 || sequence < smallestUpdateSequenceAt || sequence+2*count > len(raw) {
		return 0, fmt.Errorf("update sequence of %d entries at offset 0x%x", count, sequence)
	}
	entry := func(i int) int { return sequence + 2*i }
	record := bytes.Clone(raw)
	for i := 1; i < count; i++ {
		copy(record[i*stride-2:i*stride], raw[entry(i):entry(i)+2])
	}
	for at := int(binary.LittleEndian.Uint16(record[firstAttributeAt:])); at+smallestAttribute <= len(record); {
		a := record[at:]
		kind, length := binary.LittleEndian.Uint32(a), int(binary.LittleEndian.Uint32(a[attributeLengthAt:]))
		if kind == typeEnd || length < smallestAttribute || length > len(a) {
			break
		}
		if kind == typeVolumeInformation {
			value := int(binary.LittleEndian.Uint16(a[attributeValueOffsetAt:]))
			if size := int(binary.LittleEndian.Uint32(a[attributeValueLengthAt:])); size < volumeFlagsAt+2 || value+volumeFlagsAt+2 > length || value%2 != 0 {
				return 0, fmt.Errorf("$VOLUME_INFORMATION of %d bytes at offset 0x%x of its attribute", size, value)
			}
			found := at + value + volumeFlagsAt
			if found%stride == stride-2 {
				return entry(found/stride + 1), nil
			}
			return found, nil
		}
		at += length
	}
	return 0, errors.New("no $VOLUME_INFORMATION")
}

// maxMirror bounds $MFTMirr: it has four records, or a cluster.
const maxMirror = 2 << 20

// copyMirror makes $MFTMirr the copy of $MFT's first records that it is to be.
func copyMirror(volume fusefile.File, mft, mirror *ntfs.File) error {
	if mirror.Size() > maxMirror {
		return fmt.Errorf("%w: %d bytes, want at most %d", ErrVerify, mirror.Size(), maxMirror)
	}
	extents, err := mirror.Extents()
	if err != nil {
		return err
	}
	for _, e := range extents {
		b := make([]byte, e.Length)
		if _, err := mft.ReadAt(b, e.FileOffset); err != nil {
			return err
		}
		if _, err := volume.WriteAt(b, e.VolumeOffset); err != nil {
			return err
		}
	}
	return nil
}

// verify looks at the volume anew.
func verify(volume io.ReaderAt, p Plan) error {
	found, err := inspect(volume, p.NewSize)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrVerify, err)
	}
	if found.Flags != p.flags {
		return fmt.Errorf("%w: volume flags 0x%04x, want 0x%04x", ErrVerify, found.Flags, p.flags)
	}
	sector := int64(found.SectorSize)
	if found.TotalBytes > p.NewSize-sector {
		return fmt.Errorf("%w: the volume of %d bytes leaves no sector for the backup boot sector in %d", ErrVerify, found.TotalBytes, p.NewSize)
	}
	first, last := make([]byte, sector), make([]byte, sector)
	for at, b := range map[int64][]byte{0: first, p.NewSize - sector: last} {
		if _, err := volume.ReadAt(b, at); err != nil && err != io.EOF {
			return fmt.Errorf("boot sector at offset %d: %w", at, err)
		}
	}
	if !bytes.Equal(first, last) {
		return fmt.Errorf("%w: the backup boot sector at offset %d differs from the boot sector", ErrVerify, p.NewSize-sector)
	}
	return nil
}
