package vhd

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"imageport/engine/disk"
	"imageport/engine/disk/overlay"
	"imageport/testkit/disktest"
)

// TestCreate writes images from several goroutines, in a random order, and
// compares qemu-img, 7-Zip and our reader with the model.
func TestCreate(t *testing.T) {
	for _, opt := range []Options{
		{Type: Fixed, SizeBytes: 40 << 20},
		{Type: Fixed, SizeBytes: 9<<20 + 512*5},
		{Type: Dynamic, SizeBytes: 40 << 20},
		{Type: Dynamic, SizeBytes: 39<<20 + 512*5},
		{Type: Dynamic, SizeBytes: 40 << 20, BlockSize: 512 << 10},
		{Type: Dynamic, SizeBytes: 40 << 20, BlockSize: 16 << 20},
		{Type: Dynamic, SizeBytes: 512, BlockSize: 256 << 20},
	} {
		t.Run(fmt.Sprintf("%s-%d-%d", opt.Type, opt.SizeBytes, opt.BlockSize), func(t *testing.T) {
			opt.UniqueID, opt.Timestamp = testParent, testTime
			path := filepath.Join(t.TempDir(), "x.vhd")
			f, err := os.Create(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			w, err := Create(f, opt)
			if err != nil {
				t.Fatal(err)
			}
			model := writeRandomly(t, w, int(opt.SizeBytes))
			size, err := w.Finish()
			if err != nil {
				t.Fatal(err)
			}
			file, err := os.ReadFile(path)
			if err != nil || int64(len(file)) != size {
				t.Fatalf("Finish says %d bytes, the file has %d (%v)", size, len(file), err)
			}

			im := openPath(t, path)
			if info := im.Info(); info.VirtualSize != opt.SizeBytes || info.Type != opt.Type || info.UniqueID != testParent || !info.Timestamp.Equal(testTime) {
				t.Errorf("info %+v", info)
			}
			if id, err := ReadIdentity(bytes.NewReader(file), size); id != testParent || err != nil {
				t.Errorf("ReadIdentity = %s, %v", id, err)
			}
			d := openDisk(t, im, nil)
			disktest.Same(t, d, bytes.NewReader(model), "the model")
			disktest.Same(t, d, bytes.NewReader(naive(t, file, nil)), "the naive reader")
			disktest.Same7zz(t, "vhd", d, path)
			if !accepted7zz(t, path) {
				t.Error("7zz complains")
			}
			checkExtents(t, d, bytes.NewReader(file), nil, 0, d.Size())

			info := string(disktest.Run(t, "qemu-img", "info", "--image-opts", "driver=vpc,file.filename="+path))
			if !strings.Contains(info, fmt.Sprintf("(%d bytes)", opt.SizeBytes)) {
				t.Errorf("qemu-img says %s", info)
			}
			disktest.Run(t, "qemu-img", "convert", "-f", "vpc", "-O", "raw", path, path+".raw")
			back, err := os.ReadFile(path + ".raw")
			if err != nil || !bytes.Equal(back, model) {
				t.Errorf("qemu-img convert differs (%v)", err)
			}
		})
	}
}

// writeRandomly writes stretches of data and of zeros, some of them twice, and
// gives the model of the result.
func writeRandomly(t *testing.T, w *Writer, size int) []byte {
	t.Helper()
	model := make([]byte, size)
	rng := rand.New(rand.NewPCG(uint64(size), 1))
	type job struct{ off, n int }
	for round := range 2 {
		var jobs []job
		for off := 0; off < size; {
			n := min(1+rng.IntN(900_000), size-off)
			switch rng.IntN(6) {
			case 0:
				disktest.Fill(model, off, n, uint64(off+round))
				jobs = append(jobs, job{off, n})
			case 1:
				clear(model[off : off+n])
				jobs = append(jobs, job{off, n})
			}
			off += n
		}
		rng.Shuffle(len(jobs), func(i, j int) { jobs[i], jobs[j] = jobs[j], jobs[i] })
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Go(func() {
				for i := g; i < len(jobs); i += 4 {
					p := model[jobs[i].off:][:jobs[i].n]
					if n, err := w.WriteAt(p, int64(jobs[i].off)); n != len(p) || err != nil {
						t.Errorf("WriteAt = %d, %v", n, err)
					}
				}
			})
		}
		wg.Wait()
	}
	return model
}

// TestWindowsLayout writes what Windows' dynamic image holds, and gets it to
// the byte.
func TestWindowsLayout(t *testing.T) {
	for _, name := range []string{"ntfs-dynamic.vhd", "ntfs-fixed.vhd"} {
		theirs := disktest.Unpack(t, name)
		im := openBytes(t, theirs)
		info := im.Info()
		var f disktest.File
		w, err := Create(&f, Options{Type: info.Type, SizeBytes: info.VirtualSize, UniqueID: info.UniqueID, Timestamp: info.Timestamp})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.WriteAt(disktest.ReadAll(t, openDisk(t, im, nil)), 0); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Finish(); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(f.Data, theirs) {
			t.Errorf("%s: ours differs", name)
		}
	}
}

// TestZerosAllocateNothing pins what a dynamic image stores.
func TestZerosAllocateNothing(t *testing.T) {
	var f disktest.File
	w, err := Create(&f, Options{Type: Dynamic, SizeBytes: 1 << 30, UniqueID: testParent, Timestamp: testTime})
	if err != nil {
		t.Fatal(err)
	}
	for off := int64(0); off < 1<<30; off += 64 << 20 {
		if _, err := w.WriteAt(make([]byte, 64<<20), off); err != nil {
			t.Fatal(err)
		}
	}
	if len(f.Data) > 0 {
		t.Errorf("%d bytes written", len(f.Data))
	}
	// The last byte of a block, and zeros over what is there now.
	p := make([]byte, 4<<20)
	p[2<<20-1] = 1
	if _, err := w.WriteAt(p, 8<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := w.WriteAt(make([]byte, 2<<20-1), 8<<20); err != nil {
		t.Fatal(err)
	}
	size, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	if want := int64(4096 + 4096 + 2<<20 + 4096); size != want || size != int64(len(f.Data)) {
		t.Errorf("%d bytes, want %d", size, want)
	}
	got := checkExtents(t, openDisk(t, openBytes(t, f.Data), nil), bytes.NewReader(f.Data), nil, 0, 16<<20)
	want := []disk.Extent{
		{Length: 8 << 20, Kind: disk.ExtentZero},
		{Offset: 8 << 20, Length: 2 << 20, Kind: disk.ExtentData, FileOffset: 8192},
		{Offset: 10 << 20, Length: 6 << 20, Kind: disk.ExtentZero},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("extents %+v\nwant %+v", got, want)
	}
}

// TestRandomChains builds chains of random images and compares our reader and
// the naive one with the model.
func TestRandomChains(t *testing.T) {
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 7))
		size := (1 + rng.IntN(5000)) * SectorSize
		blockSize := func() uint32 { return minBlockSize << rng.IntN(2) }
		model := make([]byte, size)
		var f disktest.File
		opt := Options{Type: Type(1 + rng.IntN(2)), SizeBytes: int64(size), UniqueID: testParent, Timestamp: testTime}
		if opt.Type == Dynamic {
			opt.BlockSize = blockSize()
		}
		w, err := Create(&f, opt)
		if err != nil {
			t.Fatal(err)
		}
		for range rng.IntN(6) {
			off := rng.IntN(size)
			n := 1 + rng.IntN(min(size-off, 300_000))
			disktest.Fill(model, off, n, rng.Uint64())
			if _, err := w.WriteAt(model[off:off+n], int64(off)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := w.Finish(); err != nil {
			t.Fatal(err)
		}
		im := openBytes(t, f.Data)
		d, simple := openDisk(t, im, nil), naive(t, f.Data, nil)
		for level := range rng.IntN(4) {
			if !bytes.Equal(disktest.ReadAll(t, d), model) || !bytes.Equal(simple, model) {
				t.Fatalf("seed %d, level %d differs", seed, level)
			}
			ov := overlay.New(d)
			for range rng.IntN(6) {
				off := rng.IntN(size)
				n := 1 + rng.IntN(min(size-off, 100_000))
				p := make([]byte, n)
				if rng.IntN(3) > 0 {
					disktest.Fill(p, 0, n, rng.Uint64())
				}
				disktest.Put(t, ov, model, off, p)
			}
			info := im.Info()
			child := writeChild(t, ov, childOptions(info, "p.vhd", blockSize()))
			im = openBytes(t, child)
			noProblems(t, im)
			parent := d
			d, simple = openDisk(t, im, parent), naive(t, child, simple)
			checkExtents(t, d, bytes.NewReader(child), parent, 0, int64(size))
		}
		if !bytes.Equal(disktest.ReadAll(t, d), model) || !bytes.Equal(simple, model) {
			t.Fatalf("seed %d differs", seed)
		}
	}
}

func TestWriterBounds(t *testing.T) {
	for _, typ := range []Type{Fixed, Dynamic} {
		var f disktest.File
		w, err := Create(&f, Options{Type: typ, SizeBytes: 1 << 20, UniqueID: testParent, Timestamp: testTime})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct{ off, n int64 }{{-1, 1}, {1 << 20, 1}, {0, 1<<20 + 1}, {1 << 62, 10}} {
			if n, err := w.WriteAt(make([]byte, c.n), c.off); n != 0 || err == nil {
				t.Errorf("%s: WriteAt(%d bytes, %d) = %d, %v", typ, c.n, c.off, n, err)
			}
		}
		if _, err := w.Finish(); err != nil {
			t.Fatal(err)
		}
		before := bytes.Clone(f.Data)
		if _, err := w.WriteAt([]byte{1}, 0); err == nil {
			t.Errorf("%s: WriteAt after Finish", typ)
		}
		if _, err := w.Finish(); err == nil || !bytes.Equal(before, f.Data) {
			t.Errorf("%s: a second Finish", typ)
		}
	}
}

func TestOptionsRefused(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"type":          func(o *Options) { o.Type = Differencing },
		"no type":       func(o *Options) { o.Type = 0 },
		"no size":       func(o *Options) { o.SizeBytes = 0 },
		"negative size": func(o *Options) { o.SizeBytes = -512 },
		"half a sector": func(o *Options) { o.SizeBytes += 256 },
		"too big":       func(o *Options) { o.SizeBytes = MaxSize + 512 },
		"block size":    func(o *Options) { o.BlockSize = 3 << 20 },
		"fixed blocks":  func(o *Options) { o.Type, o.BlockSize = Fixed, 2<<20 },
		"no ID":         func(o *Options) { o.UniqueID = uuid.Nil },
		"before 2000":   func(o *Options) { o.Timestamp = time.Unix(0, 0) },
		"after 2136":    func(o *Options) { o.Timestamp = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC) },
		"small blocks of the largest disk": func(o *Options) {
			o.SizeBytes, o.BlockSize = MaxSize, 512<<10
		},
	} {
		opt := Options{Type: Dynamic, SizeBytes: 1 << 30, UniqueID: testParent, Timestamp: testTime}
		change(&opt)
		if _, err := Create(&disktest.File{}, opt); err == nil {
			t.Errorf("%s is not refused", name)
		}
	}
	if _, err := Create(&disktest.File{}, Options{Type: Dynamic, SizeBytes: MaxSize, UniqueID: testParent, Timestamp: testTime}); err != nil {
		t.Errorf("the largest disk: %v", err)
	}
}

// TestBitmapWriteFails makes good, in Finish, for a bitmap whose write failed.
func TestBitmapWriteFails(t *testing.T) {
	broken := errors.New("broken")
	n := 0
	f := disktest.File{Torn: 3, Fail: func() error {
		if n++; n == 1 {
			return broken
		}
		return nil
	}}
	w, err := Create(&f, Options{Type: Dynamic, SizeBytes: 4 << 20, UniqueID: testParent, Timestamp: testTime})
	if err != nil {
		t.Fatal(err)
	}
	model := disktest.Pattern(4<<20, 1)
	done, err := w.WriteAt(model, 0)
	if done != 0 || !errors.Is(err, broken) {
		t.Fatalf("WriteAt = %d, %v", done, err)
	}
	if _, err := w.WriteAt(model, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	disktest.Same(t, openDisk(t, openBytes(t, f.Data), nil), bytes.NewReader(model), "the model")
}
