package container_test

import (
	"errors"
	"sync"
	"testing"

	"imageport/engine/disk/container"
)

// TestCache keeps to its limit over all tables, drops what was used longest
// ago, and gives every table its own pieces.
func TestCache(t *testing.T) {
	const size = 64 << 10
	c := container.NewCache(3 * (size + 1000))
	a, b := c.Table(), c.Table()
	loads := 0
	get := func(table *container.Table, off int64) {
		t.Helper()
		want := byte(off)
		if table == b {
			want += 100
		}
		p, err := table.Piece(off, func() ([]byte, error) {
			loads++
			p := make([]byte, size)
			p[0] = want
			return p, nil
		})
		if err != nil || p[0] != want {
			t.Errorf("piece at %d: %v, %v", off, p[:1], err)
		}
	}
	for _, x := range []struct {
		table *container.Table
		off   int64
		loads int
	}{
		{a, 1, 1}, {a, 2, 2}, {b, 1, 3}, // all three are kept
		{a, 1, 3}, {b, 1, 3}, {a, 1, 3},
		{b, 2, 4},            // a's 2 is the one to go
		{a, 1, 4}, {b, 1, 4}, // still there
		{a, 2, 5}, // a's 1 goes: being a table's last piece is no use of the cache
		{b, 1, 5}, {b, 2, 5}, {a, 1, 6},
	} {
		if get(x.table, x.off); loads != x.loads {
			t.Errorf("piece at %d: %d loads, want %d", x.off, loads, x.loads)
		}
	}
	broken := errors.New("broken")
	if _, err := a.Piece(9, func() ([]byte, error) { return nil, broken }); err != broken {
		t.Errorf("failed load: %v", err)
	}
	get(a, 9)
	if loads != 7 {
		t.Error("a failed load was kept")
	}
}

// TestCacheTooSmall gives pieces that it cannot keep.
func TestCacheTooSmall(t *testing.T) {
	table := container.NewCache(10).Table()
	for i := range int64(5) {
		p, err := table.Piece(i, func() ([]byte, error) { return []byte{byte(i), 19: 0}, nil })
		if err != nil || p[0] != byte(i) {
			t.Errorf("piece %d: %v, %v", i, p, err)
		}
	}
}

// TestCacheConcurrently is for the race detector.
func TestCacheConcurrently(t *testing.T) {
	c := container.CacheOr(container.NewCache(20 << 10))
	tables := []*container.Table{c.Table(), c.Table()}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 2000 {
				off := int64((i*7 + g) % 50)
				p, err := tables[i%2].Piece(off, func() ([]byte, error) { return []byte{byte(off), byte(i % 2), 999: 0}, nil })
				if err != nil || p[0] != byte(off) || p[1] != byte(i%2) {
					t.Errorf("piece at %d: %v, %v", off, p[:2], err)
					return
				}
			}
		})
	}
	wg.Wait()
}
