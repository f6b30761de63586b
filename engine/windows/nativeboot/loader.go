package nativeboot

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"imageport/engine/disk/fat32"
	"imageport/engine/windows/offline"
	"imageport/job"
)

// The boot managers on an EFI system partition: Windows' own, which an entry of
// the firmware's NVRAM names, and the one that firmware without such an entry
// starts (UEFI 3.5.1.1), as that of a new VM is.
const (
	pathManager  = "EFI/Microsoft/Boot/bootmgfw.efi"
	pathFallback = "EFI/Boot/bootx64.efi"

	// managerLimit bounds what is copied: many times what Windows has there.
	managerLimit = 16 << 20

	whyLoader = "the firmware of a new VM has no entry for the disk, and starts this file"
)

// fixLoaders gives EFI system partitions a boot manager where firmware looks that
// knows nothing of this disk. One that is there stays, whatever it is.
func (p *planner) fixLoaders() error {
	if p.Firmware != job.UEFI {
		return nil
	}
	if len(p.esps) == 0 {
		p.warn("the disk has a GPT, but no EFI system partition: nothing starts from it")
	}
	for _, v := range p.esps {
		if err := p.ctx.Err(); err != nil {
			return err
		}
		err := p.fixLoader(v)
		switch {
		case ofFAT(err):
			p.warn("the EFI system partition, %s, stays as it is, so that firmware may find no boot manager on it: %s", v, err)
		case err != nil:
			return fmt.Errorf("EFI system partition, %s: %w", v, err)
		}
	}
	return nil
}

// fixLoader adds the fallback loader to a volume. Errors that are ofFAT leave it
// as it was.
func (p *planner) fixLoader(v offline.Partition) error {
	w := part{p.out, v.Offset, v.Size}
	volume, err := fat32.Open(w, v.Size)
	if err != nil {
		return err
	}
	if _, err := volume.Stat(pathFallback); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	manager, err := volume.Stat(pathManager)
	if errors.Is(err, fs.ErrNotExist) {
		p.warn("the EFI system partition, %s, has neither %s nor %s: nothing of Windows starts from it", v, onESP(pathFallback), onESP(pathManager))
		return nil
	}
	if err != nil {
		return err
	}
	if manager.Dir || manager.Size == 0 || manager.Size > managerLimit {
		p.warn("%s on %s, of %d bytes, is no boot manager", onESP(pathManager), v, manager.Size)
		return nil
	}
	file, err := volume.Open(pathManager)
	if err != nil {
		return err
	}
	data := make([]byte, manager.Size)
	if _, err := io.ReadFull(file, data); err != nil {
		return err
	}
	err = fat32.AddFile(w, v.Size, fat32.File{Path: pathFallback, Size: manager.Size, ModTime: manager.ModTime, Data: bytes.NewReader(data)})
	if err != nil {
		return err
	}
	p.fixed(fmt.Sprintf("%s: %s", v, onESP(pathFallback)), "", "a copy of "+onESP(pathManager), whyLoader)
	return nil
}

// onESP is a path as Windows writes it.
func onESP(path string) string {
	return `\` + strings.ReplaceAll(path, "/", `\`)
}

// ofFAT reports whether an error is the volume's own, and not of the disk below
// it: it is not FAT32, or cannot be changed.
func ofFAT(err error) bool {
	for _, own := range []error{fat32.ErrNotFAT32, fat32.ErrCorrupt, fat32.ErrDirty, fat32.ErrNoSpace, fat32.ErrPath, fat32.ErrFileSize, fs.ErrExist} {
		if errors.Is(err, own) {
			return true
		}
	}
	return false
}
