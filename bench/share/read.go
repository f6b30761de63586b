package main

import (
	"fmt"
	"io"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// readAll reads size bytes with several readers, a piece at a time each.
func readAll(f io.ReaderAt, size, piece int64, readers int) error {
	var (
		next  atomic.Int64
		group errgroup.Group
	)
	for range readers {
		group.Go(func() error {
			buf := make([]byte, piece)
			for {
				off := (next.Add(1) - 1) * piece
				if off >= size {
					return nil
				}
				want := buf[:min(piece, size-off)]
				if n, err := f.ReadAt(want, off); n != len(want) {
					return fmt.Errorf("read %d bytes at %d: %d, %w", len(want), off, n, err)
				}
			}
		})
	}
	return group.Wait()
}
