package ntfs

import (
	"fmt"
	"io"
	"sync"
)

// Flags of an attribute. The low byte is the compression method.
const (
	flagCompressionMask = 0x00ff
	flagLZNT1           = 0x0001
	flagEncrypted       = 0x4000
	flagSparse          = 0x8000
)

// maxUnitSize bounds a compression unit: Windows uses 16 clusters of at most
// 4 KiB.
const maxUnitSize = 64 << 10

// stream is the value of one attribute, put together from all its parts.
// Bytes from initialized to size were never written and read as zeros.
type stream struct {
	vol         *Volume
	owner       uint64 // MFT record number of the file, for messages
	typ         uint32
	name        string
	flags       uint16
	nonResident bool
	resident    []byte
	runs        runList
	size        int64
	initialized int64
	unit        *unitCache // of compressed streams, else nil
}

func (s *stream) String() string {
	if s.name != "" {
		return fmt.Sprintf("MFT record %d, %s %q", s.owner, typeName(s.typ), s.name)
	}
	return fmt.Sprintf("MFT record %d, %s", s.owner, typeName(s.typ))
}

func (s *stream) compressed() bool { return s.flags&flagCompressionMask != 0 }

// newStream begins a stream with the part of the attribute that starts it.
// More parts follow with extend, and finish checks the whole.
func (v *Volume) newStream(owner uint64, a *attribute) (*stream, error) {
	s := &stream{vol: v, owner: owner, typ: a.typ, name: a.name, flags: a.flags, nonResident: a.nonResident}
	if !a.nonResident {
		s.resident = a.value
		s.size = int64(len(a.value))
		s.initialized = s.size
		return s, nil
	}
	s.size, s.initialized = a.dataSize, a.initialized
	if s.size < 0 || s.initialized < 0 || s.initialized > s.size || s.size > a.allocated {
		return nil, corruptf("%s: %d bytes, %d initialised, %d allocated", s, a.dataSize, a.initialized, a.allocated)
	}
	if s.compressed() {
		if s.flags&flagCompressionMask != flagLZNT1 {
			return nil, fmt.Errorf("%w: %s: compression method %d", ErrUnsupported, s, s.flags&flagCompressionMask)
		}
		if a.compressionUnit == 0 || a.compressionUnit > 16 || v.clusterSize<<a.compressionUnit > maxUnitSize {
			return nil, fmt.Errorf("%w: %s: compression unit of 2^%d clusters of %d bytes", ErrUnsupported, s, a.compressionUnit, v.clusterSize)
		}
		s.unit = &unitCache{clusters: 1 << a.compressionUnit, number: -1}
	}
	return s, s.extend(a)
}

func (s *stream) extend(a *attribute) error {
	if !a.nonResident || !s.nonResident {
		return corruptf("%s: a resident attribute in several parts", s)
	}
	start := s.runs.clusters()
	if a.lowestVCN != start {
		return corruptf("%s: a part begins at cluster %d of the attribute, want %d", s, a.lowestVCN, start)
	}
	runs, err := s.runs.decode(a.mappingPairs, s.vol.geometry)
	if err != nil {
		return corruptf("%s: %v", s, err)
	}
	s.runs = runs
	// In an empty part, writers disagree whether the highest is -1 or 0.
	if end := runs.clusters(); end != start && a.highestVCN != end-1 {
		return corruptf("%s: the run list of a part ends at cluster %d of the attribute, want %d", s, end-1, a.highestVCN)
	}
	return nil
}

func (s *stream) finish() error {
	if !s.nonResident {
		return nil
	}
	size := s.vol.clusterSize
	if need := s.size/size + min(s.size%size, 1); s.runs.clusters() < need {
		return corruptf("%s: the run list maps %d clusters of %d bytes, but the attribute is %d bytes long", s, s.runs.clusters(), size, s.size)
	}
	var mapped int64
	for _, r := range s.runs {
		if r.lcn == hole {
			if s.flags&(flagSparse|flagCompressionMask) == 0 {
				return corruptf("%s: a hole at cluster %d of the attribute, which is not sparse", s, r.vcn)
			}
			continue
		}
		if r.length > s.vol.clusters-mapped {
			return corruptf("%s: the run list maps more clusters than the %d of the volume", s, s.vol.clusters)
		}
		mapped += r.length
	}
	return nil
}

// ReadAt implements io.ReaderAt.
func (s *stream) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("%s: read at negative offset %d", s, off)
	}
	if off >= s.size {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), s.size-off))
	valid := int(max(0, min(int64(n), s.initialized-off)))
	var err error
	switch {
	case !s.nonResident:
		copy(p[:valid], s.resident[off:])
	case s.compressed():
		err = s.readUnits(p[:valid], off)
	default:
		err = s.readRuns(p[:valid], off)
	}
	if err != nil {
		return 0, err
	}
	clear(p[valid:n])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// readRuns fills p, which must lie within the run list.
func (s *stream) readRuns(p []byte, off int64) error {
	size := s.vol.clusterSize
	if len(p) == 0 {
		return nil
	}
	for i := s.runs.find(off / size); len(p) > 0; i++ {
		if i == len(s.runs) {
			// Only $MFT is read before its run list is complete.
			return corruptf("%s: offset %d is beyond its run list", s, off)
		}
		r := s.runs[i]
		within := off - r.vcn*size
		n := min(int64(len(p)), r.length*size-within)
		if r.lcn == hole {
			clear(p[:n])
		} else if err := s.vol.read(p[:n], r.lcn*size+within); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
		p, off = p[n:], off+n
	}
	return nil
}

// readAll reads a stream that the format says is small.
func (s *stream) readAll(limit int64) ([]byte, error) {
	if s.size > limit {
		return nil, corruptf("%s: %d bytes, want at most %d", s, s.size, limit)
	}
	b := make([]byte, s.size)
	if _, err := s.ReadAt(b, 0); err != nil && err != io.EOF {
		return nil, err
	}
	return b, nil
}

// unitCache keeps the last compression unit that was decompressed, so that
// reading on in small steps decompresses each unit once.
type unitCache struct {
	clusters int64

	mu     sync.Mutex
	number int64 // -1: none
	data   []byte
}

func (s *stream) readUnits(p []byte, off int64) error {
	s.unit.mu.Lock()
	defer s.unit.mu.Unlock()
	size := s.unit.clusters * s.vol.clusterSize
	for len(p) > 0 {
		if number := off / size; number != s.unit.number {
			if err := s.loadUnit(number); err != nil {
				return err
			}
		}
		n := copy(p, s.unit.data[off%size:])
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// loadUnit reads one compression unit: stored as it is if it has all its
// clusters, zeros if it has none, else compressed into those that it has, which
// come before the hole.
func (s *stream) loadUnit(number int64) error {
	size := s.vol.clusterSize
	vcn := number * s.unit.clusters
	end := vcn + s.unit.clusters
	stored := int64(0)
	for i := s.runs.find(vcn); i < len(s.runs) && s.runs[i].vcn < end; i++ {
		r := s.runs[i]
		if r.lcn == hole {
			continue
		}
		if max(r.vcn, vcn) != vcn+stored {
			return corruptf("%s: compression unit %d, at offset %d: clusters behind a hole", s, number, vcn*size)
		}
		stored = min(r.vcn+r.length, end) - vcn
	}
	s.unit.number = -1
	data := make([]byte, s.unit.clusters*size)
	if stored > 0 {
		raw := make([]byte, stored*size)
		if err := s.readRuns(raw, vcn*size); err != nil {
			return err
		}
		if stored == s.unit.clusters {
			data = raw
		} else if err := decompress(data, raw); err != nil {
			return corruptf("%s: compression unit %d, at offset %d: %v", s, number, vcn*size, err)
		}
	}
	s.unit.data, s.unit.number = data, number
	return nil
}
