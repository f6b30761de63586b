package guestsim

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"imageport/engine/disk"
	"imageport/engine/disk/gpt"
	"imageport/engine/windows/ntfs"
	"imageport/testkit/winimage/ntfs3g"
)

const sectorSize = 512

// rawDisk is a raw file as a disk.
type rawDisk struct {
	*os.File
	size int64
}

func (d rawDisk) Size() int64     { return d.size }
func (d rawDisk) SectorSize() int { return sectorSize }

// span is a part of a disk, in bytes.
type span struct{ offset, size int64 }

// findWindows finds the volume with a Windows, as the firmware and the boot
// manager would; of several, it is the first.
func findWindows(path string) (span, error) {
	f, err := os.Open(path)
	if err != nil {
		return span{}, fmt.Errorf("guestsim: %w", err)
	}
	defer f.Close()
	size, err := f.Seek(0, 2) // also of a block device
	if err != nil {
		return span{}, fmt.Errorf("guestsim: %w", err)
	}
	d := rawDisk{f, size / sectorSize * sectorSize}
	parts, err := partitions(d)
	if err != nil {
		return span{}, fmt.Errorf("guestsim: %s does not start: %w", path, err)
	}
	for _, p := range parts {
		v, err := ntfs.Open(disk.Section(d, p.offset, p.size), p.size)
		if err != nil {
			continue // not NTFS
		}
		if _, err := v.Stat(`Windows\System32\config\SYSTEM`); err == nil {
			return p, nil
		}
	}
	return span{}, fmt.Errorf("guestsim: %s does not start: none of its %d partitions has a Windows", path, len(parts))
}

func partitions(d disk.Disk) ([]span, error) {
	var parts []span
	table, err := gpt.Read(d)
	if err == nil {
		for _, e := range table.Entries {
			parts = append(parts, span{int64(e.FirstLBA) * sectorSize, int64(e.Sectors()) * sectorSize})
		}
		return parts, nil
	}
	if !errors.Is(err, gpt.ErrNotGPT) {
		return nil, err
	}
	mbr, err := gpt.ReadMBR(d)
	if err != nil {
		return nil, err
	}
	for _, p := range mbr.Partitions {
		if !p.Extended() {
			parts = append(parts, span{int64(p.FirstLBA) * sectorSize, int64(p.Sectors) * sectorSize})
		}
	}
	return parts, nil
}

// volume is the mounted volume of a Windows.
type volume struct {
	*ntfs3g.Volume
	loop *os.File
}

// mountVolume mounts a part of a disk through a loop device that ends where the
// volume does, and that goes when nobody has it open any more.
func mountVolume(ctx context.Context, path string, part span) (*volume, error) {
	loop, err := attachLoop(path, part)
	if err != nil {
		return nil, err
	}
	v, err := ntfs3g.Mount(ctx, loop.Name())
	if err != nil {
		return nil, errors.Join(err, loop.Close())
	}
	return &volume{v, loop}, nil
}

// unmount returns when everything is on the disk.
func (v *volume) unmount() error {
	err := v.Unmount()
	return errors.Join(err, v.loop.Sync(), v.loop.Close())
}

func attachLoop(path string, part span) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("guestsim: %w", err)
	}
	defer file.Close()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("guestsim: %w", err)
	}
	defer control.Close()
	config := unix.LoopConfig{
		Fd: uint32(file.Fd()),
		Info: unix.LoopInfo64{
			Offset: uint64(part.offset), Sizelimit: uint64(part.size), Flags: unix.LO_FLAGS_AUTOCLEAR,
		},
	}
	const attempts = 100 // others take loop devices, too
	for range attempts {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("guestsim: a free loop device: %w", err)
		}
		loop, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", n), os.O_RDWR, 0)
		if err != nil {
			return nil, fmt.Errorf("guestsim: %w", err)
		}
		err = unix.IoctlLoopConfigure(int(loop.Fd()), &config)
		if err == nil {
			return loop, nil
		}
		loop.Close()
		if !errors.Is(err, unix.EBUSY) {
			return nil, fmt.Errorf("guestsim: %s as %s: %w", path, loop.Name(), err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return nil, fmt.Errorf("guestsim: no free loop device after %d attempts", attempts)
}
