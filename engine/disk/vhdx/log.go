package vhdx

import (
	"io"
	"slices"

	"github.com/google/uuid"
)

// maxLogLength bounds the memory of a replay. Windows and QEMU make logs of
// 1 MiB.
const maxLogLength = 32 * mib

// firstLoggable is the first byte of a file that may be changed through the
// log: the file identifier and the headers never are.
const firstLoggable = regionTable1Offset

// logRegion is a log in memory: a ring of sectors.
type logRegion struct {
	offset int64 // in the file
	guid   uuid.UUID
	data   []byte
}

// logEntry is the header of a valid log entry, [MS-VHDX] 2.3.1.1.
type logEntry struct {
	position    int // of its first sector in the log; all in sectors
	sectors     int
	tail        int
	descriptors int
	sequence    uint64
	// The file had flushedSize bytes at least, and will have lastSize.
	flushedSize, lastSize uint64
}

// readLog reads the log that a header names, which lies inside the file.
func readLog(r io.ReaderAt, head header) (*logRegion, error) {
	switch {
	case head.logVersion != logVersion:
		return nil, refuse(ErrUnsupported, "header", head.offset, "found log version %d, expected %d", head.logVersion, logVersion)
	case head.logLength == 0 || head.logLength%mib != 0:
		return nil, corrupt("header", head.offset, "found a log of %d bytes, expected a multiple of 1 MiB", head.logLength)
	case head.logLength > maxLogLength:
		return nil, refuse(ErrUnsupported, "header", head.offset, "found a log of %d bytes, expected at most %d", head.logLength, maxLogLength)
	}
	l := &logRegion{int64(head.logOffset), head.log, make([]byte, head.logLength)}
	return l, readFull(r, "log", l.offset, l.data)
}

// sectors is the number of sectors of the log.
func (l *logRegion) sectors() int { return len(l.data) / logSectorSize }

// sector gives a sector by its number, which wraps around.
func (l *logRegion) sector(n int) []byte {
	return l.data[n%l.sectors()*logSectorSize:][:logSectorSize]
}

// descriptor gives descriptor i of an entry. None crosses a sector.
func (l *logRegion) descriptor(e logEntry, i int) []byte {
	at := logEntryHeaderSize + i*logDescriptorSize
	return l.sector(e.position + at/logSectorSize)[at%logSectorSize:][:logDescriptorSize]
}

// descriptorSectors is the number of sectors that n descriptors and the entry
// header before them fill.
func descriptorSectors(n int) int {
	return (logEntryHeaderSize + n*logDescriptorSize + logSectorSize - 1) / logSectorSize
}

// entry parses the entry that begins at a sector. Whatever is not a valid one
// is what other entries, or a torn write, have left there. That the file sizes
// are whole MiB is not asked of it: QEMU's have not always been.
func (l *logRegion) entry(position int) (e logEntry, valid bool) {
	p := l.sector(position)
	if string(p[:4]) != logEntrySignature || guid(p[32:]) != l.guid {
		return e, false
	}
	length, tail, descriptors := le.Uint32(p[8:]), le.Uint32(p[12:]), le.Uint32(p[24:])
	e = logEntry{
		position:    position % l.sectors(),
		sectors:     int(length / logSectorSize),
		tail:        int(tail / logSectorSize),
		descriptors: int(descriptors),
		sequence:    le.Uint64(p[16:]),
		flushedSize: le.Uint64(p[48:]),
		lastSize:    le.Uint64(p[56:]),
	}
	if length%logSectorSize != 0 || tail%logSectorSize != 0 || e.sequence == 0 ||
		e.sectors == 0 || e.sectors > l.sectors() || e.tail >= l.sectors() ||
		e.descriptors > e.sectors*logSectorSize/logDescriptorSize || descriptorSectors(e.descriptors) > e.sectors {
		return e, false
	}
	data := descriptorSectors(e.descriptors) // the next data sector
	for i := range e.descriptors {
		kind, ok := l.verifyDescriptor(e, l.descriptor(e, i))
		if !ok {
			return e, false
		}
		if kind == logZeroSignature {
			continue
		}
		if data == e.sectors || !verifyDataSector(e, l.sector(position+data)) {
			return e, false
		}
		data++
	}
	if data != e.sectors {
		return e, false
	}
	more := make([][]byte, 0, e.sectors-1)
	for i := 1; i < e.sectors; i++ {
		more = append(more, l.sector(position+i))
	}
	return e, checksum(p, more...) == le.Uint32(p[4:])
}

// verifyDescriptor checks a zero or data descriptor, [MS-VHDX] 2.3.1.2 and 3.
func (l *logRegion) verifyDescriptor(e logEntry, d []byte) (kind string, ok bool) {
	kind = string(d[:4])
	off, length := le.Uint64(d[16:]), uint64(logSectorSize)
	switch kind {
	case logZeroSignature:
		length = le.Uint64(d[8:])
	case logDataSignature:
	default:
		return kind, false
	}
	log := uint64(l.offset)
	return kind, le.Uint64(d[24:]) == e.sequence &&
		off%logSectorSize == 0 && length%logSectorSize == 0 &&
		off >= firstLoggable && off <= maxFileSize && length <= maxFileSize-off &&
		(off+length <= log || off >= log+uint64(len(l.data)))
}

// verifyDataSector checks a data sector, [MS-VHDX] 2.3.1.4.
func verifyDataSector(e logEntry, p []byte) bool {
	return string(p[:4]) == logSectorSignature &&
		le.Uint32(p[4:]) == uint32(e.sequence>>32) && le.Uint32(p[logSectorSize-4:]) == uint32(e.sequence)
}

// activeSequence finds the entries to replay, [MS-VHDX] 2.3.3: of the
// sequences of valid entries with ascending numbers whose last entry's tail is
// one of them, the one with the highest number, from that tail on.
func (l *logRegion) activeSequence() ([]logEntry, error) {
	var active []logEntry
	for position := 0; position < l.sectors(); {
		sequence, sectors := l.sequence(position)
		if len(sequence) == 0 {
			position++
			continue
		}
		// What begins inside a sequence cannot be better, even if the sequence
		// has no tail: it ends with the same entry, or is no entry.
		position += sectors
		head := sequence[len(sequence)-1]
		tail := slices.IndexFunc(sequence, func(e logEntry) bool { return e.position == head.tail })
		if tail >= 0 && (active == nil || head.sequence > active[len(active)-1].sequence) {
			active = sequence[tail:]
		}
	}
	if active == nil {
		return nil, corrupt("log", l.offset, "found no valid sequence of entries with GUID %s in %d bytes", l.guid, len(l.data))
	}
	return active, nil
}

// sequence gives the entries from a sector on that were written one after the
// other, and how many sectors they fill.
func (l *logRegion) sequence(position int) (entries []logEntry, sectors int) {
	for sectors < l.sectors() {
		e, valid := l.entry(position + sectors)
		if !valid || sectors+e.sectors > l.sectors() ||
			len(entries) > 0 && e.sequence != entries[len(entries)-1].sequence+1 {
			break
		}
		entries, sectors = append(entries, e), sectors+e.sectors
	}
	return entries, sectors
}
