// Package screen makes pictures of guests' screens small enough to be kept.
package screen

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
)

const (
	// MaxFile is what is worth looking at, in bytes.
	MaxFile = 32 << 20
	// maxPixels is what is decoded: a screen of 4096 x 2160 has fewer.
	maxPixels = 9 << 20
)

// Fit gives a PNG of at most limit bytes: the picture itself, or with half the
// width and height as often as needed.
func Fit(picture []byte, limit int) ([]byte, error) {
	config, err := png.DecodeConfig(bytes.NewReader(picture))
	if err != nil {
		return nil, fmt.Errorf("picture of %d bytes: %w", len(picture), err)
	}
	if len(picture) <= limit {
		return picture, nil
	}
	if config.Width > maxPixels/config.Height || len(picture) > MaxFile {
		return nil, fmt.Errorf("the picture has %d x %d pixels in %d bytes", config.Width, config.Height, len(picture))
	}
	all, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		return nil, fmt.Errorf("picture of %d bytes: %w", len(picture), err)
	}
	for all.Bounds().Dx() > 1 || all.Bounds().Dy() > 1 {
		all = half(all)
		var b bytes.Buffer
		if err := png.Encode(&b, all); err != nil {
			return nil, err
		}
		if b.Len() <= limit {
			return b.Bytes(), nil
		}
	}
	return nil, errors.New("the picture does not get small enough")
}

// half gives the picture with half the width and height, whose pixels are each
// the mean of four.
func half(p image.Image) image.Image {
	from := p.Bounds()
	to := image.NewNRGBA(image.Rect(0, 0, (from.Dx()+1)/2, (from.Dy()+1)/2))
	for y := range to.Rect.Dy() {
		for x := range to.Rect.Dx() {
			var r, g, b uint32
			for i := range 4 {
				cr, cg, cb, _ := p.At(min(from.Min.X+2*x+i%2, from.Max.X-1), min(from.Min.Y+2*y+i/2, from.Max.Y-1)).RGBA()
				r, g, b = r+cr, g+cg, b+cb
			}
			to.SetNRGBA(x, y, color.NRGBA{R: uint8(r / 4 >> 8), G: uint8(g / 4 >> 8), B: uint8(b / 4 >> 8), A: 0xff})
		}
	}
	return to
}
