package winimage

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"imageport/testkit/winimage/ntfs3g"
)

// buildVolume makes the NTFS volume of a partition in a file.
func buildVolume(ctx context.Context, path string, p Partition, t tree, spec Spec) error {
	out, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("winimage: %w", err)
	}
	if err := errors.Join(out.Truncate(p.SizeBytes), out.Close()); err != nil {
		return fmt.Errorf("winimage: %w", err)
	}
	if err := ntfs3g.Format(ctx, path, string(p.Role), p.StartBytes/sectorBytes); err != nil {
		return err
	}
	volume, err := ntfs3g.Mount(ctx, path)
	if err != nil {
		return err
	}
	if err := errors.Join(t.write(ctx, volume.Dir, spec.Seed), volume.Unmount()); err != nil {
		return err
	}
	if p.Role != Windows {
		return nil
	}
	if spec.DirtyNTFS {
		if err := markVolumeDirty(path); err != nil {
			return err
		}
	}
	if spec.BitLocker {
		return patch(path, 3, []byte("-FVE-FS-"))
	}
	return nil
}

// markVolumeDirty sets VOLUME_IS_DIRTY in $Volume, file record 3, and in the
// mirror of the first four records.
func markVolumeDirty(path string) error {
	const (
		recordVolume          = 3
		attrVolumeInformation = 0x70
		attrEnd               = 0xffffffff
		flagsAt               = 10 // in the attribute's value
		volumeIsDirty         = 1
	)
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("winimage: %w", err)
	}
	defer f.Close()
	le := binary.LittleEndian
	boot := make([]byte, sectorBytes)
	if _, err := f.ReadAt(boot, 0); err != nil {
		return fmt.Errorf("winimage: %w", err)
	}
	cluster := int64(le.Uint16(boot[11:])) * int64(boot[13])
	recordSize := int64(1) << -int8(boot[64]) // mkntfs always makes it a power of two
	for _, mftAt := range []int64{int64(le.Uint64(boot[48:])) * cluster, int64(le.Uint64(boot[56:])) * cluster} {
		record := make([]byte, recordSize)
		at := mftAt + recordVolume*recordSize
		if _, err := f.ReadAt(record, at); err != nil {
			return fmt.Errorf("winimage: %w", err)
		}
		attr := int(le.Uint16(record[20:]))
		for le.Uint32(record[attr:]) != attrVolumeInformation {
			if le.Uint32(record[attr:]) == attrEnd {
				return errors.New("winimage: $Volume has no volume information")
			}
			attr += int(le.Uint32(record[attr+4:]))
		}
		flags := attr + int(le.Uint16(record[attr+20:])) + flagsAt
		if err := patch(path, at+int64(flags), []byte{record[flags] | volumeIsDirty}); err != nil {
			return err
		}
	}
	return nil
}

// patch overwrites bytes of a file.
func patch(path string, at int64, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("winimage: %w", err)
	}
	_, err = f.WriteAt(data, at)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("winimage: %w", err)
	}
	return nil
}
