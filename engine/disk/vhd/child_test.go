package vhd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"imageport/engine/disk"
	"imageport/engine/disk/overlay"
	"imageport/testkit/disktest"
)

// TestChild writes children of images by us and by qemu-img, and children of
// those, and compares four readers: ours, 7-Zip's through the parents, a naive
// one, and a byte slice with the same changes. (qemu-img ignores parents.)
func TestChild(t *testing.T) {
	for _, c := range []struct {
		parent string // "qemu" or the type of an image of ours
		method string // of the parent, to 7-Zip
		size   int
		block  uint32
	}{
		{"qemu", "Dynamic", 72 << 20, 512 << 10},
		{"dynamic", "Dynamic", 72 << 20, 2 << 20},
		{"dynamic", "Dynamic", 70<<20 + 512*8*3, 2 << 20}, // ends inside a block
		{"fixed", "Fixed", 70<<20 + 512*7, 2 << 20},       // ends inside a page
		{"fixed", "Fixed", 72 << 20, 16 << 20},            // a bitmap of 4 KiB
		{"dynamic", "Dynamic", 72 << 20, 64 << 20},
	} {
		t.Run(fmt.Sprintf("%s-%d-%d", c.parent, c.size, c.block), func(t *testing.T) {
			dir := t.TempDir()
			model := disktest.ParentData(c.size)
			parentPath := filepath.Join(dir, "parent.vhd")
			switch c.parent {
			case "qemu":
				disktest.RawFile(t, parentPath+".raw", model)
				disktest.Run(t, "qemu-img", "convert", "-f", "raw", "-O", "vpc", "-o", "force_size=on", parentPath+".raw", parentPath)
			case "fixed":
				create(t, parentPath, model, Options{Type: Fixed})
			default:
				create(t, parentPath, model, Options{Type: Dynamic})
			}
			parent := openPath(t, parentPath)
			parentDisk := openDisk(t, parent, nil)
			disktest.Same(t, parentDisk, bytes.NewReader(model), "the raw disk")
			below := bytes.Clone(model)

			ov := overlay.New(parentDisk)
			disktest.Patch(t, ov, model)
			if err := ov.DropUnchanged(); err != nil {
				t.Fatal(err)
			}
			child := writeChild(t, ov, childOptions(parent.Info(), "parent.vhd", c.block))
			childPath := filepath.Join(dir, "child.vhd")
			disktest.WriteFile(t, childPath, child)

			im := openPath(t, childPath)
			if err := VerifyParent(im.Info(), parent.Info()); err != nil {
				t.Fatal(err)
			}
			d := openDisk(t, im, parentDisk)
			disktest.Same(t, d, bytes.NewReader(model), "the model")
			disktest.Same(t, d, bytes.NewReader(naive(t, child, below)), "the naive reader")
			check7zz(t, d, childPath, "Differencing -> "+c.method, 2)
			checkExtents(t, d, bytes.NewReader(child), parentDisk, 0, d.Size())

			// Over a parent of zeros, nothing but the changed pages shows: the
			// child stores no more and no less.
			pages := make([]byte, len(model))
			for page := range ov.Pages() {
				copy(pages[page.Offset:], page.Data)
			}
			disktest.Same(t, openDisk(t, im, disktest.Zeros(d.Size(), SectorSize)), bytes.NewReader(pages), "the changed pages")

			grandchild(t, dir, im, d, model, "Differencing -> "+c.method)
		})
	}
}

// create writes an image of model with a Writer.
func create(t testing.TB, path string, model []byte, opt Options) {
	t.Helper()
	opt.SizeBytes, opt.UniqueID, opt.Timestamp = int64(len(model)), testParent, testTime
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := Create(f, opt)
	if err != nil {
		t.Fatal(err)
	}
	for off := 0; off < len(model); off += 700_000 {
		if _, err := w.WriteAt(model[off:min(off+700_000, len(model))], int64(off)); err != nil {
			t.Fatal(err)
		}
	}
	size, err := w.Finish()
	if st, statErr := f.Stat(); err != nil || statErr != nil || st.Size() != size {
		t.Fatalf("Finish = %d, %v", size, err)
	}
}

// check7zz compares with what 7-Zip reads and lists: as the method, the types
// of the image and of its base.
func check7zz(t *testing.T, d disk.Disk, path, method string, files int) {
	t.Helper()
	disktest.Same7zz(t, "vhd", d, path)
	disktest.Listed7zz(t, "vhd", path,
		"Method = "+method, fmt.Sprintf("Volumes = %d", files), "Creator Application = win 10.0", "Created = 2026-11-22 10:20:30")
}

// grandchild writes a child of the child, with another block size.
func grandchild(t *testing.T, dir string, parent *Image, parentDisk disk.Disk, model []byte, method string) {
	t.Helper()
	ov := overlay.New(parentDisk)
	disktest.Put(t, ov, model, 512, disktest.Pattern(512, 20))
	disktest.Put(t, ov, model, 12<<20+512, make([]byte, 1<<20))
	disktest.Put(t, ov, model, 20<<20+5000, disktest.Pattern(70000, 21))
	if err := ov.DropUnchanged(); err != nil {
		t.Fatal(err)
	}
	opt := childOptions(parent.Info(), "child.vhd", 8<<20)
	opt.UniqueID[15]++
	path := filepath.Join(dir, "grandchild.vhd")
	disktest.WriteFile(t, path, writeChild(t, ov, opt))
	im := openPath(t, path)
	if err := VerifyParent(im.Info(), parent.Info()); err != nil {
		t.Fatal(err)
	}
	d := openDisk(t, im, parentDisk)
	disktest.Same(t, d, bytes.NewReader(model), "the model of the grandchild")
	check7zz(t, d, path, method, 3)
}

// TestChildOfWindowsParent writes what Windows' own child holds, and gets
// Windows' own layout.
func TestChildOfWindowsParent(t *testing.T) {
	dir := t.TempDir()
	raw := disktest.Unpack(t, "ntfs-parent.vhd")
	disktest.WriteFile(t, filepath.Join(dir, "ntfs-parent.vhd"), raw)
	parent := openBytes(t, raw)
	parentDisk := openDisk(t, parent, nil)
	theirs := disktest.Unpack(t, "ntfs-differential.vhd")
	windows := openBytes(t, theirs)

	ov := overlay.New(parentDisk)
	want := disktest.ReadAll(t, openDisk(t, windows, parentDisk))
	if _, err := ov.WriteAt(want, 0); err != nil {
		t.Fatal(err)
	}
	// Windows has allocated both blocks: so must we, for the layout.
	if err := ov.DropUnchanged(); err != nil {
		t.Fatal(err)
	}
	if _, err := ov.WriteAt(want[2<<20:][:4096], 2<<20); err != nil {
		t.Fatal(err)
	}
	info := windows.Info()
	p := writeChild(t, ov, ChildOptions{
		Parent:         parent.Info(),
		ParentRelative: info.Parent.RelativePath,
		ParentAbsolute: info.Parent.AbsolutePath,
		UniqueID:       info.UniqueID,
		Timestamp:      info.Timestamp,
	})
	path := filepath.Join(dir, "child.vhd")
	disktest.WriteFile(t, path, p)
	d := openDisk(t, openPath(t, path), parentDisk)
	disktest.Same(t, d, bytes.NewReader(want), "Windows' child")
	disktest.Same7zz(t, "vhd", d, path)
	if len(p) != len(theirs) {
		t.Errorf("%d bytes, Windows' %d", len(p), len(theirs))
	}
	// Everything but bitmaps and data is Windows' to the byte.
	firstBlock := 0x9f * SectorSize
	if !bytes.Equal(p[:firstBlock], theirs[:firstBlock]) {
		for i := range p[:firstBlock] {
			if p[i] != theirs[i] {
				t.Fatalf("byte %#x is %#x, Windows' %#x", i, p[i], theirs[i])
			}
		}
	}
	if !bytes.Equal(p[len(p)-footerSize:], theirs[len(theirs)-footerSize:]) {
		t.Error("the footer differs from Windows'")
	}
}

func TestEmptyChild(t *testing.T) {
	info := parentInfo(1 << 30)
	p := writeChild(t, overlay.New(disktest.Zeros(1<<30, SectorSize)), childOptions(info, "p.vhd", 0))
	if len(p) != 81920 { // as Windows' win8-child.vhd
		t.Errorf("%d bytes", len(p))
	}
	im := openBytes(t, p)
	if err := VerifyParent(im.Info(), info); err != nil {
		t.Error(err)
	}
	if im.Info().BlockSize != DefaultBlockSize {
		t.Errorf("block size %d", im.Info().BlockSize)
	}
	got := checkExtents(t, openDisk(t, im, disktest.Zeros(1<<30, SectorSize)), nil, nil, 0, 1<<30)
	if len(got) != 1 || got[0].Kind != disk.ExtentParent {
		t.Errorf("extents %+v", got)
	}
}

// TestBigChild changes a disk of the largest size at both ends, with a BAT of
// many pieces.
func TestBigChild(t *testing.T) {
	base := disktest.Zeros(MaxSize, SectorSize)
	ov := overlay.New(base)
	for _, off := range []int64{0, 1 << 40, MaxSize - 5000} {
		if _, err := ov.WriteAt(disktest.Pattern(5000, uint64(off>>30)), off); err != nil {
			t.Fatal(err)
		}
	}
	p := writeChild(t, ov, childOptions(parentInfo(MaxSize), "p.vhd", 512<<10))
	r := &disktest.Counter{ReaderAt: bytes.NewReader(p)}
	im, err := Open(r, int64(len(p)))
	if err != nil {
		t.Fatal(err)
	}
	if r.Bytes > 4096 {
		t.Errorf("opening reads %d bytes", r.Bytes)
	}
	d := openDisk(t, im, base)
	got := make([]byte, 5000)
	for _, off := range []int64{0, 1 << 40, MaxSize - 5000} {
		if _, err := d.ReadAt(got, off); err != nil && err != io.EOF || !bytes.Equal(got, disktest.Pattern(5000, uint64(off>>30))) {
			t.Errorf("read at %d differs (%v)", off, err)
		}
	}
	if r.Bytes > 512<<10 {
		t.Errorf("%d bytes read", r.Bytes)
	}
	extents := 0
	for e, err := range d.Extents(0, MaxSize) {
		if err != nil {
			t.Fatal(err)
		}
		if extents++; e.Kind == disk.ExtentData && e.Length > 3*4096 {
			t.Errorf("%+v", e)
		}
	}
	if extents != 5 {
		t.Errorf("%d extents", extents)
	}
	noProblems(t, im)
}

func TestChildDeterministic(t *testing.T) {
	write := func(order []int64) []byte {
		ov := overlay.New(disktest.Zeros(64<<20, SectorSize))
		for _, off := range order {
			if _, err := ov.WriteAt(disktest.Pattern(9000, uint64(off>>20)), off); err != nil {
				t.Fatal(err)
			}
		}
		return writeChild(t, ov, childOptions(parentInfo(64<<20), "p.vhd", 0))
	}
	a := write([]int64{0, 5 << 20, 33<<20 + 77, 50 << 20})
	b := write([]int64{50 << 20, 33<<20 + 77, 0, 5 << 20, 5 << 20})
	if !bytes.Equal(a, b) {
		t.Error("equal overlays gave different files")
	}
}

func TestParentName(t *testing.T) {
	long := `\\host\share\` + strings.Repeat(`d\`, 150) + "parent.vhd"
	for _, c := range []struct{ absolute, relative, name string }{
		{`\\host\share\p.vhd`, `.\p.vhd`, `\\host\share\p.vhd`},
		{"", `.\Größe 😀.vhd`, `.\Größe 😀.vhd`},
		{long, `.\parent.vhd`, "parent.vhd"},
		{long, "", "parent.vhd"},
	} {
		opt := childOptions(parentInfo(8<<20), "", 0)
		opt.ParentAbsolute, opt.ParentRelative = c.absolute, c.relative
		im := openBytes(t, writeChild(t, overlay.New(disktest.Zeros(8<<20, SectorSize)), opt))
		want := ParentLocator{testParent, c.name, c.relative, c.absolute}
		if got := im.Info().Parent; *got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
}

func TestChildOptionsRefused(t *testing.T) {
	ov := overlay.New(disktest.Zeros(64<<20, SectorSize))
	for name, c := range map[string]struct {
		change func(*ChildOptions)
		want   error
	}{
		"size":          {func(o *ChildOptions) { o.Parent.VirtualSize++ }, ErrParentMismatch},
		"current size":  {func(o *ChildOptions) { o.Parent.CurrentSize += 512 }, ErrUnsupported},
		"block size":    {func(o *ChildOptions) { o.BlockSize = 3 << 20 }, nil},
		"small block":   {func(o *ChildOptions) { o.BlockSize = 256 << 10 }, nil},
		"no path":       {func(o *ChildOptions) { o.ParentAbsolute, o.ParentRelative = "", "" }, nil},
		"no ID":         {func(o *ChildOptions) { o.UniqueID = uuid.Nil }, nil},
		"no parent ID":  {func(o *ChildOptions) { o.Parent.UniqueID = uuid.Nil }, nil},
		"no time":       {func(o *ChildOptions) { o.Timestamp = time.Time{} }, nil},
		"long path":     {func(o *ChildOptions) { o.ParentAbsolute = strings.Repeat(`x\`, 2000) }, nil},
		"long relative": {func(o *ChildOptions) { o.ParentRelative = strings.Repeat(`x\`, 40000) }, nil},
		"long name":     {func(o *ChildOptions) { o.ParentAbsolute = strings.Repeat("x", 300) }, nil},
	} {
		opt := childOptions(parentInfo(64<<20), "p.vhd", 0)
		c.change(&opt)
		var f disktest.File
		_, err := WriteChild(t.Context(), &f, ov, opt, nil)
		if err == nil || c.want != nil && !errors.Is(err, c.want) || len(f.Data) > 0 {
			t.Errorf("%s: %v, %d bytes written", name, err, len(f.Data))
		}
	}
	sectors := overlay.New(disktest.Zeros(64<<20, 4096))
	if _, err := WriteChild(t.Context(), &disktest.File{}, sectors, childOptions(parentInfo(64<<20), "p.vhd", 0), nil); !errors.Is(err, ErrParentMismatch) {
		t.Errorf("sectors of 4096: %v", err)
	}
}

func TestChildCanceled(t *testing.T) {
	ov := overlay.New(disktest.Zeros(64<<20, SectorSize))
	if _, err := ov.WriteAt(disktest.Pattern(8<<20, 1), 0); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var f disktest.File
	_, err := WriteChild(ctx, &f, ov, childOptions(parentInfo(64<<20), "p.vhd", 0), func(done, _ int64) {
		if done == 6<<20 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || len(f.Data) != 6<<20 {
		t.Errorf("%v after %d bytes", err, len(f.Data))
	}
	f = disktest.File{}
	_, err = WriteChild(ctx, &f, ov, childOptions(parentInfo(64<<20), "p.vhd", 0), nil)
	if !errors.Is(err, context.Canceled) || len(f.Data) > 0 {
		t.Errorf("canceled before: %v after %d bytes", err, len(f.Data))
	}
}
