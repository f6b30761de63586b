package hive

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
)

// A transaction log begins with a copy of the hive's base block, of one sector,
// in which the sequence numbers are the log's and the file type is that of logs.
const (
	sectorSize = 512

	fileTypeLogNT  = 2 // Windows 2000
	fileTypeLog    = 1
	fileTypeLogNew = 6 // entries, from Windows 8.1 on
)

// A log of the old format goes on with a dirty vector, "DIRT" and a bit for each
// 512 bytes of the bins, and from the next sector on the pages whose bits are
// set. It describes one write of the hive.
//
// In the new format entries follow, each of whole sectors:
//
//	0   "HvLE"    4 bytes in this entry    8 flags    12 sequence number
//	16  bytes in the hive's bins           20 number of page references
//	24  hash of the entry from 40 on       32 hash of the 32 bytes before
//	40  references: offset in the bins, number of bytes; then the pages
const (
	entryHeaderSize = 40
	dirtyVectorAt   = sectorSize
	referenceSize   = 8
)

// logFile is a transaction log as far as it is sound. Slices alias it.
type logFile struct {
	base    []byte // the copy of the base block, one sector
	seq     uint32
	old     bool
	entries []logEntry // an old log is one entry

	// stop is why reading ended where it did; nil if nothing that looks like an
	// entry comes after the last one.
	stop error
	// lost is the highest sequence number of an entry that was written after
	// the last one but cannot follow it, because one in between is missing;
	// that of the last one if there is none. An entry that was being written
	// when the machine stopped is not lost: nothing relies on it.
	lost uint32
}

type logEntry struct {
	seq    uint32
	flags  uint32
	binned uint32 // bytes in the bins of the hive once it is applied
	pages  []dirtyPage
}

type dirtyPage struct {
	off  uint32 // in the bins
	data []byte
}

func (l *logFile) lastSeq() uint32 { return l.entries[len(l.entries)-1].seq }

// compareSeq orders sequence numbers, which wrap around.
func compareSeq(a, b uint32) int { return cmp.Compare(int32(a-b), 0) }

// later reports whether the sequence number a comes after b.
func later(a, b uint32) bool { return compareSeq(a, b) > 0 }

var errNoLog = errors.New("it is empty")

// parseLog reads a log. If it has no entry, there is an error, and still a
// logFile when the base block is sound.
func parseLog(b []byte) (*logFile, error) {
	if len(bytes.TrimLeft(b, "\x00")) == 0 {
		return nil, errNoLog
	}
	if len(b) < sectorSize || string(b[:4]) != "regf" {
		return nil, fmt.Errorf("no base block with signature \"regf\" in %d bytes", len(b))
	}
	if sum := checksum(b); sum != le.Uint32(b[checksumAt:]) {
		return nil, fmt.Errorf("checksum %#x in its base block, want %#x", le.Uint32(b[checksumAt:]), sum)
	}
	if err := checkVersion(b); err != nil {
		return nil, err
	}
	if seq1, seq2 := le.Uint32(b[4:]), le.Uint32(b[8:]); seq1 != seq2 {
		return nil, fmt.Errorf("writing it was interrupted: sequence numbers %d and %d", seq1, seq2)
	}
	seq := le.Uint32(b[4:])
	l := &logFile{base: b[:sectorSize], seq: seq, lost: seq - 1}
	var err error
	switch typ := le.Uint32(b[28:]); typ {
	case fileTypeLog, fileTypeLogNT:
		l.old = true
		err = l.readDirtyVector(b)
	case fileTypeLogNew:
		err = l.readEntries(b)
	default:
		err = fmt.Errorf("file type %d, not that of a transaction log", typ)
	}
	return l, err
}

func (l *logFile) readDirtyVector(b []byte) error {
	if factor := le.Uint32(b[44:]); factor != 1 {
		return fmt.Errorf("clustering factor %d, want 1", factor)
	}
	size := le.Uint32(b[40:])
	if size == 0 || size%pageSize != 0 {
		return fmt.Errorf("its base block says %#x bytes of bins", size)
	}
	bits := size / sectorSize
	vector := b[dirtyVectorAt:]
	if !bytes.HasPrefix(vector, []byte("DIRT")) {
		return fmt.Errorf("at %#x: no dirty vector: % x", dirtyVectorAt, vector[:min(4, len(vector))])
	}
	if vector = vector[4:]; int64(len(vector)) < int64(bits/8) {
		return fmt.Errorf("at %#x: dirty vector of %d bytes, log has %d", dirtyVectorAt, bits/8, len(vector))
	}
	e := logEntry{seq: l.seq, flags: le.Uint32(b[144:]), binned: size}
	at := roundUp(dirtyVectorAt+4+int(bits/8), sectorSize)
	for i := range bits {
		if vector[i/8]>>(i%8)&1 == 0 {
			continue
		}
		if at+sectorSize > len(b) {
			return fmt.Errorf("at %#x: log ends before dirty page %d, which is for offset %#x",
				len(b), len(e.pages)+1, baseBlockSize+int64(i)*sectorSize)
		}
		e.pages = append(e.pages, dirtyPage{i * sectorSize, b[at : at+sectorSize]})
		at += sectorSize
	}
	l.entries, l.lost = []logEntry{e}, l.seq
	return nil
}

// readEntries reads the entries from the first on, while each is sound and has
// the sequence number that follows. What comes then was not completely written,
// or is left from an earlier use of the log.
func (l *logFile) readEntries(b []byte) error {
	at, want := sectorSize, l.seq
	var stop error
	for ; len(b)-at >= entryHeaderSize && string(b[at:at+4]) == "HvLE"; want++ {
		size, err := checkEntry(b[at:])
		if err == nil {
			if seq := le.Uint32(b[at+12:]); seq != want {
				err = fmt.Errorf("sequence number %d, want %d", seq, want)
			}
		}
		if err != nil {
			stop = fmt.Errorf("log entry at %#x: %w", at, err)
			break
		}
		e, err := newEntry(b[at : at+size])
		if err != nil { // its hashes are right: it was written like this
			return fmt.Errorf("log entry at %#x: %w", at, err)
		}
		l.entries = append(l.entries, e)
		at += size
	}
	l.lost = want - 1
	for next := at; len(b)-next >= entryHeaderSize; next += sectorSize {
		if seq := le.Uint32(b[next+12:]); later(seq, want) && later(seq, l.lost) && checkEntryHeader(b[next:]) == nil {
			l.lost = seq
		}
	}
	switch {
	case len(l.entries) > 0:
		l.stop = stop
		return nil
	case stop != nil:
		return stop
	}
	return fmt.Errorf("no log entry at %#x", at)
}

// checkEntryHeader checks the part of an entry that the second hash protects.
func checkEntryHeader(b []byte) error {
	if string(b[:4]) != "HvLE" {
		return fmt.Errorf("begins with % x", b[:4])
	}
	if got, want := le.Uint64(b[32:]), marvin32(b[:32]); got != want {
		return fmt.Errorf("hash of the header is %#x, want %#x", got, want)
	}
	return nil
}

// checkEntry checks the entry that b begins with and returns its size.
func checkEntry(b []byte) (int, error) {
	if err := checkEntryHeader(b); err != nil {
		return 0, err
	}
	size := le.Uint32(b[4:])
	if size < entryHeaderSize || size%sectorSize != 0 || int64(size) > int64(len(b)) {
		return 0, fmt.Errorf("%#x bytes, log has %#x", size, len(b))
	}
	if got, want := le.Uint64(b[24:]), marvin32(b[entryHeaderSize:size]); got != want {
		return 0, fmt.Errorf("hash of the pages is %#x, want %#x", got, want)
	}
	return int(size), nil
}

// newEntry decodes the entry b.
func newEntry(b []byte) (logEntry, error) {
	e := logEntry{seq: le.Uint32(b[12:]), flags: le.Uint32(b[8:]), binned: le.Uint32(b[16:])}
	if e.binned == 0 || e.binned%pageSize != 0 {
		return e, fmt.Errorf("hive of %#x bytes of bins", e.binned)
	}
	references, count := b[entryHeaderSize:], int64(le.Uint32(b[20:]))
	if count*referenceSize > int64(len(references)) {
		return e, fmt.Errorf("%d page references in %#x bytes", count, len(b))
	}
	pages := references[count*referenceSize:]
	for i := range int(count) {
		off, n := le.Uint32(references[i*referenceSize:]), le.Uint32(references[i*referenceSize+4:])
		if int64(off)+int64(n) > int64(e.binned) {
			return e, fmt.Errorf("page of %#x bytes at %#x, beyond the hive's %#x bytes of bins", n, off, e.binned)
		}
		if int64(n) > int64(len(pages)) {
			return e, fmt.Errorf("page of %#x bytes, entry has %#x left", n, len(pages))
		}
		e.pages = append(e.pages, dirtyPage{off, pages[:n]})
		pages = pages[n:]
	}
	return e, nil
}
