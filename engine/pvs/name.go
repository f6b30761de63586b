package pvs

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrName says that a file's name is not one that PVS gives to the version of a
// vDisk, or that it could be the name of two things.
var ErrName = errors.New("not the name of a vDisk's version")

const (
	maxDisk   = 52        // characters of a vDisk's name: New-PvsDiskLocator, DiskLocatorName
	maxPath   = 127       // characters of a vDisk file's path: CTX226060
	maxNumber = 999999999 // the most that this package counts to
)

// Container is the file format of a virtual disk.
type Container int

// The containers that PVS knows.
const (
	VHDX Container = iota
	VHD
)

// extension gives the extension of a file in the container.
func (c Container) extension(differencing bool) string {
	switch {
	case c == VHD && differencing:
		return ".avhd"
	case c == VHD:
		return ".vhd"
	case differencing:
		return ".avhdx"
	}
	return ".vhdx"
}

// Name is what the name of a vDisk's file says:
//
//	win10.vhdx     the base of win10
//	win10.3.avhdx  version 3, a differencing disk
//	win10.5.vhdx   version 5, a merged base
type Name struct {
	Disk         string // the vDisk, in the case found
	Number       int    // of the version, 0 of the base
	Differencing bool
	Container    Container

	file string // as found
}

// ParseName splits the name of a vDisk's file, in whatever case. It does not
// take a differencing disk without a number, which is no version; x.N.vhdx is
// taken as a merged base of x, although it could be the base of a vDisk called
// x.N: only its neighbours tell.
func ParseName(file string) (Name, bool) {
	stem, ext := cutExtension(file)
	n := Name{Disk: stem, file: file}
	switch fold(ext) {
	case ".vhdx":
	case ".vhd":
		n.Container = VHD
	case ".avhdx":
		n.Differencing = true
	case ".avhd":
		n.Container, n.Differencing = VHD, true
	default:
		return Name{}, false
	}
	if disk, number, ok := cutNumber(stem); ok {
		n.Disk, n.Number = disk, number
	} else if n.Differencing {
		return Name{}, false
	}
	return n, n.Disk != "" && strings.IndexFunc(file, forbidden) < 0
}

// File is the name of the file, as it was found if it was.
func (n Name) File() string {
	if n.file != "" {
		return n.file
	}
	return n.stem() + n.Container.extension(n.Differencing)
}

// Properties is the name of the version's properties file.
func (n Name) Properties() string { return n.stem() + ".pvp" }

// Lock is the name of the file that is there while PVS has the version in use.
func (n Name) Lock() string { return n.stem() + ".lok" }

// Manifest is the name of the file that lists the vDisk's versions.
func (n Name) Manifest() string { return n.Disk + ".xml" }

func (n Name) stem() string {
	if n.Number == 0 {
		return n.Disk
	}
	return n.Disk + "." + strconv.Itoa(n.Number)
}

// mergedBase reports whether the file is named like a merged base.
func (n Name) mergedBase() bool { return n.Number > 0 && !n.Differencing }

// asBase reads the name of a merged base, x.N.vhdx, as that of the base of x.N.
func (n Name) asBase() Name {
	n.Disk, n.Number = n.stem(), 0
	return n
}

// checkDisk makes sure that PVS takes the vDisk's name; the error is ErrName.
func checkDisk(disk string) error {
	switch bad := strings.IndexFunc(disk, func(r rune) bool { return forbidden(r) || r > '~' }); {
	case bad >= 0:
		r := []rune(disk[bad:])[0]
		return fmt.Errorf("%w: the vDisk's name %q holds %q, but PVS allows printable ASCII without |\"\\/:*?<> only", ErrName, disk, r)
	case len(disk) > maxDisk:
		return fmt.Errorf("%w: the vDisk's name %q has %d characters, but PVS allows %d", ErrName, disk, len(disk), maxDisk)
	}
	return nil
}

// CheckPath makes sure that PVS can open a file in a folder, both as its servers
// see them: the path has at most 127 characters. The error is ErrName.
func CheckPath(folder, file string) error {
	path := join(folder, file)
	if n := len([]rune(path)); n > maxPath {
		return fmt.Errorf("%w: the path %s has %d characters, but PVS opens %d at most", ErrName, path, n, maxPath)
	}
	return nil
}

// join gives the path of a file in a Windows folder.
func join(folder, file string) string { return strings.TrimRight(folder, `\/`) + `\` + file }

// forbidden holds for what neither PVS nor Windows takes in a file's name.
func forbidden(r rune) bool {
	return r < ' ' || r == 0x7F || strings.ContainsRune(`|"\/:*?<>`, r)
}

// cutExtension splits a file's name before its last dot.
func cutExtension(file string) (stem, ext string) {
	dot := strings.LastIndexByte(file, '.')
	if dot < 0 {
		return file, ""
	}
	return file[:dot], file[dot:]
}

// cutNumber splits x.N. PVS writes numbers from 1, without leading zeros: all
// else belongs to the vDisk's name.
func cutNumber(stem string) (disk string, number int, ok bool) {
	disk, ext := cutExtension(stem)
	digits := strings.TrimPrefix(ext, ".")
	number, err := strconv.Atoi(digits)
	if err != nil || digits[0] < '1' || digits[0] > '9' || number > maxNumber {
		return "", 0, false
	}
	return disk, number, true
}

// fold makes names comparable as Windows compares them, as far as PVS allows
// characters: the full Unicode folding would find ASCII names equal to others.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, name)
}
