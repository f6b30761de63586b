package vhdx

import (
	"bytes"
	"os"
	"testing"

	"github.com/google/uuid"

	"imageport/engine/disk"
	"imageport/engine/disk/overlay"
	"imageport/testkit/disktest"
)

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

// qemuImage converts raw bytes to a VHDX with qemu-img.
func qemuImage(t testing.TB, path string, raw []byte, subformat string) {
	t.Helper()
	rawPath := path + ".raw"
	disktest.RawFile(t, rawPath, raw)
	disktest.Run(t, "qemu-img", "convert", "-f", "raw", "-O", "vhdx", "-o", "subformat="+subformat, rawPath, path)
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
	f := disktest.File{Ordered: true}
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
	if size != int64(len(f.Data)) {
		t.Fatalf("reported %d bytes, wrote %d", size, len(f.Data))
	}
	if last != total {
		t.Errorf("progress ended at %d of %d", last, total)
	}
	return f.Data
}
