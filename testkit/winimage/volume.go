package winimage

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"

	"imageport/testkit/winimage/ntfs3g"
)

// buildVolume makes the content of a partition in a file.
func buildVolume(ctx context.Context, path string, p Partition, t tree, spec Spec) error {
	out, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("winimage: %w", err)
	}
	if err := errors.Join(out.Truncate(p.SizeBytes), out.Close()); err != nil {
		return fmt.Errorf("winimage: %w", err)
	}
	switch p.Content {
	case FAT:
		return run(ctx, "mkfs.fat", "-F", "16", "-S", strconv.Itoa(spec.SectorSize), "-i", "0a0b0c0d", "-n", string(p.Role), path)
	case Raw:
		data, err := io.ReadAll(io.LimitReader(noise(spec.Seed, string(p.Role)), rawBytes))
		if err != nil {
			return fmt.Errorf("winimage: %w", err)
		}
		return patch(path, 0, data)
	}
	if err := ntfs3g.Format(ctx, path, string(p.Role), p.StartBytes/int64(spec.SectorSize), spec.SectorSize); err != nil {
		return err
	}
	if err := writeTree(ctx, path, t, spec); err != nil {
		return err
	}
	if p.Role != Windows {
		return nil
	}
	if spec.WindowsFreeMiB > 0 {
		if err := fill(ctx, path, int64(spec.WindowsFreeMiB)*mib); err != nil {
			return err
		}
	}
	if spec.DirtyNTFS {
		if err := markVolumeDirty(path); err != nil {
			return err
		}
	}
	if spec.CorruptNTFS {
		places, err := mftPlaces(path)
		if err != nil {
			return err
		}
		if err := patch(path, places.mft, []byte("BAAD")); err != nil {
			return err
		}
	}
	if spec.BitLocker {
		return patch(path, 3, []byte("-FVE-FS-"))
	}
	return nil
}

// rawBytes is the noise at the beginning of a raw partition.
const rawBytes = 64 << 10

// writeTree puts the files on an empty volume.
func writeTree(ctx context.Context, path string, t tree, spec Spec) error {
	work := path + ".compressed"
	defer os.RemoveAll(work)
	compressed, err := t.compress(ctx, work, spec.Seed)
	if err != nil {
		return err
	}
	if err := onVolume(ctx, path, func(dir string) error {
		return t.write(ctx, dir, spec.Seed, compressed, false)
	}); err != nil {
		return err
	}
	if !slices.ContainsFunc(t, func(f file) bool { return f.late }) {
		return nil
	}
	return scatter(ctx, path, t, spec.Seed)
}

// onVolume calls do with the directory on which the volume is mounted.
func onVolume(ctx context.Context, path string, do func(dir string) error) error {
	volume, err := ntfs3g.Mount(ctx, path)
	if err != nil {
		return err
	}
	return errors.Join(do(volume.Dir), volume.Unmount())
}

// places are those of the MFT on a volume, in bytes.
type places struct {
	mft, mirror, recordSize int64
}

func mftPlaces(path string) (places, error) {
	f, err := os.Open(path)
	if err != nil {
		return places{}, fmt.Errorf("winimage: %w", err)
	}
	defer f.Close()
	boot := make([]byte, 512)
	if _, err := f.ReadAt(boot, 0); err != nil {
		return places{}, fmt.Errorf("winimage: %w", err)
	}
	le := binary.LittleEndian
	cluster := int64(le.Uint16(boot[11:])) * int64(boot[13])
	size := int64(int8(boot[64])) * cluster
	if size < 0 { // smaller than a cluster: a power of two
		size = 1 << -int8(boot[64])
	}
	return places{int64(le.Uint64(boot[48:])) * cluster, int64(le.Uint64(boot[56:])) * cluster, size}, nil
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
	at, err := mftPlaces(path)
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("winimage: %w", err)
	}
	defer f.Close()
	le := binary.LittleEndian
	for _, mftAt := range []int64{at.mft, at.mirror} {
		record := make([]byte, at.recordSize)
		at := mftAt + recordVolume*at.recordSize
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
