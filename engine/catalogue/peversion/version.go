package peversion

import (
	"errors"
	"io"
)

// The reasons of errors.
var (
	// ErrNotPE is a file that is no program, or whose headers do not fit it.
	ErrNotPE = errors.New("not a Windows program (PE)")
	// ErrNoVersion is a program without a version resource.
	ErrNoVersion = errors.New("no version resource")
	// ErrCorrupt is a program whose resources do not fit together.
	ErrCorrupt = errors.New("corrupt version resource")
)

// Version is what a program says of itself.
type Version struct {
	ProductName string
	// ProductVersion and FileVersion are the strings, without surrounding space.
	// They may be anything: "7.41.100.62", "7, 41, 0, 0", "2402 LTSR". Where there
	// is no string, it is that of the fixed part, "7.41.100.62": it is the string
	// that people see and that installers write, and the two may differ.
	ProductVersion string
	FileVersion    string
	CompanyName    string
	// Arch is that of the program itself: "x64", "x86", "arm64", or the number of
	// the machine, "0x01c4". An installer may well be for another.
	Arch string
}

// Read reads the version of a program of so many bytes. Errors wrap one of the
// sentinels, or are those of r. With ErrNoVersion and ErrCorrupt, Arch is
// there.
func Read(r io.ReaderAt, sizeBytes int64) (Version, error) {
	im, err := readImage(r, sizeBytes)
	if err != nil {
		return Version{}, err
	}
	v := Version{Arch: im.arch()}
	resource, err := im.versionResource()
	if err != nil {
		return v, err
	}
	return v, v.parse(resource)
}
