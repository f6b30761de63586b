package qemu

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imageport/platforms"
	"imageport/platforms/cedir/cedirtest"
)

// tool runs a program that judges a disk from outside.
func tool(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// monitorLine runs a line of QEMU's monitor for people, which can write to a
// disk from the machine's side.
func monitorLine(t testing.TB, dir, line string) {
	t.Helper()
	m, err := dial(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	var said string
	if err := m.run(t.Context(), "human-monitor-command", map[string]any{"command-line": line}, &said); err != nil || strings.Contains(said, "rror") {
		t.Fatalf("%s: %q, %v", line, said, err)
	}
}

// What the machine wrote is in the file that is kept, in its format, under its
// name and alone.
func TestContentIsKept(t *testing.T) {
	t.Parallel()
	d, dir := newDriver(t, talker("", false), nil)
	mustCreate(t, d)
	want := make([]byte, 32<<20)
	copy(want[1<<20:], bytes.Repeat([]byte{0x5a}, 100<<10))
	copy(want[31<<20:], bytes.Repeat([]byte{0xa5}, 1<<20))
	reference := filepath.Join(t.TempDir(), "reference.raw")
	if err := os.WriteFile(reference, want, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, format := range []platforms.DiskFormat{platforms.Raw, platforms.VMDK, platforms.VHDX} {
		disk := platforms.OutputDisk{Name: "a,b c/out:disk." + string(format), SizeBytes: int64(len(want))}
		ref, err := d.AddOutputDisk(t.Context(), cedirtest.Spec().Name, disk)
		if err != nil {
			t.Fatal(err)
		}
		device := fmt.Sprintf("qemu-io -d /machine/peripheral/scsi-%s", strings.TrimPrefix(ref.Selector, "serial:"))
		monitorLine(t, dir, device+` "write -P 0x5a 1M 100k"`)
		monitorLine(t, dir, device+` "write -P 0xa5 31M 1M"`)
		if err := d.KeepOutputDisk(t.Context(), cedirtest.Spec().Name, disk.Name); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(d.cfg.OutputDir, disk.Name)
		node := fmt.Sprintf(`json:{"driver":%q,"file":{"driver":"file","filename":%q}}`, format, path)
		tool(t, "qemu-img", "compare", reference, node)
		if st, err := os.Stat(path); err != nil || format != platforms.VHDX && int64(len(want)) <= 2*allocated(t, path) {
			t.Errorf("%s: %v, %v: it does not grow with its content", path, st, err)
		}
		if format == platforms.Raw {
			continue
		}
		tool(t, "7zz", "t", path)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if format == platforms.VMDK && !bytes.Contains(b, []byte(`SPARSE "out:disk.vmdk"`)) {
			t.Errorf("%s: its descriptor does not name it", path)
		}
	}
	if left := cedirtest.Entries(t, filepath.Join(d.cfg.OutputDir, "a,b c")); len(left) != 3 {
		t.Errorf("in the folder: %q", left)
	}
}

// allocated gives the bytes that a file takes.
func allocated(t *testing.T, path string) int64 {
	t.Helper()
	var kib int64
	if _, err := fmt.Sscan(tool(t, "du", "-k", path), &kib); err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

// A disk whose file is not whole is not kept.
func TestBrokenDiskIsNotKept(t *testing.T) {
	t.Parallel()
	d, _ := newDriver(t, talker("", false), nil)
	p := mustCreate(t, d)
	disk := platforms.OutputDisk{Name: "x.vhdx", SizeBytes: 8 << 20}
	ref, err := d.AddOutputDisk(t.Context(), cedirtest.Spec().Name, disk)
	if err != nil {
		t.Fatal(err)
	}
	quit(t.Context(), d.store.Dir(cedirtest.Spec().Name))
	cedirtest.Within(t, 10*time.Second, "gone", func() bool { return !p.Alive() })
	if err := os.Truncate(ref.Ref, 1000); err != nil {
		t.Fatal(err)
	}
	if err := d.KeepOutputDisk(t.Context(), cedirtest.Spec().Name, disk.Name); err == nil || !strings.Contains(err.Error(), "qemu-img check: exit status") {
		t.Errorf("kept: %v", err)
	}
	if left := cedirtest.Entries(t, d.cfg.OutputDir); len(left) != 1 || left[0] == disk.Name {
		t.Errorf("there is %q", left)
	}
}
