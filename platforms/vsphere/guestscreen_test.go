package vsphere

import (
	"bytes"
	"errors"
	"image"
	"image/png"
	"math/rand/v2"
	"testing"

	"github.com/vmware/govmomi/vim25/types"

	"imageport/platforms"
	"imageport/platforms/platformtest"
)

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

func TestShrink(t *testing.T) {
	for _, tc := range []struct{ width, height, want int }{
		{64, 48, 64}, {1023, 767, 512}, {3000, 1, 3000}, {400001, 1, 100001},
	} {
		small, err := shrink(noise(t, tc.width, tc.height))
		if err != nil {
			t.Fatalf("%+v: %v", tc, err)
		}
		config, err := png.DecodeConfig(bytes.NewReader(small))
		if err != nil || config.Width != tc.want || len(small) > platforms.MaxScreen {
			t.Errorf("%+v: %d pixels wide, %d bytes, %v", tc, config.Width, len(small), err)
		}
	}
	long := noise(t, 1023, 767)
	for what, bad := range map[string][]byte{
		"nothing": nil, "text": []byte("<html>"), "cut off": long[:len(long)-1000], "too many pixels": tooMany(t),
	} {
		if _, err := shrink(bad); err == nil {
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
	return append(b.Bytes(), make([]byte, platforms.MaxScreen)...)
}

func FuzzShrink(f *testing.F) {
	f.Add(noise(f, 8, 8), 0)
	f.Add(noise(f, 420, 420), 0)
	f.Fuzz(func(t *testing.T, picture []byte, filler int) {
		if filler > 0 && filler < 1<<20 {
			picture = append(picture, make([]byte, filler)...)
		}
		small, err := shrink(picture)
		if err != nil {
			return
		}
		if _, err := png.DecodeConfig(bytes.NewReader(small)); err != nil || len(small) > platforms.MaxScreen {
			t.Errorf("%d bytes, %v", len(small), err)
		}
	})
}

func TestScreenFile(t *testing.T) {
	ds := &entity{name: "ds 1", properties: properties{"summary": types.DatastoreSummary{Url: "ds:///vmfs/volumes/1-2/"}}}
	s := &site{datastores: []*entity{ds}}
	for name, want := range map[string]string{
		"[ds 1] vm/vm-1.png": "vm/vm-1.png", "/vmfs/volumes/1-2/vm/vm-1.png": "vm/vm-1.png",
		"": "", "vm/vm-1.png": "", "[ds 2] vm/vm-1.png": "", "[ds 1] ../vm-1.png": "", "[ds 1] ": "", "/vmfs/volumes/3-4/vm-1.png": "", "/vmfs/volumes/1-2": "",
	} {
		got, ok := s.parseFile(name)
		if ok != (want != "") || ok && (got.path != want || got.datastore != ds) {
			t.Errorf("%q is %+v, %v", name, got, ok)
		}
	}
}

// A vSphere that makes no picture, or does not let go of it, has none.
func TestNoScreen(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	call := withOffCE(t, h)
	do(t, h, platformtest.StartGuest)
	screen := func() error {
		_, err := h.Open(t).(*Driver).GuestScreen(t.Context(), call.CE.Name)
		return err
	}
	h.inject("CreateScreenshot_Task", &types.NotSupported{}, 1)
	if err := screen(); !errors.Is(err, platforms.ErrNoScreen) {
		t.Errorf("it cannot: %v", err)
	}
	h.lab.ClearFaults()
	h.lab.Revoke("Datastore.Browse")
	if err := screen(); !errors.Is(err, platforms.ErrNoScreen) {
		t.Errorf("it may not: %v", err)
	}
	h.lab.Grant("Datastore.Browse")
	if err := screen(); err != nil {
		t.Error(err)
	}
	clean(t, h)
}
