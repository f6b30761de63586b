package ntfs

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Volume is an NTFS volume that nothing else changes while it is read.
type Volume struct {
	geometry
	r       io.ReaderAt
	state   State
	mft     *stream
	upCase  upCase
	records *cache[uint64, *record]
	blocks  *cache[blockKey, []byte]
}

// State is what the volume says about itself.
type State struct {
	Label  string
	Serial uint64
	// ClusterSize, SectorSize and RecordSize (of one FILE record) are in bytes.
	ClusterSize, SectorSize, RecordSize int
	// TotalBytes is the volume's size; the partition has at least one sector
	// more, with a copy of the boot sector.
	TotalBytes int64
	// MajorVersion and MinorVersion are those of the format: 3.1 since
	// Windows XP.
	MajorVersion, MinorVersion int
	// Dirty says that Windows will run chkdsk before it uses the volume: it
	// found an inconsistency, or a chkdsk was interrupted. A volume can be
	// clean by this flag and still need its journal: see LogFileClean.
	Dirty bool
	// Flags are all flags of $VOLUME_INFORMATION.
	Flags uint16
}

// Flags of $VOLUME_INFORMATION that make a volume dirty. The others announce
// routine work of the next mount (resize the journal, finish the deletion of
// a USN journal), or carry no such meaning: 0x0080 is set by Windows 10 on
// every volume.
const (
	volumeDirty          = 0x0001
	volumeChkdskUnderway = 0x4000
)

// Bounds of what a Volume keeps in memory: typically 1 KiB a record and 4 KiB
// an index block, so some 2 MiB together.
const (
	cachedRecords = 1024
	cachedBlocks  = 256
)

// Open reads the metadata of the volume in a partition of size bytes: the boot
// sector, the run list of $MFT, $Volume and $UpCase, about 140 KiB in all.
func Open(r io.ReaderAt, size int64) (*Volume, error) {
	v := &Volume{
		r:       r,
		records: newCache[uint64, *record](cachedRecords),
		blocks:  newCache[blockKey, []byte](cachedBlocks),
	}
	if size < bootSectorSize {
		return nil, fmt.Errorf("%w: a partition of %d bytes", ErrNotNTFS, size)
	}
	boot := make([]byte, bootSectorSize)
	err := v.read(boot, 0)
	if err != nil {
		return nil, fmt.Errorf("boot sector: %w", err)
	}
	if v.geometry, err = parseBootSector(boot, size); err != nil {
		return nil, err
	}
	if err := v.openMFT(); err != nil {
		return nil, err
	}
	if err := v.readState(); err != nil {
		return nil, err
	}
	if v.upCase, err = v.readUpCase(); err != nil {
		return nil, err
	}
	return v, nil
}

// State tells what was read when the volume was opened.
func (v *Volume) State() State { return v.state }

// read fills p from the volume. The caller has checked the bounds against the
// volume's size, so an early end is the reader's fault and not corruption.
func (v *Volume) read(p []byte, off int64) error {
	n, err := v.r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %d bytes at offset %d of the NTFS volume: %w", len(p), off, err)
}

// openMFT finds the runs of $MFT. Record 0 lies where the boot sector says;
// further runs may be in extension records, each of which lies in runs that
// are known before it.
func (v *Volume) openMFT() error {
	b := make([]byte, v.recordSize)
	if err := v.read(b, v.mftLCN*v.clusterSize); err != nil {
		return fmt.Errorf("MFT record 0: %w", err)
	}
	rec, err := v.parse(b, recordMFT)
	if err != nil {
		return err
	}
	parts := rec.parts(typeData, "")
	if len(parts) == 0 {
		return corruptf("MFT record 0: no $DATA")
	}
	for i, part := range parts {
		if i == 0 && part.record.number() != recordMFT {
			return corruptf("MFT record 0, $ATTRIBUTE_LIST: $DATA begins in record %d", part.record.number())
		}
		a, err := v.resolve(rec, part)
		if err != nil {
			return err
		}
		if i == 0 {
			v.mft, err = v.newStream(recordMFT, a)
		} else {
			err = v.mft.extend(a)
		}
		if err != nil {
			return err
		}
	}
	if v.mft.size > v.totalBytes || !v.mft.nonResident || v.mft.flags&(flagSparse|flagEncrypted|flagCompressionMask) != 0 {
		return corruptf("MFT record 0, $DATA: %d bytes, flags 0x%04x", v.mft.size, v.mft.flags)
	}
	if len(v.mft.runs) == 0 || v.mft.runs[0].lcn != v.mftLCN {
		return corruptf("MFT record 0, $DATA: does not begin at cluster %d, where the boot sector found it", v.mftLCN)
	}
	return v.mft.finish()
}

// parse makes a record of the bytes of one, attribute list included.
func (v *Volume) parse(b []byte, number uint64) (*record, error) {
	rec, err := parseRecord(b, number)
	if err != nil {
		return nil, err
	}
	if rec.base != 0 {
		return rec, nil
	}
	own := make([]location, len(rec.attributes))
	for i, a := range rec.attributes {
		own[i] = location{a.typ, a.name, a.lowestVCN, rec.reference(), a.id}
	}
	rec.located = own
	for i := range rec.attributes {
		if rec.attributes[i].typ != typeAttributeList {
			continue
		}
		// The list itself is never split: its runs are all in this record.
		s, err := v.newStream(number, &rec.attributes[i])
		if err != nil {
			return nil, err
		}
		if err := s.finish(); err != nil {
			return nil, err
		}
		list, err := s.readAll(maxAttributeList)
		if err != nil {
			return nil, err
		}
		if rec.located, err = parseAttributeList(list); err != nil {
			return nil, corruptf("MFT record %d, $ATTRIBUTE_LIST: %v", number, err)
		}
		break
	}
	return rec, nil
}

// record loads the record of a file reference, which may be an extension.
func (v *Volume) record(ref reference) (*record, error) {
	number := ref.number()
	rec, ok := v.records.get(number)
	if !ok {
		if number >= v.recordCount() {
			return nil, corruptf("reference to MFT record %d; $MFT has %d", number, v.recordCount())
		}
		b := make([]byte, v.recordSize)
		if err := v.mft.readRuns(b, int64(number)*v.recordSize); err != nil {
			return nil, fmt.Errorf("MFT record %d: %w", number, err)
		}
		var err error
		if rec, err = v.parse(b, number); err != nil {
			return nil, err
		}
		v.records.put(number, rec)
	}
	if rec.flags&recordInUse == 0 {
		return nil, corruptf("MFT record %d: referred to, but not in use", number)
	}
	if want := ref.sequence(); want != 0 && want != rec.sequence {
		return nil, corruptf("MFT record %d: sequence number %d, referred to as %d", number, rec.sequence, want)
	}
	return rec, nil
}

// baseRecord is record for the references in directories, which name files.
func (v *Volume) baseRecord(ref reference) (*record, error) {
	rec, err := v.record(ref)
	if err != nil {
		return nil, err
	}
	if rec.base != 0 {
		return nil, corruptf("MFT record %d: named by a directory, but an extension of record %d", rec.number, rec.base.number())
	}
	return rec, nil
}

// recordCount counts the records of $MFT that were ever written.
func (v *Volume) recordCount() uint64 {
	return uint64(v.mft.initialized / v.recordSize)
}

// Bounds of preload: records this close in $MFT are read in one request.
const (
	preloadGap  = 8 << 10
	preloadSpan = 128 << 10
)

// preload reads into the cache those of the records that are not there, in few
// requests. What it cannot read or parse it leaves for record to report. The
// numbers must be sorted, and no more than the cache holds.
func (v *Volume) preload(numbers []uint64) {
	numbers = slices.DeleteFunc(slices.Clone(numbers), func(n uint64) bool {
		_, ok := v.records.get(n)
		return ok || n >= v.recordCount()
	})
	for len(numbers) > 0 {
		first, n := numbers[0], 1
		for n < len(numbers) &&
			int64(numbers[n]-numbers[n-1])*v.recordSize <= preloadGap &&
			int64(numbers[n]-first+1)*v.recordSize <= preloadSpan {
			n++
		}
		if n > 1 {
			b := make([]byte, int64(numbers[n-1]-first+1)*v.recordSize)
			if err := v.mft.readRuns(b, int64(first)*v.recordSize); err == nil {
				for _, number := range numbers[:n] {
					at := int64(number-first) * v.recordSize
					// Cloned, so that the cache does not keep the gaps.
					if rec, err := v.parse(slices.Clone(b[at:at+v.recordSize]), number); err == nil {
						v.records.put(number, rec)
					}
				}
			}
		}
		numbers = numbers[n:]
	}
}

// parts lists where an attribute lies, in the order of its clusters.
func (r *record) parts(typ uint32, name string) []location {
	var parts []location
	for _, l := range r.located {
		if l.typ == typ && l.name == name {
			parts = append(parts, l)
		}
	}
	slices.SortStableFunc(parts, func(a, b location) int { return cmp.Compare(a.lowestVCN, b.lowestVCN) })
	return parts
}

// resolve loads the record of a location and finds the attribute in it.
func (v *Volume) resolve(base *record, l location) (*attribute, error) {
	rec := base
	if l.record.number() != base.number {
		if base.number == recordMFT && v.mft == nil {
			return nil, corruptf("MFT record 0, $ATTRIBUTE_LIST: record %d is needed to find $MFT", l.record.number())
		}
		var err error
		if rec, err = v.record(l.record); err != nil {
			return nil, fmt.Errorf("MFT record %d, $ATTRIBUTE_LIST: %w", base.number, err)
		}
		if rec.base == 0 || rec.base.number() != base.number {
			return nil, corruptf("MFT record %d, $ATTRIBUTE_LIST: names record %d, which belongs to record %d", base.number, rec.number, rec.base.number())
		}
	}
	for i := range rec.attributes {
		a := &rec.attributes[i]
		if a.typ == l.typ && a.id == l.id && a.name == l.name && a.lowestVCN == l.lowestVCN {
			return a, nil
		}
	}
	return nil, corruptf("MFT record %d, $ATTRIBUTE_LIST: record %d has no %s %q with id %d from cluster %d on", base.number, rec.number, typeName(l.typ), l.name, l.id, l.lowestVCN)
}

// stream puts an attribute of a file together; nil if the file has none.
func (v *Volume) stream(base *record, typ uint32, name string) (*stream, error) {
	var s *stream
	for _, part := range base.parts(typ, name) {
		a, err := v.resolve(base, part)
		if err != nil {
			return nil, err
		}
		if s == nil {
			s, err = v.newStream(base.number, a)
		} else {
			err = s.extend(a)
		}
		if err != nil {
			return nil, err
		}
	}
	if s == nil {
		return nil, nil
	}
	return s, s.finish()
}

// value reads a small attribute; nil if the file has none.
func (v *Volume) value(base *record, typ uint32, limit int64) ([]byte, error) {
	s, err := v.stream(base, typ, "")
	if err != nil || s == nil {
		return nil, err
	}
	return s.readAll(limit)
}

func (v *Volume) readState() error {
	rec, err := v.record(recordVolume)
	if err != nil {
		return err
	}
	label, err := v.value(rec, typeVolumeName, 256)
	if err != nil {
		return err
	}
	info, err := v.value(rec, typeVolumeInformation, 256)
	if err != nil {
		return err
	}
	if len(info) < 12 {
		return corruptf("MFT record %d, $VOLUME_INFORMATION: %d bytes, want 12", recordVolume, len(info))
	}
	flags := binary.LittleEndian.Uint16(info[10:])
	v.state = State{
		Label:        decodeName(decodeUnits(label)),
		Serial:       v.serial,
		ClusterSize:  int(v.clusterSize),
		SectorSize:   int(v.sectorSize),
		RecordSize:   int(v.recordSize),
		TotalBytes:   v.totalBytes,
		MajorVersion: int(info[8]),
		MinorVersion: int(info[9]),
		Dirty:        flags&(volumeDirty|volumeChkdskUnderway) != 0,
		Flags:        flags,
	}
	return nil
}
