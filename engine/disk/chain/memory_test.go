package chain_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"runtime"
	"testing"
	"time"

	"imageport/engine/disk/chain"
	"imageport/engine/disk/overlay"
	"imageport/engine/disk/vhd"
	"imageport/engine/disk/vhdx"
)

// fakeFile is an image file of terabytes that takes no space: pages that are
// not zeros, and a BAT that is made up when it is read.
type fakeFile struct {
	size         int64
	pages        map[int64][]byte
	bat, batEnd  int64
	batEntrySize int64
	entry        func(p []byte, index int64)
	read         *int64
}

const fakePage = 4096

// fake takes an image of no blocks apart. entry encodes an entry of the BAT.
func fake(data []byte, size, bat, batEnd, entrySize int64, entry func(p []byte, index int64), read *int64) *fakeFile {
	f := &fakeFile{size: size, pages: make(map[int64][]byte), bat: bat, batEnd: batEnd, batEntrySize: entrySize, entry: entry, read: read}
	for off := int64(0); off < int64(len(data)); off += fakePage {
		p := data[off:min(off+fakePage, int64(len(data)))]
		if inBAT := off >= bat && off < batEnd; !inBAT && bytes.Count(p, []byte{0}) < len(p) {
			f.pages[off] = bytes.Clone(p)
		}
	}
	return f
}

func (f *fakeFile) Size() int64        { return f.size }
func (f *fakeFile) ModTime() time.Time { return time.Unix(1e9, 0) }
func (f *fakeFile) Close() error       { return nil }

func (f *fakeFile) ReadAt(p []byte, off int64) (int, error) {
	*f.read += int64(len(p))
	if off < 0 || off+int64(len(p)) > f.size {
		return 0, fmt.Errorf("read of %d bytes at %#x of %#x", len(p), off, f.size)
	}
	clear(p)
	end := off + int64(len(p))
	for at := off &^ (fakePage - 1); at < end; at += fakePage {
		if page := f.pages[at]; page != nil {
			from := max(off, at)
			copy(p[from-off:], page[min(from-at, int64(len(page))):])
		}
	}
	entry := make([]byte, f.batEntrySize)
	for at := max(off, f.bat); at < min(end, f.batEnd); at += f.batEntrySize {
		f.entry(entry, (at-f.bat)/f.batEntrySize)
		copy(p[at-off:], entry)
	}
	return len(p), nil
}

type fakeFolder map[string]chain.File

func (f fakeFolder) Open(_ context.Context, name string) (chain.File, error) {
	if file, ok := f[name]; ok {
		return file, nil
	}
	return nil, fs.ErrNotExist
}

// fakeVHD is a child all of whose blocks are in the file, with no bit set.
func fakeVHD(t *testing.T, name, parent string, size int64, block uint32, read *int64) *fakeFile {
	t.Helper()
	opt := vhdChild(name, parent, vhdInfo(parent, size))
	opt.BlockSize = block
	data := writeVHD(t, overlay.New(zeros{size, 512}), opt)
	blocks := (size + int64(block) - 1) / int64(block)
	stride := int64(block) + max(fakePage, int64(block)/512/8)
	first := int64(len(data)) &^ (fakePage - 1)
	end := first + blocks*stride
	bat := int64(be.Uint64(data[512+16:]))
	f := fake(data[:len(data)-512], end+512, bat, bat+4*blocks, 4, func(p []byte, i int64) {
		be.PutUint32(p, uint32((first+i*stride)/512))
	}, read)
	f.pages[end] = bytes.Clone(data[len(data)-512:])
	return f
}

// fakeVHDX is a child all of whose blocks are partially present, with no bit
// set.
func fakeVHDX(t *testing.T, name, parent string, size int64, block uint32, read *int64) *fakeFile {
	t.Helper()
	opt := vhdxChild(name, parent, vhdxInfo(parent, size, 512))
	opt.BlockSize = block
	data := writeVHDX(t, overlay.New(zeros{size, 512}), opt)
	const bat = 3 * mib
	ratio := int64(1<<32) / int64(block)
	chunks := (size + 1<<32 - 1) >> 32
	first := int64(len(data)+mib-1) &^ (mib - 1)
	chunk := int64(1<<32 + mib)
	return fake(data, first+chunks*chunk, bat, bat+8*chunks*(ratio+1), 8, func(p []byte, i int64) {
		entry := uint64(first+i/(ratio+1)*chunk+i%(ratio+1)*int64(block)) | 7
		if i%(ratio+1) == ratio {
			entry ^= 7 ^ 6
		}
		le.PutUint64(p, entry)
	}, read)
}

// TestMemory reads all over chains of 64 files of 2 TiB, every one of which has
// to look into its BAT and a sector bitmap for every byte.
func TestMemory(t *testing.T) {
	const (
		layers    = chain.MaxLayers
		positions = 100
		live, all = 64 * mib, 192 * mib // of 256 MiB resident, which has the rest of a program, too
	)
	for _, c := range []struct {
		container chain.Container
		size      int64
		block     uint32
	}{
		{chain.VHD, vhd.MaxSize, 2 * mib},
		{chain.VHD, vhd.MaxSize, 256 * mib},
		{chain.VHDX, 2 << 40, mib},
		{chain.VHDX, 2 << 40, 256 * mib},
	} {
		t.Run(fmt.Sprintf("%s of %d MiB", c.container, c.block/mib), func(t *testing.T) {
			var read int64
			folder, name := make(fakeFolder), func(i int) string { return fmt.Sprintf("v.%d", i) }
			folder[name(0)] = fakeBase(t, name(0), c.container, c.size, &read)
			for i := 1; i < layers; i++ {
				if c.container == chain.VHD {
					folder[name(i)] = fakeVHD(t, name(i), name(i-1), c.size, c.block, &read)
				} else {
					folder[name(i)] = fakeVHDX(t, name(i), name(i-1), c.size, c.block, &read)
				}
			}
			heap := func(collect bool) int64 {
				if collect {
					runtime.GC()
				}
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				return int64(m.HeapAlloc)
			}
			before := heap(true)
			read = 0
			opened := open(t, folder, name(layers-1))
			openRead := read
			p := make([]byte, mib)
			var most int64
			for i := range int64(positions) {
				off := i * (c.size / positions) / mib * mib
				if _, err := opened.ReadAt(p, off); err != nil {
					t.Fatal(err)
				}
				for e, err := range opened.Extents(off+mib, mib) {
					if err != nil || e.Layer != 0 {
						t.Fatal(e, err)
					}
				}
				most = max(most, heap(false)-before)
			}
			kept := heap(true) - before
			if kept > live || most > all {
				t.Errorf("%d MiB kept, %d MiB with what is to be collected", kept/mib, most/mib)
			}
			// A reader that goes on where it was finds all tables in the cache.
			read = 0
			for i := range int64(32) {
				if _, err := opened.ReadAt(p, c.size/2/(256*mib)*(256*mib)+i*mib); err != nil {
					t.Fatal(err)
				}
			}
			tables := read
			if tables > layers*4*64<<10+32*layers*512 {
				t.Errorf("reading 32 MiB in a row reads %d KiB of tables", tables>>10)
			}
			t.Logf("opening read %d KiB; %d MiB kept, %d MiB at most; 32 MiB in a row read %d KiB of tables",
				openRead>>10, kept/mib, most/mib, tables>>10)
			runtime.KeepAlive(opened)
		})
	}
}

// fakeBase is a dynamic image of zeros.
func fakeBase(t *testing.T, name string, container chain.Container, size int64, read *int64) *fakeFile {
	t.Helper()
	var g growing
	var w imageWriter
	var err error
	if container == chain.VHD {
		w, err = vhd.Create(&g, vhd.Options{
			Type: vhd.Dynamic, SizeBytes: size, UniqueID: guid(name, "data"), Timestamp: time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC),
		})
	} else {
		w, err = vhdx.Create(&g, vhdx.Options{
			Type: vhdx.Dynamic, SizeBytes: size, BlockSize: 32 * mib,
			DataWriteGUID: guid(name, "data"), FileWriteGUID: guid(name, "file"), VirtualDiskID: guid("", "disk"),
		})
	}
	writeDisk(t, w, err, nil)
	return fake(g.data, int64(len(g.data)), 0, 0, 1, nil, read)
}
