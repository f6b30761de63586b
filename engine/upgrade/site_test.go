package upgrade

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"imageport/engine/catalogue"
	"imageport/engine/disk/overlay"
	"imageport/engine/disk/vhdx"
	"imageport/engine/diskimage"
	"imageport/engine/reverse"
	"imageport/engine/share"
	"imageport/engine/windows/offline"
	"imageport/firstboot/plan"
	"imageport/job"
	"imageport/testkit/targetdevice"
	"imageport/testkit/winimage"
	"imageport/testkit/winimage/windisk"
)

// site is a folder with a vDisk, a catalogue, and a job.
type site struct {
	dir       string // of the vDisk
	store     share.Store
	task      Task
	catalogue Catalogue
	installer catalogue.Installer
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{dir: t.TempDir(), catalogue: Catalogue{Dir: t.TempDir()}}
	from := must(t, image)
	if err := os.Link(from, filepath.Join(s.dir, vDisk)); err != nil {
		t.Fatal(err)
	}
	s.store = opened(t, s.dir)
	s.task = Task{
		Copy:   reverse.Task{Job: "ips/h/disks/win10", Key: "0123456789ab", Input: vDisk, Format: job.FormatVHDX, Platform: job.PlatformVSphere},
		Output: "new.vhdx", Version: "2311", Timeout: time.Hour,
	}
	s.offer(t, nil)
	return s
}

func opened(t *testing.T, dir string) share.Store {
	t.Helper()
	store, err := share.Dir(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

// installerFile is where the installer is in the catalogue.
const installerFile = "2311/PVS_Device_x64.exe"

// offer writes the catalogue, with one installer of the new version as changed,
// and resolves it.
func (s *site) offer(t *testing.T, change func(in *catalogue.Installer)) {
	t.Helper()
	program, err := os.ReadFile(targetdevice.Build(t, newVersion, targetdevice.Works))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(s.catalogue.Dir, filepath.FromSlash(installerFile))
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, program, 0o600)); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(program)
	in := catalogue.Installer{
		Product: catalogue.ProductPVSTarget, Version: "2311", Arch: catalogue.ArchX64, File: installerFile, SHA256: hex.EncodeToString(sum[:]), ProductVersion: newVersion,
		Args: "/S", OKCodes: []int{0}, RebootCodes: []int{3010}, RetryCodes: []int{1618}, TimeoutMinutes: 45, Session: plan.SessionConsole,
		Verify: catalogue.Verify{DisplayName: catalogue.DisplayNamePattern},
	}
	if change != nil {
		change(&in)
	}
	text, err := json.Marshal(catalogue.Catalogue{Installers: []catalogue.Installer{in}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.catalogue.Dir, catalogue.FileName), text, 0o600); err != nil {
		t.Fatal(err)
	}
	if s.installer, err = Resolve(t.Context(), noDial, s.catalogue, s.task.Version); err != nil {
		t.Fatal(err)
	}
}

// noDial is for catalogues that are no shares.
func noDial(context.Context, job.StorageLocation) (share.Store, error) {
	return nil, errors.New("nothing was to be dialled")
}

func (s *site) preflight(t *testing.T) (Admitted, error) {
	return Preflight(t.Context(), s.store, noDial, s.task, s.catalogue, s.installer)
}

// version makes a version of the vDisk, with what change does to its disk, and
// has the job take that.
func (s *site) version(t *testing.T, change func(t testing.TB, d *overlay.Overlay, p winimage.Partition)) {
	t.Helper()
	c, err := diskimage.Open(t.Context(), diskimage.Input{Folder: diskimage.Local(s.store), Name: vDisk})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	d := overlay.New(c)
	change(t, d, windisk.Windows(t, must(t, oldDisk)))
	s.task.Copy.Input = "win10.1.avhdx"
	f, err := os.Create(filepath.Join(s.dir, s.task.Copy.Input))
	if err != nil {
		t.Fatal(err)
	}
	id := uuid.NewSHA1(uuid.NameSpaceURL, []byte(t.Name()))
	_, err = vhdx.WriteChild(t.Context(), f, d, vhdx.ChildOptions{
		Parent: *c.Layers()[0].VHDX, ParentRelative: `.\` + vDisk, DataWriteGUID: id, FileWriteGUID: id,
	}, func(int64, int64) {})
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// takes has the job take another disk, in place of the vDisk.
func (s *site) takes(t *testing.T, spec winimage.Spec) {
	t.Helper()
	img, err := winimage.Cached(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	s.task.Copy.Input = "other.vhdx"
	if err := img.VHDX(t.Context(), filepath.Join(s.dir, s.task.Copy.Input), winimage.Dynamic); err != nil {
		t.Fatal(err)
	}
}

// put writes a file beside the vDisk.
func (s *site) put(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// files are the name, size, time and hash of everything below a folder.
func files(t *testing.T, dir string) string {
	t.Helper()
	var text strings.Builder
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		hash := crc32.New(castagnoli)
		n, err := io.Copy(hash, f)
		fmt.Fprintf(&text, "%s %d %s %x\n", path, n, info.ModTime(), hash.Sum(nil))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// refused wants an error with that code, a message that says so, and a remedy
// that is one for this operation.
func refused(t *testing.T, err error, code job.Code, says string) {
	t.Helper()
	e, ok := errors.AsType[*job.Error](err)
	if !ok || e.Code != code {
		t.Errorf("got %q: %v, want %s", job.CodeOf(err), err, code)
		return
	}
	if !strings.Contains(e.Message, says) {
		t.Errorf("%q does not say %q", e.Message, says)
	}
	if e.Remedy == "" || strings.Contains(e.Remedy, "fixups") || strings.Contains(e.Message, "partition 0") {
		t.Errorf("%q: the remedy is %q", e.Message, e.Remedy)
	}
}

var (
	system   = offline.PathSystem
	software = offline.PathSoftware
)

func quiet(job.Progress) {}
