package peversion

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// [PE] "The .rsrc Section": a tree of three levels, type, name and language.
const (
	tableBytes    = 16 // of a directory table, before its entries
	entryBytes    = 8
	subdirectory  = 1 << 31
	maxEntries    = 4096    // of one table: a program has some ten types, and one version
	maxBlockBytes = 1 << 16 // lengths in a version resource are of 16 bits
	typeVersion   = 16      // RT_VERSION
	versionName   = 1       // VS_VERSION_INFO, where Windows looks
)

// The languages in order of preference: the strings are for machines too, and
// all languages have the same.
var languages = []uint32{0x0409, 0}

// versionResource gives the bytes of the version resource.
func (im *image) versionResource() ([]byte, error) {
	if im.resources == 0 {
		return nil, fmt.Errorf("%w: the program has no resources", ErrNoVersion)
	}
	types, err := im.directory(0)
	if err != nil {
		return nil, err
	}
	at, ok := types.find(typeVersion)
	if !ok {
		return nil, fmt.Errorf("%w: none of the %d types of resources is that of versions", ErrNoVersion, len(types))
	}
	// The names of versions, and the languages of the one.
	for _, wanted := range [][]uint32{{versionName}, languages} {
		if at&subdirectory == 0 {
			return nil, fmt.Errorf("%w: offset %#x of the resources is data, where a directory must be", ErrCorrupt, at)
		}
		level, err := im.directory(at &^ subdirectory)
		if err != nil {
			return nil, err
		}
		if len(level) == 0 {
			return nil, fmt.Errorf("%w: the directory at offset %#x of the resources is empty", ErrNoVersion, at&^subdirectory)
		}
		if at, ok = level.find(wanted...); !ok {
			at = level[0].at
		}
	}
	if at&subdirectory != 0 {
		return nil, fmt.Errorf("%w: offset %#x of the resources is a directory, where data must be", ErrCorrupt, at&^subdirectory)
	}
	entry, err := im.readResource(at, 16, "the entry of the version")
	if err != nil {
		return nil, err
	}
	n := min(binary.LittleEndian.Uint32(entry[4:]), maxBlockBytes)
	return im.readMemory(binary.LittleEndian.Uint32(entry), int(n), "the version")
}

// entry is one of a directory: what it is for, and where it leads to.
type entry struct{ id, at uint32 }

type entries []entry

// find gives the first of the ids that is there.
func (e entries) find(ids ...uint32) (at uint32, ok bool) {
	for _, id := range ids {
		if i := slices.IndexFunc(e, func(e entry) bool { return e.id == id }); i >= 0 {
			return e[i].at, true
		}
	}
	return 0, false
}

// directory reads a directory table at an offset from the root of the
// resources.
func (im *image) directory(offset uint32) (entries, error) {
	const what = "a directory of the resources"
	table, err := im.readResource(offset, tableBytes, what)
	if err != nil {
		return nil, err
	}
	n := int(binary.LittleEndian.Uint16(table[12:])) + int(binary.LittleEndian.Uint16(table[14:]))
	if n > maxEntries {
		return nil, fmt.Errorf("%w: the directory at offset %#x of the resources has %d entries, more than %d", ErrCorrupt, offset, n, maxEntries)
	}
	b, err := im.readResource(offset, tableBytes+n*entryBytes, what)
	if err != nil {
		return nil, err
	}
	list := make(entries, 0, n)
	for b = b[tableBytes:]; len(b) > 0; b = b[entryBytes:] {
		list = append(list, entry{id: binary.LittleEndian.Uint32(b), at: binary.LittleEndian.Uint32(b[4:])})
	}
	return list, nil
}

func (im *image) readResource(offset uint32, n int, what string) ([]byte, error) {
	rva := im.resources + offset
	if rva < im.resources {
		return nil, fmt.Errorf("%w: %s at offset %#x is beyond 4 GiB", ErrCorrupt, what, offset)
	}
	return im.readMemory(rva, n, what)
}
