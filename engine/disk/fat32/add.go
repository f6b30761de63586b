package fat32

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"strings"
)

// ReadWriterAt is the device of a volume that is changed: as a rule an overlay
// over it.
type ReadWriterAt interface {
	io.ReaderAt
	io.WriterAt
}

// AddFile stores a file in the volume in the first size bytes of rw, and makes
// the directories of its path that are not there. Names get entries as Format
// writes them; f.ModTime is the time of all that is new. What is there stays as
// it is, to the byte: neither the clusters of other files nor the entries beside
// the new ones change.
//
// The volume is verified first, as Check does it: where the FAT is wrong, a new
// file can be the loss of another. Only what nothing depends on may be wrong:
// the numbers in FSInfo, which Windows often leaves behind, and which are right
// afterwards, and the backup of the boot sector. A volume that is ErrDirty is
// refused, even if all that can be seen is right: Windows may have known more of
// it than it had written, and will repair it when it starts, at the expense of
// what it cannot explain.
//
// The other errors are ErrNotFAT32, ErrCorrupt, ErrPath, ErrFileSize, ErrNoSpace
// and io/fs.ErrExist if the name is taken, in any case and be it by a directory.
// With those nothing has been written. After an error of rw, or of f.Data, which
// is read while it is stored, the volume may have lost clusters, but not the
// file: its entry is written last.
func AddFile(rw ReadWriterAt, size int64, f File) error {
	v, err := Open(rw, size)
	if err != nil {
		return err
	}
	root := &node{modTime: f.ModTime, byName: map[string]*node{}, cluster: v.rootCluster}
	if err := root.insert(&f, f.ModTime); err != nil {
		return err
	}
	if depth := strings.Count(f.Path, "/"); depth > maxDepth {
		return fmt.Errorf("fat32: path %q: %d directories, at most %d: %w", f.Path, depth, maxDepth, ErrPath)
	}
	if f.Data == nil && f.Size > 0 {
		return fmt.Errorf("fat32: %s: %d bytes but no data: %w", f.Path, f.Size, ErrFileSize)
	}
	if err := v.checkUnmounted(); err != nil {
		return err
	}
	if err := v.checkFATs(); err != nil {
		return err
	}
	free, err := v.checkClusters()
	if err != nil {
		return err
	}
	a := addition{v: v}
	if err := a.locate(root, f.Path); err != nil {
		return err
	}
	if err := a.findSlots(); err != nil {
		return err
	}
	if err := a.allocate(free); err != nil {
		return err
	}
	return a.write(rw)
}

// addition is a file to be added, and where it goes.
type addition struct {
	v   *FS
	dir *node // the last directory of the path that is there
	at  Entry // the same, as the volume has it

	clusters contents // of dir, with those that it gets
	had      int      // runs of dir that it has already
	slot     int64    // where in dir its new entries begin, in bytes
	last     bool     // the entry behind the new ones ends dir

	made   []created // all that is new, from the top to the file
	fsInfo []byte    // the numbers of FSInfo afterwards; nil if no cluster is needed
}

// created is a new directory, or the new file, with its clusters.
type created struct {
	*node
	content contents
}

// locate finds the last directory of the path that is there. root has the nodes
// of the path.
func (a *addition) locate(root *node, path string) error {
	a.dir, a.at = root, Entry{Dir: true, cluster: a.v.rootCluster}
	rest := path
	for {
		name, below, _ := strings.Cut(rest, "/")
		child := a.dir.byName[foldName(name)]
		e, err := a.v.lookUp(a.at, name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			// What follows must not become longer than the reader takes: the
			// volume may spell out what path has as short names.
			if _, err := join(a.at.Path, rest); err != nil {
				return fmt.Errorf("fat32: path %q is longer than %d bytes in the spelling of the volume: %w", path, maxPathBytes, ErrPath)
			}
			for n := child; n != nil; n = n.only() {
				a.made = append(a.made, created{node: n, content: contents{v: a.v}})
			}
			return nil
		case err != nil:
			return err
		case child.file != nil:
			return fmt.Errorf("fat32: path %q: %q is there already: %w", path, e.Path, fs.ErrExist)
		case !e.Dir:
			return fmt.Errorf("fat32: path %q: %q is a file: %w", path, e.Path, ErrPath)
		}
		child.cluster = e.cluster
		a.dir, a.at, rest = child, e, below
	}
}

// only is the one child of a directory on a path; nil for the file at its end.
func (n *node) only() *node {
	for _, child := range n.byName {
		return child
	}
	return nil
}

// findSlots gives all that is new its names, and finds room for the entries of
// the topmost in its directory, which may have to grow.
func (a *addition) findSlots() error {
	runs, n, err := a.v.chain(a.dir.cluster, int64(dirMaxEntrySize/a.v.info.ClusterSize))
	if err != nil {
		return fmt.Errorf("fat32: directory %q: %w", a.at.Path, err)
	}
	a.clusters, a.had = contents{a.v, runs}, len(runs)
	b := make([]byte, n*int64(a.v.info.ClusterSize))
	if _, err := a.clusters.ReadAt(b, 0); err != nil {
		return fmt.Errorf("fat32: read directory %q: %w", a.at.Path, err)
	}
	b = b[:endOfDirectory(b)]
	a.dir.taken = shortNames(b)
	if err := a.dir.finish(false); err != nil {
		return err
	}
	size := a.made[0].entries() * dirEntrySize
	a.slot = freeSlots(b, size)
	a.last = a.slot+size > int64(len(b))
	if a.slot+size > dirMaxEntrySize {
		return fmt.Errorf("fat32: directory %q has no room for %d more entries: %w", a.at.Path, a.made[0].entries(), ErrNoSpace)
	}
	return nil
}

// endOfDirectory is where the entries end, in the clusters of a directory.
func endOfDirectory(b []byte) int {
	for at := 0; at < len(b); at += dirEntrySize {
		if b[at] == entryEnd {
			return at
		}
	}
	return len(b)
}

// shortNames are those that the entries of a directory have.
func shortNames(b []byte) (names []shortName) {
	for at := 0; at < len(b); at += dirEntrySize {
		if e := b[at:]; e[0] != entryDeleted && e[dirAttr]&attrVolumeID == 0 { // a long name has this bit
			names = append(names, shortName(e[dirName:dirName+11]))
		}
	}
	return names
}

// freeSlots is where the first deleted entries are that together have the size,
// or else where the directory goes on.
func freeSlots(b []byte, size int64) int64 {
	start := 0
	for at := 0; at < len(b); at += dirEntrySize {
		if b[at] != entryDeleted {
			start = at + dirEntrySize
		} else if int64(at+dirEntrySize-start) == size {
			break
		}
	}
	return int64(start)
}

// allocate gives all that is new its clusters: the first that are free.
func (a *addition) allocate(free uint32) error {
	clusterSize := int64(a.v.info.ClusterSize)
	inClusters := func(size int64) int64 { return (size + clusterSize - 1) / clusterSize }
	last := a.clusters.runs[a.had-1]
	grows := max(0, inClusters(a.slot+a.made[0].entries()*dirEntrySize)-inClusters(last.at)-int64(last.count))
	need := grows
	for _, c := range a.made {
		c.node.clusters = inClusters(c.size)
		need += c.node.clusters
	}
	if need > int64(free) {
		return fmt.Errorf("fat32: %s needs %d clusters of %d bytes, %d are free: %w", a.made[len(a.made)-1].path, need, clusterSize, free, ErrNoSpace)
	}
	if need == 0 {
		return nil
	}
	fsInfo, err := a.v.readFSInfo()
	if err != nil {
		return err
	}
	pool, err := a.v.freeRuns(need)
	if err != nil {
		return err
	}
	next := pool[len(pool)-1].cluster + pool[len(pool)-1].count
	if !a.v.valid(next) {
		next = math.MaxUint32 // unknown
	}
	a.fsInfo = fsInfo[fsiFreeCount : fsiNextFree+4]
	binary.LittleEndian.PutUint32(a.fsInfo, free-uint32(need))
	binary.LittleEndian.PutUint32(a.fsInfo[fsiNextFree-fsiFreeCount:], next)

	take := func(n, at int64) (runs []run) {
		for n > 0 {
			k := uint32(min(n, int64(pool[0].count)))
			runs = append(runs, run{at, pool[0].cluster, k})
			if pool[0].cluster, pool[0].count = pool[0].cluster+k, pool[0].count-k; pool[0].count == 0 {
				pool = pool[1:]
			}
			n, at = n-int64(k), at+int64(k)*clusterSize
		}
		return runs
	}
	a.clusters.runs = append(a.clusters.runs, take(grows, last.at+int64(last.count)*clusterSize)...)
	for i := range a.made {
		c := &a.made[i]
		c.content.runs = take(c.node.clusters, 0)
		if len(c.content.runs) > 0 {
			c.cluster = c.content.runs[0].cluster
		}
	}
	return nil
}

// freeRuns returns the first n free clusters: there must be as many.
func (v *FS) freeRuns(n int64) (runs []run, err error) {
	table := fatReader{v: v, fat: v.activeFAT}
	for cluster := uint32(firstCluster); n > 0; cluster++ {
		if !v.valid(cluster) {
			return nil, fmt.Errorf("fat32: the volume had %d more free clusters when they were counted: %w", n, ErrCorrupt)
		}
		entry, err := table.entry(cluster)
		if err != nil {
			return nil, err
		}
		if entry != 0 {
			continue
		}
		if last := len(runs) - 1; last >= 0 && runs[last].cluster+runs[last].count == cluster {
			runs[last].count++
		} else {
			runs = append(runs, run{cluster: cluster, count: 1})
		}
		n--
	}
	return runs, nil
}
