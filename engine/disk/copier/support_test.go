package copier_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"imageport/engine/disk"
	"imageport/engine/disk/copier"
)

const sector = 512

var errBroken = errors.New("broken cable")

// plainDisk holds its bytes in memory and knows no extents.
type plainDisk struct {
	data []byte
	// failAt is the number of the read that fails, from 1; 0 for none.
	failAt int64
	reads  atomic.Int64
	// read is told every request.
	read func(off, n int64)
}

func (d *plainDisk) Size() int64     { return int64(len(d.data)) }
func (d *plainDisk) SectorSize() int { return sector }

func (d *plainDisk) ReadAt(p []byte, off int64) (int, error) {
	if d.read != nil {
		d.read(off, int64(len(p)))
	}
	if d.reads.Add(1) == d.failAt {
		return 0, errBroken
	}
	return copy(p, d.data[off:]), nil
}

// mappedDisk is a plainDisk with extents.
type mappedDisk struct {
	plainDisk
	extents []disk.Extent
	// failExtent is the index of the extent that is an error; -1 for none.
	failExtent int
}

func (d *mappedDisk) Extents(off, n int64) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		for i, e := range d.extents {
			if i == d.failExtent {
				yield(disk.Extent{}, errBroken)
				return
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}

// newDisk makes a disk of random extents: data, stored in odd places of up to
// three files, data that is zero, and holes.
func newDisk(rng *rand.Rand, sectors int) *mappedDisk {
	d := &mappedDisk{failExtent: -1}
	d.data = make([]byte, sectors*sector)
	longest := 1 << (1 + rng.IntN(10))
	for at := 0; at < sectors; {
		n := min(1+rng.IntN(longest), sectors-at)
		e := disk.Extent{Offset: int64(at) * sector, Length: int64(n) * sector, Kind: disk.ExtentZero}
		if kind := rng.IntN(4); kind > 0 {
			e.Kind, e.Layer, e.FileOffset = disk.ExtentData, rng.IntN(3), rng.Int64N(1<<30)
			if kind > 1 {
				fill(rng, d.data[e.Offset:e.Offset+e.Length])
			}
		}
		d.extents = append(d.extents, e)
		at += n
	}
	return d
}

func fill(rng *rand.Rand, p []byte) {
	for ; len(p) > 0; p = p[8:] { // whole sectors
		binary.LittleEndian.PutUint64(p, rng.Uint64())
	}
}

// target is memory with a disk's habits: what was not synced when the power
// fails may be there or not, sector by sector.
type target struct {
	t       testing.TB
	mu      sync.Mutex
	now     []byte
	durable []byte
	// ops counts writes, zeroings and syncs; the one with number failAt fails.
	ops, failAt int
	syncs       int
	written     int64
}

func newTarget(t testing.TB, size int, junk bool) *target {
	d := &target{t: t, now: make([]byte, size)}
	if junk {
		for i := range d.now {
			d.now[i] = byte(i*7 + 1)
		}
	}
	d.durable = append([]byte(nil), d.now...)
	return d
}

func (d *target) begin() error {
	d.ops++
	if d.ops == d.failAt {
		return errBroken
	}
	return nil
}

func (d *target) WriteAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if off < 0 || off+int64(len(p)) > int64(len(d.now)) || len(p) == 0 {
		d.t.Errorf("write of %d bytes at %d of %d", len(p), off, len(d.now))
	}
	d.written += int64(len(p))
	if err := d.begin(); err != nil { // half of it arrives
		return copy(d.now[off:], p[:len(p)/2]), err
	}
	return copy(d.now[off:], p), nil
}

func (d *target) Sync() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.begin(); err != nil {
		return err
	}
	d.syncs++
	copy(d.durable, d.now)
	return nil
}

// crash gives the target as it may be after a loss of power.
func (d *target) crash(rng *rand.Rand) *target {
	d.mu.Lock()
	defer d.mu.Unlock()
	after := newTarget(d.t, len(d.now), false)
	copy(after.now, d.durable)
	for at := 0; at < len(d.now); at += sector {
		if rng.IntN(2) == 0 {
			copy(after.now[at:at+sector], d.now[at:])
		}
	}
	copy(after.durable, after.now)
	return after
}

// rangerTarget can zero, unless it says that it cannot.
type rangerTarget struct {
	*target
	unsupported bool
	zeroed      int64
}

func (d *rangerTarget) ZeroRange(off, n int64) error {
	if d.unsupported {
		return fmt.Errorf("file system: %w", errors.ErrUnsupported)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.zeroed += n
	if err := d.begin(); err != nil {
		return err
	}
	clear(d.now[off : off+n])
	return nil
}

// ranges gives ranges as Options.Skip wants them.
func ranges(list []copier.Range) iter.Seq2[copier.Range, error] {
	if list == nil {
		return nil
	}
	return func(yield func(copier.Range, error) bool) {
		for _, r := range list {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// randomSkips are some ranges of a disk; nil at times.
func randomSkips(rng *rand.Rand, sectors int) []copier.Range {
	if rng.IntN(2) == 0 {
		return nil
	}
	list := []copier.Range{}
	longest := 1 << (1 + rng.IntN(9))
	for at := rng.IntN(longest); at < sectors; {
		n := min(1+rng.IntN(longest), sectors-at)
		list = append(list, copier.Range{Offset: int64(at) * sector, Length: int64(n) * sector})
		at += n + rng.IntN(longest)
	}
	return list
}

// without is the data with the ranges zeroed.
func without(data []byte, skips []copier.Range) []byte {
	want := append([]byte(nil), data...)
	for _, r := range skips {
		clear(want[r.Offset : r.Offset+r.Length])
	}
	return want
}
