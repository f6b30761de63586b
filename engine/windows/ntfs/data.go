package ntfs

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"time"

	"imageport/engine/windows/wof"
)

// File is the unnamed data stream of a file, as programs on Windows read it. It
// needs no closing.
type File struct {
	path       string
	stream     *stream // $DATA, whatever it means
	modTime    time.Time
	reparseTag uint32
	wof        bool
	content    io.ReaderAt // nil if unreadable says why
	unreadable error
}

// Open finds a file as Stat does. Files that cannot be read can be opened; see
// ReadAt.
func (v *Volume) Open(path string) (*File, error) {
	rec, name, err := v.lookup(path)
	if err != nil {
		return nil, err
	}
	f, err := v.openFile(rec, name, path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

func (v *Volume) openFile(rec *record, name, path string) (*File, error) {
	if rec.isDir() {
		return nil, fmt.Errorf("%w: MFT record %d is a directory", ErrUnsupported, rec.number)
	}
	e, err := v.entry(rec, name)
	if err != nil {
		return nil, err
	}
	f := &File{path: path, modTime: e.ModTime, reparseTag: e.ReparseTag}
	f.wof = f.reparseTag == wof.ReparseTag || len(rec.parts(typeData, wof.StreamName)) > 0
	if f.stream, err = v.stream(rec, typeData, ""); err != nil {
		return nil, err
	}
	if f.stream == nil { // legal: the same as an empty one
		f.stream = &stream{vol: v, owner: rec.number, typ: typeData}
	}
	if f.reparseTag == wof.ReparseTag {
		f.content, f.unreadable = v.openOverlay(rec, f.stream.size)
	} else if reason := f.foreign(); reason != "" {
		f.unreadable = fmt.Errorf("%w: it is %s", ErrUnsupported, reason)
	} else {
		f.content = f.stream
	}
	return f, nil
}

// Size is the length of the data in bytes, uncompressed.
func (f *File) Size() int64 { return f.stream.size }

// ModTime is when the data was last written.
func (f *File) ModTime() time.Time { return f.modTime }

// ReparseTag is that of the file's reparse point; zero without one.
func (f *File) ReparseTag() uint32 { return f.reparseTag }

// Resident tells whether the data lies in the file's MFT record.
func (f *File) Resident() bool { return !f.stream.nonResident }

// Compressed tells whether the data is compressed by NTFS itself (LZNT1).
func (f *File) Compressed() bool { return f.stream.compressed() }

// Sparse tells whether ranges of zeros may have no clusters.
func (f *File) Sparse() bool { return f.stream.flags&flagSparse != 0 }

// Encrypted tells whether the data is encrypted by EFS.
func (f *File) Encrypted() bool { return f.stream.flags&flagEncrypted != 0 }

// WOF tells whether the file is compressed by the Windows Overlay Filter
// (CompactOS, `compact /exe`): its data is in the stream WofCompressedData, or
// in a WIM.
func (f *File) WOF() bool { return f.wof }

// foreign says why $DATA is not what a program on Windows would read; empty
// if it is. A stream that WOF has left without its reparse point makes $DATA
// doubtful.
func (f *File) foreign() string {
	switch {
	case f.wof:
		return "compressed by the Windows Overlay Filter (CompactOS)"
	case f.reparseTag != 0:
		return fmt.Sprintf("a reparse point, tag 0x%08x", f.reparseTag)
	case f.Encrypted():
		return "encrypted by EFS"
	}
	return ""
}

// ReadAt implements io.ReaderAt. What is compressed, by NTFS or by WOF, it
// decompresses. It fails with ErrUnsupported if the data is encrypted, or
// elsewhere, as a reparse point says: in a WIM (WIMBoot), for example.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	if f.unreadable != nil {
		return 0, fmt.Errorf("%s: %w", f.path, f.unreadable)
	}
	n, err := f.content.ReadAt(p, off)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("%s: %w", f.path, err)
	}
	return n, err
}

// ReadAll reads the data of a file that has at most limit bytes, as ReadAt does.
// Of a larger one it reads nothing: ErrUnsupported.
func (f *File) ReadAll(limit int64) ([]byte, error) {
	if f.Size() > limit {
		return nil, fmt.Errorf("%s: %w: %d bytes, want at most %d", f.path, ErrUnsupported, f.Size(), limit)
	}
	b := make([]byte, f.Size())
	if n, err := f.ReadAt(b, 0); n < len(b) {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return b, nil
}

// Extent is a piece of a file that is contiguous on the volume, in bytes.
type Extent struct {
	FileOffset, VolumeOffset, Length int64
}

// Extents tells where on the volume the data lies, in the order of the file
// and without gaps from its first byte to its last, or to the last one that
// was ever written: what follows reads as zeros, whatever is in its clusters.
// Writing there changes the file's data and nothing else. Where that does not
// hold it fails with ErrNotEditable.
func (f *File) Extents() ([]Extent, error) {
	s := f.stream
	reason := f.foreign()
	switch {
	case reason != "":
	case f.Resident():
		reason = "resident in its MFT record"
	case f.Compressed():
		reason = "compressed"
	case f.Sparse():
		reason = "sparse"
	}
	if reason != "" {
		return nil, fmt.Errorf("%s: %w: it is %s", f.path, ErrNotEditable, reason)
	}
	var extents []Extent
	size := s.vol.clusterSize
	for _, r := range s.runs {
		e := Extent{r.vcn * size, r.lcn * size, r.length * size}
		if e.FileOffset >= s.initialized {
			break // clusters allocated in advance, or not written yet
		}
		e.Length = min(e.Length, s.initialized-e.FileOffset)
		extents = append(extents, e)
	}
	byPlace := slices.Clone(extents)
	slices.SortFunc(byPlace, func(a, b Extent) int { return cmp.Compare(a.VolumeOffset, b.VolumeOffset) })
	for i := 1; i < len(byPlace); i++ {
		if a, b := byPlace[i-1], byPlace[i]; a.VolumeOffset+a.Length > b.VolumeOffset {
			return nil, fmt.Errorf("%s: %w", f.path, corruptf("%s: bytes %d and %d of the attribute share clusters", s, a.FileOffset, b.FileOffset))
		}
	}
	return extents, nil
}
