package inject

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"imageport/engine/disk"
	"imageport/engine/disk/overlay"
	"imageport/engine/fusefile"
	"imageport/engine/ntfsmount"
	"imageport/engine/windows/hive"
	"imageport/engine/windows/offline"
	"imageport/firstboot/plan"
	"imageport/job"
	"imageport/testkit/winimage"
	"imageport/testkit/winimage/windisk"
)

const mib = 1 << 20

// roomy is a disk with one partition, which has room for an upgrade.
func roomy() winimage.Spec {
	return winimage.Spec{SizeBytes: 1280 * mib, BootFiles: winimage.SmallBootFiles}
}

// workDisk is a working disk.
type workDisk struct {
	*overlay.Overlay
	syncs, drops int
}

func (d *workDisk) Sync() error      { d.syncs++; return nil }
func (d *workDisk) DropCache() error { d.drops++; return nil }

// build gives a working disk and the place of its Windows.
func build(t testing.TB, spec winimage.Spec) (*workDisk, Partition) {
	t.Helper()
	img, d := windisk.Cached(t, spec)
	c := windisk.Windows(t, img)
	return &workDisk{Overlay: d}, Partition{c.Number, c.StartBytes, c.SizeBytes}
}

// volume opens C:.
func volume(t testing.TB, d io.ReaderAt, p Partition) *offline.Volume {
	t.Helper()
	v, err := openVolume(d, p)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// fileOf reads a file of C:; nil if there is none.
func fileOf(t testing.TB, d io.ReaderAt, p Partition, path string) []byte {
	t.Helper()
	f, err := volume(t, d, p).NTFS.Open(path)
	if err != nil {
		return nil
	}
	b, err := f.ReadAll(512 * mib)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// onMounted does what a Windows, or somebody else, may do with the files of C:.
func onMounted(t testing.TB, d *workDisk, p Partition, change func(root string)) {
	t.Helper()
	m, err := ntfsmount.Mount(t.Context(), ntfsmount.Tool{}, d, p.Offset, p.SizeBytes)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	change(m.Dir())
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
}

// edit changes SYSTEM as a Windows would.
func edit(t testing.TB, d *workDisk, p Partition, change func(h *hive.Hive) error) {
	t.Helper()
	windisk.Edit(t, d, winimage.Partition{StartBytes: p.Offset, SizeBytes: p.SizeBytes}, offline.PathSystem, change)
}

// system is SYSTEM, as it is in the file: it must not need its logs.
func system(t testing.TB, d io.ReaderAt, p Partition) *hive.Hive {
	t.Helper()
	h, err := hive.Parse(fileOf(t, d, p, offline.PathSystem))
	if err != nil || h.Dirty() {
		t.Fatalf("SYSTEM: %v", err)
	}
	return h
}

// number is a number in SYSTEM; -1 if it is not there.
func number(t testing.TB, h *hive.Hive, name string, path ...string) int64 {
	t.Helper()
	k, err := h.Lookup(path...)
	if err != nil {
		return -1
	}
	v, _ := k.Value(name)
	if n, ok := v.Uint32(); ok {
		return int64(n)
	}
	return -1
}

// tool runs an external validator, which must succeed.
func tool(t testing.TB, stdin string, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}

// judge asks others about the volume, and about its SYSTEM.
func judge(t testing.TB, d io.ReaderAt, p Partition) (systemPath string) {
	t.Helper()
	v := volume(t, d, p)
	if err := v.Settled(); err != nil {
		t.Error(err)
	}
	m, err := fusefile.MountReadOnly(t.Context(), t.TempDir(), "volume", disk.Section(d, p.Offset, p.SizeBytes), p.SizeBytes)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	tool(t, "", "ntfs-3g.probe", "--readwrite", m.Path())
	tool(t, "", "ntfsresize", "--info", "--no-progress-bar", m.Path())
	systemPath = filepath.Join(t.TempDir(), "SYSTEM")
	if err := os.WriteFile(systemPath, fileOf(t, d, p, offline.PathSystem), 0o600); err != nil {
		t.Fatal(err)
	}
	tool(t, "", "reglookup", systemPath)
	return systemPath
}

// runnerFile and installerFile are what is injected in tests.
var (
	runnerFile    = bytes.Repeat([]byte("MZ runner"), 300_000)
	installerFile = bytes.Repeat([]byte("MZ installer"), 200_000)
)

func file(name string, content []byte) File {
	sum := sha256.Sum256(content)
	return File{Name: name, SizeBytes: int64(len(content)), SHA256: hex.EncodeToString(sum[:]), Open: func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content)), nil
	}}
}

// injection is an ordinary one.
func injection(p Partition) Injection {
	f := file("setup.exe", installerFile)
	return Injection{Partition: p, Runner: runnerFile, Files: []File{file("vcredist.exe", []byte("prerequisite")), f},
		Plan: plan.Plan{Version: plan.Version, Job: "job", MaxBoots: 8, DeadlineSeconds: 7200, SettleSeconds: 600, MaxPendingReboots: 2,
			Steps: []plan.Step{{Name: "upgrade", Command: `setup.exe /S`, File: f.Name, SHA256: f.SHA256, OK: []int{0}, Reboot: []int{3010}, TimeoutSeconds: 60}}}}
}

func ignore(job.Progress) {}

func wantCode(t testing.TB, err error, code job.Code, says ...string) {
	t.Helper()
	if job.CodeOf(err) != code {
		t.Errorf("got %v (%s), want %s", err, job.CodeOf(err), code)
		return
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("%q does not say %q", err, s)
		}
	}
}

// ownTemp makes a directory of the test's own that for temporary files, and
// checks at the end that nothing is left there, nor mounted.
func ownTemp(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	t.Cleanup(func() {
		mounts, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil || strings.Contains(string(mounts), dir+"/") {
			t.Errorf("mounted below %s, or %v:\n%s", dir, err, mounts)
		}
		left, err := filepath.Glob(filepath.Join(dir, "imageport-*"))
		if err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	})
}
