package blockdev

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrSelector says that a text is not a selector.
var ErrSelector = errors.New("blockdev: not a selector of a disk")

// maxSerial bounds serial numbers. NVMe's have 20 bytes, SCSI's at most 252.
const maxSerial = 252

type kind string

const (
	bySerial kind = "serial"
	byLUN    kind = "lun"
	byXen    kind = "xen"
)

// Selector says which disk is meant. Its text is what a driver of a platform
// tells the engine: "serial:out-0123", "lun:1", "xen:51728".
type Selector struct {
	kind   kind
	serial string
	number uint64
}

// Serial selects by serial number, or by the unique name that the disk has by
// SCSI's page 0x83 or by NVMe. Upper and lower case are the same: platforms
// disagree about UUIDs. A virtio-blk disk keeps only 20 bytes of its own.
func Serial(s string) Selector { return Selector{kind: bySerial, serial: s} }

// LUN selects by SCSI logical unit number, on whatever controller.
func LUN(n uint64) Selector { return Selector{kind: byLUN, number: n} }

// Xen selects by the number of a Xen virtual block device.
func Xen(n uint64) Selector { return Selector{kind: byXen, number: n} }

// Parse reads what String wrote.
func Parse(text string) (Selector, error) {
	k, value, _ := strings.Cut(text, ":")
	switch kind(k) {
	case bySerial:
		if value == "" || len(value) > maxSerial || value != strings.TrimSpace(value) {
			return Selector{}, fmt.Errorf("%w: %.40q: a serial number has 1 to %d characters and no space around it", ErrSelector, text, maxSerial)
		}
		return Serial(value), nil
	case byLUN, byXen:
		n, err := strconv.ParseUint(value, 10, 64)
		if err != nil {
			return Selector{}, fmt.Errorf("%w: %.40q: want a number after %s", ErrSelector, text, k)
		}
		return Selector{kind: kind(k), number: n}, nil
	}
	return Selector{}, fmt.Errorf("%w: %.40q: want serial:TEXT, lun:NUMBER or xen:NUMBER", ErrSelector, text)
}

// String gives the selector as Parse reads it.
func (s Selector) String() string {
	if s.kind == bySerial {
		return string(s.kind) + ":" + s.serial
	}
	return string(s.kind) + ":" + strconv.FormatUint(s.number, 10)
}

// fits reports whether the disk is one that is meant.
func (s Selector) fits(d Disk) bool {
	switch s.kind {
	case bySerial:
		for _, id := range d.IDs {
			if strings.EqualFold(id, s.serial) {
				return true
			}
		}
	case byLUN:
		return d.lun != nil && *d.lun == s.number
	case byXen:
		return d.vbd != nil && *d.vbd == s.number
	}
	return false
}
