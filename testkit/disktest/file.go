package disktest

import (
	"bytes"
	"fmt"
	"io"
	"slices"
)

// File is a file in memory that an image is written to.
type File struct {
	Data  []byte
	Syncs int
	// Ordered insists on the order that writers of children promise: no gaps,
	// and at most 1 MiB at a time.
	Ordered bool
	// Fail, if not nil, is asked before each write and sync and can end it;
	// Torn is how many bytes of a failing write still arrive.
	Fail func() error
	Torn int
}

// WriteAt writes, and fills a gap before with zeros.
func (f *File) WriteAt(p []byte, off int64) (int, error) {
	if f.Ordered && (off > int64(len(f.Data)) || len(p) > mib) {
		return 0, fmt.Errorf("write of %d bytes at %d of a file of %d bytes", len(p), off, len(f.Data))
	}
	var err error
	if f.Fail != nil {
		if err = f.Fail(); err != nil {
			p = p[:min(len(p), f.Torn)]
		}
	}
	f.Data = Apply(f.Data, Write{off, p})
	return len(p), err
}

// Sync counts.
func (f *File) Sync() error {
	f.Syncs++
	if f.Fail != nil {
		return f.Fail()
	}
	return nil
}

// Counter counts the bytes that are asked of a reader. It is not for
// concurrent use.
type Counter struct {
	io.ReaderAt
	Bytes int64
}

// ReadAt reads and counts.
func (c *Counter) ReadAt(p []byte, off int64) (int, error) {
	c.Bytes += int64(len(p))
	return c.ReaderAt.ReadAt(p, off)
}

type failing struct {
	io.ReaderAt
	at  int64
	err error
}

// FailingAt gives err for every read of the byte at an offset.
func FailingAt(r io.ReaderAt, at int64, err error) io.ReaderAt { return failing{r, at, err} }

func (r failing) ReadAt(p []byte, off int64) (int, error) {
	if off <= r.at && r.at < off+int64(len(p)) {
		return 0, r.err
	}
	return r.ReaderAt.ReadAt(p, off)
}

// Journal is a file that remembers its writes and where the syncs were.
type Journal struct {
	Writes []Write
	// Synced is the number of writes before each Sync.
	Synced []int
}

// Write is one write to a file.
type Write struct {
	Off  int64
	Data []byte
}

// WriteAt remembers a write.
func (j *Journal) WriteAt(p []byte, off int64) (int, error) {
	j.Writes = append(j.Writes, Write{off, bytes.Clone(p)})
	return len(p), nil
}

// Sync remembers a Sync.
func (j *Journal) Sync() error {
	j.Synced = append(j.Synced, len(j.Writes))
	return nil
}

// File is what is there after all writes.
func (j *Journal) File() []byte { return Apply(nil, j.Writes...) }

// Apply is what is there after some writes to a file, which it may change.
func Apply(file []byte, writes ...Write) []byte {
	for _, w := range writes {
		if end := int(w.Off) + len(w.Data); end > len(file) {
			file = slices.Grow(file, end-len(file))
			clear(file[len(file):end])
			file = file[:end]
		}
		copy(file[w.Off:], w.Data)
	}
	return file
}

// Crashes loses power after every write: in order and with the write torn,
// with any one of the writes since the last Sync on the disk alone, and with
// any one of them missing. check gets the file that is left each time, what
// happened, and to which write. It gives the number of crashes.
func (j *Journal) Crashes(check func(file []byte, what string, write int)) (crashes int) {
	try := func(file []byte, what string, write int) {
		crashes++
		check(file, what, write)
	}
	var before, stable []byte // all writes so far; those that were synced
	syncs, since := j.Synced, 0
	for i, w := range j.Writes {
		for len(syncs) > 0 && syncs[0] == i {
			stable, syncs, since = bytes.Clone(before), syncs[1:], i
		}
		for _, n := range []int{0, 1, 511, len(w.Data) / 2, len(w.Data) - 1} {
			n = min(n, len(w.Data)-1)
			try(Apply(bytes.Clone(before), Write{w.Off, w.Data[:n]}), "torn write", i)
		}
		try(Apply(bytes.Clone(stable), w), "lone write", i)
		before = Apply(before, w)
		try(before, "write", i)
		for missing := since; missing < i; missing++ {
			file := Apply(bytes.Clone(stable), j.Writes[since:missing]...)
			try(Apply(file, j.Writes[missing+1:i+1]...), "all but one up to write", i)
		}
	}
	return crashes
}
