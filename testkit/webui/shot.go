package webui

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"maps"
	"os"
	"slices"

	"github.com/chromedp/chromedp"
)

// Shot writes what the page shows to a PNG file of a few ten kilobytes.
func (u *UI) Shot(file string) error {
	ctx, cancel := context.WithTimeout(u.page, patience)
	defer cancel()
	shot, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err != nil {
		return fmt.Errorf("photograph the page: %w", err)
	}
	picture, err := png.Decode(bytes.NewReader(shot))
	if err != nil {
		return fmt.Errorf("read the picture of the page: %w", err)
	}
	var out bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	if err := encoder.Encode(&out, reduce(picture)); err != nil {
		return err
	}
	return os.WriteFile(file, out.Bytes(), 0o644)
}

// maxColours is what a PNG's palette holds.
const maxColours = 256

// reduce gives a picture with at most maxColours: its most frequent ones, and for
// the others the nearest of those. A page has few, but for the edges of letters.
func reduce(picture image.Image) *image.Paletted {
	bounds := picture.Bounds()
	count := make(map[color.RGBA]int)
	at := func(x, y int) color.RGBA { return color.RGBAModel.Convert(picture.At(x, y)).(color.RGBA) }
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			count[at(x, y)]++
		}
	}
	frequent := slices.SortedFunc(maps.Keys(count), func(a, b color.RGBA) int {
		return cmp.Or(count[b]-count[a], cmp.Compare(key(a), key(b)))
	})
	var palette color.Palette
	for _, c := range frequent[:min(len(frequent), maxColours)] {
		palette = append(palette, c)
	}
	nearest := make(map[color.RGBA]uint8, len(frequent))
	for _, c := range frequent {
		nearest[c] = uint8(palette.Index(c))
	}
	reduced := image.NewPaletted(bounds, palette)
	for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
		for x := bounds.Min.X; x < bounds.Max.X; x++ {
			reduced.SetColorIndex(x, y, nearest[at(x, y)])
		}
	}
	return reduced
}

// key orders colours.
func key(c color.RGBA) uint32 {
	return uint32(c.R)<<24 | uint32(c.G)<<16 | uint32(c.B)<<8 | uint32(c.A)
}
