package vhdx

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"imageport/engine/disk"
	"imageport/testkit/disktest"
)

func createOptions(typ Type, size int64) Options {
	return Options{
		Type: typ, SizeBytes: size,
		FileWriteGUID: uuid.MustParse("0f0e0d0c-0b0a-4908-8706-050403020100"),
		DataWriteGUID: uuid.MustParse("00010203-0405-4607-8809-0a0b0c0d0e0f"),
		VirtualDiskID: uuid.MustParse("aaaaaaaa-bbbb-cccc-dddd-eeeeffff0001"),
		Creator:       "imageport test",
	}
}

func create(t testing.TB, w File, opt Options) *Writer {
	t.Helper()
	wr, err := Create(w, opt)
	if err != nil {
		t.Fatal(err)
	}
	return wr
}

// createFile creates an image at path and lets write fill it.
func createFile(t testing.TB, path string, opt Options, write func(*Writer)) (size int64) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	wr := create(t, f, opt)
	write(wr)
	size, err = wr.Finish()
	if err != nil {
		t.Fatal(err)
	}
	if st, err := f.Stat(); err != nil || st.Size() != size {
		t.Fatalf("file of %d bytes, Finish said %d (%v)", st.Size(), size, err)
	}
	return size
}

// TestCreate writes random ranges from several goroutines and has three
// readers agree with a model: ours, 7-Zip, and qemu-img where it can.
func TestCreate(t *testing.T) {
	for _, c := range []struct {
		typ    Type
		size   int64
		block  uint32
		sector int
	}{
		{Dynamic, 72 << 20, 1 << 20, 512},
		{Dynamic, 72<<20 + 4096*3, 0, 512}, // ends inside a block
		{Dynamic, 72 << 20, 2 << 20, 4096},
		{Dynamic, 300<<20 + 4096, 256 << 20, 512},
		{Dynamic, 72 << 20, 256 << 20, 4096},
		{Fixed, 72 << 20, 1 << 20, 512},
		{Fixed, 72<<20 + 4096*3, 0, 512},
		{Fixed, 72 << 20, 8 << 20, 4096},
		{Fixed, 72 << 20, 256 << 20, 512},
	} {
		t.Run(fmt.Sprintf("%s-%d-%d-%d", c.typ, c.size, c.block, c.sector), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "c.vhdx")
			opt := createOptions(c.typ, c.size)
			opt.BlockSize, opt.LogicalSectorSize = c.block, c.sector
			model := make([]byte, c.size)
			disktest.Fill(model, 0, 34*512, 1)
			disktest.Fill(model, 5<<20-777, 3<<20, 2)    // unaligned, across blocks
			disktest.Fill(model, 40<<20+100, 5000, 3)    // in the middle
			disktest.Fill(model, len(model)-512, 512, 4) // the last sector
			createFile(t, path, opt, func(w *Writer) { writeParallel(t, w, model) })

			im := openPath(t, path)
			info := im.Info()
			if info.Type != c.typ || info.VirtualSize != c.size || info.LogicalSectorSize != c.sector || info.PhysicalSectorSize != 4096 ||
				info.DataWriteGUID != opt.DataWriteGUID || info.VirtualDiskID != opt.VirtualDiskID || info.Creator != opt.Creator ||
				c.block != 0 && info.BlockSize != c.block || c.block == 0 && info.BlockSize != DefaultDynamicBlockSize {
				t.Errorf("info %+v", info)
			}
			if found := problems(t, im); found != nil {
				t.Errorf("Check finds %v", found)
			}
			d := openDisk(t, im, nil)
			disktest.Same(t, d, bytes.NewReader(model), "the model")
			checkExtents(t, d.(disk.Mapped), 0, d.Size(), true)
			disktest.Same7zz(t, "vhdx", d, path)
			if listing := string(disktest.Run(t, "7zz", "l", "-slt", "-tvhdx", path)); strings.Contains(listing, "ERROR") || strings.Contains(listing, "WARNING") ||
				!strings.Contains(listing, "Creator Application = imageport test") {
				t.Errorf("7zz lists\n%s", listing)
			}
			sameQEMU(t, path, model, c.sector)
		})
	}
}

// writeParallel writes a disk from 4 goroutines, in pieces in random order, all
// of it: the zeros too.
func writeParallel(t testing.TB, w *Writer, model []byte) {
	t.Helper()
	type piece struct{ off, n int }
	var pieces []piece
	rng := rand.New(rand.NewPCG(7, 8))
	for off := 0; off < len(model); {
		n := min(1+rng.IntN(3<<20), len(model)-off)
		pieces = append(pieces, piece{off, n})
		off += n
	}
	rng.Shuffle(len(pieces), func(i, j int) { pieces[i], pieces[j] = pieces[j], pieces[i] })
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := g; i < len(pieces); i += 4 {
				p := pieces[i]
				if n, err := w.WriteAt(model[p.off:][:p.n], int64(p.off)); n != p.n || err != nil {
					t.Errorf("%d bytes at %d: %d, %v", p.n, p.off, n, err)
				}
			}
		})
	}
	wg.Wait()
}

// sameQEMU has qemu-img check a file and compare it with a model. It knows no
// sectors of 4096 bytes.
func sameQEMU(t testing.TB, path string, model []byte, sector int) {
	t.Helper()
	if sector != 512 {
		return
	}
	disktest.Run(t, "qemu-img", "check", "-q", "-f", "vhdx", path)
	raw := path + ".raw"
	f, err := os.Create(raw)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(int64(len(model))); err != nil {
		t.Fatal(err)
	}
	for off := 0; off < len(model); off += mib {
		if p := model[off:min(off+mib, len(model))]; !isZero(p) {
			if _, err := f.WriteAt(p, int64(off)); err != nil {
				t.Fatal(err)
			}
		}
	}
	disktest.Run(t, "qemu-img", "compare", "-q", "-f", "vhdx", "-F", "raw", path, raw)
}

// TestCreateLikeWindows writes what Windows wrote and compares the structures
// byte by byte: only GUIDs, checksums, sequence numbers and the log differ.
func TestCreateLikeWindows(t *testing.T) {
	for _, name := range []string{"ntfs-fixed.vhdx", "ntfs-dynamic.vhdx"} {
		theirs := disktest.Unpack(t, name)
		im := openBytes(t, theirs)
		info := im.Info()
		opt := createOptions(info.Type, info.VirtualSize)
		opt.BlockSize, opt.VirtualDiskID = info.BlockSize, info.VirtualDiskID
		path := filepath.Join(t.TempDir(), name)
		createFile(t, path, opt, func(w *Writer) {
			if _, err := w.WriteAt(disktest.ReadAll(t, openDisk(t, im, nil)), 0); err != nil {
				t.Fatal(err)
			}
		})
		ours, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(ours) != len(theirs) {
			t.Errorf("%s: %d bytes, Windows has %d", name, len(ours), len(theirs))
		}
		for what, r := range map[string][2]int{
			"region tables":        {regionTable1Offset, regionTable2Offset + regionTableSize},
			"log, metadata fields": {header1Offset + 64, header1Offset + headerSize},
			"metadata items":       {layoutMetadataOffset + metadataTableSize, layoutBATOffset},
			"metadata table":       {layoutMetadataOffset, layoutMetadataOffset + 32*6}, // they leave a copy of the last entry behind it
			"BAT and blocks":       {layoutBATOffset, layoutBATOffset + mib + int(info.VirtualSize)},
		} {
			if !bytes.Equal(ours[r[0]:r[1]], theirs[r[0]:r[1]]) {
				t.Errorf("%s: %s differ", name, what)
			}
		}
	}
}

// TestCreateSparse keeps what nobody wrote out of the file, and the file as
// big as its last block.
func TestCreateSparse(t *testing.T) {
	dir := t.TempDir()
	const size = 1 << 40
	for _, c := range []struct {
		name   string
		write  func(w *Writer)
		blocks int64
	}{
		{"nothing", func(*Writer) {}, 0},
		{"zeros", func(w *Writer) {
			for off := int64(0); off < 64<<20; off += mib {
				w.WriteAt(make([]byte, mib), off)
			}
		}, 0},
		{"first bytes of two blocks, zeros in a third", func(w *Writer) {
			w.WriteAt([]byte{1}, 1<<39)
			w.WriteAt([]byte{2}, 0)
			w.WriteAt(make([]byte, 70<<20), 32<<20)
			w.WriteAt([]byte{0}, 0)
		}, 2},
		{"one byte in a lot of zeros", func(w *Writer) {
			p := make([]byte, 70<<20)
			p[50<<20] = 1
			w.WriteAt(p, 0)
		}, 1},
	} {
		path := filepath.Join(dir, "sparse.vhdx")
		got := createFile(t, path, createOptions(Dynamic, size), c.write)
		if want := 4*mib + c.blocks*(32<<20); got != want {
			t.Errorf("%s: %d bytes, want %d", c.name, got, want)
		}
		im := openPath(t, path)
		if found := problems(t, im); found != nil {
			t.Errorf("%s: Check finds %v", c.name, found)
		}
		disktest.Run(t, "qemu-img", "check", "-q", "-f", "vhdx", path)
	}

	// A fixed image is as big as its disk from the start, and takes the
	// space of what was written.
	path := filepath.Join(dir, "fixed.vhdx")
	if got := createFile(t, path, createOptions(Fixed, 1<<36), func(*Writer) {}); got != 4*mib+1<<36 {
		t.Errorf("fixed: %d bytes", got)
	}
	d := openDisk(t, openPath(t, path), nil).(disk.Mapped)
	if e := checkExtents(t, d, 0, d.Size(), true); len(e) != 1 || e[0].FileOffset != 4*mib {
		t.Errorf("fixed: extents %+v", e)
	}
}

// TestCreateBig has a BAT of several MiB, with bitmap entries between those of
// the blocks, and blocks in the order in which they were written.
func TestCreateBig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "big.vhdx")
	opt := createOptions(Dynamic, 1<<40)
	opt.BlockSize = 1 << 20
	offsets := []int64{1<<40 - mib, 4 << 30, 4<<30 - mib, 0, 600 << 30, 777<<30 + 4096*mib}
	createFile(t, path, opt, func(w *Writer) {
		for i, off := range offsets {
			if _, err := w.WriteAt([]byte{byte(i + 1)}, off); err != nil {
				t.Fatal(err)
			}
		}
	})
	im := openPath(t, path)
	if found := problems(t, im); found != nil {
		t.Errorf("Check finds %v", found)
	}
	d := openDisk(t, im, nil).(disk.Mapped)
	data := 0
	for _, e := range checkExtents(t, d, 0, d.Size(), true) {
		if e.Kind == disk.ExtentData {
			data += int(e.Length / mib)
		}
	}
	if data != len(offsets) {
		t.Errorf("%d blocks, want %d", data, len(offsets))
	}
	p := make([]byte, 1)
	for i, off := range offsets {
		if _, err := d.ReadAt(p, off); err != nil || p[0] != byte(i+1) {
			t.Errorf("at %d: %d, %v", off, p[0], err)
		}
	}
	disktest.Run(t, "qemu-img", "check", "-q", "-f", "vhdx", path)
}

func TestCreateRefused(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"type":           func(o *Options) { o.Type = Differencing },
		"no type":        func(o *Options) { o.Type = 0 },
		"size 0":         func(o *Options) { o.SizeBytes = 0 },
		"negative size":  func(o *Options) { o.SizeBytes = -512 },
		"half a sector":  func(o *Options) { o.SizeBytes += 256 },
		"half a 4K":      func(o *Options) { o.SizeBytes += 512; o.LogicalSectorSize = 4096 },
		"beyond 64 TiB":  func(o *Options) { o.SizeBytes = maxVirtualSize + 512 },
		"block size":     func(o *Options) { o.BlockSize = 3 << 20 },
		"small block":    func(o *Options) { o.BlockSize = 512 << 10 },
		"big block":      func(o *Options) { o.BlockSize = 512 << 20 },
		"sector size":    func(o *Options) { o.LogicalSectorSize = 520 },
		"physical size":  func(o *Options) { o.PhysicalSectorSize = 8192 },
		"physical below": func(o *Options) { o.LogicalSectorSize, o.PhysicalSectorSize = 4096, 512 },
		"no file GUID":   func(o *Options) { o.FileWriteGUID = uuid.Nil },
		"no data GUID":   func(o *Options) { o.DataWriteGUID = uuid.Nil },
		"no disk ID":     func(o *Options) { o.VirtualDiskID = uuid.Nil },
		"long creator":   func(o *Options) { o.Creator = strings.Repeat("x", 257) },
	} {
		opt := createOptions(Dynamic, 64<<20)
		change(&opt)
		if _, err := Create(&disktest.Journal{}, opt); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	w := create(t, &disktest.Journal{}, createOptions(Dynamic, 64<<20))
	for _, c := range []struct {
		off int64
		n   int
	}{{-1, 1}, {64 << 20, 1}, {64<<20 - 1, 2}, {1 << 62, 1}} {
		if n, err := w.WriteAt(make([]byte, c.n), c.off); n != 0 || err == nil {
			t.Errorf("%d bytes at %d: %d, %v", c.n, c.off, n, err)
		}
	}
	if n, err := w.WriteAt(nil, 64<<20); n != 0 || err != nil {
		t.Errorf("nothing at the end: %d, %v", n, err)
	}
	if _, err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.WriteAt([]byte{1}, 0); err == nil {
		t.Error("write after Finish")
	}
	if _, err := w.Finish(); err == nil {
		t.Error("second Finish")
	}
}
