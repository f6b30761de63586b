package fat32

import (
	"encoding/binary"
	"time"
)

// directoryEntries returns the entries of a directory, but for the label.
func (n *node) directoryEntries() []byte {
	b := make([]byte, 0, n.size)
	if n.parent != nil {
		b = appendEntry(b, newShortName(".", ""), attrDirectory, n.cluster, 0, n.modTime)
		up := n.parent.cluster
		if n.parent.parent == nil {
			up = 0 // so the specification writes the root here
		}
		b = appendEntry(b, newShortName("..", ""), attrDirectory, up, 0, n.modTime)
	}
	for _, child := range n.children {
		b = child.appendTo(b)
	}
	return b
}

// appendTo appends the entries that the node has in its directory.
func (n *node) appendTo(b []byte) []byte {
	b = appendLongName(b, n.long, n.short.checksum())
	if n.file == nil {
		return appendEntry(b, n.short, attrDirectory, n.cluster, 0, n.modTime)
	}
	return appendEntry(b, n.short, attrArchive, n.cluster, uint32(n.size), n.modTime)
}

// labelEntry is the entry of the root directory that has the label.
func (p plan) labelEntry() []byte {
	return appendEntry(nil, p.label, attrVolumeID, 0, 0, p.opt.ModTime)
}

func appendEntry(b []byte, name shortName, attr byte, cluster, size uint32, t time.Time) []byte {
	var e [dirEntrySize]byte
	le := binary.LittleEndian
	date, clock, tenth := fatTime(t)
	copy(e[dirName:], name[:])
	e[dirAttr] = attr
	e[dirCreateTenth] = tenth
	le.PutUint16(e[dirCreateTime:], clock)
	le.PutUint16(e[dirCreateDate:], date)
	le.PutUint16(e[dirAccessDate:], date)
	le.PutUint16(e[dirClusterHigh:], uint16(cluster>>16))
	le.PutUint16(e[dirWriteTime:], clock)
	le.PutUint16(e[dirWriteDate:], date)
	le.PutUint16(e[dirClusterLow:], uint16(cluster))
	le.PutUint32(e[dirFileSize:], size)
	return append(b, e[:]...)
}

// appendLongName appends the entries of a long name, the last part first. The
// last part ends in a zero and is filled up with FFFF.
func appendLongName(b []byte, long []uint16, checksum byte) []byte {
	parts := (len(long) + lfnPerEntry - 1) / lfnPerEntry
	for part := parts; part >= 1; part-- {
		var e [dirEntrySize]byte
		e[lfnOrdinal] = byte(part)
		if part == parts {
			e[lfnOrdinal] |= lfnLast
		}
		e[dirAttr] = attrLongName
		e[lfnChecksum] = checksum
		for i, at := range lfnUnits {
			unit := uint16(0xFFFF)
			switch k := (part-1)*lfnPerEntry + i; {
			case k < len(long):
				unit = long[k]
			case k == len(long):
				unit = 0
			}
			binary.LittleEndian.PutUint16(e[at:], unit)
		}
		b = append(b, e[:]...)
	}
	return b
}

// fatTime converts to the date, the time of day in units of two seconds, and
// the rest in units of 10 ms ("Date and Time Formats"). Times before 1980, the
// zero Time among them, and after 2107 become the first and last that FAT knows.
func fatTime(t time.Time) (date, clock uint16, tenth byte) {
	t = t.UTC()
	if t.Year() < 1980 {
		t = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)
	} else if t.Year() > 2107 {
		t = time.Date(2107, 12, 31, 23, 59, 59, 0, time.UTC)
	}
	date = uint16((t.Year()-1980)<<9 | int(t.Month())<<5 | t.Day())
	clock = uint16(t.Hour()<<11 | t.Minute()<<5 | t.Second()/2)
	tenth = byte(t.Second()%2*100 + t.Nanosecond()/10_000_000)
	return date, clock, tenth
}
