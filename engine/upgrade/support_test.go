package upgrade

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"imageport/engine/disk/overlay"
	"imageport/engine/ntfsmount"
	"imageport/engine/reverse"
	"imageport/engine/windows/hive"
	"imageport/firstboot/plan"
	"imageport/job"
	"imageport/testkit/guestsim"
	"imageport/testkit/targetdevice"
	"imageport/testkit/winimage"
	"imageport/testkit/winimage/windisk"
)

const (
	oldVersion, newVersion = targetdevice.Version733, targetdevice.Version740
	vDisk                  = "win10.vhdx"
)

// fixtures are files that are made once, and not changed.
var fixtures string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "imageport-upgrade-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fixtures = dir
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// workDisk is a working disk.
type workDisk struct{ *overlay.Overlay }

var _ reverse.Disk = workDisk{}

func (workDisk) Sync() error                  { return nil }
func (workDisk) DropCache() error             { return nil }
func (workDisk) ZeroRange(int64, int64) error { return errors.ErrUnsupported }

// onDisk gives a raw image to be changed.
func onDisk(t testing.TB, path string) workDisk {
	t.Helper()
	return workDisk{overlay.New(windisk.Open(t, path, sectorBytes))}
}

// restart does on C: of a raw image what a Windows does with it when it starts:
// it makes files, and has no reboot pending.
func restart(ctx context.Context, path string, p winimage.Partition, files map[string][]byte) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	m, err := ntfsmount.Mount(ctx, ntfsmount.Tool{}, f, p.StartBytes, p.SizeBytes)
	if err != nil {
		return err
	}
	defer m.Close()
	for name, content := range files {
		path := filepath.Join(m.Dir(), filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, content, 0o600)); err != nil {
			return err
		}
	}
	path = filepath.Join(m.Dir(), "Windows", "System32", "config", "SYSTEM")
	stored, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	h, err := hive.Parse(stored)
	if err != nil {
		return err
	}
	if err := h.DeleteValue([]string{`ControlSet001\Control\Session Manager`}, "PendingFileRenameOperations"); err != nil {
		return err
	}
	h.Commit(time.Unix(1_700_000_000, 0))
	return errors.Join(os.WriteFile(path, h.Bytes(), 0o600), m.Close())
}

// noHibernation is a hiberfil.sys of a Windows that was shut down.
var noHibernation = make([]byte, 8192)

// prepared clones the disk of a version, with more files in its Windows.
func prepared(name, version string, files map[string][]byte) func() (winimage.Image, error) {
	return sync.OnceValues(func() (winimage.Image, error) {
		ctx := context.Background()
		target, err := guestsim.MakeTargetImage(ctx, winimage.Upgradable(), version, job.BIOS)
		if err != nil {
			return winimage.Image{}, err
		}
		img, err := target.Clone(ctx, filepath.Join(fixtures, name))
		if err != nil {
			return img, err
		}
		p, _ := img.Partition(winimage.Windows)
		return img, restart(ctx, img.Path, p, files)
	})
}

// oldDisk is the disk of a vDisk with the old version, and newDisk that on which
// a runner has installed the new one. The files of the runner have room for others.
var (
	oldDisk = prepared("old.raw", oldVersion, map[string][]byte{"hiberfil.sys": noHibernation})
	newDisk = prepared("new.raw", newVersion, map[string][]byte{
		"hiberfil.sys": noHibernation,
		"ProgramData/imageport-firstboot/" + plan.StateFile:                   bytes.Repeat([]byte(" "), 4096),
		"ProgramData/imageport-firstboot/" + plan.LogDir + "/pvs-msi.log":     bytes.Repeat([]byte(" "), 4096),
		"ProgramData/imageport-firstboot/" + plan.LogDir + "/long.log":        bytes.Repeat([]byte(" "), 64<<10),
		"ProgramData/imageport-firstboot/" + plan.LogFile:                     []byte("the runner's log\r\n"),
		"ProgramData/imageport-firstboot/" + plan.FilesDir + "/installer.exe": []byte("MZ"),
	})
	// image is oldDisk as a VHDX.
	image = sync.OnceValues(func() (string, error) {
		img, err := oldDisk()
		if err != nil {
			return "", err
		}
		path := filepath.Join(fixtures, vDisk)
		return path, img.VHDX(context.Background(), path, winimage.Dynamic)
	})
)

// must gives a fixture.
func must[T any](t testing.TB, make func() (T, error)) T {
	t.Helper()
	v, err := make()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// over puts bytes at an offset of a file of C:.
func over(t testing.TB, d *overlay.Overlay, p winimage.Partition, path string, at int, data []byte) {
	t.Helper()
	windisk.Replace(t, d, p, path, func(old []byte) []byte {
		copy(old[at:], data)
		return old
	})
}

// set gives a key a value; the key is made if it is not there.
func set(key string, v hive.Value) func(h *hive.Hive) error {
	return func(h *hive.Hive) error {
		if _, err := h.Lookup(key); errors.Is(err, hive.ErrNotFound) {
			if err := h.CreateKey([]string{key}, time.Unix(1_600_000_000, 0)); err != nil {
				return err
			}
		}
		return h.SetValue([]string{key}, v)
	}
}

// forChkdsk sets VOLUME_IS_DIRTY in $Volume, which is file record 3.
func forChkdsk(t testing.TB, d *overlay.Overlay, p winimage.Partition) {
	t.Helper()
	const recordSize, volumeInformation, flagsAt = 1024, 0x70, 10
	at := p.StartBytes + place(t, d, p, `\$MFT`) + 3*recordSize
	record := make([]byte, recordSize)
	if _, err := d.ReadAt(record, at); err != nil {
		t.Fatal(err)
	}
	attr := int(record[20])
	for record[attr] != volumeInformation {
		if record[attr] == 0xff {
			t.Fatal("$Volume has no volume information")
		}
		attr += int(record[attr+4])
	}
	flags := attr + int(record[attr+20]) + flagsAt
	if _, err := d.WriteAt([]byte{record[flags] | 1}, at+int64(flags)); err != nil {
		t.Fatal(err)
	}
}

// inJournal leaves something in the journal that nobody can replay.
func inJournal(t testing.TB, d *overlay.Overlay, p winimage.Partition) {
	t.Helper()
	if _, err := d.WriteAt(make([]byte, 1<<20), p.StartBytes+place(t, d, p, `\$LogFile`)); err != nil {
		t.Fatal(err)
	}
}

// place is where a file begins on its volume.
func place(t testing.TB, d *overlay.Overlay, p winimage.Partition, path string) int64 {
	t.Helper()
	f, err := windisk.Volume(t, d, p).Open(path)
	if err != nil {
		t.Fatal(err)
	}
	extents, err := f.Extents()
	if err != nil {
		t.Fatal(err)
	}
	return extents[0].VolumeOffset
}
