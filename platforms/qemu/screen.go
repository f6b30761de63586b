package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/uuid"

	"imageport/platforms"
)

// What is taken for a screen: pixels and bytes of a PNG. A machine's program has
// both in its hands.
const (
	maxPixels    = 32 << 20
	maxDumpBytes = 64 << 20
)

// dumpScreen gives what the guest with that directory shows.
func dumpScreen(ctx context.Context, room string) ([]byte, error) {
	m, err := dial(ctx, room)
	if err != nil {
		return nil, err
	}
	defer m.close()
	// Two who look at the same time do not take each other's file.
	name := "screen-" + uuid.NewString() + ".png"
	path := filepath.Join(room, name)
	defer os.Remove(path)
	if err := m.run(ctx, "screendump", map[string]any{"filename": name, "format": "png"}, nil); err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxDumpBytes+1))
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: path, Err: err}
	}
	return fit(b, platforms.MaxScreen)
}

// fit gives a PNG of at most limit bytes: the picture itself, or it at a half, a
// quarter and so on of its size.
func fit(b []byte, limit int) ([]byte, error) {
	config, err := png.DecodeConfig(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("screen of %d bytes: %w", len(b), err)
	}
	if config.Width > maxPixels/config.Height || len(b) > maxDumpBytes {
		return nil, fmt.Errorf("screen of %d x %d pixels in %d bytes: want %d pixels and %d bytes at most", config.Width, config.Height, len(b), maxPixels, maxDumpBytes)
	}
	if len(b) <= limit {
		return b, nil
	}
	picture, err := png.Decode(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("screen of %d bytes: %w", len(b), err)
	}
	for size := picture.Bounds(); size.Dx() > 1 && size.Dy() > 1; size = picture.Bounds() {
		picture = halve(picture)
		var out bytes.Buffer
		if err := png.Encode(&out, picture); err != nil {
			return nil, fmt.Errorf("screen: %w", err)
		}
		if out.Len() <= limit {
			return out.Bytes(), nil
		}
	}
	return nil, errors.New("screen: it does not get small enough")
}

// halve gives a picture of half the size, of the means of four pixels each.
func halve(from image.Image) image.Image {
	b := from.Bounds()
	to := image.NewRGBA(image.Rect(0, 0, b.Dx()/2, b.Dy()/2))
	for y := range b.Dy() / 2 {
		for x := range b.Dx() / 2 {
			var sum [3]uint32
			for _, at := range [4]image.Point{{0, 0}, {1, 0}, {0, 1}, {1, 1}} {
				red, green, blue, _ := from.At(b.Min.X+2*x+at.X, b.Min.Y+2*y+at.Y).RGBA()
				sum[0], sum[1], sum[2] = sum[0]+red, sum[1]+green, sum[2]+blue
			}
			to.SetRGBA(x, y, color.RGBA{R: uint8(sum[0] >> 10), G: uint8(sum[1] >> 10), B: uint8(sum[2] >> 10), A: 0xff})
		}
	}
	return to
}
