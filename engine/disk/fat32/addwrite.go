package fat32

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// write stores what was planned: first what nothing points to, then the FATs,
// and last the entries that make all of it belong to the volume.
func (a *addition) write(w io.WriterAt) error {
	for _, c := range a.made {
		if err := c.write(w); err != nil {
			return fmt.Errorf("fat32: write %q: %w", c.path, err)
		}
	}
	if err := a.writeClusters(w); err != nil {
		return err
	}
	entries := a.made[0].appendTo(nil)
	if a.last {
		entries = append(entries, make([]byte, dirEntrySize)...) // not stored behind the last cluster
	}
	if err := a.clusters.writeAt(w, entries, a.slot); err != nil {
		return fmt.Errorf("fat32: write directory %q: %w", a.at.Path, err)
	}
	return nil
}

// writeClusters writes the clusters that the directory grows by, which must not
// show what they held before, and takes all the new ones in the FATs and FSInfo.
func (a *addition) writeClusters(w io.WriterAt) error {
	if a.fsInfo == nil {
		return nil
	}
	grown := contents{a.v, a.clusters.runs[a.had:]}
	if len(grown.runs) > 0 {
		last := grown.runs[len(grown.runs)-1]
		size := last.at + int64(last.count)*int64(a.v.info.ClusterSize) - grown.runs[0].at
		if err := grown.writeAt(w, make([]byte, size), grown.runs[0].at); err != nil {
			return fmt.Errorf("fat32: write directory %q: %w", a.at.Path, err)
		}
	}

	table := fatWriter{fatReader: fatReader{v: a.v, fat: a.v.activeFAT}, w: w}
	for _, c := range a.made {
		if err := table.link(c.content.runs); err != nil {
			return err
		}
	}
	if len(grown.runs) > 0 {
		if err := table.link(grown.runs); err != nil {
			return err
		}
		last := a.clusters.runs[a.had-1]
		if err := table.set(last.cluster+last.count-1, grown.runs[0].cluster); err != nil {
			return err
		}
	}
	if err := table.flush(); err != nil {
		return err
	}
	if _, err := w.WriteAt(a.fsInfo, a.v.fsInfo+fsiFreeCount); err != nil {
		return fmt.Errorf("fat32: write FSInfo: %w", err)
	}
	return nil
}

// write stores the entries of a directory or the data of a file, and zeros up
// to the end of its last cluster.
func (c created) write(w io.WriterAt) error {
	clusterSize := int64(c.content.v.info.ClusterSize)
	total := c.node.clusters * clusterSize
	if c.file == nil {
		b := make([]byte, total)
		copy(b, c.directoryEntries())
		return c.content.writeAt(w, b, 0)
	}
	b := make([]byte, min(total, 1<<20))
	for at := int64(0); at < total; at += int64(len(b)) {
		b = b[:min(total-at, int64(len(b)))]
		data := b[:min(c.size-at, int64(len(b)))]
		if err := readFull(c.file.Data, data, at); err != nil {
			if errors.Is(err, io.ErrUnexpectedEOF) {
				return fmt.Errorf("the data ends before byte %d: %w", c.size, err)
			}
			return err
		}
		clear(b[len(data):])
		if err := c.content.writeAt(w, b, at); err != nil {
			return err
		}
	}
	return nil
}

// writeAt is the opposite of ReadAt. What is behind the last cluster is not
// stored.
func (c *contents) writeAt(w io.WriterAt, p []byte, off int64) error {
	for at, length := range c.pieces(off, int64(len(p))) {
		if _, err := w.WriteAt(p[:length], at); err != nil {
			return err
		}
		p = p[length:]
	}
	return nil
}

// fatWriter changes entries of all FATs that are in use, a page at a time.
type fatWriter struct {
	fatReader
	w       io.WriterAt
	changed bool
}

// link makes a chain of the clusters. Their number may be zero.
func (t *fatWriter) link(runs []run) error {
	for i, r := range runs {
		for k := range r.count {
			next := uint32(fatMask)
			if k+1 < r.count {
				next = r.cluster + k + 1
			} else if i+1 < len(runs) {
				next = runs[i+1].cluster
			}
			if err := t.set(r.cluster+k, next); err != nil {
				return err
			}
		}
	}
	return nil
}

// set changes the entry of a cluster, which must be valid, but for its reserved
// bits.
func (t *fatWriter) set(cluster, value uint32) error {
	if !t.has(cluster) {
		if err := t.flush(); err != nil {
			return err
		}
		if err := t.load(cluster); err != nil {
			return err
		}
	}
	e := t.page[int64(cluster)*4-t.at:]
	binary.LittleEndian.PutUint32(e, binary.LittleEndian.Uint32(e)&^fatMask|value)
	t.changed = true
	return nil
}

// flush writes the page to the FATs.
func (t *fatWriter) flush() error {
	if !t.changed {
		return nil
	}
	for fat := range t.v.numFATs {
		if !t.v.mirrored && fat != t.v.activeFAT {
			continue
		}
		off := t.v.fatStart + int64(fat)*t.v.fatSize + t.at
		if _, err := t.w.WriteAt(t.page[:t.n], off); err != nil {
			return fmt.Errorf("fat32: write the FAT at offset %d: %w", off, err)
		}
	}
	t.changed = false
	return nil
}
