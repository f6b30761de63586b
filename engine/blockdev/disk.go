package blockdev

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// sectorUnit is the unit of sizes in sysfs, whatever the disk's own sectors
// are.
const sectorUnit = 512

// maxAttribute bounds what is read of one file of sysfs.
const maxAttribute = 4096

// Disk is a whole disk that has a medium.
type Disk struct {
	Path       string   // device node
	SizeBytes  int64    // more than 0
	SectorSize int      // logical, in bytes
	ReadOnly   bool     // as the platform attached it
	IDs        []string // serial numbers and unique names, each once

	lun, vbd *uint64
}

// String is for people.
func (d Disk) String() string {
	text := fmt.Sprintf("%s (%d MiB", d.Path, d.SizeBytes>>20)
	for _, id := range d.IDs {
		text += ", " + strconv.Quote(id)
	}
	if d.lun != nil {
		text += fmt.Sprintf(", LUN %d", *d.lun)
	}
	if d.vbd != nil {
		text += fmt.Sprintf(", Xen device %d", *d.vbd)
	}
	return text + ")"
}

// Machine is where a machine shows its disks.
type Machine struct {
	Sys string // sysfs
	Dev string // devtmpfs
}

// This is the machine that this process runs on.
var This = Machine{Sys: "/sys", Dev: "/dev"}

// Disks lists the disks in the order of their device nodes' names. A disk that
// goes while it is looked at is left out.
func (m Machine) Disks() ([]Disk, error) {
	entries, err := os.ReadDir(filepath.Join(m.Sys, "block"))
	if err != nil {
		return nil, fmt.Errorf("blockdev: %w", err)
	}
	var disks []Disk
	for _, e := range entries {
		if d, ok := m.disk(e.Name()); ok {
			disks = append(disks, d)
		}
	}
	return disks, nil
}

// scsiROM is the type of optical drives (SPC-4 table 140).
const scsiROM = "5"

func (m Machine) disk(name string) (Disk, bool) {
	dir := filepath.Join(m.Sys, "block", name)
	device := filepath.Join(dir, "device")
	// A virtual device (loop, ram, device mapper) has nobody who attached it.
	where, err := filepath.EvalSymlinks(device)
	if err != nil || text(device, "type") == scsiROM {
		return Disk{}, false
	}
	sectors, err := strconv.ParseInt(text(dir, "size"), 10, 64)
	if err != nil || sectors <= 0 || sectors > (1<<63-1)/sectorUnit {
		return Disk{}, false
	}
	d := Disk{Path: filepath.Join(m.Dev, name), SizeBytes: sectors * sectorUnit, ReadOnly: text(dir, "ro") == "1"}
	d.SectorSize, err = strconv.Atoi(text(dir, "queue/logical_block_size"))
	if err != nil {
		d.SectorSize = sectorUnit
	}
	for _, id := range []string{
		text(dir, "serial"),    // virtio-blk
		text(device, "serial"), // NVMe
		page80(device),         // SCSI, and ATA through it
	} {
		d.add(id)
	}
	d.addName(text(dir, "wwid"))    // NVMe
	d.addName(text(device, "wwid")) // SCSI
	for _, id := range page83(attribute(filepath.Join(device, "vpd_pg83"))) {
		d.add(id)
	}
	d.lun, d.vbd = address(filepath.Base(where))
	return d, true
}

func (d *Disk) add(id string) {
	if id != "" && !slices.Contains(d.IDs, id) {
		d.IDs = append(d.IDs, id)
	}
}

// addName adds a unique name such as naa.6000c29... also without its type, and
// of "t10.Google  PersistentDisk  data" also the last word: that is what the
// platform calls the disk.
func (d *Disk) addName(name string) {
	d.add(name)
	of, rest, ok := strings.Cut(name, ".")
	if !ok {
		return
	}
	switch of {
	case "naa", "eui", "uuid", "nvme":
		d.add(rest)
	case "t10":
		if words := strings.Fields(rest); len(words) > 1 {
			d.add(words[len(words)-1])
		}
	}
}

// page80 is the unit's serial number (SPC-4 7.8.10): its length is in bytes 2
// and 3 of the page, the text follows.
func page80(device string) string {
	b := attribute(filepath.Join(device, "vpd_pg80"))
	if len(b) < 4 {
		return ""
	}
	n := int(b[2])<<8 | int(b[3])
	return clean(b[4:min(4+n, len(b))])
}

// page83 gives the names of a type of their own that a unit says it has, in text
// (SPC-4 7.8.6, "Device Identification": designators of type 0 for the logical
// unit). Google Cloud tells the name of a disk's device so; the kernel leaves them
// out of the wwid.
func page83(page []byte) []string {
	const (
		header                      = 4 // of the page and of each designator; the lengths follow
		ascii, utf8                 = 2, 3
		vendorSpecific, logicalUnit = 0, 0
	)
	if len(page) < header {
		return nil
	}
	list := page[header:min(header+int(page[2])<<8+int(page[3]), len(page))]
	var names []string
	for len(list) >= header {
		end := header + int(list[3])
		if end > len(list) {
			break
		}
		set, association, kind := list[0]&0xF, list[1]>>4&3, list[1]&0xF
		if (set == ascii || set == utf8) && association == logicalUnit && kind == vendorSpecific {
			names = append(names, clean(list[header:end]))
		}
		list = list[end:]
	}
	return names
}

// address reads the place of a device by its name in sysfs: host:channel:
// target:LUN of SCSI, or vbd-NUMBER of Xen.
func address(name string) (lun, vbd *uint64) {
	if number, ok := strings.CutPrefix(name, "vbd-"); ok {
		if n, err := strconv.ParseUint(number, 10, 64); err == nil {
			return nil, &n
		}
		return nil, nil
	}
	if parts := strings.Split(name, ":"); len(parts) == 4 {
		if n, err := strconv.ParseUint(parts[3], 10, 64); err == nil {
			return &n, nil
		}
	}
	return nil, nil
}

func text(dir, name string) string { return clean(attribute(filepath.Join(dir, name))) }

func clean(b []byte) string { return string(bytes.Trim(b, " \n\x00")) }

// attribute reads a file of sysfs; one that is not there is empty.
func attribute(path string) []byte {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxAttribute))
	if err != nil {
		return nil
	}
	return b
}
