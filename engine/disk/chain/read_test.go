package chain_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"imageport/engine/disk"
	"imageport/engine/disk/chain"
	"imageport/engine/disk/container"
	"imageport/engine/disk/overlay"
	"imageport/engine/disk/vhdx"
)

func TestUnchanged(t *testing.T) {
	for _, ext := range []string{"vhdx", "vhd"} {
		base := "win." + ext
		other := func(folder *memFolder) []byte { // an image of the same size as the base
			data := bytes.Clone(folder.files[base].data)
			old, now := guid(base, "data"), guid("other", "data")
			if ext == "vhd" {
				footer := data[len(data)-512:]
				copy(footer[68:], now[:])
				be.PutUint32(footer[64:], 0)
				var sum uint32
				for _, b := range footer {
					sum += uint32(b)
				}
				be.PutUint32(footer[64:], ^sum)
				copy(data, footer)
				return data
			}
			was, is := onDisk(old), onDisk(now)
			data = bytes.ReplaceAll(data, was[:], is[:])
			plainSeal(data[1<<16:][:4096])
			plainSeal(data[2<<16:][:4096])
			return data
		}
		for _, c := range []struct {
			what   string
			change func(folder *memFolder)
			says   string // "" if nothing has changed
		}{
			{"nothing", func(*memFolder) {}, ""},
			{"other zone", func(f *memFolder) { f.files[base].modTime = f.files[base].modTime.In(time.FixedZone("", 3600)) }, ""},
			{"bigger", func(f *memFolder) { f.files[base].data = append(f.files[base].data, make([]byte, 4096)...) }, "bytes"},
			{"touched", func(f *memFolder) { f.files[base].modTime = f.files[base].modTime.Add(100) }, "modification time"},
			{"touched in between", func(f *memFolder) { f.files["win.1.a"+ext].modTime = time.Time{} }, "win.1.a" + ext},
			{"gone", func(f *memFolder) { delete(f.files, base) }, "not exist"},
			{"another image", func(f *memFolder) { f.files[base].data = other(f) }, guid("other", "data").String()},
			{"no image", func(f *memFolder) { f.files[base].data = make([]byte, len(f.files[base].data)) }, "not a"},
		} {
			folder := vdisk(t)
			opened := open(t, folder, "win.2.a"+ext)
			before := folder.open.Load()
			c.change(folder)
			err := opened.Unchanged(t.Context())
			switch {
			case c.says == "" && err != nil:
				t.Errorf("%s, %s: %v", ext, c.what, err)
			case c.says != "" && (!errors.Is(err, chain.ErrChanged) || !strings.Contains(err.Error(), c.says)):
				t.Errorf("%s, %s: %v, want %q", ext, c.what, err, c.says)
			}
			if n := folder.open.Load() - before; n != 0 {
				t.Errorf("%s, %s: %d files stay open", ext, c.what, n)
			}
		}
	}
}

// TestCheck reports what opening leaves to Check, of every file, and goes on.
func TestCheck(t *testing.T) {
	folder := vdisk(t)
	for _, name := range []string{"win.2.avhdx", "win.2.avhd"} {
		if err := open(t, folder, name).Check(t.Context(), func(layer int, p container.Problem) {
			t.Errorf("%s, layer %d: %v", name, layer, &p)
		}); err != nil {
			t.Error(err)
		}
	}
	folder.files["win.vhdx"].data[1<<16+100] ^= 1      // header 1
	folder.files["win.1.avhdx"].data[4<<16+20] ^= 1    // region table 2
	bat := folder.files["win.1.avhd"].data[8192:][:16] // of four blocks: all get one place
	for i := 0; i < len(bat); i += 4 {
		if bat[i] != 0xff {
			copy(bat, bytes.Repeat(bat[i:i+4], 4))
			break
		}
	}
	for name, want := range map[string][]string{
		"win.2.avhdx": {"0 header 1 at 0x10000", "1 region table 2 at 0x40000"},
		"win.2.avhd":  {"1 BAT entry at 0x2004", "1 BAT entry at 0x2008", "1 BAT entry at 0x200c"},
	} {
		var got []string
		if err := open(t, folder, name).Check(t.Context(), func(layer int, p container.Problem) {
			got = append(got, fmt.Sprintf("%d %s at %#x", layer, p.Structure, p.Offset))
		}); err != nil {
			t.Error(err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: found %q, want %q", name, got, want)
		}
	}
}

// TestUnchangedNeedsFolder: what cannot be looked at has not changed yet.
func TestUnchangedNeedsFolder(t *testing.T) {
	folder := vdisk(t)
	broken := &brokenFolder{memFolder: folder}
	c, err := chain.Open(t.Context(), broken, "win.2.avhd", chain.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	broken.name, broken.err = "win.vhd", io.ErrClosedPipe
	if err := c.Unchanged(t.Context()); !errors.Is(err, io.ErrClosedPipe) || errors.Is(err, chain.ErrChanged) {
		t.Error(err)
	}
}

func TestRaw(t *testing.T) {
	folder := vdisk(t)
	data := make([]byte, 3*mib)
	_, _ = rand.NewChaCha8([32]byte{}).Read(data)
	folder.put("disk.img", data)
	folder.put("odd.img", data[:1000])
	folder.put("empty.img", nil)
	for _, sector := range []int{0, 512, 4096} {
		c, err := chain.Open(t.Context(), folder, "disk.img", chain.Options{Raw: true, RawSectorSize: sector})
		if err != nil {
			t.Fatal(err)
		}
		if l := c.Layers(); len(l) != 1 || l[0].Container != chain.Raw || l[0].Type != "raw" || l[0].LogicalSectorSize != max(sector, 512) || l[0].ID != "" {
			t.Errorf("layers %+v", l)
		}
		if !bytes.Equal(readAll(t, c), data) {
			t.Error("contents differ")
		}
		for e, err := range c.Extents(4096, mib) {
			if want := (disk.Extent{Offset: 4096, Length: mib, FileOffset: 4096}); err != nil || e != want {
				t.Errorf("extent %+v, %v", e, err)
			}
		}
		if err := c.Unchanged(t.Context()); err != nil {
			t.Error(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, c := range []struct {
		name string
		opt  chain.Options
		want error
	}{
		{"disk.img", chain.Options{}, chain.ErrUnknownFormat},
		{"odd.img", chain.Options{Raw: true}, chain.ErrUnknownFormat},
		{"empty.img", chain.Options{Raw: true}, chain.ErrUnknownFormat},
		{"win.vhdx", chain.Options{Raw: true}, chain.ErrUnknownFormat},
		{"win.vhd", chain.Options{Raw: true}, chain.ErrUnknownFormat},
		{"disk.img", chain.Options{Raw: true, RawSectorSize: 1024}, nil},
	} {
		if _, err := chain.Open(t.Context(), folder, c.name, c.opt); err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s with %+v: %v", c.name, c.opt, err)
		}
	}
	if n := folder.open.Load(); n != 0 {
		t.Errorf("%d files stay open", n)
	}
}

// TestDirtyLogs: logs of the image and of its parents are replayed on request.
func TestDirtyLogs(t *testing.T) {
	for dirty, changed := range map[string]int{"win.2.avhdx": mib, "win.1.avhdx": 0, "win.vhdx": -1} {
		folder := vdisk(t)
		want := readAll(t, open(t, folder, "win.2.avhdx"))
		plainLog(folder.files[dirty].data)
		if changed >= 0 { // the base's change is covered by a child
			copy(want[changed:], bytes.Repeat([]byte{7}, 4096))
		}
		_, err := chain.Open(t.Context(), folder, "win.2.avhdx", chain.Options{})
		if !errors.Is(err, vhdx.ErrDirtyLog) || !strings.Contains(err.Error(), dirty) {
			t.Errorf("%s: %v", dirty, err)
		}
		c, err := chain.Open(t.Context(), folder, "win.2.avhdx", chain.Options{ReplayLogs: true})
		if err != nil {
			t.Fatalf("%s: %v", dirty, err)
		}
		for _, l := range c.Layers() {
			if l.VHDX.DirtyLog != (l.Name == dirty) {
				t.Errorf("%s: dirty log %t", l.Name, l.VHDX.DirtyLog)
			}
		}
		if !bytes.Equal(readAll(t, c), want) {
			t.Errorf("%s: contents are not those of the replayed log", dirty)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestBigLogs: what the logs of all files take of memory is bounded.
func TestBigLogs(t *testing.T) {
	const logSize = 32 * mib
	folder := vdisk(t)
	for i, name := range []string{"win.2.avhdx", "win.1.avhdx", "win.vhdx"} {
		data := folder.files[name].data
		off := int64(len(data)+mib-1) &^ (mib - 1)
		data = append(data, make([]byte, off+logSize-int64(len(data)))...)
		for _, header := range [][]byte{data[1<<16:], data[2<<16:]} {
			le.PutUint32(header[68:], logSize)
			le.PutUint64(header[72:], uint64(off))
		}
		plainLog(data)
		folder.put(name, data)
		before := folder.open.Load()
		c, err := chain.Open(t.Context(), folder, "win.2.avhdx", chain.Options{ReplayLogs: true})
		if i < 2 {
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			continue
		}
		if !errors.Is(err, vhdx.ErrUnsupported) || !strings.Contains(err.Error(), "win.vhdx: its log and those of the files above have 100663296 bytes") {
			t.Errorf("three logs of 32 MiB: %v", err)
		}
		if open := folder.open.Load() - before; open != 0 {
			t.Errorf("%d files stay open", open)
		}
	}
}

func TestReadBounds(t *testing.T) {
	c := open(t, vdisk(t), "win.2.avhdx")
	p := make([]byte, 1024)
	for _, want := range []struct {
		off int64
		n   int
		err error
	}{{small - 512, 512, io.EOF}, {small - 1, 1, io.EOF}, {small, 0, io.EOF}, {small + 9, 0, io.EOF}, {0, 1024, nil}, {small - 1024, 1024, nil}} {
		if n, err := c.ReadAt(p, want.off); n != want.n || err != want.err {
			t.Errorf("at %d: %d, %v", want.off, n, err)
		}
	}
	if n, err := c.ReadAt(p, -1); n != 0 || err == nil || err == io.EOF {
		t.Errorf("at -1: %d, %v", n, err)
	}
	for _, bad := range [][2]int64{{-512, 512}, {0, -512}, {0, small + 512}, {small + 512, 0}, {1, 512}, {0, 1}, {512, 1<<63 - 512}} {
		seen := 0
		for _, err := range c.Extents(bad[0], bad[1]) {
			if seen++; err == nil {
				t.Errorf("extents of %v", bad)
			}
		}
		if seen != 1 {
			t.Errorf("extents of %v: %d", bad, seen)
		}
	}
	for range c.Extents(0, 0) {
		t.Error("an extent of nothing")
	}
	for range c.Extents(0, small) {
		break
	}
	if err := iotest.TestReader(io.NewSectionReader(c, 0, 20000), readAll(t, c)[:20000]); err != nil {
		t.Error(err)
	}
}

// TestConcurrentReads is for the race detector.
func TestConcurrentReads(t *testing.T) {
	c := open(t, vdisk(t), "win.2.avhdx")
	want := readAll(t, c)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 0))
			p := make([]byte, 3000)
			for range 200 {
				off := rng.Int64N(int64(len(want) - len(p)))
				if _, err := c.ReadAt(p, off); err != nil || !bytes.Equal(p, want[off:][:len(p)]) {
					t.Errorf("at %d: %v", off, err)
				}
			}
		})
	}
	wg.Wait()
}

// failingFolder gives files that fail from some byte on.
type failingFolder struct {
	*memFolder
	name string
	from int64
}

type failingFile struct {
	chain.File
	from int64
}

var errTorn = errors.New("torn")

func (f failingFile) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > f.from {
		return 0, errTorn
	}
	return f.File.ReadAt(p, off)
}

func (f failingFolder) Open(ctx context.Context, name string) (chain.File, error) {
	file, err := f.memFolder.Open(ctx, name)
	if err == nil && name == f.name {
		file = failingFile{file, f.from}
	}
	return file, err
}

// TestReadErrors: the file that could not be read is named.
func TestReadErrors(t *testing.T) {
	folder := vdisk(t)
	c, err := chain.Open(t.Context(), failingFolder{folder, "win.vhdx", 4 * mib}, "win.2.avhdx", chain.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if n, err := c.ReadAt(make([]byte, 8192), 0); !errors.Is(err, errTorn) || !strings.Contains(err.Error(), "win.vhdx") {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := c.ReadAt(make([]byte, 512), mib); err != nil {
		t.Errorf("a sector of the child: %v", err)
	}
}

// TestFragments reads a disk whose layers alternate by page, across windows.
func TestFragments(t *testing.T) {
	const size = 130 * mib
	folder := newFolder()
	want := make([]byte, size)
	folder.put("base", writeBaseVHDX(t, "base", want, vhdx.Options{Type: vhdx.Dynamic, BlockSize: mib}))
	top := "base"
	for i, name := range []string{"1", "2"} {
		parent := open(t, folder, top)
		ov := overlay.New(parent)
		for off := 62*mib + i*4096; off < 67*mib; off += 3 * 4096 {
			page := bytes.Repeat([]byte{byte(off>>12) | 1}, 4096)
			if _, err := ov.WriteAt(page, int64(off)); err != nil {
				t.Fatal(err)
			}
			copy(want[off:], page)
		}
		layers := parent.Layers()
		folder.put(name, writeVHDX(t, ov, vhdxChild(name, top, *layers[len(layers)-1].VHDX)))
		top = name
	}
	c := open(t, folder, top)
	if !bytes.Equal(readAll(t, c), want) {
		t.Error("contents differ")
	}
	count, next := 0, int64(0)
	for e, err := range c.Extents(0, size) {
		if err != nil || e.Offset != next {
			t.Fatalf("%+v, %v", e, err)
		}
		next, count = next+e.Length, count+1
	}
	if pages := 5*mib/4096 + 1; next != size || count < pages-2 || count > pages+2 {
		t.Errorf("%d extents up to %d", count, next)
	}
}
