package vhd

import (
	"bytes"
	"fmt"
	"io"

	"github.com/google/uuid"
)

// Platform codes of the parent locators that Windows writes and reads. Others
// (the deprecated Wi2k and Wi2r, Mac and MacX) are passed over.
const (
	codeAbsolute = "W2ku"
	codeRelative = "W2ru"
)

// maxLocatorLength is as much as Windows reserves for a path, in bytes.
const maxLocatorLength = 64 << 10

// ParentLocator names the parent of a differencing image. Paths are as stored;
// an absent one is empty.
type ParentLocator struct {
	// UniqueID is the parent's.
	UniqueID uuid.UUID
	// Name is the Parent Unicode Name: the parent's whole path, or only its
	// file name, as the creator likes.
	Name string
	// RelativePath is relative to the child's folder: `.\win10.vhd` (W2ru).
	RelativePath string
	// AbsolutePath is `\\host\share\dir\win10.vhd` or `C:\…` (W2ku).
	AbsolutePath string
}

// locatorName is what entry i of the header is called in problems.
func locatorName(i int, entry locatorEntry) string {
	return fmt.Sprintf("parent locator %d (%s)", i, bytes.ToValidUTF8(bytes.TrimRight([]byte(entry.code), "\x00"), []byte("?")))
}

// readLocator reads the paths to the parent and claims their space. header is
// the file offset of the dynamic disk header.
func readLocator(r io.ReaderAt, h *header, header int64, space *layout) (*ParentLocator, error) {
	parent := &ParentLocator{UniqueID: h.parentID, Name: h.parentName}
	for i, entry := range h.locators {
		path := &parent.RelativePath
		switch entry.code {
		case codeRelative:
		case codeAbsolute:
			path = &parent.AbsolutePath
		default:
			continue
		}
		structure, at := locatorName(i, entry), header+headerLocators+int64(i)*locatorSize
		if *path != "" || entry.length == 0 {
			continue // the first one counts
		}
		if entry.length > maxLocatorLength || entry.length%2 != 0 {
			return nil, corrupt(structure, at, "found %d bytes, expected UTF-16 of at most %d", entry.length, maxLocatorLength)
		}
		if err := space.claim(structure, at, entry.offset, uint64(entry.length)); err != nil {
			return nil, err
		}
		p := make([]byte, entry.length)
		if err := readFull(r, structure, int64(entry.offset), p); err != nil {
			return nil, err
		}
		*path = decodeUTF16(le, p)
	}
	return parent, nil
}

// VerifyParent checks that parent is the image that child was made from: its
// unique ID and the virtual size. Windows refuses a chain whose sizes differ,
// other readers decode it to wrong data.
func VerifyParent(child, parent Info) error {
	if child.Type != Differencing || child.Parent == nil {
		return fmt.Errorf("vhd: a %s image has no parent: %w", child.Type, ErrParentMismatch)
	}
	if parent.UniqueID != child.Parent.UniqueID {
		return fmt.Errorf("vhd: parent has unique ID %s, the child's parent unique ID is %s: %w",
			parent.UniqueID, child.Parent.UniqueID, ErrParentMismatch)
	}
	return verifyShape(child, parent.VirtualSize, SectorSize)
}

// verifyShape checks what a child and its parent's disk must have in common.
func verifyShape(child Info, parentSize int64, parentSectorSize int) error {
	if parentSize != child.VirtualSize {
		return fmt.Errorf("vhd: parent disk has %d bytes, the child %d: %w", parentSize, child.VirtualSize, ErrParentMismatch)
	}
	if parentSectorSize != SectorSize {
		return fmt.Errorf("vhd: parent disk has sectors of %d bytes, the child of %d: %w", parentSectorSize, SectorSize, ErrParentMismatch)
	}
	return nil
}
