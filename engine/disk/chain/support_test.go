package chain_test

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"imageport/engine/disk"
	"imageport/engine/disk/chain"
	"imageport/engine/disk/overlay"
	"imageport/engine/disk/vhd"
	"imageport/engine/disk/vhdx"
)

const mib = 1 << 20

// memFolder is a folder in memory that watches how it is used.
type memFolder struct {
	files map[string]*memFile
	asked []string     // names, in order
	open  atomic.Int32 // files that are open
	read  atomic.Int64 // bytes
}

type memFile struct {
	data    []byte
	modTime time.Time
}

func newFolder() *memFolder { return &memFolder{files: make(map[string]*memFile)} }

func (m *memFolder) put(name string, data []byte) {
	m.files[name] = &memFile{data, time.Date(2026, 11, 22, 10, 0, len(m.files), 100, time.UTC)}
}

func (m *memFolder) rename(from, to string) {
	m.files[to] = m.files[from]
	delete(m.files, from)
}

func (m *memFolder) Open(_ context.Context, name string) (chain.File, error) {
	m.asked = append(m.asked, name)
	f, ok := m.files[name]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	m.open.Add(1)
	return &openFile{bytes.NewReader(f.data), m, f.modTime}, nil
}

// openFile is an open file of a memFolder.
type openFile struct {
	*bytes.Reader
	folder  *memFolder
	modTime time.Time
}

func (f *openFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.Reader.ReadAt(p, off)
	f.folder.read.Add(int64(n))
	return n, err
}
func (f *openFile) ModTime() time.Time { return f.modTime }
func (f *openFile) Close() error       { f.folder.open.Add(-1); return nil }

// dirFile is a file of a directory, for chains too big for memory.
type dirFile struct {
	*os.File
	info fs.FileInfo
	read *atomic.Int64
}

func (f dirFile) Size() int64        { return f.info.Size() }
func (f dirFile) ModTime() time.Time { return f.info.ModTime() }
func (f dirFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(p, off)
	f.read.Add(int64(n))
	return n, err
}

// inDir is a directory as a Folder that counts the bytes read.
func inDir(dir string, read *atomic.Int64) chain.Folder {
	return chain.FolderOf(func(_ context.Context, name string) (dirFile, error) {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			return dirFile{}, err
		}
		info, err := f.Stat()
		return dirFile{f, info, read}, err
	})
}

func open(t testing.TB, folder chain.Folder, name string) *chain.Chain {
	t.Helper()
	c, err := chain.Open(t.Context(), folder, name, chain.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func readAll(t testing.TB, c *chain.Chain) []byte {
	t.Helper()
	p := make([]byte, c.Size())
	if n, err := c.ReadAt(p, 0); n != len(p) || err != nil && err != io.EOF {
		t.Fatalf("ReadAt = %d, %v", n, err)
	}
	return p
}

// guid is the GUID that a test's image of that name has.
func guid(name, role string) uuid.UUID {
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte(name+" "+role))
}

// vhdxInfo describes a VHDX that children may be made of.
func vhdxInfo(name string, size int64, sector int) vhdx.Info {
	return vhdx.Info{
		VirtualSize: size, LogicalSectorSize: sector, PhysicalSectorSize: 4096,
		DataWriteGUID: guid(name, "data"), VirtualDiskID: guid("", "disk"),
	}
}

// vhdxChild describes a child VHDX whose parent lies beside it.
func vhdxChild(name, parentName string, parent vhdx.Info) vhdx.ChildOptions {
	return vhdx.ChildOptions{
		Parent:         parent,
		ParentRelative: `.\` + parentName,
		ParentAbsolute: `\\server\vdisks\golden\` + parentName,
		BlockSize:      mib,
		FileWriteGUID:  guid(name, "file"),
		DataWriteGUID:  guid(name, "data"),
		Creator:        "imageport test",
	}
}

// growing is an image that is being written, in memory.
type growing struct{ data []byte }

func (g *growing) WriteAt(p []byte, off int64) (int, error) {
	if end := int(off) + len(p); end > len(g.data) {
		g.data = append(g.data, make([]byte, end-len(g.data))...)
	}
	return copy(g.data[off:], p), nil
}

func (g *growing) Sync() error { return nil }

// vhdInfo describes a VHD that children may be made of.
func vhdInfo(name string, size int64) vhd.Info {
	return vhd.Info{VirtualSize: size, CurrentSize: size, UniqueID: guid(name, "data")}
}

// vhdChild describes a child VHD whose parent lies beside it.
func vhdChild(name, parentName string, parent vhd.Info) vhd.ChildOptions {
	return vhd.ChildOptions{
		Parent:         parent,
		ParentRelative: `.\` + parentName,
		ParentAbsolute: `\\server\vdisks\golden\` + parentName,
		BlockSize:      mib / 2,
		UniqueID:       guid(name, "data"),
		Timestamp:      time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC),
	}
}

func writeVHDX(t testing.TB, ov *overlay.Overlay, opt vhdx.ChildOptions) []byte {
	t.Helper()
	g := growing{make([]byte, 0, 8*mib)}
	if _, err := vhdx.WriteChild(t.Context(), &g, ov, opt, nil); err != nil {
		t.Fatal(err)
	}
	return g.data
}

func writeVHD(t testing.TB, ov *overlay.Overlay, opt vhd.ChildOptions) []byte {
	t.Helper()
	var g growing
	if _, err := vhd.WriteChild(t.Context(), &g, ov, opt, nil); err != nil {
		t.Fatal(err)
	}
	return g.data
}

// imageWriter is the Writer of a container.
type imageWriter interface {
	io.WriterAt
	Finish() (int64, error)
}

func writeDisk(t testing.TB, w imageWriter, err error, disk []byte) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	for off := 0; off < len(disk); off += mib {
		p := disk[off:min(off+mib, len(disk))]
		if bytes.Count(p, []byte{0}) == len(p) {
			continue
		}
		if _, err := w.WriteAt(p, int64(off)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Finish(); err != nil {
		t.Fatal(err)
	}
}

func writeBaseVHDX(t testing.TB, name string, disk []byte, opt vhdx.Options) []byte {
	t.Helper()
	opt.SizeBytes = int64(len(disk))
	opt.PhysicalSectorSize = 4096
	opt.DataWriteGUID, opt.FileWriteGUID, opt.VirtualDiskID = guid(name, "data"), guid(name, "file"), guid("", "disk")
	var g growing
	w, err := vhdx.Create(&g, opt)
	writeDisk(t, w, err, disk)
	return g.data
}

func writeBaseVHD(t testing.TB, name string, disk []byte, opt vhd.Options) []byte {
	t.Helper()
	opt.SizeBytes, opt.UniqueID = int64(len(disk)), guid(name, "data")
	opt.Timestamp = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	var g growing
	w, err := vhd.Create(&g, opt)
	writeDisk(t, w, err, disk)
	return g.data
}

// edit is a change to a disk.
type edit struct {
	off  int64
	data []byte
}

func edited(t testing.TB, c disk.Disk, edits ...edit) *overlay.Overlay {
	t.Helper()
	ov := overlay.New(c)
	for _, e := range edits {
		if _, err := ov.WriteAt(e.data, e.off); err != nil {
			t.Fatal(err)
		}
	}
	return ov
}

// addChild puts a child of the image parent in the folder, of its container.
func addChild(t testing.TB, folder *memFolder, parent, name string, edits ...edit) {
	t.Helper()
	c, err := chain.Open(t.Context(), folder, parent, chain.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	layers := c.Layers()
	ov := edited(t, c, edits...)
	if top := layers[len(layers)-1]; top.VHDX != nil {
		folder.put(name, writeVHDX(t, ov, vhdxChild(name, parent, *top.VHDX)))
	} else {
		folder.put(name, writeVHD(t, ov, vhdChild(name, parent, *top.VHD)))
	}
}

// zeros is a disk of zeros that children may be written over.
type zeros struct {
	size   int64
	sector int
}

func (z zeros) Size() int64     { return z.size }
func (z zeros) SectorSize() int { return z.sector }
func (z zeros) ReadAt(p []byte, _ int64) (int, error) {
	clear(p)
	return len(p), nil
}

// onDisk is a GUID in its on-disk form: the first three fields little-endian.
func onDisk(id uuid.UUID) (p [16]byte) {
	for i, j := range []int{3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15} {
		p[i] = id[j]
	}
	return p
}
