package screen

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"math/rand/v2"
	"testing"
)

const limit = 512 << 10

// noise is a picture that does not compress.
func noise(t testing.TB, width, height int) []byte {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	p := image.NewNRGBA(image.Rect(0, 0, width, height))
	for i := range p.Pix {
		p.Pix[i] = uint8(r.Uint32()) | 0x80
	}
	var b bytes.Buffer
	if err := png.Encode(&b, p); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestFit(t *testing.T) {
	for _, tc := range []struct{ width, height, want int }{
		{64, 48, 64}, {1023, 767, 512}, {3000, 1, 3000}, {400001, 1, 100001},
	} {
		small, err := Fit(noise(t, tc.width, tc.height), limit)
		if err != nil {
			t.Fatalf("%+v: %v", tc, err)
		}
		config, err := png.DecodeConfig(bytes.NewReader(small))
		if err != nil || config.Width != tc.want || len(small) > limit {
			t.Errorf("%+v: %d pixels wide, %d bytes, %v", tc, config.Width, len(small), err)
		}
	}
	long := noise(t, 1023, 767)
	for what, bad := range map[string][]byte{
		"nothing": nil, "text": []byte("<html>"), "cut off": long[:len(long)-1000], "too many pixels": tooMany(t),
	} {
		if _, err := Fit(bad, limit); err == nil {
			t.Errorf("%s is a picture", what)
		}
	}
}

// tooMany is a large file that says that it has very many pixels.
func tooMany(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, 1<<14, 1<<10))); err != nil {
		t.Fatal(err)
	}
	return append(b.Bytes(), make([]byte, limit)...)
}

func FuzzFit(f *testing.F) {
	f.Add(noise(f, 8, 8), 0)
	f.Add(noise(f, 420, 420), 0)
	f.Fuzz(func(t *testing.T, picture []byte, filler int) {
		if filler > 0 && filler < 1<<20 {
			picture = append(picture, make([]byte, filler)...)
		}
		small, err := Fit(picture, limit)
		if err != nil {
			return
		}
		if _, err := png.DecodeConfig(bytes.NewReader(small)); err != nil || len(small) > limit {
			t.Errorf("%d bytes, %v", len(small), err)
		}
	})
}

// The mean of white is white.
func TestHalf(t *testing.T) {
	white := image.NewGray(image.Rect(0, 0, 2, 2))
	for i := range white.Pix {
		white.Pix[i] = 0xff
	}
	if got := half(white).At(0, 0); got != (color.NRGBA{0xff, 0xff, 0xff, 0xff}) {
		t.Errorf("white becomes %v", got)
	}
	if _, err := Fit(noise(t, 30, 30), 10); err == nil {
		t.Error("in 10 bytes there is no PNG")
	}
}
