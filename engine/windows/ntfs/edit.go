package ntfs

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Edit is a change of the volume: Data goes to Offset, in bytes.
type Edit struct {
	Offset int64
	Data   []byte
}

// editPage is the granularity of Edits: what a change of one byte costs.
const editPage = 4096

// Replace tells what to write to the volume to give the file new data of the
// length that it has: the pages of 4 KiB that differ, or, where the data is
// resident, the FILE record around it, with its fixups. Nothing but the data
// changes, not even times. Where that cannot be done, it fails with
// ErrNotEditable.
func (f *File) Replace(data []byte) ([]Edit, error) {
	if int64(len(data)) != f.Size() {
		return nil, fmt.Errorf("%s: %w: its %d bytes cannot become %d", f.path, ErrNotEditable, f.Size(), len(data))
	}
	if f.Resident() && f.foreign() == "" {
		return f.replaceResident(data)
	}
	extents, err := f.Extents()
	if err != nil {
		return nil, err
	}
	var edits []Edit
	end := int64(0) // of what has clusters and was written
	page := make([]byte, editPage)
	for _, e := range extents {
		end = e.FileOffset + e.Length
		for off := e.FileOffset; off < end; {
			next := min((off/editPage+1)*editPage, end)
			old := page[:next-off]
			if err := f.stream.vol.read(old, e.VolumeOffset+off-e.FileOffset); err != nil {
				return nil, fmt.Errorf("%s: %w", f.path, err)
			}
			if !bytes.Equal(old, data[off:next]) {
				edits = append(edits, Edit{e.VolumeOffset + off - e.FileOffset, bytes.Clone(data[off:next])})
			}
			off = next
		}
	}
	for i, b := range data[end:] {
		if b != 0 {
			return nil, fmt.Errorf("%s: %w: byte %d lies where nothing was ever written", f.path, ErrNotEditable, end+int64(i))
		}
	}
	return edits, nil
}

// replaceResident gives the FILE record that holds the data, with other data.
func (f *File) replaceResident(data []byte) ([]Edit, error) {
	v := f.stream.vol
	refuse := func(err error) error { return fmt.Errorf("%s: %w", f.path, err) }
	base, err := v.baseRecord(reference(f.stream.owner))
	if err != nil {
		return nil, refuse(err)
	}
	parts := base.parts(typeData, "")
	if len(parts) == 0 { // nor any data
		return nil, nil
	}
	number := parts[0].record.number()
	old := make([]byte, v.recordSize)
	if err := v.mft.readRuns(old, int64(number)*v.recordSize); err != nil {
		return nil, refuse(err)
	}
	b := bytes.Clone(old)
	rec, err := parseRecord(b, number) // b without fixups, the attributes within it
	if err != nil {
		return nil, refuse(err)
	}
	for _, a := range rec.attributes {
		if a.typ == typeData && a.name == "" && !a.nonResident {
			copy(a.value, data)
		}
	}
	redoFixups(b)
	if bytes.Equal(b, old) {
		return nil, nil
	}
	// A record is in one piece unless clusters are smaller than it.
	var edits []Edit
	at := int64(number) * v.recordSize
	for len(b) > 0 {
		n := min(int64(len(b)), v.clusterSize-at%v.clusterSize)
		r := v.mft.runs[v.mft.runs.find(at/v.clusterSize)]
		if r.lcn == hole {
			return nil, refuse(corruptf("MFT record %d lies in a hole of $MFT", number))
		}
		edits = append(edits, Edit{r.lcn*v.clusterSize + at - r.vcn*v.clusterSize, b[:n]})
		b, at = b[n:], at+n
	}
	return edits, nil
}

// redoFixups protects a structure as it was before undoFixups.
func redoFixups(b []byte) {
	offset := int(binary.LittleEndian.Uint16(b[4:]))
	count := int(binary.LittleEndian.Uint16(b[6:]))
	for i := 1; i < count; i++ {
		end := b[i*stride-2 : i*stride]
		copy(b[offset+2*i:offset+2*i+2], end)
		copy(end, b[offset:offset+2])
	}
}
