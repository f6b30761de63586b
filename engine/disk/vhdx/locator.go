package vhdx

import (
	"fmt"
	"math"
	"slices"

	"github.com/google/uuid"
)

// Keys of the VHDX parent locator, [MS-VHDX] 2.6.2.6.3.
const (
	keyParentLinkage  = "parent_linkage"
	keyParentLinkage2 = "parent_linkage2"
	keyRelativePath   = "relative_path"
	keyVolumePath     = "volume_path"
	keyAbsolutePath   = "absolute_win32_path"
)

// locatorKeys are the keys that say something; others are passed over.
var locatorKeys = []string{keyParentLinkage, keyParentLinkage2, keyRelativePath, keyVolumePath, keyAbsolutePath}

const (
	// longestKey is that of absolute_win32_path, in bytes.
	longestKey = 2 * len(keyAbsolutePath)

	locatorHeaderSize = 20
	locatorEntrySize  = 12
)

// ParentLocator names the parent of a differencing image, [MS-VHDX] 2.6.2.6.
// Paths are as stored; an absent one is empty.
type ParentLocator struct {
	// Linkage is the parent's DataWriteGUID.
	Linkage uuid.UUID
	// Linkage2 is another DataWriteGUID that the parent may have, while a
	// merge is under way. uuid.Nil, which Windows writes, stands for none.
	Linkage2 uuid.UUID
	// RelativePath is relative to the child's folder: `.\win10.vhdx`.
	RelativePath string
	// VolumePath begins with `\\?\Volume{…}\`.
	VolumePath string
	// AbsolutePath is absolute_win32_path: `\\host\share\dir\win10.vhdx`.
	AbsolutePath string
}

// parseParentLocator parses a parent locator item that lies at off in the file.
func parseParentLocator(p []byte, off int64) (*ParentLocator, error) {
	const structure = "parent locator"
	if len(p) < locatorHeaderSize {
		return nil, corrupt(structure, off, "found %d bytes, expected at least %d", len(p), locatorHeaderSize)
	}
	if id := guid(p); id != vhdxLocatorGUID {
		return nil, refuse(ErrUnsupported, structure, off, "found type %s, expected %s", id, vhdxLocatorGUID)
	}
	count := int(le.Uint16(p[18:]))
	if len(p) < locatorHeaderSize+count*locatorEntrySize {
		return nil, corrupt(structure, off, "%d entries do not fit into %d bytes", count, len(p))
	}
	values := make(map[string]string)
	for i := range count {
		entry := p[locatorHeaderSize+i*locatorEntrySize:]
		key, keyOK := locatorText(p, le.Uint32(entry), le.Uint16(entry[8:]))
		value, valueOK := locatorText(p, le.Uint32(entry[4:]), le.Uint16(entry[10:]))
		if !keyOK || !valueOK {
			return nil, corrupt(structure, off, "key or value of entry %d is not UTF-16 inside the %d bytes of the item", i, len(p))
		}
		// Entries may share their text: 65,535 long ones would fill gigabytes.
		if len(key) > longestKey || !slices.Contains(locatorKeys, decodeUTF16(key)) {
			continue
		}
		name := decodeUTF16(key)
		if _, ok := values[name]; ok {
			return nil, corrupt(structure, off, "a second %q", name)
		}
		values[name] = decodeUTF16(value)
	}

	locator := &ParentLocator{
		RelativePath: values[keyRelativePath],
		VolumePath:   values[keyVolumePath],
		AbsolutePath: values[keyAbsolutePath],
	}
	var err error
	if locator.Linkage, err = parseLinkage(values[keyParentLinkage]); err != nil {
		return nil, corrupt(structure, off, "%s: %v", keyParentLinkage, err)
	}
	if value, ok := values[keyParentLinkage2]; ok {
		if locator.Linkage2, err = parseLinkage(value); err != nil {
			return nil, corrupt(structure, off, "%s: %v", keyParentLinkage2, err)
		}
	}
	return locator, nil
}

// locatorText gives the UTF-16 of a key or value, at off in the item.
func locatorText(p []byte, off uint32, length uint16) ([]byte, bool) {
	if uint64(off)+uint64(length) > uint64(len(p)) || length%2 != 0 {
		return nil, false
	}
	return p[off:][:length], true
}

// parseLinkage parses `{xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx}`, in any case.
func parseLinkage(s string) (uuid.UUID, error) {
	if len(s) == 38 && s[0] == '{' && s[37] == '}' {
		if id, err := uuid.Parse(s[1:37]); err == nil {
			return id, nil
		}
	}
	return uuid.Nil, fmt.Errorf("found %q, expected a GUID in braces", s)
}

// encode lays the locator out with the keys in Windows' order. All offsets are
// even: the header and the entries have even sizes, and so has UTF-16.
func (l ParentLocator) encode() ([]byte, error) {
	pairs := []struct{ key, value string }{{keyParentLinkage, "{" + l.Linkage.String() + "}"}}
	for _, path := range []struct{ key, value string }{
		{keyAbsolutePath, l.AbsolutePath},
		{keyRelativePath, l.RelativePath},
		{keyVolumePath, l.VolumePath},
	} {
		if path.value != "" {
			pairs = append(pairs, path)
		}
	}
	p := make([]byte, locatorHeaderSize+len(pairs)*locatorEntrySize)
	putGUID(p, vhdxLocatorGUID)
	le.PutUint16(p[18:], uint16(len(pairs)))
	for i, pair := range pairs {
		key, value := encodeUTF16(pair.key), encodeUTF16(pair.value)
		if len(value) > math.MaxUint16 {
			return nil, fmt.Errorf("vhdx: %s of %d bytes does not fit a parent locator", pair.key, len(value))
		}
		entry := p[locatorHeaderSize+i*locatorEntrySize:]
		le.PutUint32(entry, uint32(len(p)))
		le.PutUint32(entry[4:], uint32(len(p)+len(key)))
		le.PutUint16(entry[8:], uint16(len(key)))
		le.PutUint16(entry[10:], uint16(len(value)))
		p = append(append(p, key...), value...)
	}
	return p, nil
}

// VerifyParent checks that parent is the image that child was made from: the
// linkage, the virtual size and the sector size. Windows refuses a chain whose
// sizes differ, other readers decode it to wrong data.
func VerifyParent(child, parent Info) error {
	if child.Type != Differencing || child.Parent == nil {
		return fmt.Errorf("vhdx: a %s image has no parent: %w", child.Type, ErrParentMismatch)
	}
	linked := parent.DataWriteGUID == child.Parent.Linkage ||
		child.Parent.Linkage2 != uuid.Nil && parent.DataWriteGUID == child.Parent.Linkage2
	if !linked {
		return fmt.Errorf("vhdx: parent has data write GUID %s, the child's parent_linkage is %s: %w",
			parent.DataWriteGUID, child.Parent.Linkage, ErrParentMismatch)
	}
	return verifyShape(child, parent.VirtualSize, parent.LogicalSectorSize)
}

// verifyShape checks what a child and its parent's disk must have in common.
func verifyShape(child Info, parentSize int64, parentSectorSize int) error {
	if parentSize != child.VirtualSize {
		return fmt.Errorf("vhdx: parent disk has %d bytes, the child %d: %w", parentSize, child.VirtualSize, ErrParentMismatch)
	}
	if parentSectorSize != child.LogicalSectorSize {
		return fmt.Errorf("vhdx: parent disk has sectors of %d bytes, the child of %d: %w",
			parentSectorSize, child.LogicalSectorSize, ErrParentMismatch)
	}
	return nil
}
