package fat32

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"
	"unicode/utf16"
)

const (
	maxDepth   = 128      // of directories; Windows reaches about that many in a path
	maxListing = 64 << 20 // bytes of paths that Files returns
)

// Walk calls visit for all files and directories but the root, a directory
// before what it contains, in the order of the volume, and stops at the first
// error. Its own are ErrCorrupt and those of the device.
func (v *FS) Walk(visit func(Entry) error) error {
	return v.walk(func(e Entry, _ []run) error {
		if e.Path == "" {
			return nil
		}
		return visit(e)
	})
}

// Files returns all files, without the directories.
func (v *FS) Files() ([]Entry, error) {
	var files []Entry
	listing := 0
	err := v.Walk(func(e Entry) error {
		if e.Dir {
			return nil
		}
		if listing += len(e.Path); listing > maxListing {
			return fmt.Errorf("fat32: the paths of the files take more than %d bytes: %w", maxListing, ErrCorrupt)
		}
		files = append(files, e)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return files, nil
}

// walk visits the root, as an Entry without a path, and all below. runs are
// the clusters of a directory; those of a file are not looked up.
func (v *FS) walk(visit func(e Entry, runs []run) error) error {
	// Directories that share a cluster would make a cycle, or a tree that is
	// larger than the volume.
	seen := map[uint32]string{}
	var descend func(dir Entry, depth int) error
	descend = func(dir Entry, depth int) error {
		if depth > maxDepth {
			return fmt.Errorf("fat32: %q: directories nested more than %d deep: %w", dir.Path, maxDepth, ErrCorrupt)
		}
		entries, runs, err := v.readDirectory(dir)
		if err != nil {
			return err
		}
		for _, r := range runs {
			for i := range r.count {
				if other, ok := seen[r.cluster+i]; ok {
					return fmt.Errorf("fat32: directories %q and %q both have cluster %d: %w", other, dir.Path, r.cluster+i, ErrCorrupt)
				}
				seen[r.cluster+i] = dir.Path
			}
		}
		if err := visit(dir, runs); err != nil {
			return err
		}
		for _, e := range entries {
			if e.Path, err = join(dir.Path, e.Path); err != nil {
				return err
			}
			if e.Dir {
				err = descend(e, depth+1)
			} else {
				err = visit(e, nil)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	return descend(Entry{Dir: true, cluster: v.rootCluster}, 0)
}

// join returns the path of a name in a directory. Bounding it keeps a small
// volume from having paths that fill the memory.
func join(dir, name string) (string, error) {
	path := strings.TrimPrefix(dir+"/"+name, "/")
	if len(path) > maxPathBytes {
		return "", fmt.Errorf("fat32: directory %q: a path of %d bytes, at most %d: %w", dir, len(path), maxPathBytes, ErrCorrupt)
	}
	return path, nil
}

// readDirectory returns the entries of a directory, without "." and "..", and
// its clusters. The Path of the entries is their name alone.
func (v *FS) readDirectory(dir Entry) (entries []Entry, runs []run, err error) {
	runs, _, err = v.chain(dir.cluster, int64(dirMaxEntrySize/v.info.ClusterSize))
	if err != nil {
		return nil, nil, fmt.Errorf("fat32: directory %q: %w", dir.Path, err)
	}
	root := dir.cluster == v.rootCluster
	var long longName
	cluster := make([]byte, v.info.ClusterSize)
	for _, r := range runs {
		for i := range r.count {
			start := v.offset(r.cluster + i)
			if err := readFull(v.r, cluster, start); err != nil {
				return nil, nil, fmt.Errorf("fat32: read directory %q at offset %d: %w", dir.Path, start, err)
			}
			for at := 0; at < len(cluster); at += dirEntrySize {
				b := cluster[at : at+dirEntrySize]
				first := r.at == 0 && i == 0 && at < 2*dirEntrySize
				switch {
				case b[0] == entryEnd:
					return entries, runs, nil
				case b[0] == entryDeleted:
					long = longName{}
					continue
				case b[dirAttr]&attrMask == attrLongName:
					long.add(b)
					continue
				case b[dirAttr]&attrVolumeID != 0, first && b[0] == '.' && !root:
					long = longName{} // the label, "." or ".."
					continue
				}
				e, err := decodeEntry(b, long)
				if err != nil {
					return nil, nil, fmt.Errorf("fat32: directory %q, entry at offset %d: %w", dir.Path, start+int64(at), err)
				}
				if !root {
					e.parent = dir.cluster
				}
				long = longName{}
				entries = append(entries, e)
			}
		}
	}
	return entries, runs, nil
}

// decodeEntry reads a short entry. The long name is the one before it, and is
// its own only if it is complete and the checksum says so.
func decodeEntry(b []byte, long longName) (Entry, error) {
	e := Entry{
		ShortName: decodeShortName(b),
		Dir:       b[dirAttr]&attrDirectory != 0,
		Size:      int64(binary.LittleEndian.Uint32(b[dirFileSize:])),
		ModTime:   decodeTime(binary.LittleEndian.Uint16(b[dirWriteDate:]), binary.LittleEndian.Uint16(b[dirWriteTime:])),
		cluster:   uint32(binary.LittleEndian.Uint16(b[dirClusterHigh:]))<<16 | uint32(binary.LittleEndian.Uint16(b[dirClusterLow:])),
	}
	name := e.ShortName
	if units, ok := long.of(b); ok {
		name = string(utf16.Decode(units))
	}
	for _, n := range []string{name, e.ShortName} {
		if n == "" || n == "." || n == ".." || strings.ContainsFunc(n, func(r rune) bool {
			return r < ' ' || strings.ContainsRune(`"*/:<>?\|`, r)
		}) {
			return Entry{}, fmt.Errorf("name %q: %w", n, ErrCorrupt)
		}
	}
	e.Path = name
	if e.Dir && e.Size != 0 {
		return Entry{}, fmt.Errorf("directory %q has size %d: %w", name, e.Size, ErrCorrupt)
	}
	return e, nil
}

// longName collects the parts of a long name, which come last part first.
type longName struct {
	units    []uint16
	next     int // number of the part that must come next; 0 = complete
	checksum byte
}

func (l *longName) add(b []byte) {
	ordinal := int(b[lfnOrdinal])
	if ordinal&lfnLast != 0 {
		ordinal &^= lfnLast
		*l = longName{next: ordinal, checksum: b[lfnChecksum]}
		if ordinal >= 1 && ordinal <= (maxNameUnits+lfnPerEntry-1)/lfnPerEntry {
			l.units = make([]uint16, ordinal*lfnPerEntry)
		}
	}
	if l.units == nil || ordinal != l.next || b[lfnChecksum] != l.checksum {
		*l = longName{} // a remnant of a system without long names: no name
		return
	}
	l.next--
	for i, at := range lfnUnits {
		l.units[l.next*lfnPerEntry+i] = binary.LittleEndian.Uint16(b[at:])
	}
}

// of returns the name if it belongs to the short entry.
func (l *longName) of(short []byte) ([]uint16, bool) {
	if l.units == nil || l.next != 0 {
		return nil, false
	}
	var sum byte
	for _, c := range short[dirName : dirName+11] {
		sum = (sum&1)<<7 + sum>>1 + c
	}
	if sum != l.checksum {
		return nil, false
	}
	for i, u := range l.units {
		if u == 0 {
			return l.units[:i], true
		}
	}
	return l.units, true
}

// decodeShortName returns the name with its dot, in the case that Windows NT
// gives it.
func decodeShortName(b []byte) string {
	raw := [11]byte(b[dirName:])
	if raw[0] == 0x05 {
		raw[0] = entryDeleted // a letter in some code pages
	}
	base, ext := oemString(raw[:8]), oemString(raw[8:])
	if b[dirCase]&0x08 != 0 {
		base = strings.ToLower(base)
	}
	if b[dirCase]&0x10 != 0 {
		ext = strings.ToLower(ext)
	}
	if ext == "" {
		return base
	}
	return base + "." + ext
}

// oemString decodes a padded name. Characters above ASCII depend on a code
// page that the volume does not name, and become U+FFFD.
func oemString(b []byte) string {
	var s strings.Builder
	for _, c := range b {
		if c < 0x80 {
			s.WriteByte(c)
		} else {
			s.WriteRune('\uFFFD')
		}
	}
	return strings.TrimRight(s.String(), " ")
}

func decodeTime(date, clock uint16) time.Time {
	return time.Date(1980+int(date>>9), time.Month(date>>5&15), int(date&31),
		int(clock>>11), int(clock>>5&63), int(clock&31)*2, 0, time.UTC)
}
