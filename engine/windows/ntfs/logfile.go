package ntfs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// Flags and markers of the restart area of $LogFile.
const (
	restartVolumeIsClean = 0x0002
	noClient             = 0xffff
)

// LogFileClean tells whether Windows has dismounted the volume in order, so
// that $LogFile holds nothing to replay. It decides as ntfs-3g does when it
// mounts: the restart page written last is that of a log of version 1.1 (2.0
// means that Windows may keep changes in its cache, for a fast start), and has
// no client using it, or its flag says clean. An emptied log (0xff throughout)
// is clean; one that is not empty and has no restart page is not. Nor is one
// with a damaged restart page, even where the other would do for ntfs-3g: its
// writing was interrupted.
func (v *Volume) LogFileClean() (bool, error) {
	rec, err := v.baseRecord(recordLogFile)
	if err != nil {
		return false, err
	}
	s, err := v.stream(rec, typeData, "")
	if err != nil {
		return false, err
	}
	if s == nil || s.size < 2*stride {
		return false, corruptf("MFT record %d, $DATA: $LogFile is missing or too small", recordLogFile)
	}
	empty := true
	var last restartPage
	var found bool
	// The first restart page is at 0, the second at the system page size,
	// which is a power of two and not known if the first is damaged.
	for offset := int64(0); offset+stride <= s.size; offset = max(2*offset, stride) {
		head := make([]byte, stride)
		if _, err := s.ReadAt(head, offset); err != nil {
			return false, err
		}
		if bytes.Equal(head[:4], []byte{0xff, 0xff, 0xff, 0xff}) {
			if !empty {
				break
			}
			continue
		}
		empty = false
		magic := string(head[:4])
		if magic == "RCRD" {
			break // log records come behind the restart pages
		}
		if magic != "RSTR" && magic != "CHKD" {
			continue
		}
		page, ok, err := readRestartPage(s, head, offset)
		if err != nil {
			return false, err
		}
		if !ok {
			return false, nil
		}
		if !found || page.lsn > last.lsn {
			last, found = page, true
		}
	}
	if empty {
		return true, nil
	}
	if !found || last.major == 2 {
		return false, nil
	}
	return last.clientsInUse == noClient || last.flags&restartVolumeIsClean != 0, nil
}

// restartPage is what LogFileClean needs of one.
type restartPage struct {
	lsn          uint64
	major        uint16
	clientsInUse uint16
	flags        uint16
}

// readRestartPage reads the restart page that begins with head; not ok means
// that it is damaged.
func readRestartPage(s *stream, head []byte, offset int64) (page restartPage, ok bool, err error) {
	systemPage := int64(binary.LittleEndian.Uint32(head[0x10:]))
	logPage := int64(binary.LittleEndian.Uint32(head[0x14:]))
	area := int64(binary.LittleEndian.Uint16(head[0x18:]))
	minor := binary.LittleEndian.Uint16(head[0x1a:])
	page.major = binary.LittleEndian.Uint16(head[0x1c:])
	if systemPage < stride || systemPage > 64<<10 || !powerOfTwo(systemPage) || !powerOfTwo(logPage) ||
		offset != 0 && offset != systemPage || offset+systemPage > s.size {
		return page, false, nil
	}
	if !(page.major == 1 && minor == 1) && !(page.major == 2 && minor == 0) {
		return page, false, nil
	}
	b := make([]byte, systemPage)
	if _, err := s.ReadAt(b, offset); err != nil && err != io.EOF {
		return page, false, fmt.Errorf("restart page at offset %d: %w", offset, err)
	}
	// A page that chkdsk has written may have no update sequence.
	if chkdsk := string(b[:4]) == "CHKD"; !chkdsk || binary.LittleEndian.Uint16(b[6:]) != 0 {
		if undoFixups(b) != nil {
			return page, false, nil
		}
	}
	if area%8 != 0 || area < 0x1e || area+0x30 > systemPage {
		return page, false, nil
	}
	a := b[area:]
	page.lsn = binary.LittleEndian.Uint64(a)
	if string(b[:4]) == "CHKD" {
		page.lsn = binary.LittleEndian.Uint64(b[8:])
	}
	clients := binary.LittleEndian.Uint16(a[8:])
	page.clientsInUse = binary.LittleEndian.Uint16(a[12:])
	page.flags = binary.LittleEndian.Uint16(a[14:])
	if page.clientsInUse != noClient && page.clientsInUse >= clients {
		return page, false, nil
	}
	return page, true, nil
}
