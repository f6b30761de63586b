package ntfsmount_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"imageport/engine/windows/ntfs"
	"imageport/testkit/winimage/ntfs3g"
)

const (
	mib = 1 << 20
	// The volume's place on its disk.
	offset, size = 1 * mib, 24 * mib
)

// newDisk makes a raw disk with an empty volume in a partition, after change has
// put something there.
func newDisk(t testing.TB, change func(root string)) *os.File {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "volume")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	if err := ntfs3g.Format(t.Context(), path, "Windows", offset/512, 512); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		v, err := ntfs3g.Mount(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		change(v.Dir)
		if err := v.Unmount(); err != nil {
			t.Fatal(err)
		}
	}
	volume, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	disk, err := os.Create(filepath.Join(dir, "disk"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { disk.Close() })
	// What is around the partition must stay.
	if _, err := disk.WriteAt(bytes.Repeat([]byte{0xee}, offset+size+mib), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := disk.WriteAt(volume, offset); err != nil {
		t.Fatal(err)
	}
	return disk
}

// content is the whole disk.
func content(t testing.TB, disk *os.File) []byte {
	t.Helper()
	b, err := os.ReadFile(disk.Name())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// reader is the volume for the package that reads NTFS.
func reader(t testing.TB, disk *os.File) *ntfs.Volume {
	t.Helper()
	v, err := ntfs.Open(bytes.NewReader(content(t, disk)[offset:][:size]), size)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// checkClean asks others about the volume.
func checkClean(t testing.TB, disk *os.File) {
	t.Helper()
	v := reader(t, disk)
	clean, err := v.LogFileClean()
	if err != nil || !clean || v.State().Dirty {
		t.Errorf("not clean: %v, %v, %+v", clean, err, v.State())
	}
	all := content(t, disk)
	for _, around := range [][]byte{all[:offset], all[offset+size:]} {
		if len(bytes.Trim(around, "\xee")) > 0 {
			t.Error("something was written beside the partition")
		}
	}
	path := filepath.Join(t.TempDir(), "volume")
	if err := os.WriteFile(path, all[offset:][:size], 0o600); err != nil {
		t.Fatal(err)
	}
	for _, check := range [][]string{{"ntfs-3g.probe", "--readwrite", path}, {"ntfsresize", "--info", "--no-progress-bar", path}} {
		if out, err := exec.Command(check[0], check[1:]...).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", check[0], err, out)
		}
	}
}

// patchLog overwrites the beginning of the journal.
func patchLog(t testing.TB, disk *os.File, page []byte) {
	t.Helper()
	f, err := reader(t, disk).Open(`\$LogFile`)
	if err != nil {
		t.Fatal(err)
	}
	extents, err := f.Extents()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := disk.WriteAt(page, offset+extents[0].VolumeOffset); err != nil {
		t.Fatal(err)
	}
}

// restartPage is the first page of a journal of the given major version: 2 is
// that of a Windows that is to start fast. inUse says that it was not closed.
func restartPage(major uint16, inUse bool) []byte {
	le := binary.LittleEndian
	const usa, area = 0x1e, 0x30
	b := make([]byte, 4096)
	copy(b, "RSTR")
	le.PutUint16(b[4:], usa)
	le.PutUint16(b[6:], 9)
	le.PutUint32(b[0x10:], 4096)
	le.PutUint32(b[0x14:], 4096)
	le.PutUint16(b[0x18:], area)
	le.PutUint16(b[0x1a:], 2-major)
	le.PutUint16(b[0x1c:], major)
	a := b[area:]
	le.PutUint64(a, 0x100000)      // current LSN
	le.PutUint16(a[8:], 1)         // clients
	le.PutUint16(a[10:], 0xffff)   // free list
	le.PutUint16(a[12:], 0xffff)   // in use
	le.PutUint16(a[14:], 2)        // clean
	le.PutUint32(a[16:], 45)       // sequence number bits
	le.PutUint16(a[20:], 0x30+160) // length of the area
	le.PutUint16(a[22:], 0x30)     // offset of the clients
	le.PutUint64(a[24:], 2*mib)    // size of the file
	le.PutUint16(a[36:], 0x30)     // record header
	le.PutUint16(a[38:], 0x40)     // log page data
	if inUse {
		le.PutUint16(a[12:], 0)
		le.PutUint16(a[14:], 0)
	}
	client := a[0x30:]
	le.PutUint16(client[16:], 0xffff)
	le.PutUint16(client[18:], 0xffff)
	le.PutUint32(client[28:], 8)
	copy(client[32:], "N\x00T\x00F\x00S\x00")
	le.PutUint16(b[usa:], 7)
	for i := range 8 {
		end := b[i*512+510:]
		copy(b[usa+2+2*i:], end[:2])
		le.PutUint16(end, 7)
	}
	return b
}

// wantNothing checks that nothing is left in a directory, nor mounted there.
func wantNothing(t testing.TB, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), dir+"/") {
		t.Errorf("mounted below %s, or %v:\n%s", dir, err, mounts)
	}
}
