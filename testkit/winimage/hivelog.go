package winimage

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// Transaction logs of a registry hive, in the format of Windows 8.1 and later:
// a base block of 512 bytes and log entries, each of which holds pages of the
// hive's bins. Offsets are those of the public notes on the format (msuhanov's
// "Windows registry file format specification", "Transaction log files").
const (
	hiveBaseBlock   = 4096
	hivePage        = 4096
	hivePrimaryAt   = 4 // sequence number before, and after a write
	hiveSecondaryAt = 8
	hiveFileTypeAt  = 28
	hiveBinsSizeAt  = 40
	hiveChecksumAt  = 508

	logFileType    = 6
	logBaseBlock   = 512
	logEntryHeader = 40
	logAlignment   = 512

	// firstLogged is the number of the first entry of the log.
	firstLogged = 41
)

// marvinSeed is the one for log entries.
const marvinSeed = 0x82ef4d887a4e55c5

// breakFirstBin takes the signature of a hive's first bin away.
func breakFirstBin(data []byte) {
	copy(data[hiveBaseBlock:], "junk")
}

// markDirty makes a hive one that was not written to the end: its first
// sequence number is ahead of the second.
func markDirty(data []byte) {
	setSequence(data, firstLogged+1, firstLogged)
}

func setSequence(data []byte, primary, secondary uint32) {
	le := binary.LittleEndian
	le.PutUint32(data[hivePrimaryAt:], primary)
	le.PutUint32(data[hiveSecondaryAt:], secondary)
	var sum uint32
	for off := 0; off < hiveChecksumAt; off += 4 {
		sum ^= le.Uint32(data[off:])
	}
	switch sum { // the two values that a checksum does not have
	case 0:
		sum = 1
	case 0xffffffff:
		sum = 0xfffffffe
	}
	le.PutUint32(data[hiveChecksumAt:], sum)
}

// hiveLogs gives, for states of a hive that all have the same size, the logs
// that lead from each to the next: one entry in each log, as Windows takes
// turns with them.
func hiveLogs(states [][]byte) [][]byte {
	var logs [][]byte
	for i := range states[1:] {
		sequence := uint32(firstLogged + i)
		log := bytes.Clone(states[i+1][:logBaseBlock])
		binary.LittleEndian.PutUint32(log[hiveFileTypeAt:], logFileType)
		setSequence(log, sequence, sequence)
		logs = append(logs, append(log, logEntry(sequence, states[i], states[i+1])...))
	}
	return logs
}

// logEntry is the entry with the pages in which two states of a hive differ.
func logEntry(sequence uint32, before, after []byte) []byte {
	le := binary.LittleEndian
	var references, pages []byte
	for off := hiveBaseBlock; off < len(after); off += hivePage {
		if page := after[off : off+hivePage]; !bytes.Equal(page, before[off:off+hivePage]) {
			references = le.AppendUint32(references, uint32(off-hiveBaseBlock))
			references = le.AppendUint32(references, hivePage)
			pages = append(pages, page...)
		}
	}
	entry := append(append(make([]byte, logEntryHeader), references...), pages...)
	entry = append(entry, make([]byte, -len(entry)&(logAlignment-1))...)
	copy(entry, "HvLE")
	le.PutUint32(entry[4:], uint32(len(entry)))
	le.PutUint32(entry[12:], sequence)
	le.PutUint32(entry[16:], uint32(len(after)-hiveBaseBlock))
	le.PutUint32(entry[20:], uint32(len(references)/8))
	le.PutUint64(entry[24:], marvin32(marvinSeed, entry[logEntryHeader:]))
	le.PutUint64(entry[32:], marvin32(marvinSeed, entry[:32]))
	return entry
}

// marvin32 is Microsoft's keyed hash function of this name.
func marvin32(seed uint64, data []byte) uint64 {
	lo, hi := uint32(seed), uint32(seed>>32)
	block := func(v uint32) {
		lo += v
		hi ^= lo
		lo = bits.RotateLeft32(lo, 20) + hi
		hi = bits.RotateLeft32(hi, 9) ^ lo
		lo = bits.RotateLeft32(lo, 27) + hi
		hi = bits.RotateLeft32(hi, 19)
	}
	for ; len(data) >= 4; data = data[4:] {
		block(binary.LittleEndian.Uint32(data))
	}
	// The rest, with a mark behind it.
	last := make([]byte, 4)
	last[copy(last, data)] = 0x80
	block(binary.LittleEndian.Uint32(last))
	block(0)
	return uint64(hi)<<32 | uint64(lo)
}
