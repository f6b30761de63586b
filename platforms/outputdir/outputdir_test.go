package outputdir

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"imageport/job"
	"imageport/job/seed"
	"imageport/platforms"
	"imageport/platforms/cedir"
)

const ce = "ce-0123456789ab"

// site is a platform of which each CE is a process that sleeps.
type site struct {
	*Disks
	attached map[string]bool // by serial number
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{attached: map[string]bool{}}
	store, err := cedir.Open(cedir.Config{
		Platform: "test", StateDir: filepath.Join(t.TempDir(), "state"), Grace: time.Second,
		Start: func(_ context.Context, dir string, _ seed.Seed) error {
			cmd := exec.Command("sleep", "60")
			cmd.Env = []string{cedir.EnvMark + "=" + dir}
			if err := cmd.Start(); err != nil {
				return err
			}
			go cmd.Wait()
			p, err := cedir.Identify(cmd.Process.Pid)
			if err != nil {
				return err
			}
			return cedir.Record(dir, p)
		},
		Discard:  Discard,
		Describe: func(string, cedir.Process, *platforms.Instance) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Disks = &Disks{
		Platform: "test", Store: store, Dir: t.TempDir(), Formats: []platforms.DiskFormat{platforms.Raw, platforms.VHDX},
		Make:   func(_ context.Context, o Disk) error { return os.WriteFile(o.Partial, []byte("vhdxfile"), 0o600) },
		Verify: func(context.Context, Disk) error { return nil },
		Attach: func(_ context.Context, _ string, o Disk) error { s.attached[o.Serial] = true; return nil },
		Detach: func(_ context.Context, _ string, o Disk) error { delete(s.attached, o.Serial); return nil },
	}
	t.Cleanup(func() { s.destroy(t) })
	return s
}

func (s *site) create(t *testing.T) {
	t.Helper()
	_, err := s.Store.Create(t.Context(), platforms.Spec{
		Name: ce, Job: "job", RunID: "run", Owner: "owner",
		Seed: seed.Seed{
			Name: ce, Deadline: time.Now().Add(time.Minute),
			Gateway: seed.Gateway{Address: "192.0.2.1:7443", CA: strings.Repeat("0", 64), Patience: 60, Token: "token"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
}

func (s *site) destroy(t *testing.T) {
	t.Helper()
	if err := s.Store.Destroy(context.Background(), ce); err != nil {
		t.Error(err)
	}
}

func (s *site) add(t *testing.T, disk platforms.OutputDisk) platforms.OutputDiskRef {
	t.Helper()
	ref, err := s.AddOutputDisk(t.Context(), ce, disk)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// files gives all that is in the directory of output disks.
func (s *site) files(t *testing.T) string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(s.Dir, func(path string, e fs.DirEntry, err error) error {
		if path != s.Dir {
			all = append(all, strings.TrimPrefix(path, s.Dir+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, " ")
}

func TestNames(t *testing.T) {
	d := &Disks{Platform: "test", Dir: "/out", Formats: []platforms.DiskFormat{platforms.VMDK, platforms.VHDX, platforms.Raw}}
	for name, want := range map[string]platforms.DiskFormat{
		"win11.vmdk": platforms.VMDK, "images/Win11.VHDX": platforms.VHDX, "x.img": platforms.Raw, "[lab": platforms.Raw, "vmdk": platforms.Raw,
		"": "", ".": "", "..": "", "/abs": "", "a/../../b": "", "a//b": "", "a/": "", "a/.hidden": "", "a\nb": "", strings.Repeat("x", 2000): "",
		"[lab] images/x.vmdk": "", "[lab]x": "", "ds:///vmfs/volumes/1/x.vmdk": "",
	} {
		o, err := d.describe(ce, platforms.OutputDisk{Name: name, SizeBytes: mib})
		if (err == nil) != (want != "") || err == nil && (o.Format != want || o.Target != "/out/"+name || filepath.Base(o.Partial) != filepath.Base(name) || o.Partial == o.Target) {
			t.Errorf("%q: %+v, %v", name, o, err)
		}
		if err != nil && (platforms.KindOf(err) != platforms.BadRequest || !strings.Contains(err.Error(), fmt.Sprintf("%q", name))) {
			t.Errorf("%q: %s: %v", name, platforms.KindOf(err), err)
		}
	}
	raw := &Disks{Platform: "test", Dir: "/out", Formats: []platforms.DiskFormat{platforms.Raw}}
	for in, call := range map[string]struct {
		*Disks
		platforms.OutputDisk
	}{
		"no directory for output disks (output_dir under [none])": {&Disks{Platform: "none"}, platforms.OutputDisk{Name: "x"}},
		"is a thing of vSphere":                                   {d, platforms.OutputDisk{Name: "[Datastore1] images/x.vmdk", SizeBytes: mib}},
		"makes disks as raw, not as vmdk":                         {raw, platforms.OutputDisk{Name: "x.vmdk", SizeBytes: mib}},
		"makes disks as vmdk, vhdx, raw, not as qed":              {d, platforms.OutputDisk{Name: "x", Format: "qed", SizeBytes: mib}},
		"ends as that of a vmdk file":                             {raw, platforms.OutputDisk{Name: "x.vmdk", Format: platforms.Raw, SizeBytes: mib}},
		"1048577 bytes: want a multiple of 1 MiB":                 {d, platforms.OutputDisk{Name: "x", SizeBytes: mib + 1}},
		"up to 64 TiB": {d, platforms.OutputDisk{Name: "x", SizeBytes: 65 << 40}},
		"provision type Thick: platform test makes disks as": {d, platforms.OutputDisk{Name: "x.vmdk", SizeBytes: mib, Provision: job.ProvisionThick}},
		"provision type EagerZeroedThick":                    {d, platforms.OutputDisk{Name: "x", SizeBytes: mib, Provision: job.ProvisionEagerZeroed}},
	} {
		if _, err := call.describe(ce, call.OutputDisk); platforms.KindOf(err) != platforms.BadRequest || !strings.Contains(err.Error(), in) {
			t.Errorf("want …%s…: %v", in, err)
		}
	}
}

func TestCheck(t *testing.T) {
	s := newSite(t)
	if err := os.WriteFile(filepath.Join(s.Dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	check := func(name string, size int64, p job.ProvisionType, want platforms.Kind, in string) {
		t.Helper()
		err := s.CheckOutputDisk(t.Context(), platforms.OutputDisk{Name: name, SizeBytes: size, Provision: p})
		if platforms.KindOf(err) != want || err != nil && !strings.Contains(err.Error(), in) {
			t.Errorf("%s: %s: %v; want %s, …%s…", name, platforms.KindOf(err), err, want, in)
		}
	}
	check("x.raw", mib, "", "", "")
	check("a/b/c/x.raw", mib, "", "", "")
	check("file", mib, "", platforms.Foreign, "there is a file "+s.Dir+"/file")
	check("file/x", mib, "", platforms.BadRequest, s.Dir+"/file is no folder")
	check("file/b/x", mib, "", platforms.BadRequest, s.Dir+"/file is no folder")
	// More than any machine has.
	check("a/x.raw", maxDiskBytes, "", "", "")
	check("a/x.raw", maxDiskBytes, job.ProvisionThick, platforms.Full, "MiB free, want 67108928")
	if got := s.files(t); got != "file" {
		t.Errorf("checks made %s", got)
	}
	for dir, in := range map[string]string{s.Dir + "/file": "is no directory", s.Dir + "/nowhere": "the directory of output disks: stat "} {
		other := &Disks{Platform: "test", Dir: dir, Formats: s.Formats}
		if err := other.CheckOutputDisk(t.Context(), platforms.OutputDisk{Name: "x", SizeBytes: mib}); err == nil || !strings.Contains(err.Error(), in) {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

// Folders that were made for a disk go with it, unless somebody uses them.
func TestFolders(t *testing.T) {
	s := newSite(t)
	s.create(t)
	if err := os.Mkdir(filepath.Join(s.Dir, "there"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"there/new/x.raw", "a/b/one.raw", "a/b/two.raw", "e/f/one.raw", "e/f/two.raw", "e/g/x.raw", "a/c/x.raw", "d/kept.raw"} {
		s.add(t, platforms.OutputDisk{Name: name, SizeBytes: mib})
	}
	for _, name := range []string{"a/b/two.raw", "d/kept.raw"} {
		if err := s.KeepOutputDisk(t.Context(), ce, name); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(s.Dir, "a/c/notes"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.destroy(t)
	if got, want := s.files(t), "a a/b a/b/two.raw a/c a/c/notes d d/kept.raw there"; got != want {
		t.Errorf("left is %s, want %s", got, want)
	}
}

// What is recorded is what was promised, before a file is made.
func TestRecordedFirst(t *testing.T) {
	s := newSite(t)
	s.create(t)
	dir := s.Store.Dir(ce)
	var steps []string
	s.Store.Step = func(step string) {
		steps = append(steps, step)
		disks, err := recorded(dir)
		if err != nil || len(disks) != 1 || disks[0].Serial == "" {
			t.Errorf("%s: recorded is %+v, %v", step, disks, err)
		}
	}
	disk := platforms.OutputDisk{Name: "new/x.raw", SizeBytes: 3 * mib}
	ref := s.add(t, disk)
	s.Store.Step = func(string) {}
	if got, want := strings.Join(steps, ", "), "wrote disks.json, made the disk's folder, made the disk, wrote disks.json"; got != want {
		t.Errorf("the steps were %s; want %s", got, want)
	}
	serial := strings.TrimPrefix(ref.Selector, "serial:")
	if len(serial) != 20 || strings.Trim(serial, "0123456789abcdef") != "" || !s.attached[serial] {
		t.Errorf("attached as %q: %v", ref.Selector, s.attached)
	}
	// A disk that lost its file is not given to a CE as an empty one.
	if err := os.Remove(ref.Ref); err != nil {
		t.Fatal(err)
	}
	if _, err := s.AddOutputDisk(t.Context(), ce, disk); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("with its file gone: %v", err)
	}
}

// A serial number that cannot be had leaves nothing, nor does a file that
// cannot be made.
func TestFails(t *testing.T) {
	s := newSite(t)
	s.create(t)
	s.Rand = bytes.NewReader(nil)
	if _, err := s.AddOutputDisk(t.Context(), ce, platforms.OutputDisk{Name: "new/x.raw", SizeBytes: mib}); !errors.Is(err, io.EOF) {
		t.Errorf("without a serial number: %v", err)
	}
	if got := s.files(t); got != "" {
		t.Errorf("it made %s", got)
	}
	s.Rand = bytes.NewReader([]byte("0123456789abcdefghij"))
	broken := errors.New("broken")
	makeVHDX := s.Make
	s.Make = func(ctx context.Context, o Disk) error { return errors.Join(makeVHDX(ctx, o), broken) }
	disk := platforms.OutputDisk{Name: "new/x.vhdx", SizeBytes: mib}
	if _, err := s.AddOutputDisk(t.Context(), ce, disk); !errors.Is(err, broken) {
		t.Errorf("half made: %v", err)
	}
	if err := s.KeepOutputDisk(t.Context(), ce, disk.Name); platforms.KindOf(err) != platforms.NotFound {
		t.Errorf("half made, and kept: %v", err)
	}
	s.Make = makeVHDX
	if ref := s.add(t, disk); ref.Selector != "serial:30313233343536373839" {
		t.Errorf("the selector is %s", ref.Selector)
	}
	s.Verify = func(context.Context, Disk) error { return broken }
	if err := s.KeepOutputDisk(t.Context(), ce, disk.Name); !errors.Is(err, broken) {
		t.Errorf("not whole, and kept: %v", err)
	}
	s.destroy(t)
	if got := s.files(t); got != "" {
		t.Errorf("left is %s", got)
	}
}

func TestTooMany(t *testing.T) {
	s := newSite(t)
	s.create(t)
	for i := range maxDisks {
		s.add(t, platforms.OutputDisk{Name: fmt.Sprint("x", i), SizeBytes: mib})
	}
	if _, err := s.AddOutputDisk(t.Context(), ce, platforms.OutputDisk{Name: "y", SizeBytes: mib}); platforms.KindOf(err) != platforms.BadRequest || !strings.Contains(err.Error(), "has 8 already") {
		t.Errorf("one more: %v", err)
	}
	s.destroy(t)
	s.create(t)
	// The record is read up to a size. Deep names may fill it before the disks are eight.
	long := strings.Repeat(strings.Repeat("<", 250)+"/", 4)
	var err error
	for i := 0; i < maxDisks && err == nil; i++ {
		_, err = s.AddOutputDisk(t.Context(), ce, platforms.OutputDisk{Name: fmt.Sprint(long, i), SizeBytes: mib})
	}
	if err == nil || !strings.Contains(err.Error(), "at most are read") {
		t.Errorf("a long record: %v", err)
	}
	s.destroy(t)
	if got := s.files(t); got != "" {
		t.Errorf("left is %s", strings.ReplaceAll(got, strings.Repeat("<", 250), "L"))
	}
}

// Thick means that the room is taken at once, thin that it is not.
func TestProvision(t *testing.T) {
	s := newSite(t)
	s.create(t)
	for p, want := range map[job.ProvisionType]bool{job.ProvisionThin: false, job.ProvisionThick: true} {
		name := string(p) + ".raw"
		s.add(t, platforms.OutputDisk{Name: name, SizeBytes: 8 * mib, Provision: p})
		if err := s.KeepOutputDisk(t.Context(), ce, name); err != nil {
			t.Fatal(err)
		}
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(s.Dir, name), &st); err != nil || st.Size != 8*mib || (st.Blocks*512 >= 8*mib) != want {
			t.Errorf("%s: %d bytes, of which %d have room, %v", p, st.Size, st.Blocks*512, err)
		}
	}
}

// A file system that cannot rename without replacing gets a second name, and a
// crash between the two leaves both.
func TestLinked(t *testing.T) {
	dir := t.TempDir()
	o := Disk{OutputDisk: platforms.OutputDisk{Name: "x"}, Partial: filepath.Join(dir, "partial"), Target: filepath.Join(dir, "x")}
	if err := os.WriteFile(o.Partial, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	id, err := identify(o.Partial)
	if err != nil {
		t.Fatal(err)
	}
	o.Keeping = &id
	if err := os.Link(o.Partial, o.Target); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := o.name(); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := os.ReadFile(o.Target); err != nil || string(b) != "content" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := os.Stat(o.Partial); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the other name: %v", err)
	}
}

// No name leads out of the directory, or to a file that is hidden.
func FuzzName(f *testing.F) {
	for _, name := range []string{"images/win11.vmdk", "../x", "[lab] images/x.vmdk", "ds://x", "a/./b", "/x", "a/.b/c"} {
		f.Add(name)
	}
	d := &Disks{Platform: "test", Dir: "/out", Formats: []platforms.DiskFormat{platforms.Raw, platforms.VMDK, platforms.VHDX}}
	f.Fuzz(func(t *testing.T, name string) {
		o, err := d.describe(ce, platforms.OutputDisk{Name: name, SizeBytes: mib})
		if err != nil {
			if platforms.KindOf(err) != platforms.BadRequest {
				t.Errorf("%q: %v", name, err)
			}
			return
		}
		if o.Target != "/out/"+name || filepath.Base(o.Target)[0] == '.' || filepath.Dir(filepath.Dir(o.Partial)) != filepath.Dir(o.Target) {
			t.Errorf("%q becomes %s, by %s", name, o.Target, o.Partial)
		}
		for _, path := range []string{o.Target, o.Partial} {
			if !strings.HasPrefix(path, "/out/") || filepath.Clean(path) != path {
				t.Errorf("%q becomes %s", name, path)
			}
		}
	})
}
