package diskimage

import (
	"context"
	"iter"

	"imageport/engine/disk"
	"imageport/engine/disk/chain"
)

// Extent is a stretch of a disk that is stored in one place.
type Extent struct {
	OffsetBytes int64  `json:"offsetBytes"` // on the disk
	LengthBytes int64  `json:"lengthBytes"`
	Kind        string `json:"kind"` // "data" or "zero"
	// Layer is the index in Info.Layers, File its name, FileOffsetBytes where
	// the extent begins in that file. Only data has them.
	Layer           *int   `json:"layer,omitempty"`
	File            string `json:"file,omitempty"`
	FileOffsetBytes *int64 `json:"fileOffsetBytes,omitempty"`
}

// Map gives the extents of an image in order and without gaps. It ends with
// the first error.
func Map(ctx context.Context, c *chain.Chain) iter.Seq2[Extent, error] {
	return func(yield func(Extent, error) bool) {
		layers := c.Layers()
		for e, err := range c.Extents(0, c.Size()) {
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(Extent{}, Coded(err))
				return
			}
			x := Extent{OffsetBytes: e.Offset, LengthBytes: e.Length, Kind: "zero"}
			if e.Kind == disk.ExtentData {
				x.Kind, x.Layer, x.File, x.FileOffsetBytes = "data", &e.Layer, layers[e.Layer].Name, &e.FileOffset
			}
			if !yield(x, nil) {
				return
			}
		}
	}
}
