package pvs

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// ErrNotLatest says that a version of a vDisk is not its latest one. Only that
// can get a child: PVS counts a vDisk's versions up, each on top of the last.
var ErrNotLatest = errors.New("not the latest version of the vDisk")

// Version is a version that a vDisk is to have, by the names of its files.
type Version struct {
	Number int
	File   string // of the differencing disk
	// Properties is the version's properties file, a copy of PropertiesFrom.
	// That is empty if there is none to copy; PVS will not add the version then
	// (Get-PvsNewDiskVersion, status 1, Missing Properties File).
	Properties     string
	PropertiesFrom string
	Manifest       string // lists the versions; there may be none yet
}

// NextVersion names the version that a child of the image becomes. names are
// those of all files in the folder, input is the image's.
//
// The number is the one after the highest of the vDisk's files: gaps are left by
// versions that PVS merged and are not filled. That the vDisk's manifest knows no
// higher one is for AddVersion to find.
//
// The error is ErrNotLatest, and names the latest version, or ErrName.
func NextVersion(names []string, input string) (Version, error) {
	dir := readFolder(names)
	in, err := dir.image(input)
	if err != nil {
		return Version{}, err
	}
	if err := checkDisk(in.Disk); err != nil {
		return Version{}, err
	}
	versions := dir.versions(in.Disk)
	if n := len(versions); n > 0 && versions[n-1].Number > in.Number {
		latest := versions[n-1]
		return Version{}, fmt.Errorf("%w: %s is version %d of %s, the latest is version %d, %s", ErrNotLatest, in.File(), in.Number, in.Disk, latest.Number, latest.File())
	}
	for _, v := range versions {
		if v.Number == in.Number && fold(v.File()) != fold(in.File()) {
			return Version{}, fmt.Errorf("%w: %s and %s both are version %d of %s", ErrName, in.File(), v.File(), in.Number, in.Disk)
		}
	}
	if in.Number >= maxNumber {
		return Version{}, fmt.Errorf("%w: there is no version after %s", ErrName, in.File())
	}
	next := Name{Disk: in.Disk, Number: in.Number + 1, Differencing: true, Container: in.Container}
	return Version{
		Number:         next.Number,
		File:           next.File(),
		Properties:     next.Properties(),
		PropertiesFrom: dir.propertiesOf(in, versions),
		Manifest:       dir.found(next.Manifest()),
	}, nil
}

// folder is the listing of a store's folder.
type folder struct {
	files  map[string]string // by their folded names
	images []Name            // of vDisks
	// disks are the vDisks, by their folded names, that have versions or a
	// manifest.
	disks map[string]bool
}

func readFolder(names []string) folder {
	dir := folder{files: map[string]string{}, disks: map[string]bool{}}
	for _, name := range names {
		dir.files[fold(name)] = name
		if stem, ext := cutExtension(name); fold(ext) == ".xml" {
			dir.disks[fold(stem)] = true
		}
		if n, ok := ParseName(name); ok {
			dir.images = append(dir.images, n)
			if n.Number > 0 {
				dir.disks[fold(n.Disk)] = true
			}
		}
	}
	for i, n := range dir.images {
		dir.images[i] = dir.resolve(n)
	}
	return dir
}

// resolve reads x.N.vhdx as the base of x.N where x.N has versions or a manifest
// of its own: a version has neither.
func (dir folder) resolve(n Name) Name {
	if n.mergedBase() && dir.disks[fold(n.stem())] {
		return n.asBase()
	}
	return n
}

// image finds out which version of which vDisk a file is; the error is ErrName.
func (dir folder) image(file string) (Name, error) {
	n, ok := ParseName(dir.found(file))
	if !ok {
		return Name{}, fmt.Errorf("%w: %q is neither a base, such as x.vhdx, nor a version, such as x.3.avhdx", ErrName, file)
	}
	if n = dir.resolve(n); !n.mergedBase() {
		return n, nil
	}
	// On its own, a file called x.N.vhdx may be what a merge has left of x, or
	// the base of a vDisk called x.N.
	others := []string{n.Manifest(), Name{Disk: n.Disk}.Properties(), Name{Disk: n.Disk}.Lock()}
	known := slices.ContainsFunc(others, func(name string) bool { return dir.files[fold(name)] != "" })
	known = known || slices.ContainsFunc(dir.images, func(other Name) bool {
		return fold(other.Disk) == fold(n.Disk) && fold(other.File()) != fold(n.File())
	})
	if !known {
		return Name{}, fmt.Errorf("%w: %s may be version %d of %s or the base of %s: there is no other file of either", ErrName, n.File(), n.Number, n.Disk, n.stem())
	}
	return n, nil
}

// versions lists the files of a vDisk by their numbers.
func (dir folder) versions(disk string) []Name {
	var list []Name
	for _, n := range dir.images {
		if fold(n.Disk) == fold(disk) {
			list = append(list, n)
		}
	}
	slices.SortFunc(list, func(a, b Name) int {
		return cmp.Or(cmp.Compare(a.Number, b.Number), cmp.Compare(fold(a.File()), fold(b.File())), cmp.Compare(a.File(), b.File()))
	})
	return list
}

// propertiesOf finds the properties file of a version or, where that has none,
// of the base that it builds on; "" if there is none.
func (dir folder) propertiesOf(v Name, versions []Name) string {
	candidates := []Name{v}
	for _, base := range slices.Backward(versions) {
		if !base.Differencing && base.Number <= v.Number {
			candidates = append(candidates, base)
		}
	}
	for _, c := range append(candidates, Name{Disk: v.Disk}) {
		if file := dir.files[fold(c.Properties())]; file != "" {
			return file
		}
	}
	return ""
}

// found gives a file's name in the case found, if it is in the folder.
func (dir folder) found(name string) string {
	if file := dir.files[fold(name)]; file != "" {
		return file
	}
	return name
}
