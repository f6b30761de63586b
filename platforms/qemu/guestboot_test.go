package qemu

import (
	"bytes"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"testing"
	"time"

	"imageport/job"
	"imageport/platforms"
	"imageport/platforms/cedir/cedirtest"
	"imageport/testkit/oracle"
)

// bootDisk is a GPT disk whose ESP has that program where a firmware without
// entries of its own looks for one, if it is not empty.
func bootDisk(t *testing.T, program string) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 48<<20); err != nil {
		t.Fatal(err)
	}
	tool(t, "sgdisk", "--new=1:2048:+40M", "--typecode=1:ef00", path)
	if program != "" {
		volume := path + "@@1M"
		tool(t, "mformat", "-i", volume, "-T", "81920", "::")
		tool(t, "mmd", "-i", volume, "::/EFI", "::/EFI/BOOT")
		tool(t, "mcopy", "-i", volume, program, "::/EFI/BOOT/BOOTX64.EFI")
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The boot oracle starts under real UEFI firmware from a guest's disk, and its
// power-off is the guest's.
func TestGuestUEFI(t *testing.T) {
	t.Parallel()
	paths, err := oracle.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	content := bootDisk(t, paths.BootMgr)
	for _, controller := range []job.Controller{"", job.NVMe} {
		t.Run(string(controller), func(t *testing.T) {
			t.Parallel()
			d, guest := newGuest(t, content, nil)
			guest.Firmware, guest.Controller, guest.MemoryMB = job.UEFI, controller, 256
			mustStart(t, d, guest)
			cedirtest.Within(t, 90*time.Second, "off", func() bool { return !find(t, d).On })
			if g := find(t, d); g.Fault != "" || !g.Started {
				t.Errorf("got %+v", g)
			}
		})
	}
}

// Firmware that finds nothing to start stays on, and shows what it says.
func TestGuestScreen(t *testing.T) {
	t.Parallel()
	d, guest := newGuest(t, bootDisk(t, ""), nil)
	guest.Firmware, guest.MemoryMB = job.UEFI, 256
	mustStart(t, d, guest)
	// The logo, and what follows it, come in the course of time.
	cedirtest.Within(t, 90*time.Second, "a picture with something on it", func() bool {
		b, err := d.GuestScreen(t.Context(), cedirtest.Spec().Name)
		if err != nil || len(b) > platforms.MaxScreen {
			t.Fatalf("%d bytes, %v", len(b), err)
		}
		picture, err := png.Decode(bytes.NewReader(b))
		if err != nil || picture.Bounds().Dx() < 640 || picture.Bounds().Dy() < 400 {
			t.Fatalf("the screen is %v, %v", picture.Bounds(), err)
		}
		return !plainColour(picture)
	})
	if g := find(t, d); !g.On {
		t.Errorf("got %+v", g)
	}
	if left, err := filepath.Glob(filepath.Join(d.guests.Room(cedirtest.Spec().Name), "screen*")); err != nil || len(left) > 0 {
		t.Errorf("left: %q, %v", left, err)
	}
}

func plainColour(p image.Image) bool {
	b := p.Bounds()
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			if p.At(x, y) != p.At(b.Min.X, b.Min.Y) {
				return false
			}
		}
	}
	return true
}
