package ntfs

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Entry describes a file or directory.
type Entry struct {
	// Name is as the directory has it; `\` for the root.
	Name  string
	IsDir bool
	// Size of the unnamed data stream in bytes; zero for directories. That of
	// a sparse or compressed file can be larger than the volume.
	Size    int64
	ModTime time.Time
	// Attributes are the FILE_ATTRIBUTE_* bits of [MS-FSCC] 2.6.
	Attributes uint32
	// ReparseTag is that of [MS-FSCC] 2.1.2.1; zero without reparse point.
	ReparseTag uint32
	// Ref is the 48 bits of MFT record number and, above, its 16 bits of
	// sequence number: the same for all hard links of a file.
	Ref uint64
}

const attributeDirectory = 0x10

// Stat describes the file at a path such as `\Windows\System32`, with \ or /
// between its components, which match in any case. Reparse points, also those
// on the way, are not followed.
func (v *Volume) Stat(path string) (Entry, error) {
	rec, name, err := v.lookup(path)
	if err != nil {
		return Entry{}, err
	}
	e, err := v.entry(rec, name)
	if err != nil {
		return Entry{}, fmt.Errorf("%s: %w", path, err)
	}
	return e, nil
}

// ReadDir lists a directory, sorted by the bytes of the name, without short (8.3) names and the
// volume's metadata files. It describes files as Stat does, from their own
// records: the copies in directories go stale when a file has hard links.
func (v *Volume) ReadDir(path string) ([]Entry, error) {
	rec, _, err := v.lookup(path)
	if err != nil {
		return nil, err
	}
	list, err := v.readDir(rec)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return list, nil
}

func (v *Volume) readDir(rec *record) ([]Entry, error) {
	if !rec.isDir() {
		return nil, fmt.Errorf("%w: MFT record %d is not a directory", ErrUnsupported, rec.number)
	}
	d, err := v.directory(rec)
	if err != nil {
		return nil, err
	}
	found, err := d.all()
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(found, func(a, b indexEntry) int { return cmp.Compare(a.ref.number(), b.ref.number()) })
	list := make([]Entry, 0, len(found))
	for batch := range slices.Chunk(found, cachedRecords/2) {
		numbers := make([]uint64, len(batch))
		for i, e := range batch {
			numbers[i] = e.ref.number()
		}
		v.preload(slices.Compact(numbers))
		for _, e := range batch {
			child, err := v.child(d, e)
			if err != nil {
				return nil, err
			}
			entry, err := v.entry(child, decodeName(e.name))
			if err != nil {
				return nil, err
			}
			list = append(list, entry)
		}
	}
	slices.SortFunc(list, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// lookup finds a file by path, and its name as the last directory has it.
func (v *Volume) lookup(path string) (*record, string, error) {
	if len(encodeName(path)) > maxPath {
		return nil, "", fmt.Errorf("%w: a path of %d bytes", ErrNotFound, len(path))
	}
	rec, err := v.baseRecord(recordRoot)
	if err == nil && !rec.isDir() {
		err = corruptf("MFT record %d: the root is not a directory", rec.number)
	}
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", path, err)
	}
	name := `\`
	for _, component := range splitPath(path) {
		e, child, err := v.step(rec, component)
		if err != nil {
			return nil, "", fmt.Errorf("%s: %w", path, err)
		}
		rec, name = child, decodeName(e.name)
	}
	return rec, name, nil
}

func (v *Volume) step(rec *record, component string) (indexEntry, *record, error) {
	if !rec.isDir() {
		return indexEntry{}, nil, fmt.Errorf("%w: what should hold %s is not a directory", ErrNotFound, component)
	}
	d, err := v.directory(rec)
	if err != nil {
		return indexEntry{}, nil, err
	}
	e, ok, err := d.lookup(component)
	if err != nil {
		return indexEntry{}, nil, err
	}
	if !ok {
		tag, err := v.reparseTag(rec)
		if err != nil {
			return indexEntry{}, nil, err
		}
		if tag != 0 {
			return indexEntry{}, nil, fmt.Errorf("%w: no %s; the directory is a reparse point, tag 0x%08x, which is not followed", ErrNotFound, component, tag)
		}
		return indexEntry{}, nil, fmt.Errorf("%w: no %s", ErrNotFound, component)
	}
	child, err := v.child(d, e)
	return e, child, err
}

// child loads the file of a directory's entry. A directory has one parent:
// holding it to that excludes loops, so walks of the tree end.
func (v *Volume) child(d *directory, e indexEntry) (*record, error) {
	rec, err := v.baseRecord(e.ref)
	if err != nil {
		return nil, fmt.Errorf("entry %q in directory %d: %w", decodeName(e.name), d.rec.number, err)
	}
	if !rec.isDir() {
		return rec, nil
	}
	names := rec.parts(typeFileName, "")
	if len(names) == 0 {
		return nil, corruptf("MFT record %d: a directory without a $FILE_NAME", rec.number)
	}
	for _, l := range names {
		a, err := v.resolve(rec, l)
		if err != nil {
			return nil, err
		}
		if a.nonResident || len(a.value) < 0x42 {
			return nil, corruptf("MFT record %d, $FILE_NAME: %d bytes", rec.number, len(a.value))
		}
		if parent := reference(binary.LittleEndian.Uint64(a.value)); parent.number() != d.rec.number {
			return nil, corruptf("MFT record %d, $FILE_NAME: a directory listed in directory %d, but its parent is %d", rec.number, d.rec.number, parent.number())
		}
	}
	return rec, nil
}

// entry describes a file from its records.
func (v *Volume) entry(rec *record, name string) (Entry, error) {
	e := Entry{Name: name, IsDir: rec.isDir(), Ref: uint64(rec.reference())}
	info, err := v.value(rec, typeStandardInformation, 4096)
	if err != nil {
		return e, err
	}
	if len(info) < 0x24 {
		return e, corruptf("MFT record %d, $STANDARD_INFORMATION: %d bytes", rec.number, len(info))
	}
	e.ModTime = fileTime(info[8:])
	e.Attributes = binary.LittleEndian.Uint32(info[0x20:])
	if e.ReparseTag, err = v.reparseTag(rec); err != nil {
		return e, err
	}
	if e.IsDir {
		e.Attributes |= attributeDirectory
		return e, nil
	}
	e.Size, err = v.dataSize(rec)
	return e, err
}

// dataSize is the size of the unnamed data stream. It needs only the first
// part of the attribute, however fragmented the file is.
func (v *Volume) dataSize(rec *record) (int64, error) {
	parts := rec.parts(typeData, "")
	if len(parts) == 0 {
		return 0, nil
	}
	a, err := v.resolve(rec, parts[0])
	if err != nil {
		return 0, err
	}
	if !a.nonResident {
		return int64(len(a.value)), nil
	}
	mayExceed := a.flags&(flagSparse|flagCompressionMask) != 0
	if a.lowestVCN != 0 || a.dataSize < 0 || a.dataSize > v.totalBytes && !mayExceed {
		return 0, corruptf("MFT record %d, $DATA: %d bytes from cluster %d of the attribute on, on a volume of %d bytes", rec.number, a.dataSize, a.lowestVCN, v.totalBytes)
	}
	return a.dataSize, nil
}

// maxReparseData is the size limit of [MS-FSCC] 2.1.2, with a GUID more.
const maxReparseData = 16<<10 + 24

func (v *Volume) reparseTag(rec *record) (uint32, error) {
	b, err := v.value(rec, typeReparsePoint, maxReparseData)
	if err != nil || b == nil {
		return 0, err
	}
	if len(b) < 8 {
		return 0, corruptf("MFT record %d, $REPARSE_POINT: %d bytes", rec.number, len(b))
	}
	return binary.LittleEndian.Uint32(b), nil
}
