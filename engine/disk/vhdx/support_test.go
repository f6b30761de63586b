package vhdx

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/uuid"

	"imageport/engine/disk"
	"imageport/engine/disk/overlay"
)

// run runs an external validator; a missing one fails the test.
func run(t testing.TB, name string, args ...string) []byte {
	t.Helper()
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		stderr := ""
		if exit, ok := err.(*exec.ExitError); ok {
			stderr = string(exit.Stderr)
		}
		t.Fatalf("%s %v: %v\n%s%s", name, args, err, stderr, out)
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

func openFile(t testing.TB, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func openPath(t testing.TB, path string) *Image {
	t.Helper()
	f := openFile(t, path)
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	im, err := Open(f, st.Size())
	if err != nil {
		t.Fatal(err)
	}
	return im
}

func openDisk(t testing.TB, im *Image, parent disk.Disk) disk.Disk {
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
	cmd := exec.Command("7zz", "e", "-so", "-tvhdx", path)
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

// qemuImage converts raw bytes to a VHDX with qemu-img.
func qemuImage(t testing.TB, path string, raw []byte, subformat string) {
	t.Helper()
	rawPath := path + ".raw"
	f, err := os.Create(rawPath)
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
	run(t, "qemu-img", "convert", "-f", "raw", "-O", "vhdx", "-o", "subformat="+subformat, rawPath, path)
}

// fill puts seeded random bytes at [off, off+n).
func fill(p []byte, off, n int, seed uint64) {
	rng := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	rng.Read(p[off : off+n])
}

// memFile is a File in memory that insists on the order WriteChild promises:
// no gaps, and at most 1 MiB at a time.
type memFile struct {
	data  []byte
	syncs int
	// fail, if not nil, is asked before each write and sync and can end it;
	// torn is how many bytes of a failing write still arrive.
	fail func() error
	torn int
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	if off > int64(len(f.data)) {
		return 0, fmt.Errorf("gap: write at %d of a file of %d bytes", off, len(f.data))
	}
	if len(p) > mib {
		return 0, fmt.Errorf("write of %d bytes", len(p))
	}
	var err error
	if f.fail != nil {
		if err = f.fail(); err != nil {
			p = p[:min(len(p), f.torn)]
		}
	}
	if end := int(off) + len(p); end > len(f.data) {
		f.data = append(f.data, make([]byte, end-len(f.data))...)
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

func newMemDisk(p []byte, sector int) memDisk { return memDisk{bytes.NewReader(p), sector} }

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
func parentInfo(size int64, sector int) Info {
	return Info{
		Type: Dynamic, VirtualSize: size, BlockSize: 32 << 20,
		LogicalSectorSize: sector, PhysicalSectorSize: 4096,
		DataWriteGUID: uuid.MustParse("11111111-2222-3333-4444-555566667777"),
		FileWriteGUID: uuid.MustParse("99999999-2222-3333-4444-555566667777"),
		VirtualDiskID: uuid.MustParse("aaaaaaaa-bbbb-cccc-dddd-eeeeffff0001"),
	}
}

func childOptions(parent Info, parentName string, blockSize uint32) ChildOptions {
	return ChildOptions{
		Parent:         parent,
		ParentRelative: `.\` + parentName,
		ParentAbsolute: `\\host\share\images\` + parentName,
		BlockSize:      blockSize,
		FileWriteGUID:  uuid.MustParse("0f0e0d0c-0b0a-4908-8706-050403020100"),
		DataWriteGUID:  uuid.MustParse("00010203-0405-4607-8809-0a0b0c0d0e0f"),
		Creator:        "imageport test",
	}
}

// writeChild writes a child in memory and checks the size it reports.
func writeChild(t testing.TB, ov *overlay.Overlay, opt ChildOptions) []byte {
	t.Helper()
	var f memFile
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
