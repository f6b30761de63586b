package diskimage_test

import (
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"

	"imageport/engine/disk/chain"
	"imageport/engine/diskimage"
	"imageport/job"
)

// dirtyLog puts an entry into the log of a VHDX of ours, [MS-VHDX] 2.3, that
// zeros 64 KiB of the file at off.
func dirtyLog(t *testing.T, path string, off int64) {
	t.Helper()
	const logAt, guid = mib, "0123456789abcdef"
	le := binary.LittleEndian
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	seal := func(p []byte) {
		le.PutUint32(p[4:], 0)
		le.PutUint32(p[4:], crc32.Checksum(p, crc32.MakeTable(crc32.Castagnoli)))
	}
	for _, at := range []int{64 << 10, 128 << 10} {
		header := file[at:][:4096]
		copy(header[48:], guid)
		seal(header)
	}
	entry := file[logAt:][:4096]
	clear(entry)
	copy(entry, "loge")
	le.PutUint32(entry[8:], 4096) // entry length
	le.PutUint64(entry[16:], 1)   // sequence number
	le.PutUint32(entry[24:], 1)   // descriptors
	copy(entry[32:], guid)
	le.PutUint64(entry[48:], uint64(len(file))) // flushed file offset
	le.PutUint64(entry[56:], uint64(len(file))) // last file offset
	descriptor := entry[64:]
	copy(descriptor, "zero")
	le.PutUint64(descriptor[8:], 64<<10)
	le.PutUint64(descriptor[16:], uint64(off))
	le.PutUint64(descriptor[24:], 1)
	seal(entry)
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestConvertDirtyLogs: an image that was not closed properly can be rescued,
// with what is in the logs, its own and its parents'; its files stay as they are.
func TestConvertDirtyLogs(t *testing.T) {
	dir := t.TempDir()
	top := buildChain(t, dir, chain.VHDX, 10*mib, 512)
	base := filepath.Join(dir, "base.vhdx")
	// The base has one block: disk offset 2 MiB lies that far into it.
	info := open(t, input(t, dir, "base.vhdx"))
	var block int64
	for e, err := range info.Extents(2*mib, mib) {
		if err != nil {
			t.Fatal(err)
		}
		block = e.FileOffset
	}
	dirtyLog(t, base, block)
	before, err := os.ReadFile(base)
	if err != nil {
		t.Fatal(err)
	}

	for _, name := range []string{"base.vhdx", top} {
		c := open(t, input(t, dir, name))
		if _, err := diskimage.Convert(t.Context(), c, output(t, dir, "out.vhdx", chain.VHDX, ""), silent); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if d, err := diskimage.Diff(t.Context(), c, open(t, input(t, dir, "out.vhdx")), silent); err != nil || !d.Same {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
		found, err := diskimage.Check(t.Context(), input(t, dir, name))
		if err != nil || len(found.Problems) != 1 || found.Problems[0].Code != job.DiskDirtyLog || found.Problems[0].File != "base.vhdx" {
			t.Errorf("%s: check finds %+v, %v", name, found, err)
		}
		if name == "base.vhdx" { // as QEMU replays it
			copied := filepath.Join(t.TempDir(), "copy.vhdx")
			if err := os.WriteFile(copied, before, 0o600); err != nil {
				t.Fatal(err)
			}
			run(t, "qemu-img", "check", "-q", "-r", "all", "-f", "vhdx", copied)
			run(t, "qemu-img", "compare", "-f", "vhdx", "-F", "vhdx", copied, filepath.Join(dir, "out.vhdx"))
		}
		if err := os.Remove(filepath.Join(dir, "out.vhdx")); err != nil {
			t.Fatal(err)
		}
	}
	if after, err := os.ReadFile(base); err != nil || string(after) != string(before) {
		t.Errorf("the source has changed, %v", err)
	}
}
