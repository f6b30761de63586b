package chain

import "errors"

// The kinds of refusal. An error of this package names the file and wraps one
// of them, an error of the container's package (vhdx.ErrCorrupt, ...), or one
// of the folder.
var (
	// ErrUnknownFormat: the file is no image of a kind that can be opened.
	ErrUnknownFormat = errors.New("not an image that can be opened")
	// ErrParentMissing: the folder has none of the files that the child names
	// as its parent, or the child names none.
	ErrParentMissing = errors.New("parent is missing")
	// ErrParentMismatch: the file with the parent's name is not the image that
	// the child was made from, or has another virtual or sector size. The
	// container's error of that name is wrapped too, or ErrUnknownFormat if the
	// file is no image at all.
	ErrParentMismatch = errors.New("not the parent of this image")
	// ErrMixedContainers: the file with the parent's name is of another
	// container format, which a locator cannot link to.
	ErrMixedContainers = errors.New("parent is of another container format")
	// ErrCycle: an image is among its own ancestors.
	ErrCycle = errors.New("chain is a cycle")
	// ErrTooDeep: the chain has more than MaxLayers files.
	ErrTooDeep = errors.New("chain is too deep")
	// ErrChanged: a file is not what was opened any more.
	ErrChanged = errors.New("image changed underneath")
)
