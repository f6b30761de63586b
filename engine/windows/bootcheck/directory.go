package bootcheck

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"
)

// Attributes of a directory entry ("DIR_Attr").
const (
	attrVolume    = 0x08
	attrDirectory = 0x10
	attrLong      = 0x0f // a piece of a long name
)

const (
	dirEntryBytes = 32
	mostDirBytes  = 65536 * dirEntryBytes
)

// folder is a directory that is still to be read.
type folder struct {
	path            string
	depth           int
	cluster, parent uint32 // parent is 0 where that is the root
}

// walk reads the whole tree.
func (v *volume) walk(ctx context.Context) error {
	for todo := []folder{{cluster: v.root}}; len(todo) > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		f := todo[0]
		if f.depth > mostDepth {
			return wrong("EFI system partition: /%s: more than %d directories deep", f.path, mostDepth)
		}
		more, err := v.readFolder(f)
		if err != nil {
			return err
		}
		todo = append(todo[1:], more...)
	}
	slices.SortFunc(v.entries, func(a, b entry) int { return strings.Compare(a.path, b.path) })
	for i, e := range v.entries {
		v.index[fold(e.path)] = i
	}
	return nil
}

// readFolder reads a directory, and gives those in it.
func (v *volume) readFolder(f folder) ([]folder, error) {
	chain, err := v.chain(f.cluster, max(1, mostDirBytes/v.clusterBytes), "directory /"+f.path)
	if err != nil {
		return nil, err
	}
	d := directory{v: v, folder: f, names: map[string]bool{}}
	cluster := make([]byte, v.clusterBytes)
	for _, c := range chain {
		if err := readAt(v.r, cluster, v.clusterAt(c), "directory /"+f.path); err != nil {
			return nil, err
		}
		for at := 0; at < len(cluster); at += dirEntryBytes {
			end, err := d.add(cluster[at:][:dirEntryBytes])
			if err != nil {
				return nil, fmt.Errorf("%w (directory /%s, cluster %d, byte %d)", err, f.path, c, at)
			}
			if end {
				return d.folders, d.done()
			}
		}
	}
	return d.folders, d.done()
}

// directory is one that is being read.
type directory struct {
	v *volume
	folder
	n       int             // entries before this one
	names   map[string]bool // long and short ones, folded
	folders []folder

	// A long name comes in pieces, the last one first.
	long     []uint16
	pieces   int // still to come
	checksum byte
}

// add takes the next entry; end says that it was the last.
func (d *directory) add(b []byte) (end bool, err error) {
	n := d.n
	d.n++
	switch {
	case b[0] == 0x00:
		return true, nil
	case b[0] == 0xe5: // deleted
		return false, d.done()
	case b[11]&0x3f == attrLong:
		return false, d.addLong(b)
	case b[11]&attrVolume != 0: // the label
		return false, d.done()
	case d.path != "" && n < 2:
		return false, d.addDot(b, n)
	}
	short := shortName(b)
	name := short
	if d.long != nil {
		if d.pieces != 0 || shortChecksum(b[:11]) != d.checksum {
			return false, wrong("EFI system partition: the long name in front of %q belongs to another file: its checksum is 0x%02x, expected 0x%02x", short, d.checksum, shortChecksum(b[:11]))
		}
		name = string(utf16.Decode(d.long))
	}
	d.long = nil
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\\\x00") {
		return false, wrong("EFI system partition: %q is no name", name)
	}
	for i, s := range []string{fold(name), fold(short)} {
		if i == 1 && s == fold(name) {
			break
		}
		if d.names[s] {
			return false, wrong("EFI system partition: there are two files %q in one directory", s)
		}
		d.names[s] = true
	}
	return false, d.addFile(b, name)
}

// done says whether a long name waits for its file.
func (d *directory) done() error {
	if d.long != nil {
		return wrong("EFI system partition: a long name ending in %q belongs to no file", string(utf16.Decode(d.long)))
	}
	return nil
}

// addDot checks "." and "..", with which a directory begins.
func (d *directory) addDot(b []byte, n int) error {
	name, want := ".          ", d.cluster
	if n == 1 {
		name, want = "..         ", d.parent
	}
	if got := firstCluster(b); string(b[:11]) != name || b[11]&attrDirectory == 0 || got != want {
		return wrong("EFI system partition: entry %d is %q in cluster %d, expected %q in cluster %d", n, b[:11], got, name, want)
	}
	return nil
}

// addLong takes a piece of a long name ("FAT Long Directory Entries").
func (d *directory) addLong(b []byte) error {
	const last = 0x40
	number := int(b[0] &^ last)
	if b[0]&last != 0 {
		if err := d.done(); err != nil {
			return err
		}
		d.long, d.pieces, d.checksum = []uint16{}, number, b[13]
	}
	if d.long == nil || number == 0 || number > 20 || number != d.pieces || b[13] != d.checksum || b[12] != 0 || b[26] != 0 || b[27] != 0 {
		return wrong("EFI system partition: piece %d of a long name is out of order or damaged", number)
	}
	d.pieces--
	var piece []uint16
	ended := false
	for _, at := range []int{1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30} {
		c := binary.LittleEndian.Uint16(b[at:])
		switch {
		case ended && c != 0xffff, c == 0 && len(d.long) > 0:
			return wrong("EFI system partition: piece %d of a long name goes on behind its end", number)
		case c == 0:
			ended = true
		case !ended:
			piece = append(piece, c)
		}
	}
	d.long = append(piece, d.long...)
	return nil
}

// addFile takes a file or directory, and checks that its clusters are its own.
func (d *directory) addFile(b []byte, name string) error {
	v := d.v
	e := entry{path: name, dir: b[11]&attrDirectory != 0, size: int64(binary.LittleEndian.Uint32(b[28:])), cluster: firstCluster(b)}
	if d.path != "" {
		e.path = d.path + "/" + name
	}
	if len(v.entries) == mostEntries || len(e.path) > mostPath {
		return wrong("EFI system partition: more than %d files, or a path of more than %d bytes", mostEntries, mostPath)
	}
	v.entries = append(v.entries, e)
	if e.dir {
		if e.size != 0 {
			return wrong("EFI system partition: directory /%s has a size of %d bytes, expected 0", e.path, e.size)
		}
		parent := d.cluster
		if d.path == "" {
			parent = 0
		}
		d.folders = append(d.folders, folder{path: e.path, depth: d.depth + 1, cluster: e.cluster, parent: parent})
		return nil
	}
	need := (e.size + v.clusterBytes - 1) / v.clusterBytes
	if need == 0 {
		if e.cluster != 0 {
			return wrong("EFI system partition: /%s is empty, but has cluster %d", e.path, e.cluster)
		}
		return nil
	}
	chain, err := v.chain(e.cluster, need, "/"+e.path)
	if err != nil {
		return err
	}
	if int64(len(chain)) != need {
		return wrong("EFI system partition: /%s: its chain ends after %d clusters, expected %d for %d bytes", e.path, len(chain), need, e.size)
	}
	return nil
}

func firstCluster(b []byte) uint32 {
	return (uint32(binary.LittleEndian.Uint16(b[20:]))<<16 | uint32(binary.LittleEndian.Uint16(b[26:]))) & fatMask
}

// shortName is the 8.3 name, in the case that Windows' flags in byte 12 say.
func shortName(b []byte) string {
	const lowerBase, lowerExt = 0x08, 0x10
	text := func(b []byte, lower bool) string {
		var s strings.Builder
		for i, c := range b {
			if c == 0x05 && i == 0 {
				c = 0xe5 // which would mean a deleted entry
			}
			s.WriteRune(rune(c)) // nobody says in which code page
		}
		t := strings.TrimRight(s.String(), " ")
		if lower {
			t = strings.ToLower(t)
		}
		return t
	}
	base, ext := text(b[:8], b[12]&lowerBase != 0), text(b[8:11], b[12]&lowerExt != 0)
	if ext == "" {
		return base
	}
	return base + "." + ext
}

// shortChecksum ties a long name to its short one ("ChkSum").
func shortChecksum(name []byte) byte {
	sum := byte(0)
	for _, c := range name {
		sum = sum>>1 | sum<<7
		sum += c
	}
	return sum
}

// fold makes names that differ in case only equal.
func fold(s string) string { return strings.ToUpper(s) }

// find finds a file or directory by its path, in any case, with either slash.
func (v *volume) find(path string) (entry, bool) {
	path = strings.Trim(strings.ReplaceAll(path, `\`, "/"), "/")
	if path == "" {
		return entry{dir: true}, true
	}
	i, ok := v.index[fold(path)]
	if !ok {
		return entry{}, false
	}
	return v.entries[i], true
}
