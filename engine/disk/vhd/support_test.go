package vhd

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"imageport/engine/disk"
	"imageport/engine/disk/overlay"
)

var (
	testParent = uuid.MustParse("11111111-2222-3333-4444-555566667777")
	testChild  = uuid.MustParse("00010203-0405-4607-8809-0a0b0c0d0e0f")
	testTime   = time.Date(2026, 11, 22, 10, 20, 30, 0, time.UTC)
)

// run runs an external validator; a missing one fails the test.
func run(t testing.TB, name string, args ...string) []byte {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return out
}

// corpus unpacks an image of testdata.
func corpus(t testing.TB, name string) []byte {
	t.Helper()
	return run(t, "xz", "-dkc", filepath.Join("testdata", name+".xz"))
}

func openBytes(t testing.TB, p []byte) *Image {
	t.Helper()
	im, err := Open(bytes.NewReader(p), int64(len(p)))
	if err != nil {
		t.Fatal(err)
	}
	return im
}

func openPath(t testing.TB, path string) *Image {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	im, err := Open(f, st.Size())
	if err != nil {
		t.Fatal(err)
	}
	if err := im.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	if w := im.Info().Warnings; len(w) > 0 {
		t.Errorf("%s: %q", path, w)
	}
	return im
}

func openDisk(t testing.TB, im *Image, parent disk.Disk) disk.Mapped {
	t.Helper()
	d, err := im.Disk(parent)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func readAll(t testing.TB, d disk.Disk) []byte {
	t.Helper()
	p := make([]byte, d.Size())
	if n, err := d.ReadAt(p, 0); n != len(p) || err != nil && err != io.EOF {
		t.Fatalf("ReadAt = %d, %v", n, err)
	}
	return p
}

func writeFile(t testing.TB, path string, p []byte) {
	t.Helper()
	if err := os.WriteFile(path, p, 0o600); err != nil {
		t.Fatal(err)
	}
}

// sameDisk compares a disk with bytes from elsewhere, piece by piece.
func sameDisk(t testing.TB, d disk.Disk, want io.Reader, who string) {
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

// same7zz compares a disk with what 7-Zip decodes from the file at path, whose
// parents it finds by their relative paths.
func same7zz(t testing.TB, d disk.Disk, path string) {
	t.Helper()
	cmd := exec.Command("7zz", "e", "-so", "-tvhd", path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		out.Close()
		if err := cmd.Wait(); err != nil && !t.Failed() {
			t.Errorf("7zz %s: %v", path, err)
		}
	}()
	sameDisk(t, d, out, "7zz")
}

// accepted7zz tells whether 7-Zip takes a file for a whole VHD.
func accepted7zz(t testing.TB, path string) bool {
	t.Helper()
	out, err := exec.Command("7zz", "l", "-tvhd", path).CombinedOutput()
	if _, refused := err.(*exec.ExitError); err != nil && !refused {
		t.Fatal(err)
	}
	return err == nil && !bytes.Contains(out, []byte("WARNING")) && !bytes.Contains(out, []byte("ERROR"))
}

// rawFile writes bytes to a sparse file.
func rawFile(t testing.TB, path string, raw []byte) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(int64(len(raw))); err != nil {
		t.Fatal(err)
	}
	for off := 0; off < len(raw); off += mib {
		if p := raw[off:min(off+mib, len(raw))]; !isZero(p) {
			if _, err := f.WriteAt(p, int64(off)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// fill puts seeded random bytes at [off, off+n).
func fill(p []byte, off, n int, seed uint64) {
	rng := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	rng.Read(p[off : off+n])
}

func pattern(n int, seed uint64) []byte {
	p := make([]byte, n)
	fill(p, 0, n, seed)
	return p
}

// memFile is a File in memory.
type memFile struct {
	data  []byte
	syncs int
	// ordered insists on the order that WriteChild promises: no gaps, and at
	// most 1 MiB at a time.
	ordered bool
	// fail, if not nil, is asked before each write and sync and can end it;
	// torn is how many bytes of a failing write still arrive.
	fail func() error
	torn int
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	if f.ordered && (off > int64(len(f.data)) || len(p) > mib) {
		return 0, fmt.Errorf("write of %d bytes at %d of a file of %d bytes", len(p), off, len(f.data))
	}
	var err error
	if f.fail != nil {
		if err = f.fail(); err != nil {
			p = p[:min(len(p), f.torn)]
		}
	}
	if end := int(off) + len(p); end > len(f.data) {
		f.data = slices.Grow(f.data, end-len(f.data))[:end]
	}
	return copy(f.data[off:], p), err
}

func (f *memFile) Sync() error {
	f.syncs++
	if f.fail != nil {
		return f.fail()
	}
	return nil
}

// memDisk is a disk of bytes.
type memDisk struct {
	*bytes.Reader
	sector int
}

func newMemDisk(p []byte) memDisk { return memDisk{bytes.NewReader(p), SectorSize} }

func (d memDisk) SectorSize() int { return d.sector }

// sparseDisk is a disk of zeros: a model of the empty parts of big disks.
type sparseDisk struct {
	size   int64
	sector int
}

func (d sparseDisk) Size() int64     { return d.size }
func (d sparseDisk) SectorSize() int { return d.sector }
func (d sparseDisk) ReadAt(p []byte, off int64) (int, error) {
	n := max(0, min(int64(len(p)), d.size-off))
	clear(p[:n])
	if n < int64(len(p)) {
		return int(n), io.EOF
	}
	return int(n), nil
}

// parentInfo describes a parent that no file stands for.
func parentInfo(size int64) Info {
	return Info{Type: Dynamic, VirtualSize: size, CurrentSize: size, BlockSize: 2 << 20, UniqueID: testParent}
}

func childOptions(parent Info, parentName string, blockSize uint32) ChildOptions {
	return ChildOptions{
		Parent:         parent,
		ParentRelative: `.\` + parentName,
		ParentAbsolute: `\\host\share\images\` + parentName,
		BlockSize:      blockSize,
		UniqueID:       testChild,
		Timestamp:      testTime,
	}
}

// writeChild writes a child in memory and checks what is reported.
func writeChild(t testing.TB, ov *overlay.Overlay, opt ChildOptions) []byte {
	t.Helper()
	f := memFile{ordered: true}
	var last, total int64
	size, err := WriteChild(t.Context(), &f, ov, opt, func(d, n int64) {
		if d <= last || d > n {
			t.Errorf("progress went from %d to %d of %d", last, d, n)
		}
		last, total = d, n
	})
	if err != nil {
		t.Fatal(err)
	}
	if size != int64(len(f.data)) {
		t.Fatalf("reported %d bytes, wrote %d", size, len(f.data))
	}
	if last != total {
		t.Errorf("progress ended at %d of %d", last, total)
	}
	return f.data
}

// naive is a second reader, as simple as can be and written apart from the
// product's: it takes a file of ours and the disk below it.
func naive(t testing.TB, p, parent []byte) []byte {
	t.Helper()
	u32 := func(at int) int { return int(p[at])<<24 | int(p[at+1])<<16 | int(p[at+2])<<8 | int(p[at+3]) }
	foot := len(p) - 512
	size := u32(foot+48)<<32 | u32(foot+52)
	if u32(foot+60) == 2 {
		return p[:size]
	}
	out := make([]byte, size)
	copy(out, parent)
	bat, blockSize := u32(512+20), u32(512+32)
	bitmapSize := blockSize / 512 / 8
	if bitmapSize < 512 {
		bitmapSize = 512
	}
	for sector := 0; sector < size/512; sector++ {
		entry := u32(bat + sector*512/blockSize*4)
		if entry == 0xffffffff {
			continue
		}
		inBlock := sector % (blockSize / 512)
		if bit := p[entry*512+inBlock/8] << (inBlock % 8); bit >= 0x80 {
			copy(out[sector*512:][:512], p[entry*512+bitmapSize+inBlock*512:])
		}
	}
	return out
}

// checkExtents verifies what Extents promises: order, no gaps, and that reading
// the file and the parent by it gives the disk.
func checkExtents(t testing.TB, d disk.Mapped, file, parent io.ReaderAt, off, n int64) []disk.Extent {
	t.Helper()
	var all []disk.Extent
	pos := off
	for e, err := range d.Extents(off, n) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Offset != pos || e.Length <= 0 || e.Length%SectorSize != 0 || e.Layer != 0 {
			t.Fatalf("extent %+v at %d", e, pos)
		}
		if len(all) > 0 && continues(all[len(all)-1], e) {
			t.Fatalf("%+v and %+v are one", all[len(all)-1], e)
		}
		all = append(all, e)
		pos += e.Length
		if file == nil {
			continue
		}
		got, want := make([]byte, e.Length), make([]byte, e.Length)
		if _, err := d.ReadAt(want, e.Offset); err != nil && err != io.EOF {
			t.Fatal(err)
		}
		switch e.Kind {
		case disk.ExtentData:
			_, err = file.ReadAt(got, e.FileOffset)
		case disk.ExtentParent:
			_, err = parent.ReadAt(got, e.Offset)
		}
		if err != nil && err != io.EOF || !bytes.Equal(got, want) {
			t.Fatalf("%+v has other bytes (%v)", e, err)
		}
	}
	if pos != off+n {
		t.Fatalf("extents end at %d of %d", pos, off+n)
	}
	return all
}
