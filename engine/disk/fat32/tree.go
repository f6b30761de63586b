package fat32

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf16"
)

// node is a file or directory to be written.
type node struct {
	path     string // "" is the root
	name     string
	short    shortName
	long     []uint16 // UTF-16; nil if the short name says it all
	parent   *node    // nil for the root
	modTime  time.Time
	size     int64 // bytes; of a directory, those of its entries
	clusters int64 // as many as size takes, contiguous
	cluster  uint32

	file     *File   // nil for a directory
	children []*node // of a directory, by folded name
	byName   map[string]*node
	taken    []shortName // of a directory of a volume, by what it has already
}

// entries is how many directory entries the node takes in its parent.
func (n *node) entries() int64 {
	return 1 + int64((len(n.long)+lfnPerEntry-1)/lfnPerEntry)
}

// newTree arranges the files in directories and gives all their names. The
// order of the files does not matter, but for which spelling of a directory
// that occurs in several cases is kept: the first.
func newTree(files []File, dirTime time.Time, labelled bool) (*node, error) {
	root := &node{modTime: dirTime, byName: map[string]*node{}}
	for i := range files {
		if err := root.insert(&files[i], dirTime); err != nil {
			return nil, err
		}
	}
	if err := root.finish(labelled); err != nil {
		return nil, err
	}
	return root, nil
}

func (root *node) insert(f *File, dirTime time.Time) error {
	if f.Size < 0 || f.Size > maxFileSize {
		return fmt.Errorf("fat32: %s: %d bytes: %w", f.Path, f.Size, ErrFileSize)
	}
	if len(f.Path) > maxPathBytes {
		return fmt.Errorf("fat32: a path of %d bytes, at most %d: %w", len(f.Path), maxPathBytes, ErrPath)
	}
	at := root
	for rest, more := f.Path, true; more; {
		var name string
		name, rest, more = strings.Cut(rest, "/")
		if err := checkName(name); err != nil {
			return fmt.Errorf("fat32: path %q: %w", f.Path, err)
		}
		child := at.byName[foldName(name)]
		switch {
		case child == nil:
			child = &node{path: strings.TrimPrefix(at.path+"/"+name, "/"), name: name, parent: at, modTime: dirTime}
			if more {
				child.byName = map[string]*node{}
			} else {
				child.file, child.size, child.modTime = f, f.Size, f.ModTime
			}
			at.byName[foldName(name)] = child
		case !more:
			return fmt.Errorf("fat32: path %q: %q is there already: %w", f.Path, child.path, ErrPath)
		case child.file != nil:
			return fmt.Errorf("fat32: path %q: %q is a file: %w", f.Path, child.path, ErrPath)
		}
		at = child
	}
	return nil
}

// finish names the children of n and of the directories below, and computes
// the sizes of the directories.
func (n *node) finish(labelled bool) error {
	keys := make([]string, 0, len(n.byName))
	for key := range n.byName {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	names := newAliases()
	for _, short := range n.taken {
		names.reserve(short)
	}
	for _, key := range keys {
		child := n.byName[key]
		n.children = append(n.children, child)
		// Names that are short as they are have precedence over made-up ones.
		if short, exact, ok := plainShortName(child.name); ok {
			child.short = short
			names.reserve(short)
			if !exact {
				child.long = utf16.Encode([]rune(child.name))
			}
		}
	}
	entries := int64(0)
	if n.parent != nil {
		entries = 2 // . and ..
	} else if labelled {
		entries = 1
	}
	for _, child := range n.children {
		if child.short == (shortName{}) {
			short, err := names.numbered(child.name)
			if err != nil {
				return fmt.Errorf("fat32: path %q: %w", child.path, err)
			}
			child.short, child.long = short, utf16.Encode([]rune(child.name))
		}
		entries += child.entries()
		if child.file == nil {
			if err := child.finish(labelled); err != nil {
				return err
			}
		}
	}
	n.size = entries * dirEntrySize
	if n.size > dirMaxEntrySize {
		return fmt.Errorf("fat32: directory %q needs %d entries, at most %d: %w", n.path, entries, dirMaxEntrySize/dirEntrySize, ErrPath)
	}
	return nil
}

// allocate gives every node its clusters, the directories first, and returns
// them in the order of their clusters. used is the number of clusters taken.
func (root *node) allocate(clusterSize int) (order []*node, used int64) {
	var directories, files []*node
	var visit func(n *node)
	visit = func(n *node) {
		if n.file != nil {
			files = append(files, n)
			return
		}
		directories = append(directories, n)
		for _, child := range n.children {
			visit(child)
		}
	}
	visit(root)
	order = append(directories, files...)
	for _, n := range order {
		n.clusters = (n.size + int64(clusterSize) - 1) / int64(clusterSize)
		if n.file == nil {
			n.clusters = max(n.clusters, 1) // an empty root
		}
		if n.clusters > 0 {
			n.cluster = uint32(firstCluster + used)
			used += n.clusters
		}
	}
	return order, used
}
