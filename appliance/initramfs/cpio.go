package initramfs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"path"
	"slices"
	"strings"
	"time"
)

// ErrTree: there cannot be such a file in the root file system.
var ErrTree = errors.New("not a valid root file system")

// The types of files, as inode(7) has them in st_mode.
const (
	typeDir     = 0o040000
	typeChar    = 0o020000
	typeRegular = 0o100000
	typeLink    = 0o120000
)

// node is one file.
type node struct {
	mode         uint32 // type and permission bits
	data         []byte // contents, or the target of a symbolic link
	major, minor uint32 // of a character device
}

// Tree is a root file system. The folders above a file need not be added. All
// belongs to root.
type Tree struct {
	nodes map[string]node // by absolute, clean path
}

func (t *Tree) add(name string, n node) error {
	if !path.IsAbs(name) || path.Clean(name) != name || name == "/" || strings.ContainsRune(name, 0) {
		return fmt.Errorf("%w: %q is no absolute, clean path", ErrTree, name)
	}
	if int64(len(n.data)) > math.MaxUint32 {
		return fmt.Errorf("%w: %s has %d bytes, want less than 4 GiB", ErrTree, name, len(n.data))
	}
	if old, ok := t.nodes[name]; ok && (old.mode != typeDir|0o755 || n.mode != old.mode) {
		return fmt.Errorf("%w: %s is there already", ErrTree, name)
	}
	if dir := path.Dir(name); dir != "/" {
		above, ok := t.nodes[dir]
		if !ok {
			if err := t.AddDir(dir, 0o755); err != nil {
				return err
			}
		} else if above.mode&typeDir == 0 {
			return fmt.Errorf("%w: %s is no folder, as %s needs it", ErrTree, dir, name)
		}
	}
	if t.nodes == nil {
		t.nodes = map[string]node{}
	}
	t.nodes[name] = n
	return nil
}

// AddDir adds a folder.
func (t *Tree) AddDir(name string, perm uint32) error {
	return t.add(name, node{mode: typeDir | perm})
}

// AddFile adds a regular file, whose contents must not change afterwards.
func (t *Tree) AddFile(name string, perm uint32, data []byte) error {
	return t.add(name, node{mode: typeRegular | perm, data: data})
}

// AddLink adds a symbolic link.
func (t *Tree) AddLink(name, target string) error {
	return t.add(name, node{mode: typeLink | 0o777, data: []byte(target)})
}

// AddDevice adds a character device.
func (t *Tree) AddDevice(name string, perm, major, minor uint32) error {
	return t.add(name, node{mode: typeChar | perm, major: major, minor: minor})
}

// Write writes the archive in the format newc of the kernel's documentation,
// "initramfs buffer format". Every file has the modification time given.
func (t *Tree) Write(w io.Writer, modified time.Time) error {
	seconds := modified.Unix()
	if seconds < 0 || seconds > math.MaxUint32 {
		return fmt.Errorf("%w: the date %s does not fit in 32 bits", ErrTree, modified.UTC().Format(time.RFC3339))
	}
	a := archive{w: bufio.NewWriter(w), modified: seconds}
	for _, name := range slices.Sorted(maps.Keys(t.nodes)) { // a folder before what is in it
		a.entry(name[1:], t.nodes[name])
	}
	a.inode, a.modified = 0, 0
	a.entry("TRAILER!!!", node{})
	return a.w.Flush() // it keeps the first error
}

// archive writes entries, and counts its bytes and files.
type archive struct {
	w        *bufio.Writer
	modified int64
	written  int
	inode    int
}

func (a *archive) entry(name string, n node) {
	links := 1
	if n.mode&typeDir != 0 {
		links = 2
	}
	a.inode++
	header := fmt.Sprintf("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
		a.inode, n.mode, 0, 0, links, a.modified, len(n.data), 0, 0, n.major, n.minor, len(name)+1, 0)
	a.bytes([]byte(header + name + "\x00"))
	a.bytes(n.data)
}

// bytes writes b up to a multiple of 4.
func (a *archive) bytes(b []byte) {
	a.w.Write(b)
	for a.written += len(b); a.written%4 != 0; a.written++ {
		a.w.WriteByte(0)
	}
}
