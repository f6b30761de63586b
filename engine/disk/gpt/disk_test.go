package gpt

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/uuid"
)

// memDisk is a disk in memory.
type memDisk struct {
	data       []byte
	sectorSize int
}

func (d memDisk) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(d.data).ReadAt(p, off)
}

func (d memDisk) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > int64(len(d.data)) {
		return 0, io.ErrShortWrite
	}
	return copy(d.data[off:], p), nil
}

func (d memDisk) Size() int64     { return int64(len(d.data)) }
func (d memDisk) SectorSize() int { return d.sectorSize }

// sizedDisk is a disk of which only the front is there to be read.
type sizedDisk struct {
	memDisk
	size int64
}

func (d sizedDisk) Size() int64 { return d.size }

// fileDisk is a raw image or block device, for the tools that check it.
type fileDisk struct {
	*os.File
	size       int64
	sectorSize int
}

func (d fileDisk) Size() int64     { return d.size }
func (d fileDisk) SectorSize() int { return d.sectorSize }

// newFileDisk makes a sparse raw image.
func newFileDisk(t *testing.T, size int64, sectorSize int) fileDisk {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "disk.raw"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	return fileDisk{f, size, sectorSize}
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// id returns a GUID whose bytes all differ, so that a wrong order shows.
func id(n byte) uuid.UUID {
	var u uuid.UUID
	for i := range u {
		u[i] = n<<4 | byte(i)
	}
	return u
}

// windowsTable is what a converted Windows disk has: the system partition
// became the ESP, Windows and the recovery tools kept their numbers.
func windowsTable(sectors uint64, sectorSize int) Table {
	mib := uint64(1<<20) / uint64(sectorSize)
	t := Table{DiskGUID: id(1), SectorSize: sectorSize, Sectors: sectors}
	end := t.LastUsable() / mib * mib
	t.Entries = []Entry{
		{Index: 0, Type: TypeESP, ID: id(2), FirstLBA: 1 * mib, LastLBA: 2*mib - 1, Attributes: AttrNoDriveLetter, Name: "EFI system partition"},
		{Index: 1, Type: TypeBasicData, ID: id(3), FirstLBA: 2 * mib, LastLBA: end - mib - 1, Name: "Basic data partition"},
		{Index: 2, Type: TypeRecovery, ID: id(4), FirstLBA: end - mib, LastLBA: end - 1, Attributes: AttrRequired | AttrNoDriveLetter, Name: "Récupération"},
	}
	return t
}
