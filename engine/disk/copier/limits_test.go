package copier_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"imageport/engine/disk"
	"imageport/engine/disk/copier"
)

// hugeDisk is stored in blocks of 2 MiB, of which every step-th is data, and
// every one of its data blocks begins with a byte that is not zero. The file
// has the blocks in reverse.
type hugeDisk struct {
	size, step int64
	reads      atomic.Int64
}

const hugeBlock = 2 << 20

func (d *hugeDisk) Size() int64     { return d.size }
func (d *hugeDisk) SectorSize() int { return sector }

func (d *hugeDisk) ReadAt(p []byte, off int64) (int, error) {
	d.reads.Add(int64(len(p)))
	clear(p[:1])
	if off%hugeBlock == 0 {
		p[0] = 1
	}
	return len(p), nil
}

func (d *hugeDisk) Extents(off, n int64) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		for at := int64(0); at < d.size; {
			e := disk.Extent{Offset: at, Length: hugeBlock, Kind: disk.ExtentZero}
			if at/hugeBlock%d.step == 0 {
				e.Kind, e.FileOffset = disk.ExtentData, d.size-at
			} else {
				e.Length = min(d.step-at/hugeBlock%d.step, (d.size-at)/hugeBlock) * hugeBlock
			}
			if !yield(e, nil) {
				return
			}
			at += e.Length
		}
	}
}

// nowhere takes everything.
type nowhere struct{ written atomic.Int64 }

func (d *nowhere) WriteAt(p []byte, off int64) (int, error) {
	d.written.Add(int64(len(p)))
	return len(p), nil
}

func (d *nowhere) Sync() error { return nil }

// TestMemoryDoesNotGrowWithTheDisk samples the heap while huge disks are
// copied: 2 TiB with little on it, and 256 GiB with a lot.
func TestMemoryDoesNotGrowWithTheDisk(t *testing.T) {
	const limit = 32 << 20 // 8 buffers of 1 MiB, windows, states, and garbage
	for name, src := range map[string]*hugeDisk{
		"2 TiB, 512 MiB data":     {size: 2 << 40, step: 4096},
		"256 GiB, 42.7 GiB data":  {size: 256 << 30, step: 6},
		"64 TiB, 64 MiB data":     {size: 64 << 40, step: 1 << 20},
		"16 GiB, all of it data ": {size: 16 << 30, step: 1},
	} {
		runtime.GC()
		var before, now runtime.MemStats
		runtime.ReadMemStats(&before)
		peak, calls, biggest := uint64(0), 0, 0
		opt := copier.Options{TargetIsZero: true, CRC: true, Source: "s", CheckpointEvery: 4 << 30}
		opt.Progress = func(copier.Progress) {
			if calls++; calls%256 == 1 {
				runtime.ReadMemStats(&now)
				peak = max(peak, now.HeapAlloc)
			}
		}
		opt.Checkpoint = func(s copier.State) error {
			b, err := json.Marshal(s)
			biggest = max(biggest, len(b))
			return err
		}
		start := time.Now()
		dst := new(nowhere)
		report, err := copier.Copy(context.Background(), dst, src, opt)
		if err != nil || report.DoneBytes != src.size {
			t.Fatalf("%s: %+v, %v", name, report, err)
		}
		blocks := (src.size/hugeBlock + src.step - 1) / src.step
		if report.ReadBytes != blocks*hugeBlock || dst.written.Load() != blocks*64<<10 {
			t.Errorf("%s: report %+v, expected %d blocks", name, report, blocks)
		}
		used := int64(peak) - int64(before.HeapAlloc)
		t.Logf("%s: %v, heap +%d KiB, states up to %d KiB", name, time.Since(start).Round(time.Millisecond), used>>10, biggest>>10)
		if used > limit || biggest > 512<<10 {
			t.Errorf("%s: heap +%d bytes, states up to %d bytes", name, used, biggest)
		}
	}
}

// slowDisk takes a moment for each read, like a disk far away.
type slowDisk struct {
	hugeDisk
	delay time.Duration
	begun chan struct{} // told of every read
}

func (d *slowDisk) ReadAt(p []byte, off int64) (int, error) {
	select {
	case d.begun <- struct{}{}:
	default:
	}
	time.Sleep(d.delay)
	return d.hugeDisk.ReadAt(p, off)
}

// TestCancel ends copies of a terabyte in the middle: promptly, with the cause,
// and without anything left running.
func TestCancel(t *testing.T) {
	errStop := errors.New("the job was cancelled")
	for name, opt := range map[string]copier.Options{
		"plain":        {},
		"digests":      {CRC: true, SHA256: true},
		"one reader":   {Parallel: 1},
		"many readers": {Parallel: 64},
		"zero target":  {TargetIsZero: true},
	} {
		before := runtime.NumGoroutine()
		ctx, cancel := context.WithCancelCause(context.Background())
		src := &slowDisk{hugeDisk{size: 1 << 40, step: 16}, 10 * time.Millisecond, make(chan struct{}, 1)}
		ended := make(chan error, 1)
		go func() {
			_, err := copier.Copy(ctx, new(nowhere), src, opt)
			ended <- err
		}()
		<-src.begun
		start := time.Now()
		cancel(errStop)
		select {
		case err := <-ended:
			if !errors.Is(err, errStop) {
				t.Errorf("%s: %v", name, err)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: still copying", name)
		}
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("%s: took %v to stop", name, took)
		}
		for wait := 0; runtime.NumGoroutine() > before && wait < 100; wait++ {
			time.Sleep(time.Millisecond) // the goroutine of this test
		}
		if n := runtime.NumGoroutine(); n > before {
			t.Errorf("%s: %d goroutines, %d before", name, n, before)
		}
	}

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := copier.Copy(ctx, new(nowhere), &hugeDisk{size: 1 << 40, step: 1}, copier.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before the start: %v", err)
	}
}

// BenchmarkCopy copies in memory: what the copier itself costs.
func BenchmarkCopy(b *testing.B) {
	const size = 256 << 20
	src := &plainDisk{data: make([]byte, size)}
	for at := 0; at < size; at += 2 << 20 { // half of it data
		copy(src.data[at:], bytes.Repeat([]byte{1}, 1<<20))
	}
	for name, opt := range map[string]copier.Options{
		"zero target": {TargetIsZero: true},
		"any target":  {},
		"CRC":         {TargetIsZero: true, CRC: true},
		"SHA256":      {TargetIsZero: true, SHA256: true},
		"1 reader":    {TargetIsZero: true, Parallel: 1},
		"64 KiB":      {TargetIsZero: true, UnitSize: 64 << 10},
	} {
		b.Run(name, func(b *testing.B) {
			dst := newTarget(b, size, false)
			b.SetBytes(size)
			for b.Loop() {
				if _, err := copier.Copy(context.Background(), unlocked{dst}, src, opt); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// unlocked is memory that is written by several goroutines at a time.
type unlocked struct{ *target }

func (d unlocked) WriteAt(p []byte, off int64) (int, error) { return copy(d.now[off:], p), nil }

func (unlocked) Sync() error { return nil }
