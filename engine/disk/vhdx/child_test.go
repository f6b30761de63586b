package vhdx

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

	"github.com/google/uuid"

	"imageport/engine/disk"
	"imageport/engine/disk/overlay"
	"imageport/testkit/disktest"
)

// setSectorSize turns a qemu-img file, which always has 512-byte sectors, into
// one with 4096: nothing but two metadata items depends on it below 4 GiB.
func setSectorSize(t testing.TB, path string) {
	t.Helper()
	p, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []uuid.UUID{logicalSectorSizeGUID, physicalSectorSizeGUID} {
		le.PutUint32(p[itemOffset(t, p, id):], 4096)
	}
	if err := os.WriteFile(path, p, 0o600); err != nil {
		t.Fatal(err)
	}
}

// itemOffset finds a metadata item in a file.
func itemOffset(t testing.TB, p []byte, id uuid.UUID) int {
	t.Helper()
	_, region, err := locateRegions(bytes.NewReader(p), &structures{fileSize: int64(len(p))})
	if err != nil {
		t.Fatal(err)
	}
	for i := range int(le.Uint16(p[region.offset+10:])) {
		entry := p[int(region.offset)+32*(i+1):]
		if guid(entry) == id {
			return int(region.offset) + int(le.Uint32(entry[16:]))
		}
	}
	t.Fatalf("no item %s", id)
	return 0
}

// TestChild writes children of qemu-img's images and compares three readers:
// ours, 7-Zip's through the parent, and a byte slice with the same patches.
func TestChild(t *testing.T) {
	for _, c := range []struct {
		subformat string
		size      int
		sector    int
		block     uint32
	}{
		{"dynamic", 72 << 20, 512, 1 << 20},
		{"dynamic", 70<<20 + 512*8*3, 512, 2 << 20}, // ends inside a block
		{"dynamic", 70<<20 + 512*7, 512, 2 << 20},   // ends inside a page
		{"fixed", 72 << 20, 512, 32 << 20},
		{"dynamic", 72 << 20, 4096, 2 << 20},
	} {
		t.Run(fmt.Sprintf("%s-%d-%d-%d", c.subformat, c.size, c.sector, c.block), func(t *testing.T) {
			dir := t.TempDir()
			raw := disktest.ParentData(c.size)
			parentPath := filepath.Join(dir, "parent.vhdx")
			qemuImage(t, parentPath, raw, c.subformat)
			if c.sector == 4096 {
				setSectorSize(t, parentPath)
			}
			parent := openPath(t, parentPath)
			parentDisk := openDisk(t, parent, nil)
			model := disktest.ReadAll(t, parentDisk)
			if !bytes.Equal(model[:c.size], raw) {
				t.Fatal("parent differs from the raw disk")
			}

			ov := overlay.New(parentDisk)
			disktest.Patch(t, ov, model)
			if err := ov.DropUnchanged(); err != nil {
				t.Fatal(err)
			}
			child := writeChild(t, ov, childOptions(parent.Info(), "parent.vhdx", c.block))
			childPath := filepath.Join(dir, "child.vhdx")
			if err := os.WriteFile(childPath, child, 0o600); err != nil {
				t.Fatal(err)
			}

			im := openPath(t, childPath)
			if err := VerifyParent(im.Info(), parent.Info()); err != nil {
				t.Fatal(err)
			}
			d := openDisk(t, im, parentDisk)
			disktest.Same(t, d, bytes.NewReader(model), "the model")
			check7zz(t, d, childPath, "Differencing -> "+c.subformat, parent.Info())
			checkStates(t, im, c.block, c.size)

			// Over a parent of zeros, nothing but the changed pages shows: the
			// child stores no more and no less.
			pages := make([]byte, len(model))
			for page := range ov.Pages() {
				copy(pages[page.Offset:], page.Data)
			}
			other := openDisk(t, im, disktest.Zeros(d.Size(), c.sector))
			disktest.Same(t, other, bytes.NewReader(pages), "the changed pages")

			grandchild(t, dir, im, d, model, c.subformat)
		})
	}
}

// checkStates pins the states that the patches must lead to.
func checkStates(t *testing.T, im *Image, block uint32, size int) {
	t.Helper()
	state := func(off int) blockState {
		entry, _, err := im.bat.payload(int64(off) / im.geo.blockSize)
		if err != nil {
			t.Error(err)
		}
		return entry.state()
	}
	want := map[int]blockState{0: blockPartiallyPresent, 66 << 20: blockNotPresent, size - 512: blockPartiallyPresent}
	if size%(1<<20) != 0 {
		want[size-512] = blockFullyPresent // the backup GPT is all of the last block
	}
	if block <= 2<<20 {
		want[2<<20] = blockNotPresent
		want[12<<20] = blockFullyPresent
		want[20<<20] = blockZero
		want[22<<20] = blockZero
		want[30<<20] = blockNotPresent
		want[60<<20] = blockPartiallyPresent
	}
	if block == 1<<20 {
		want[39<<20] = blockZero
	}
	if block == 32<<20 {
		want[66<<20] = blockPartiallyPresent // the last block has the backup GPT
	}
	for off, want := range want {
		if got := state(off); got != want {
			t.Errorf("block at %#x is in state %d, want %d", off, got, want)
		}
	}
}

// check7zz compares with what 7-Zip reads and lists.
func check7zz(t *testing.T, d disk.Disk, path, method string, parent Info) {
	t.Helper()
	if d.Size()%4096 != 0 {
		return // 7-Zip opens no VHDX of such a size, whoever made it
	}
	disktest.Same7zz(t, "vhdx", d, path)
	disktest.Listed7zz(t, "vhdx", path,
		"Method = "+method,
		"relative_path: .\\",
		"parent_linkage: {"+parent.DataWriteGUID.String()+"}",
		fmt.Sprintf("LogicalSectorSize: %d", d.SectorSize()),
		"Creator Application = imageport test")
}

// grandchild writes a child of the child, with another block size.
func grandchild(t *testing.T, dir string, parent *Image, parentDisk disk.Disk, model []byte, subformat string) {
	t.Helper()
	ov := overlay.New(parentDisk)
	disktest.Put(t, ov, model, 512, disktest.Pattern(512, 20))
	disktest.Put(t, ov, model, 12<<20+512, make([]byte, 1<<20))
	disktest.Put(t, ov, model, 20<<20+5000, disktest.Pattern(70000, 21))
	if err := ov.DropUnchanged(); err != nil {
		t.Fatal(err)
	}
	opt := childOptions(parent.Info(), "child.vhdx", 8<<20)
	opt.DataWriteGUID[15]++
	path := filepath.Join(dir, "grandchild.vhdx")
	if err := os.WriteFile(path, writeChild(t, ov, opt), 0o600); err != nil {
		t.Fatal(err)
	}
	im := openPath(t, path)
	if err := VerifyParent(im.Info(), parent.Info()); err != nil {
		t.Fatal(err)
	}
	d := openDisk(t, im, parentDisk)
	disktest.Same(t, d, bytes.NewReader(model), "the model of the grandchild")
	check7zz(t, d, path, "Differencing -> "+subformat, parent.Info())
}

// TestChunkBoundary writes across the 4 GiB that one sector bitmap block of
// 512-byte sectors stands for, on a sparse parent.
func TestChunkBoundary(t *testing.T) {
	const size = 4<<30 + 64<<20
	dir := t.TempDir()
	parentPath := filepath.Join(dir, "parent.vhdx")
	disktest.Run(t, "qemu-img", "create", "-q", "-f", "vhdx", parentPath, fmt.Sprint(size))
	disktest.Run(t, "qemu-io", "-f", "vhdx", "-c", "write -P 0x5a 4098M 9M", parentPath)
	parent := openPath(t, parentPath)
	parentDisk := openDisk(t, parent, nil)

	ov := overlay.New(parentDisk)
	for off, n := range map[int64]int{
		0:                   34 * 512,
		4<<30 - 10*512:      20 * 512, // in both chunks
		4<<30 + 4<<20:       2 << 20,  // a full block in the second
		4<<30 + 7<<20 + 512: 512,
		size - 33*512:       33 * 512,
	} {
		if _, err := ov.WriteAt(disktest.Pattern(n, uint64(off>>20)), off); err != nil {
			t.Fatal(err)
		}
	}
	childPath := filepath.Join(dir, "child.vhdx")
	child := writeChild(t, ov, childOptions(parent.Info(), "parent.vhdx", 0))
	if err := os.WriteFile(childPath, child, 0o600); err != nil {
		t.Fatal(err)
	}
	im := openPath(t, childPath)
	if info := im.Info(); info.BlockSize != DefaultBlockSize || im.geo.chunks() != 2 {
		t.Fatalf("block size %d, %d chunks", info.BlockSize, im.geo.chunks())
	}
	if most := 2*ov.DirtyBytes() + 16<<20; int64(len(child)) > most {
		t.Errorf("file of %d bytes, want at most %d", len(child), most)
	}
	disktest.Same7zz(t, "vhdx", openDisk(t, im, parentDisk), childPath)
	// The overlay is checked against a model in its own package.
	disktest.Same(t, openDisk(t, im, parentDisk), io.NewSectionReader(ov, 0, size), "the overlay")
}

func TestEmptyChild(t *testing.T) {
	info := parentInfo(1<<30, 512)
	p := writeChild(t, overlay.New(disktest.Zeros(1<<30, 512)), childOptions(info, "p.vhdx", 0))
	if len(p) != 4<<20 {
		t.Errorf("%d bytes", len(p))
	}
	if err := VerifyParent(openBytes(t, p).Info(), info); err != nil {
		t.Error(err)
	}
}

// TestChildOfWindowsParent keeps the identity rules of Windows' own children.
func TestChildOfWindowsParent(t *testing.T) {
	dir := t.TempDir()
	raw := disktest.Unpack(t, "ntfs-parent.vhdx")
	if err := os.WriteFile(filepath.Join(dir, "ntfs-parent.vhdx"), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	parent := openBytes(t, raw)
	parentDisk := openDisk(t, parent, nil)
	windows := openBytes(t, disktest.Unpack(t, "ntfs-differential.vhdx"))

	// The same contents as Windows' child has, written by us.
	ov := overlay.New(parentDisk)
	want := disktest.ReadAll(t, openDisk(t, windows, parentDisk))
	if _, err := ov.WriteAt(want, 0); err != nil {
		t.Fatal(err)
	}
	if err := ov.DropUnchanged(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "child.vhdx")
	p := writeChild(t, ov, childOptions(parent.Info(), "ntfs-parent.vhdx", 0))
	if err := os.WriteFile(path, p, 0o600); err != nil {
		t.Fatal(err)
	}
	im := openBytes(t, p)
	d := openDisk(t, im, parentDisk)
	disktest.Same(t, d, bytes.NewReader(want), "Windows' child")
	disktest.Same7zz(t, "vhdx", d, path)
	got, theirs := im.Info(), windows.Info()
	if got.VirtualDiskID != theirs.VirtualDiskID || got.Parent.Linkage != theirs.Parent.Linkage ||
		got.Parent.RelativePath != theirs.Parent.RelativePath ||
		got.PhysicalSectorSize != theirs.PhysicalSectorSize || got.BlockSize != theirs.BlockSize {
		t.Errorf("ours %+v\nWindows' %+v", got, theirs)
	}
}

func TestChildDeterministic(t *testing.T) {
	write := func(order []int64) []byte {
		ov := overlay.New(disktest.Zeros(64<<20, 512))
		for _, off := range order {
			if _, err := ov.WriteAt(disktest.Pattern(9000, uint64(off>>20)), off); err != nil {
				t.Fatal(err)
			}
		}
		return writeChild(t, ov, childOptions(parentInfo(64<<20, 512), "p.vhdx", 0))
	}
	a := write([]int64{0, 5 << 20, 33<<20 + 77, 50 << 20})
	b := write([]int64{50 << 20, 33<<20 + 77, 0, 5 << 20, 5 << 20})
	if !bytes.Equal(a, b) {
		t.Error("equal overlays gave different files")
	}
}

func TestChildOptionsRefused(t *testing.T) {
	ov := overlay.New(disktest.Zeros(64<<20, 512))
	for name, c := range map[string]struct {
		change func(*ChildOptions)
		want   error
	}{
		"size":          {func(o *ChildOptions) { o.Parent.VirtualSize++ }, ErrParentMismatch},
		"sector size":   {func(o *ChildOptions) { o.Parent.LogicalSectorSize = 4096 }, ErrParentMismatch},
		"physical size": {func(o *ChildOptions) { o.Parent.PhysicalSectorSize = 0 }, nil},
		"block size":    {func(o *ChildOptions) { o.BlockSize = 3 << 20 }, nil},
		"small block":   {func(o *ChildOptions) { o.BlockSize = 512 << 10 }, nil},
		"no path":       {func(o *ChildOptions) { o.ParentAbsolute, o.ParentRelative = "", "" }, nil},
		"no GUID":       {func(o *ChildOptions) { o.DataWriteGUID = uuid.Nil }, nil},
		"creator":       {func(o *ChildOptions) { o.Creator = strings.Repeat("x", 257) }, nil},
		"long path":     {func(o *ChildOptions) { o.ParentAbsolute = strings.Repeat("x", 40000) }, nil},
	} {
		opt := childOptions(parentInfo(64<<20, 512), "p.vhdx", 0)
		c.change(&opt)
		f := disktest.File{Ordered: true}
		_, err := WriteChild(t.Context(), &f, ov, opt, nil)
		if err == nil || c.want != nil && !errors.Is(err, c.want) || len(f.Data) > 0 {
			t.Errorf("%s: %v, %d bytes written", name, err, len(f.Data))
		}
	}
}

func TestChildCanceled(t *testing.T) {
	ov := overlay.New(disktest.Zeros(64<<20, 512))
	if _, err := ov.WriteAt(disktest.Pattern(8<<20, 1), 0); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	f := disktest.File{Ordered: true}
	_, err := WriteChild(ctx, &f, ov, childOptions(parentInfo(64<<20, 512), "p.vhdx", 0), func(done, _ int64) {
		if done == 6<<20 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || len(f.Data) != 6<<20 {
		t.Errorf("%v after %d bytes", err, len(f.Data))
	}
}

// TestStates reads the payload states that need no data.
func TestStates(t *testing.T) {
	parent := disktest.Bytes(disktest.Pattern(8<<20, 7), 512)
	for state, fromParent := range map[blockState]bool{
		blockNotPresent: true, blockUndefined: false, blockZero: false, blockUnmapped: false,
	} {
		p := smallChild(t)
		setBAT(p, 4, 5*mib|uint64(state)) // with an offset that must not be used
		got := make([]byte, 4096)
		if _, err := openDisk(t, openBytes(t, p), parent).ReadAt(got, 4<<20+512); err != nil {
			t.Fatal(err)
		}
		want := make([]byte, 4096)
		if fromParent {
			parent.ReadAt(want, 4<<20+512)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("state %d reads wrong", state)
		}
	}
}

func TestConcurrentReads(t *testing.T) {
	disktest.ConcurrentReads(t, openDisk(t, openBytes(t, smallChild(t)), disktest.Bytes(disktest.Pattern(8<<20, 8), 512)))
}
