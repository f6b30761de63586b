package bootconv

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/google/uuid"

	"imageport/engine/disk"
	"imageport/engine/disk/fat32"
	"imageport/engine/disk/gpt"
	"imageport/engine/windows/bcd"
	"imageport/engine/windows/hive"
	"imageport/engine/windows/ntfs"
	"imageport/job"
)

// Verify reads a converted disk as firmware and Windows would, and compares it
// with the plan and with the disk that was converted: both partition tables,
// every file of the EFI system partition, the way from the boot store to
// Windows, and the drive letters. Failures are of code VerifyFailed.
func (im *Image) Verify(ctx context.Context, p *Plan, converted disk.Disk) error {
	for _, check := range []struct {
		what string
		run  func(context.Context, *Plan, disk.Disk) error
	}{
		{"partition table", im.verifyTable},
		{"EFI system partition", im.verifyESP},
		{"Windows partition", im.verifyWindows},
	} {
		if err := check.run(ctx, p, converted); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if job.CodeOf(err) != "" {
				return job.At(check.what, err) // of the share below, or of ours
			}
			return job.Errorf(job.VerifyFailed, "Start the job again; if it fails again, report it", "%s, read back: %w", check.what, err)
		}
	}
	return nil
}

func (im *Image) verifyTable(_ context.Context, p *Plan, d disk.Disk) error {
	t, err := gpt.Read(d)
	if err != nil {
		return err
	}
	byIndex := func(a, b gpt.Entry) int { return a.Index - b.Index }
	got, want := slices.SortedFunc(slices.Values(t.Entries), byIndex), slices.SortedFunc(slices.Values(p.After.Entries), byIndex)
	if t.DiskGUID != p.After.DiskGUID || !slices.Equal(got, want) {
		return fmt.Errorf("found disk %s with %v, planned %s with %v", t.DiskGUID, got, p.After.DiskGUID, want)
	}
	return nil
}

// section gives the partition of the plan with that id.
func (p *Plan) section(d disk.Disk, id uuid.UUID) (*io.SectionReader, int64) {
	for _, e := range p.After.Entries {
		if e.ID == id {
			size := int64(e.Sectors()) * int64(d.SectorSize())
			return disk.Section(d, int64(e.FirstLBA)*int64(d.SectorSize()), size), size
		}
	}
	return disk.Section(d, 0, 0), 0
}

func (im *Image) verifyESP(ctx context.Context, p *Plan, d disk.Disk) error {
	volume, err := fat32.Open(p.section(d, p.ESP.ID))
	if err != nil {
		return err
	}
	entries, err := volume.Files()
	if err != nil {
		return err
	}
	files := im.espFiles(p)
	if len(entries) != len(files) {
		return fmt.Errorf("it has %d files, planned were %d", len(entries), len(files))
	}
	for _, f := range files {
		if err := ctx.Err(); err != nil {
			return err
		}
		written, err := volume.Open(f.Target)
		if err != nil {
			return fmt.Errorf("%s: %w", f.Target, err)
		}
		if written.Size() != f.Size {
			return fmt.Errorf("%s has %d bytes, its source %d", f.Target, written.Size(), f.Size)
		}
		if err := sameBytes(written, f.data, f.Size); err != nil {
			return fmt.Errorf("%s: %w", f.Target, err)
		}
	}
	return p.verifyStore(volume)
}

// verifyStore follows the store on the ESP from the boot manager to Windows.
func (p *Plan) verifyStore(volume *fat32.FS) error {
	f, err := volume.Open(espStore)
	if err != nil {
		return err
	}
	raw := make([]byte, f.Size())
	if _, err := f.ReadAt(raw, 0); err != nil && err != io.EOF {
		return err
	}
	summary, err := bcd.Inspect(raw)
	if err != nil {
		return err
	}
	for _, use := range summary.Partitions {
		if use.Ref.Style == bcd.StyleMBR && use.Ref.Signature == p.Signature {
			return fmt.Errorf("%s still names a partition of the MBR: %v", espStore, use)
		}
	}
	// A default that locates its Windows by its files names no partition.
	named := summary.DefaultKind != bcd.KindLocate
	if !summary.IsUEFI || named && (summary.DefaultDevice.Disk != p.After.DiskGUID || summary.DefaultDevice.Partition != p.osID) {
		return fmt.Errorf("the default entry of %s starts %s on %v, not from partition %s", espStore, summary.DefaultPath, summary.DefaultDevice, p.osID)
	}
	if !strings.HasSuffix(strings.ToLower(summary.DefaultPath), `\winload.efi`) {
		return fmt.Errorf("the default entry of %s starts %q, not winload.efi", espStore, summary.DefaultPath)
	}
	return nil
}

func (im *Image) verifyWindows(_ context.Context, p *Plan, d disk.Disk) error {
	volume, err := ntfs.Open(p.section(d, p.osID))
	if err != nil {
		return err
	}
	if _, err := volume.Stat(pathWinload); err != nil {
		return err
	}
	raw, err := readFile(volume, pathSystem)
	if err != nil {
		return err
	}
	h, err := hive.Parse(raw)
	if err != nil {
		return fmt.Errorf("%s: %w", pathSystem, err)
	}
	if h.Dirty() {
		return fmt.Errorf("%s is not clean", pathSystem)
	}
	key, err := h.Lookup("MountedDevices")
	if err != nil {
		return fmt.Errorf("%s: %w", pathSystem, err)
	}
	letter := append([]byte("DMIO:ID:"), onDisk(p.osID)...)
	found := false
	for _, v := range key.Values {
		if len(v.Data) == 12 && binary.LittleEndian.Uint32(v.Data) == p.Signature {
			return fmt.Errorf("MountedDevices value %q still names the MBR", v.Name)
		}
		found = found || bytes.Equal(v.Data, letter)
	}
	if planned := slices.ContainsFunc(p.Registry, func(e RegistryEdit) bool { return e.After == hex.EncodeToString(letter) }); planned && !found {
		return fmt.Errorf("no MountedDevices value names partition %s", p.osID)
	}
	return nil
}

// sameBytes compares n bytes of two readers.
func sameBytes(a, b io.ReaderAt, n int64) error {
	const chunk = 1 << 20
	bufA, bufB := make([]byte, min(chunk, n)), make([]byte, min(chunk, n))
	for off := int64(0); off < n; off += chunk {
		m := min(chunk, n-off)
		if _, err := a.ReadAt(bufA[:m], off); err != nil && err != io.EOF {
			return err
		}
		if _, err := b.ReadAt(bufB[:m], off); err != nil && err != io.EOF {
			return err
		}
		if !bytes.Equal(bufA[:m], bufB[:m]) {
			return fmt.Errorf("bytes from %d on differ from the source", off)
		}
	}
	return nil
}
