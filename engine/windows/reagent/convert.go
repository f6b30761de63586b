package reagent

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// Mapping says what becomes of the disk that Windows is on.
type Mapping struct {
	Signature uint32    // of the MBR disk
	DiskGUID  uuid.UUID // of the GPT disk that it becomes
}

// Edit is a change of one attribute.
type Edit struct {
	Element   string `json:"element"` // such as WinreLocation
	Attribute string `json:"attribute"`
	Before    string `json:"before"`
	After     string `json:"after"`
}

// zeroGUID is the text of no GUID, as Windows writes it.
const zeroGUID = "{00000000-0000-0000-0000-000000000000}"

// Convert returns the file for the GPT disk, and what it changed in it.
//
// A location names its disk by the MBR signature, in decimal, or by the GUID of
// a GPT disk; the other one of id and guid is zero. The partition is named by its
// byte offset, which the conversion does not change:
//
//	<WinreLocation path="\Recovery\WindowsRE" id="4238117423" offset="1048576" guid="{00000000-..}"/>
//	<WinreLocation path="\Recovery\WindowsRE" id="0"          offset="1048576" guid="{1bbe1186-..}"/>
//
// As there, spaces take the place of digits that are no longer needed. Locations
// that name another disk, or none, stay as they are.
//
// The error is ErrMalformed; out is then nil, and file should stay as it is.
func Convert(file []byte, m Mapping) (out []byte, edits []Edit, err error) {
	doc, err := decode(file)
	if err != nil {
		return nil, nil, err
	}
	tags, err := doc.locations()
	if err != nil {
		return nil, nil, err
	}
	converted := []byte(doc.text)
	for _, t := range tags {
		if t.Signature != m.Signature || m.Signature == 0 {
			continue
		}
		// A location of both kinds would be one of neither, and only a GUID of
		// the usual length can be replaced in place.
		if t.guid.value != zeroGUID {
			return nil, nil, fmt.Errorf("%w: byte %d: %s names its disk by id %s and by GUID %.60q", ErrMalformed, t.at, t.Element, t.id.value, t.guid.value)
		}
		id, guid := "0", "{"+m.DiskGUID.String()+"}"
		pad := strings.Repeat(" ", len(t.id.value)-len(id))
		copy(converted[t.id.at:], id+t.id.quote+pad)
		copy(converted[t.guid.at:], guid)
		edits = append(edits, Edit{t.Element, "id", t.id.value, id}, Edit{t.Element, "guid", t.guid.value, guid})
	}
	return doc.encode(string(converted)), edits, nil
}

// Location is where something of Windows RE lies.
type Location struct {
	Element string // such as WinreLocation or ImageLocation
	Path    string // of the folder on the partition; empty if nothing is there
	// Signature is of the MBR disk, 0 in a GPT disk; DiskGUID the other way round.
	Signature uint32
	DiskGUID  uuid.UUID
	Offset    uint64 // of the partition on the disk, in bytes
}

// Locations lists the locations in the file, in its order. The error is
// ErrMalformed.
func Locations(file []byte) ([]Location, error) {
	doc, err := decode(file)
	if err != nil {
		return nil, err
	}
	tags, err := doc.locations()
	if err != nil {
		return nil, err
	}
	list := make([]Location, len(tags))
	for i, t := range tags {
		list[i] = t.Location
	}
	return list, nil
}

// parse fills in the location from the values of its attributes.
func (t *tag) parse(path, offset attribute) error {
	bad := func(a attribute, name, want string) error {
		return fmt.Errorf("%w: byte %d: %s of %s is %.60q, not %s", ErrMalformed, a.at, name, t.Element, a.value, want)
	}
	id, err := strconv.ParseUint(t.id.value, 10, 32)
	if err != nil {
		return bad(t.id, "id", "a disk signature in decimal")
	}
	t.Signature = uint32(id)
	if t.Offset, err = strconv.ParseUint(offset.value, 10, 64); err != nil {
		return bad(offset, "offset", "a number of bytes")
	}
	if len(t.guid.value) != len(zeroGUID) {
		return bad(t.guid, "guid", "a GUID in braces")
	}
	if t.DiskGUID, err = uuid.Parse(t.guid.value); err != nil {
		return bad(t.guid, "guid", "a GUID in braces")
	}
	t.Path = path.value
	return nil
}
