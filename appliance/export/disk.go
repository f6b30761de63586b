package export

import (
	"fmt"
	"io"

	"github.com/google/uuid"

	"imageport/engine/disk/fat32"
	"imageport/engine/disk/gpt"
)

// typeBIOSBoot is the type of the partition that has no file system and holds
// the boot loader of a BIOS machine. (The bytes read "Hah!IdontNeedEFI".)
var typeBIOSBoot = uuid.MustParse("21686148-6449-6e6f-744e-656564454649")

// maxMBRCode is the space for code in LBA 0: the disk signature follows.
const maxMBRCode = 440

// BIOSLoader makes the disk start on a machine with BIOS firmware, too. It gets
// the layout, in which BIOSBoot is a partition of 1 MiB that is its own.
type BIOSLoader func(Layout) (BIOSCode, error)

// BIOSCode is what a BIOSLoader puts on the disk.
type BIOSCode struct {
	MBR  []byte // what the BIOS loads from LBA 0: at most 440 bytes
	Boot []byte // what the partition BIOSBoot begins with
}

// newDisk makes the disk, with a size that is a multiple of granule.
func newDisk(u *UKI, opt Options, granule int64) (*contents, Layout, error) {
	l, v, err := layOut(u, opt, granule)
	if err != nil {
		return nil, Layout{}, err
	}
	start := int64(l.ESP.FirstLBA) * sectorSize
	c := &contents{size: l.SizeBytes, parts: []part{
		{0, make([]byte, start+v.used)},
		{l.SizeBytes - backupSectors*sectorSize, make([]byte, backupSectors*sectorSize)},
	}}
	if err := fat32.Format(io.NewOffsetWriter(c, start), v.opt, v.files); err != nil {
		return nil, Layout{}, fmt.Errorf("export: write the EFI system partition: %w", err)
	}
	if err := c.holds(u, int64(l.UKI.FirstLBA)*sectorSize); err != nil {
		return nil, Layout{}, err
	}
	if err := partitionTable(u, l).Write(c); err != nil {
		return nil, Layout{}, fmt.Errorf("export: write the partition table: %w", err)
	}
	if opt.BIOS != nil {
		if err := c.installBIOS(opt.BIOS, l); err != nil {
			return nil, Layout{}, err
		}
	}
	return c, l, nil
}

// partitionTable numbers the partitions in the order of the disk.
func partitionTable(u *UKI, l Layout) gpt.Table {
	t := gpt.Table{DiskGUID: u.id("disk"), SectorSize: sectorSize, Sectors: uint64(l.SizeBytes / sectorSize)}
	add := func(r Region, typ, id uuid.UUID, name string) {
		t.Entries = append(t.Entries, gpt.Entry{
			Index: len(t.Entries), Type: typ, ID: id, Name: name,
			FirstLBA: r.FirstLBA, LastLBA: r.FirstLBA + r.Sectors - 1,
		})
	}
	if l.BIOSBoot.Sectors > 0 {
		add(l.BIOSBoot, typeBIOSBoot, u.id("BIOS boot partition"), "BIOS boot")
	}
	add(l.ESP, gpt.TypeESP, u.id("EFI system partition"), "EFI system partition")
	return t
}

// installBIOS puts the loader's code in its two places. The entry of the
// protective MBR stays inactive (UEFI 5.2.3): there is firmware that takes a
// disk for one without a GPT if it is not, and the BIOS of no hypervisor asks
// for it.
func (c *contents) installBIOS(loader BIOSLoader, l Layout) error {
	code, err := loader(l)
	if err != nil {
		return fmt.Errorf("export: BIOS loader: %w", err)
	}
	if n := len(code.MBR); n == 0 || n > maxMBRCode {
		return fmt.Errorf("export: BIOS loader: its MBR code has %d bytes, expected 1 to %d: %w", n, maxMBRCode, ErrOptions)
	}
	if n, room := len(code.Boot), biosBootSectors*sectorSize; n > room {
		return fmt.Errorf("export: BIOS loader: %d bytes for a partition of %d: %w", n, room, ErrOptions)
	}
	var mbr [maxMBRCode]byte // clears the message for BIOS machines that the GPT came with
	copy(mbr[:], code.MBR)
	for _, w := range []part{
		{0, mbr[:]},
		{int64(l.BIOSBoot.FirstLBA) * sectorSize, code.Boot},
	} {
		if _, err := c.WriteAt(w.data, w.off); err != nil {
			return err
		}
	}
	return nil
}

// writeRaw writes the disk as it is.
func writeRaw(m *meter, w io.Writer, u *UKI, opt Options) (Layout, error) {
	disk, l, err := newDisk(u, opt, mib)
	if err != nil {
		return Layout{}, err
	}
	m.total = disk.size
	return l, m.copy(w, disk.reader())
}
