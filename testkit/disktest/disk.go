package disktest

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"

	"imageport/engine/disk"
	"imageport/engine/disk/overlay"
)

const mib = 1 << 20

// Fill puts seeded random bytes at [off, off+n).
func Fill(p []byte, off, n int, seed uint64) {
	rng := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = rng.Read(p[off : off+n])
}

// Pattern is n seeded random bytes.
func Pattern(n int, seed uint64) []byte {
	p := make([]byte, n)
	Fill(p, 0, n, seed)
	return p
}

// BytesDisk is a disk of bytes.
type BytesDisk struct {
	*bytes.Reader
	sector int
}

// Bytes makes a disk of bytes.
func Bytes(p []byte, sectorSize int) BytesDisk { return BytesDisk{bytes.NewReader(p), sectorSize} }

// SectorSize is the logical sector size in bytes.
func (d BytesDisk) SectorSize() int { return d.sector }

// ZeroDisk is a disk of zeros: a model of the empty parts of big disks.
type ZeroDisk struct {
	size   int64
	sector int
}

// Zeros makes a disk of zeros.
func Zeros(sizeBytes int64, sectorSize int) ZeroDisk { return ZeroDisk{sizeBytes, sectorSize} }

// Size is the virtual size in bytes.
func (d ZeroDisk) Size() int64 { return d.size }

// SectorSize is the logical sector size in bytes.
func (d ZeroDisk) SectorSize() int { return d.sector }

// ReadAt reads zeros.
func (d ZeroDisk) ReadAt(p []byte, off int64) (int, error) {
	n := max(0, min(int64(len(p)), d.size-off))
	clear(p[:n])
	if n < int64(len(p)) {
		return int(n), io.EOF
	}
	return int(n), nil
}

// ReadAll reads a whole disk at once.
func ReadAll(t testing.TB, d disk.Disk) []byte {
	t.Helper()
	p := make([]byte, d.Size())
	if n, err := d.ReadAt(p, 0); n != len(p) || err != nil && err != io.EOF {
		t.Fatalf("ReadAt = %d, %v", n, err)
	}
	return p
}

// Same compares a disk with bytes from elsewhere, piece by piece.
func Same(t testing.TB, d disk.Disk, want io.Reader, who string) {
	t.Helper()
	a, b := make([]byte, 4*mib), make([]byte, 4*mib)
	for off := int64(0); off < d.Size(); {
		n := min(int64(len(a)), d.Size()-off)
		if _, err := d.ReadAt(a[:n], off); err != nil {
			t.Fatal(err)
		}
		if m, err := io.ReadFull(want, b[:n]); err != nil {
			t.Fatalf("%s ends at %d of %d: %v", who, off+int64(m), d.Size(), err)
		}
		if !bytes.Equal(a[:n], b[:n]) {
			i := 0
			for a[i] == b[i] {
				i++
			}
			t.Fatalf("differs from %s at byte %d", who, off+int64(i))
		}
		off += n
	}
	if n, _ := want.Read(b[:1]); n != 0 {
		t.Fatalf("%s is longer than %d bytes", who, d.Size())
	}
}

// Put writes to an overlay and to its model.
func Put(t testing.TB, ov *overlay.Overlay, model []byte, off int, p []byte) {
	t.Helper()
	if _, err := ov.WriteAt(p, int64(off)); err != nil {
		t.Fatal(err)
	}
	copy(model[off:], p)
}

// ParentData is the contents that Patch changes.
func ParentData(size int) []byte {
	raw := make([]byte, size)
	for _, mb := range []int{0, 5, 7, 8, 12, 20, 21, 22, 23, 26, 30, 34, 39} {
		Fill(raw, mb<<20, 1<<20, uint64(mb))
	}
	return raw
}

// Patch applies the situations that differ for a child image, to the
// ParentData of a disk of at least 70 MiB.
func Patch(t testing.TB, ov *overlay.Overlay, model []byte) {
	t.Helper()
	for _, c := range []struct {
		off  int
		data []byte
	}{
		{0, Pattern(34*512, 10)},                               // MBR or GPT
		{len(model) - 33*512, Pattern(33*512, 11)},             // backup GPT, to the last sector
		{5<<20 + 512*3, Pattern(512*5, 12)},                    // unaligned, in the middle of a block
		{8<<20 - 512, Pattern(1024, 13)},                       // across a block boundary
		{12 << 20, Pattern(2<<20, 14)},                         // a full block of 2 MiB
		{20 << 20, make([]byte, 4<<20)},                        // zeros over data, whole blocks
		{26<<20 + 4096, make([]byte, 8192)},                    // zeros in a block with data
		{30 << 20, bytes.Clone(model[30<<20 : 30<<20+100000])}, // written, but not changed
		{34<<20 + 1, []byte{1, 2, 3}},                          // a few bytes
		{39 << 20, make([]byte, 1<<20)},                        // zeros up to the zeros behind it
		{60 << 20, Pattern(4096, 15)},                          // in a block that the parent has not
		{66 << 20, make([]byte, 4096)},                         // zeros over zeros
	} {
		Put(t, ov, model, c.off, c.data)
	}
}
