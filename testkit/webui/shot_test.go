package webui

import (
	"image"
	"image/color"
	"testing"
)

func TestReduce(t *testing.T) {
	const wide, frequent = 300, 100
	for name, colour := range map[string]func(x int) color.RGBA{
		"few colours":  func(x int) color.RGBA { return color.RGBA{R: uint8(x % 7), A: 255} },
		"many colours": func(x int) color.RGBA { return color.RGBA{R: uint8(x), G: uint8(x >> 8), A: 255} },
	} {
		picture := image.NewRGBA(image.Rect(0, 0, wide, 2))
		for x := range wide {
			picture.SetRGBA(x, 0, colour(x))
			picture.SetRGBA(x, 1, colour(x%frequent))
		}
		reduced := reduce(picture)
		if len(reduced.Palette) > maxColours {
			t.Errorf("%s: %d", name, len(reduced.Palette))
		}
		for x := range frequent {
			if is := reduced.At(x, 0); is != color.Color(colour(x)) {
				t.Errorf("%s: at %d there was %v, and is %v", name, x, colour(x), is)
			}
		}
	}
}
