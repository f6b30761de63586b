package guestsim_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"imageport/engine/inject"
	"imageport/engine/windows/hive"
	"imageport/firstboot/embedded"
	"imageport/firstboot/plan"
	"imageport/job"
	"imageport/testkit/guestsim"
	"imageport/testkit/targetdevice"
	"imageport/testkit/winimage"
	"imageport/testkit/winimage/ntfs3g"
)

// rawFile is a raw file as the disk of the engine.
type rawFile struct{ *os.File }

func (f rawFile) Size() int64 {
	info, err := f.Stat()
	if err != nil {
		return 0
	}
	return info.Size()
}

func (f rawFile) DropCache() error {
	return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}

// vdisk is a disk of one test.
type vdisk struct {
	winimage.Image
	windows winimage.Partition
}

// newDisk is a disk with version 7.33 in its Windows.
func newDisk(t *testing.T) vdisk {
	t.Helper()
	image, err := guestsim.TargetImage(t, targetdevice.Version733).Clone(t.Context(), filepath.Join(t.TempDir(), "disk.img"))
	if err != nil {
		t.Fatal(err)
	}
	windows, _ := image.Partition(winimage.Windows)
	return vdisk{image, windows}
}

// upgrade is a plan to install what a file holds.
func upgrade(t *testing.T, installer string) (plan.Plan, inject.File) {
	t.Helper()
	content, err := os.ReadFile(installer)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	file := inject.File{
		Name: filepath.Base(installer), SizeBytes: int64(len(content)), SHA256: hex.EncodeToString(sum[:]),
		Open: func(context.Context) (io.ReadCloser, error) { return os.Open(installer) },
	}
	command := `"` + plan.Folder + `\` + plan.FilesDir + `\` + file.Name + `" ` +
		targetdevice.Arguments(plan.Folder+`\`+plan.LogDir+`\pvs.log`)
	return plan.Plan{
		Version: plan.Version, Job: "job", MaxBoots: 8, DeadlineSeconds: 600, SettleSeconds: 5, MaxPendingReboots: 2,
		Steps: []plan.Step{{
			Name: "upgrade", Command: command, File: file.Name, SHA256: file.SHA256, TimeoutSeconds: 60,
			OK: []int{0}, Reboot: []int{3010, 1641}, Retry: []int{1618}, Session: plan.SessionConsole,
			Detect: []plan.Detect{{
				Key:         `SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall`,
				NamePattern: `^Citrix Provisioning( Services)? Target Device`, Version: "7.40.0.50",
			}},
		}},
	}, file
}

// inject puts the runner and a plan into the disk's Windows, as the engine does.
func (d vdisk) inject(t *testing.T, p plan.Plan, files ...inject.File) inject.Injected {
	t.Helper()
	runner, err := embedded.Runner()
	if err != nil {
		t.Fatal(err)
	}
	f := d.open(t)
	defer f.Close()
	injected, err := inject.Inject(t.Context(), f, inject.Injection{
		Partition: d.partition(), Plan: p, Runner: runner, Files: files,
	}, func(job.Progress) {})
	if err != nil {
		t.Fatal(err)
	}
	return injected
}

func (d vdisk) open(t *testing.T) rawFile {
	t.Helper()
	f, err := os.OpenFile(d.Path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	return rawFile{f}
}

func (d vdisk) partition() inject.Partition {
	return inject.Partition{Number: d.windows.Number, Offset: d.windows.StartBytes, SizeBytes: d.windows.SizeBytes}
}

// outcome is what the runner left.
func (d vdisk) outcome(t *testing.T) inject.Outcome {
	t.Helper()
	f := d.open(t)
	defer f.Close()
	o, err := readOutcome(t, f, d)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func readOutcome(t *testing.T, f rawFile, d vdisk) (inject.Outcome, error) {
	return inject.Read(t.Context(), f, d.partition())
}

// copyVolume gives the disk's Windows volume as a file of its own.
func (d vdisk) copyVolume(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "volume")
	if err := d.CopyPartition(t.Context(), d.windows, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// look calls do with the root of the disk's Windows volume, mounted by ntfs-3g
// from a copy of it.
func (d vdisk) look(t *testing.T, do func(root string)) {
	t.Helper()
	v, err := ntfs3g.Mount(t.Context(), d.copyVolume(t))
	if err != nil {
		t.Fatal(err)
	}
	do(v.Dir)
	if err := v.Unmount(); err != nil {
		t.Fatal(err)
	}
}

// version is what is installed, by the offline registry.
func version(t *testing.T, root string) string {
	t.Helper()
	h := readHive(t, root, "SOFTWARE")
	const uninstall = `Microsoft\Windows\CurrentVersion\Uninstall`
	names, err := h.SubkeyNames(uninstall)
	if err != nil {
		t.Fatal(err)
	}
	found := ""
	for _, name := range names {
		k, err := h.Lookup(uninstall, name)
		if err != nil {
			t.Fatal(err)
		}
		if v, _ := k.Value("DisplayName"); v.String() == targetdevice.DisplayName {
			version, _ := k.Value("DisplayVersion")
			found += version.String()
		}
	}
	return found
}

func readHive(t *testing.T, root, name string) *hive.Hive {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, "Windows/System32/config", name))
	if err != nil {
		t.Fatal(err)
	}
	h, err := hive.Parse(content)
	if err != nil {
		t.Fatal(err)
	}
	if h.Dirty() {
		t.Errorf("%s is dirty", name)
	}
	return h
}
