package bootproof

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/color/palette"
	"image/png"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

const (
	maxScreenshot = 256 << 10 // bytes of PNG
	maxSide       = 4096      // pixels
	maxScreen     = 3*maxSide*maxSide + 64
)

// errScreen: what QEMU calls the screen is none.
var errScreen = errors.New("screen dump")

// screenFile is a file in memory that QEMU dumps the screen to.
type screenFile struct{ read, write *os.File }

func newScreenFile() (*screenFile, error) {
	fd, err := unix.MemfdCreate("screen", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	read := os.NewFile(uintptr(fd), "screen")
	// QEMU takes only what is open for writing, and not for reading.
	write, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", fd), os.O_WRONLY, 0)
	if err != nil {
		read.Close()
		return nil, err
	}
	return &screenFile{read, write}, nil
}

func (s *screenFile) close() {
	s.read.Close()
	s.write.Close()
}

// dump has the monitor dump the screen, and gives that as PPM.
func (s *screenFile) dump(m *monitor) ([]byte, error) {
	// Position and contents are shared with QEMU, which does not rewind.
	if _, err := s.write.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	if err := s.write.Truncate(0); err != nil {
		return nil, err
	}
	if err := m.screendump(screenPath); err != nil {
		return nil, err
	}
	return io.ReadAll(io.NewSectionReader(s.read, 0, maxScreen))
}

// parsePPM reads a picture as QEMU writes it: "P6", width, height and 255 in
// decimal, a white space after each, and three bytes a pixel.
func parsePPM(data []byte) (*image.RGBA, error) {
	var width, height, depth int
	rest := bytes.NewReader(data)
	if _, err := fmt.Fscanf(rest, "P6\n%d %d\n%d\n", &width, &height, &depth); err != nil {
		return nil, fmt.Errorf("%w: header of a PPM: %w", errScreen, err)
	}
	if width < 1 || height < 1 || width > maxSide || height > maxSide || depth != 255 || rest.Len() != 3*width*height {
		return nil, fmt.Errorf("%w: PPM of %d x %d, depth %d, with %d bytes of pixels", errScreen, width, height, depth, rest.Len())
	}
	pixels := data[len(data)-rest.Len():]
	picture := image.NewRGBA(image.Rect(0, 0, width, height))
	for i := range width * height {
		copy(picture.Pix[4*i:4*i+3], pixels[3*i:])
		picture.Pix[4*i+3] = 0xff
	}
	return picture, nil
}

// screenshot encodes a picture as a PNG of at most limit bytes: in its own
// colours, if that does not fit in 216, and if that does not fit smaller.
func screenshot(picture *image.RGBA, limit int) ([]byte, error) {
	encode := func(m image.Image) ([]byte, error) {
		var b bytes.Buffer
		err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&b, m)
		return b.Bytes(), err
	}
	for {
		var attempts []image.Image
		if m, few := exact(picture); few {
			attempts = append(attempts, m)
		} else {
			attempts = append(attempts, picture, coarse(picture))
		}
		for _, m := range attempts {
			if data, err := encode(m); err != nil || len(data) <= limit {
				return data, err
			}
		}
		if picture.Bounds().Dx() == 1 && picture.Bounds().Dy() == 1 {
			return nil, fmt.Errorf("%w: does not fit in %d bytes", errScreen, limit)
		}
		picture = halve(picture)
	}
}

// exact gives a picture of at most 256 colours by a palette, in the order of
// their appearance.
func exact(picture *image.RGBA) (*image.Paletted, bool) {
	out := image.NewPaletted(picture.Bounds(), nil)
	index := make(map[[3]byte]uint8)
	for i := range out.Pix {
		c := [3]byte(picture.Pix[4*i:])
		at, known := index[c]
		if !known {
			if len(out.Palette) == 256 {
				return nil, false
			}
			at = uint8(len(out.Palette))
			index[c] = at
			out.Palette = append(out.Palette, color.RGBA{c[0], c[1], c[2], 0xff})
		}
		out.Pix[i] = at
	}
	return out, true
}

// coarse gives each pixel the nearest of 216 colours, six steps of each primary.
func coarse(picture *image.RGBA) *image.Paletted {
	out := image.NewPaletted(picture.Bounds(), palette.WebSafe)
	step := func(c uint8) uint8 { return uint8((int(c) + 25) / 51) }
	for i := range out.Pix {
		p := picture.Pix[4*i:]
		out.Pix[i] = 36*step(p[0]) + 6*step(p[1]) + step(p[2])
	}
	return out
}

// halve makes a picture half as wide and high; a pixel is the mean of four.
func halve(picture *image.RGBA) *image.RGBA {
	width, height := picture.Bounds().Dx(), picture.Bounds().Dy()
	out := image.NewRGBA(image.Rect(0, 0, (width+1)/2, (height+1)/2))
	for y := range out.Bounds().Dy() {
		for x := range out.Bounds().Dx() {
			right, below := min(2*x+1, width-1), min(2*y+1, height-1)
			for channel := range 4 {
				sum := 0
				for _, at := range [4]int{
					picture.PixOffset(2*x, 2*y), picture.PixOffset(right, 2*y),
					picture.PixOffset(2*x, below), picture.PixOffset(right, below),
				} {
					sum += int(picture.Pix[at+channel])
				}
				out.Pix[out.PixOffset(x, y)+channel] = uint8(sum / 4)
			}
		}
	}
	return out
}
