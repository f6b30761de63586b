// Package windisk opens the disks of package winimage for tests: to be read, or
// to be changed as a Windows would, in its files and hives. Changes stay in memory:
// the images are shared.
//
// What is not there fails the test. It writes by our own NTFS and registry
// packages; tests of these have others.
package windisk

import (
	"bytes"
	"io"
	"os"
	"testing"
	"time"

	"imageport/engine/disk"
	"imageport/engine/disk/overlay"
	"imageport/engine/windows/hive"
	"imageport/engine/windows/ntfs"
	"imageport/testkit/winimage"
)

const mib = 1 << 20

// Raw is a disk in a raw file. It is only read.
type Raw struct {
	*os.File
	size   int64
	sector int
}

var _ disk.Disk = Raw{}

// Size is the size in bytes.
func (d Raw) Size() int64 { return d.size }

// SectorSize is the logical sector size in bytes.
func (d Raw) SectorSize() int { return d.sector }

// Open opens a raw file, until the end of the test.
func Open(t testing.TB, path string, sector int) Raw {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return Raw{f, info.Size(), sector}
}

// Cached gives the image of a Spec, and its disk, which may be changed.
func Cached(t testing.TB, spec winimage.Spec) (winimage.Image, *overlay.Overlay) {
	t.Helper()
	img, err := winimage.Cached(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return img, overlay.New(Open(t, img.Path, max(512, img.Spec.SectorSize)))
}

// Windows is the partition of C:.
func Windows(t testing.TB, img winimage.Image) winimage.Partition {
	t.Helper()
	p, ok := img.Partition(winimage.Windows)
	if !ok {
		t.Fatal("there is no C:")
	}
	return p
}

// Volume opens the NTFS volume of a partition.
func Volume(t testing.TB, d io.ReaderAt, p winimage.Partition) *ntfs.Volume {
	t.Helper()
	v, err := ntfs.Open(disk.Section(d, p.StartBytes, p.SizeBytes), p.SizeBytes)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// maxFile bounds the files that are read, in bytes.
const maxFile = 64 * mib

// File is what is in a file of a partition.
func File(t testing.TB, d io.ReaderAt, p winimage.Partition, path string) []byte {
	t.Helper()
	_, b := open(t, d, p, path)
	return b
}

func open(t testing.TB, d io.ReaderAt, p winimage.Partition, path string) (*ntfs.File, []byte) {
	t.Helper()
	f, err := Volume(t, d, p).Open(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := f.ReadAll(maxFile)
	if err != nil {
		t.Fatal(err)
	}
	return f, b
}

// Disk is one that is changed.
type Disk interface {
	io.ReaderAt
	io.WriterAt
}

// Replace puts new data into a file of a partition, in its clusters.
func Replace(t testing.TB, d Disk, p winimage.Partition, path string, change func(old []byte) []byte) {
	t.Helper()
	f, old := open(t, d, p, path)
	edits, err := f.Replace(change(old))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range edits {
		if _, err := d.WriteAt(e.Data, p.StartBytes+e.Offset); err != nil {
			t.Fatal(err)
		}
	}
}

// Edit changes a registry hive in its file.
func Edit(t testing.TB, d Disk, p winimage.Partition, path string, change func(h *hive.Hive) error) {
	t.Helper()
	Replace(t, d, p, path, func(old []byte) []byte {
		h, err := hive.Parse(old)
		if err != nil {
			t.Fatal(err)
		}
		h.AllowGrowth(len(old))
		if err := change(h); err != nil {
			t.Fatal(err)
		}
		h.Commit(time.Unix(1_700_000_000, 0))
		return h.Bytes()
	})
}

// Export writes size bytes of a disk from off on to a new sparse file.
func Export(t testing.TB, path string, d io.ReaderAt, off, size int64) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	buf, zero := make([]byte, mib), make([]byte, mib)
	for at := int64(0); at < size; at += mib {
		b := buf[:min(mib, size-at)]
		if n, err := d.ReadAt(b, off+at); n < len(b) {
			t.Fatal(err)
		}
		if bytes.Equal(b, zero[:len(b)]) {
			continue
		}
		if _, err := f.WriteAt(b, at); err != nil {
			t.Fatal(err)
		}
	}
}
