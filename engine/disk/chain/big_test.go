package chain_test

import (
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"imageport/engine/disk/chain"
	"imageport/engine/disk/vhd"
	"imageport/engine/disk/vhdx"
)

// TestBigChain opens ten files of the biggest disks in use: reading and memory
// must not follow their size.
func TestBigChain(t *testing.T) {
	for _, c := range []struct {
		ext  string
		size int64
	}{{"vhdx", 2 << 40}, {"vhd", vhd.MaxSize}} {
		t.Run(c.ext, func(t *testing.T) {
			dir := t.TempDir()
			var read atomic.Int64
			folder := inDir(dir, &read)
			writeBig(t, dir, folder, c.ext, c.size)

			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			read.Store(0)
			start := time.Now()
			opened := open(t, folder, "9")
			openRead, openTime := read.Load(), time.Since(start)
			if len(opened.Layers()) != 10 || opened.Size() != c.size {
				t.Errorf("%d layers, %d bytes", len(opened.Layers()), opened.Size())
			}
			if openRead > 64*mib {
				t.Errorf("opening read %d bytes", openRead)
			}

			// The last layer that wrote to a place counts.
			p := make([]byte, 4096)
			for i := range int64(10) {
				if _, err := opened.ReadAt(p, i*c.size/10/4096*4096); err != nil && err != io.EOF {
					t.Fatal(err)
				}
				if p[0] != byte(i) || p[4095] != byte(i) {
					t.Errorf("layer %d: read %d", i, p[0])
				}
			}
			readRead := read.Load() - openRead

			start = time.Now()
			data, next := 0, int64(0)
			for e, err := range opened.Extents(0, c.size) {
				if err != nil {
					t.Fatal(err)
				}
				next = e.Offset + e.Length
				if e.Layer > 0 {
					data++
				}
			}
			if data != 9 || next != c.size {
				t.Errorf("%d extents in children, up to %d", data, next)
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 64*mib {
				t.Errorf("memory grew by %d bytes", grown)
			} else {
				t.Logf("opening read %d KiB in %v, ten sectors %d KiB; extents %v; heap +%d KiB",
					openRead>>10, openTime, readRead>>10, time.Since(start), grown>>10)
			}
			runtime.KeepAlive(opened)
		})
	}
}

// writeBig writes ten files; file i has a page of bytes i at i tenths of the disk.
func writeBig(t *testing.T, dir string, folder chain.Folder, ext string, size int64) {
	t.Helper()
	for i := range int64(10) {
		name := string(rune('0' + i))
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if i == 0 {
			if ext == "vhdx" {
				_, err = vhdxCreate(f, size)
			} else {
				_, err = vhdCreate(f, size)
			}
			if err != nil {
				t.Fatal(err)
			}
			continue
		}
		page := make([]byte, 4096)
		for j := range page {
			page[j] = byte(i)
		}
		parentName := string(rune('0' + i - 1))
		parent, err := chain.Open(t.Context(), folder, parentName, chain.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer parent.Close()
		ov := edited(t, parent, edit{i * size / 10 / 4096 * 4096, page})
		layers := parent.Layers()
		if top := layers[len(layers)-1]; ext == "vhdx" {
			opt := vhdxChild(name, parentName, *top.VHDX)
			opt.BlockSize = 2 * mib
			_, err = vhdx.WriteChild(t.Context(), f, ov, opt, nil)
		} else {
			opt := vhdChild(name, parentName, *top.VHD)
			opt.BlockSize = 2 * mib
			_, err = vhd.WriteChild(t.Context(), f, ov, opt, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func vhdxCreate(f *os.File, size int64) (int64, error) {
	w, err := vhdx.Create(f, vhdx.Options{
		Type: vhdx.Dynamic, SizeBytes: size,
		DataWriteGUID: guid("0", "data"), FileWriteGUID: guid("0", "file"), VirtualDiskID: guid("", "disk"),
	})
	if err != nil {
		return 0, err
	}
	return w.Finish()
}

func vhdCreate(f *os.File, size int64) (int64, error) {
	w, err := vhd.Create(f, vhd.Options{
		Type: vhd.Dynamic, SizeBytes: size, UniqueID: guid("0", "data"),
		Timestamp: time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC),
	})
	if err != nil {
		return 0, err
	}
	return w.Finish()
}
