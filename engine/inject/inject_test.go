package inject

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"imageport/engine/ntfsmount"
	"imageport/engine/windows/hive"
	"imageport/engine/windows/ntfs"
	"imageport/engine/windows/offline"
	"imageport/firstboot/plan"
	"imageport/job"
	"imageport/testkit/winimage"
)

// secondSet gives a Windows another control set, without CrashControl, where the
// first has it.
func secondSet(h *hive.Hive) error {
	at := time.Unix(1_600_000_000, 0)
	return errors.Join(
		h.CreateKey([]string{`ControlSet001\Control\CrashControl`}, at),
		h.SetValue([]string{`ControlSet001\Control\CrashControl`}, hive.DWORD("AutoReboot", 1)),
		h.SetValue([]string{`ControlSet001\Control\CrashControl`}, hive.DWORD("CrashDumpEnabled", 7)),
		h.CreateKey([]string{`ControlSet002\Services\disk`}, at),
		h.CreateKey([]string{`ControlSet002\Control`}, at),
		h.CreateKey([]string{`ControlSet1`}, at))
}

// TestThereAndBack injects, looks, cleans, and looks again.
func TestThereAndBack(t *testing.T) {
	ownTemp(t)
	d, p := build(t, roomy())
	edit(t, d, p, secondSet)
	before, err := system(t, d, p).Root()
	if err != nil {
		t.Fatal(err)
	}
	entry, err := volume(t, d, p).NTFS.Stat(offline.PathSystem)
	if err != nil {
		t.Fatal(err)
	}
	in := injection(p)
	var last job.Progress
	got, err := Inject(t.Context(), d, in, func(p job.Progress) { last = p })
	if err != nil {
		t.Fatal(err)
	}
	if last.DoneBytes != in.bytes() || last.TotalBytes != in.bytes() || last.Step == "" {
		t.Errorf("progress ended with %+v", last)
	}
	if d.syncs == 0 || d.drops == 0 {
		t.Error("not durable, or read back from memory")
	}
	var lines []string
	for _, c := range got.Changes {
		lines = append(lines, c.What+" "+c.Old+">"+c.New)
		if c.Why == "" {
			t.Errorf("%+v", c)
		}
	}
	want := []string{
		`C:\ProgramData\imageport-firstboot >runner, plan and 2 files of 2400012 bytes`,
		`HKLM\SYSTEM\ControlSet001\Services\imageport-firstboot >"C:\ProgramData\imageport-firstboot\firstboot.exe" -service`,
		`HKLM\SYSTEM\ControlSet001\Control\CrashControl\AutoReboot 1>0`,
		`HKLM\SYSTEM\ControlSet002\Services\imageport-firstboot >"C:\ProgramData\imageport-firstboot\firstboot.exe" -service`,
		`HKLM\SYSTEM\ControlSet002\Control\CrashControl\AutoReboot >0`,
	}
	if !slices.Equal(lines, want) {
		t.Errorf("changes:\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	// The undo survives the way through a history.
	encoded, err := json.Marshal(got.Undo)
	if err != nil || len(encoded) > 8<<10 {
		t.Fatalf("%d bytes, %v", len(encoded), err)
	}
	var undo Undo
	if err := json.Unmarshal(encoded, &undo); err != nil {
		t.Fatal(err)
	}

	// The files.
	for path, want := range map[string][]byte{`firstboot.exe`: runnerFile, `files\setup.exe`: installerFile, `files\vcredist.exe`: []byte("prerequisite")} {
		if !bytes.Equal(fileOf(t, d, p, folder+`\`+path), want) {
			t.Errorf("%s is another", path)
		}
	}
	if read, err := plan.ParsePlan(fileOf(t, d, p, folder+`\plan.json`)); err != nil || read.Job != "job" {
		t.Errorf("%+v, %v", read, err)
	}
	checkACLs(t, d, p)

	// The hive, as others read it.
	path := judge(t, d, p)
	for _, set := range []string{"ControlSet001", "ControlSet002"} {
		out := tool(t, `cd \`+set+`\Services\imageport-firstboot`+"\nlsval\n", "hivexsh", path)
		for _, line := range []string{
			`"Type"=dword:00000010`, `"Start"=dword:00000002`, `"ErrorControl"=dword:00000001`, `"ObjectName"="LocalSystem"`,
		} {
			if !strings.Contains(out, line) {
				t.Errorf("%s: hivexsh does not say %s:\n%s", set, line, out)
			}
		}
		if out := tool(t, "", "reglookup", "-p", "/"+set+"/Services/imageport-firstboot", path); !strings.Contains(out, `EXPAND_SZ,"C:\ProgramData\imageport-firstboot\firstboot.exe" -service`) && !strings.Contains(out, "imageport-firstboot\\firstboot.exe") {
			t.Errorf("reglookup: %s", out)
		}
		if n := number(t, system(t, d, p), autoReboot, set, "Control", "CrashControl"); n != 0 {
			t.Errorf("%s: AutoReboot is %d", set, n)
		}
	}
	service, err := system(t, d, p).Lookup("ControlSet001", "Services", plan.Service)
	if err != nil {
		t.Fatal(err)
	}
	services, err := system(t, d, p).Lookup("ControlSet001", "Services")
	if err != nil || len(service.Security) == 0 || !bytes.Equal(service.Security, services.Security) {
		t.Errorf("the service's security descriptor is not that of its parent (%v)", err)
	}
	// It is the same file as before.
	after, err := volume(t, d, p).NTFS.Stat(offline.PathSystem)
	if err != nil || after.Ref != entry.Ref || after.Attributes != entry.Attributes {
		t.Errorf("%+v, %v; it was %+v", after, err, entry)
	}
	traces, err := Traces(t.Context(), d, p)
	if err != nil || len(traces) != 3 || traces[0] != plan.Folder {
		t.Errorf("traces %q, %v", traces, err)
	}

	// Nothing is injected twice.
	_, err = Inject(t.Context(), d, in, ignore)
	wantCode(t, err, job.LeftoverRunner, plan.Folder, `ControlSet002\Services`)

	// Back.
	changes, err := Clean(t.Context(), d, p, undo, ignore)
	if err != nil {
		t.Fatal(err)
	}
	if len(changes) != 5 {
		t.Errorf("changes %+v", changes)
	}
	judge(t, d, p)
	back, err := system(t, d, p).Root()
	if err != nil || !same(before, back) {
		t.Errorf("SYSTEM is not as it was (%v)", err)
	}
	if traces, err := Traces(t.Context(), d, p); err != nil || len(traces) != 0 {
		t.Errorf("traces %q, %v", traces, err)
	}
	if _, err := volume(t, d, p).NTFS.Stat(`\ProgramData`); !errors.Is(err, ntfs.ErrNotFound) {
		t.Errorf("the folder that was not there is (%v)", err)
	}
	// Again: there is nothing to do, and nothing is written.
	if err := d.DropUnchanged(); err != nil {
		t.Fatal(err)
	}
	written := d.DirtyBytes()
	if changes, err := Clean(t.Context(), d, p, undo, ignore); err != nil || len(changes) != 0 || d.DirtyBytes() != written {
		t.Errorf("again: %+v, %v; %d bytes changed, then %d", changes, err, written, d.DirtyBytes())
	}
}

// same compares keys but for times.
func same(a, b *hive.Key) bool {
	if a.Name != b.Name || len(a.Subkeys) != len(b.Subkeys) || len(a.Values) != len(b.Values) || !bytes.Equal(a.Security, b.Security) {
		return false
	}
	for i := range a.Values {
		if a.Values[i].Name != b.Values[i].Name || a.Values[i].Type != b.Values[i].Type || !bytes.Equal(a.Values[i].Data, b.Values[i].Data) {
			return false
		}
	}
	for i := range a.Subkeys {
		if !same(a.Subkeys[i], b.Subkeys[i]) {
			return false
		}
	}
	return true
}

// checkACLs reads the descriptors of all that was injected.
func checkACLs(t *testing.T, d *workDisk, p Partition) {
	t.Helper()
	m, err := ntfsmount.Mount(t.Context(), ntfsmount.Tool{}, d, p.Offset, p.SizeBytes)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	names := map[string]bool{"ProgramData": true, "ProgramData/imageport-firstboot": true}
	for name, dir := range map[string]bool{"files": true, "logs": true, "firstboot.exe": false, "plan.json": false, "files/setup.exe": false, "files/vcredist.exe": false} {
		names["ProgramData/imageport-firstboot/"+name] = dir
	}
	for name, dir := range names {
		got, err := ntfsmount.ACL(filepath.Join(m.Dir(), name))
		if err != nil {
			t.Error(err)
			continue
		}
		flags := "00"
		if dir {
			flags = "03"
		}
		want := "010004904800000054000000000000001400000002003400020000000" + "0" + flags + "1400ff011f000101000000000005120000000" + "0" + flags + "1800ff011f00010200000000000520000000200200000101000000000005120000000101000000000005" + "12000000"
		if hex.EncodeToString(got) != want {
			t.Errorf("%s: %x, want %s", name, got, want)
		}
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

// TestDirtyHive: what is in the logs is in the hive afterwards, and the logs are
// empty, so that nothing of them comes back.
func TestDirtyHive(t *testing.T) {
	spec := roomy()
	spec.DirtySystemHiveWithLogs = true
	d, p := build(t, spec)
	if len(fileOf(t, d, p, offline.PathSystem+".LOG1")) == 0 {
		t.Fatal("there is no log")
	}
	got, err := Inject(t.Context(), d, injection(p), ignore)
	if err != nil {
		t.Fatal(err)
	}
	if got.Changes[1].What != offline.PathSystem || !strings.Contains(got.Changes[1].New, "2 entries") {
		t.Errorf("changes %+v", got.Changes)
	}
	k, err := system(t, d, p).Lookup(`ControlSet001\Control\ComputerName\ComputerName`)
	if err != nil {
		t.Fatal(err)
	}
	if v, _ := k.Value("ComputerName"); v.String() != "PVS-GOLD" {
		t.Errorf("the computer's name is %q, as before the changes in the logs", v.String())
	}
	for _, suffix := range []string{".LOG1", ".LOG2"} {
		if b := fileOf(t, d, p, offline.PathSystem+suffix); len(b) != 0 {
			t.Errorf("%s has %d bytes", suffix, len(b))
		}
	}
	judge(t, d, p)
}

// A Windows that has run has a control set more, made from ours, has made other
// things of its own, and left its hives to their logs.
func TestCleanAfterWindows(t *testing.T) {
	d, p := build(t, roomy())
	edit(t, d, p, secondSet)
	got, err := Inject(t.Context(), d, injection(p), ignore)
	if err != nil {
		t.Fatal(err)
	}
	edit(t, d, p, func(h *hive.Hive) error {
		at := time.Unix(1_600_000_000, 0)
		return errors.Join(
			h.CreateKey([]string{`ControlSet003\Services\IMAGEPORT-FirstBoot\Parameters`}, at),
			h.CreateKey([]string{`ControlSet003\Control\CrashControl`}, at),
			h.SetValue([]string{`ControlSet003\Control\CrashControl`}, hive.DWORD("AutoReboot", 0)),
			h.CreateKey([]string{`ControlSet001\Enum\Root\LEGACY_IMAGEPORT-FIRSTBOOT\0000`}, at),
			// Somebody has changed his mind.
			h.SetValue([]string{`ControlSet002\Control\CrashControl`}, hive.DWORD("AutoReboot", 5)))
	})
	onMounted(t, d, p, func(root string) {
		for name, content := range map[string]string{
			"pagefile.sys": "pages", "swapfile.sys": "pages", "hiberfil.sys": strings.Repeat("\x00", 8192), "ProgramData/other.txt": "not ours",
			"ProgramData/imageport-firstboot/logs/deep/er/x.log": "x", "ProgramData/imageport-firstboot/state.json": "{}",
		} {
			path := filepath.Join(root, name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
	})
	if _, err := Clean(t.Context(), d, p, got.Undo, ignore); err != nil {
		t.Fatal(err)
	}
	h := system(t, d, p)
	for _, set := range []string{"ControlSet001", "ControlSet002", "ControlSet003"} {
		for _, key := range [][]string{serviceKey(set), legacyKey(set)} {
			if _, err := h.Lookup(key...); !errors.Is(err, hive.ErrNotFound) {
				t.Errorf("%s: %v", key, err)
			}
		}
	}
	for set, want := range map[string]int64{"ControlSet001": 1, "ControlSet002": 5, "ControlSet003": 1} {
		if n := number(t, h, autoReboot, set, "Control", "CrashControl"); n != want {
			t.Errorf("%s: AutoReboot is %d, want %d", set, n, want)
		}
	}
	for path, want := range map[string]string{`\hiberfil.sys`: strings.Repeat("\x00", 8192), `\ProgramData\other.txt`: "not ours", `\pagefile.sys`: "", `\swapfile.sys`: "", folder + `\state.json`: ""} {
		if b := fileOf(t, d, p, path); string(b) != want {
			t.Errorf("%s: %q", path, b)
		}
	}
	judge(t, d, p)
}

// Clean completes hives for their own sake.
func TestCleanDirtyHives(t *testing.T) {
	spec := roomy()
	spec.DirtySystemHiveWithLogs = true
	d, p := build(t, spec)
	// SOFTWARE dies with the same logs.
	onMounted(t, d, p, func(root string) {
		config := filepath.Join(root, "Windows/System32/config")
		for from, to := range map[string]string{"SYSTEM": "SOFTWARE", "SYSTEM.LOG1": "software.log1", "SYSTEM.LOG2": "SOFTWARE.LOG2"} {
			b, err := os.ReadFile(filepath.Join(config, from))
			if err == nil {
				err = os.WriteFile(filepath.Join(config, to), b, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	})
	changes, err := Clean(t.Context(), d, p, Undo{}, ignore)
	if err != nil || len(changes) != 2 {
		t.Fatalf("%+v, %v", changes, err)
	}
	for _, path := range []string{offline.PathSystem, offline.PathSoftware} {
		h, err := volume(t, d, p).OpenHive(path)
		if err != nil || h.Entries != 0 || h.Dirty() {
			t.Errorf("%s: %v", path, err)
		}
	}
	if b := fileOf(t, d, p, offline.PathSoftware+".LOG1"); len(b) != 0 {
		t.Errorf("the log has %d bytes", len(b))
	}
	judge(t, d, p)
}

func TestRefusals(t *testing.T) {
	spec := func(change func(s *winimage.Spec)) winimage.Spec {
		s := roomy()
		change(&s)
		return s
	}
	damaged := file("setup.exe", installerFile)
	damaged.Open = func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(bytes.NewReader(installerFile[1:]), strings.NewReader("?"))), nil
	}
	longer := file("setup.exe", installerFile)
	longer.Open = func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(bytes.NewReader(installerFile), strings.NewReader("?"))), nil
	}
	shorter := file("setup.exe", installerFile)
	shorter.Open = func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(installerFile[1:])), nil
	}
	gone := file("setup.exe", installerFile)
	gone.Open = func(context.Context) (io.ReadCloser, error) { return nil, errors.New("the share is gone") }
	with := func(f File) func(in *Injection) { return func(in *Injection) { in.Files[1] = f } }
	for _, c := range []struct {
		name   string
		spec   winimage.Spec
		change func(in *Injection)
		code   job.Code
		says   string
	}{
		{"full", winimage.Spec{SizeBytes: 128 * mib, BootFiles: winimage.SmallBootFiles}, nil, job.WindowsFull, "1080941860"},
		{"hibernated", spec(func(s *winimage.Spec) { s.Hibernated = true }), nil, job.Hibernated, "powercfg"},
		{"dirty", spec(func(s *winimage.Spec) { s.DirtyNTFS = true }), nil, job.NTFSDirty, "chkdsk"},
		{"hive without logs", spec(func(s *winimage.Spec) { s.DirtySystemHive = true }), nil, job.HiveDirty, "SYSTEM"},
		{"hive with damaged logs", spec(func(s *winimage.Spec) { s.DirtySystemHiveBadLogs = true }), nil, job.HiveDirty, "SYSTEM"},
		{"damaged hive", spec(func(s *winimage.Spec) { s.CorruptSystemHive = true }), nil, job.HiveCorrupt, "SYSTEM"},
		{"no Windows", spec(func(s *winimage.Spec) { s.NoWindows = true }), nil, job.NoWindows, "partition 1"},
		{"another installer", roomy(), with(damaged), job.InstallerHashMismatch, damaged.SHA256},
		{"a longer installer", roomy(), with(longer), job.InstallerHashMismatch, "2400000"},
		{"a shorter installer", roomy(), with(shorter), job.InstallerHashMismatch, shorter.SHA256},
		{"no installer", roomy(), with(gone), job.ShareIO, "the share is gone"},
		{"installer without a plan", roomy(), func(in *Injection) { in.Plan.Steps[0].SHA256 = strings.Repeat("0", 64) }, job.Internal, "setup.exe"},
		{"a plan that is none", roomy(), func(in *Injection) { in.Plan.Steps = nil }, job.Internal, "steps"},
		{"no runner", roomy(), func(in *Injection) { in.Runner = nil }, job.Internal, "runner"},
		{"a name that leads elsewhere", roomy(), func(in *Injection) { in.Files[0].Name = `..\x` }, job.Internal, `..\\x`},
		{"no such partition", roomy(), func(in *Injection) { in.Partition.Offset = 1 << 40 }, job.Internal, "partition"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ownTemp(t)
			d, p := build(t, c.spec)
			in := injection(p)
			if c.change != nil {
				c.change(&in)
			}
			_, err := Inject(t.Context(), d, in, ignore)
			wantCode(t, err, c.code, c.says)
			t.Log(err)
			// Nothing is armed or left, and of what is refused at once nothing is
			// written.
			if c.code == job.InstallerHashMismatch || c.code == job.ShareIO {
				if traces, err := Traces(t.Context(), d, p); err != nil || len(traces) > 0 {
					t.Errorf("traces %q, %v", traces, err)
				}
				if _, err := volume(t, d, p).NTFS.Stat(parent); !errors.Is(err, ntfs.ErrNotFound) {
					t.Errorf("the folder that was not there is (%v)", err)
				}
				if _, err := Inject(t.Context(), d, injection(p), ignore); err != nil {
					t.Errorf("tried again: %v", err)
				}
			} else if d.DirtyBytes() > 0 {
				t.Errorf("%d bytes were written", d.DirtyBytes())
			}
		})
	}
}

// TestNotShutDown: neither of the two steps works on a volume that belongs to a
// Windows that will go on.
func TestNotShutDown(t *testing.T) {
	ownTemp(t)
	d, p := build(t, roomy())
	f, err := volume(t, d, p).NTFS.Open(`\$LogFile`)
	if err != nil {
		t.Fatal(err)
	}
	extents, err := f.Extents()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.WriteAt(make([]byte, mib), p.Offset+extents[0].VolumeOffset); err != nil {
		t.Fatal(err)
	}
	_, err = Inject(t.Context(), d, injection(p), ignore)
	wantCode(t, err, job.NTFSDirty, "journal")
	_, err = Clean(t.Context(), d, p, Undo{}, ignore)
	wantCode(t, err, job.NTFSDirty, "journal")
	_, err = Traces(t.Context(), d, p)
	wantCode(t, err, job.NTFSDirty, "journal")
	if _, err := Read(t.Context(), d, p); err != nil {
		t.Errorf("reading: %v", err)
	}
	// What gets as far as ntfs-3g is refused there.
	_, err = ntfsmount.Mount(t.Context(), ntfsmount.Tool{}, d, p.Offset, p.SizeBytes)
	wantCode(t, mountError(p, err), job.NTFSDirty, "ntfs-3g says")
}

// A link that a guest has made must not lead the Compositing Engine anywhere.
func TestLinks(t *testing.T) {
	ownTemp(t)
	d, p := build(t, roomy())
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	onMounted(t, d, p, func(root string) {
		config := filepath.Join(root, "Windows/System32/config")
		// ntfs-3g makes it a system file that says where it leads.
		if err := os.Symlink(outside, filepath.Join(config, "SYSTEM.LOG1")); err != nil {
			t.Fatal(err)
		}
	})
	if _, err := Inject(t.Context(), d, injection(p), ignore); err == nil {
		t.Error("a link was taken for a log")
	} else {
		wantCode(t, err, job.ToolFailed, "escapes")
	}
	if b, err := os.ReadFile(outside); err != nil || string(b) != "precious" {
		t.Errorf("what is outside: %q, %v", b, err)
	}
}

// failing is a disk that fails from a write on.
type failing struct {
	*workDisk
	left atomic.Int64
	err  error
}

func (f *failing) WriteAt(b []byte, off int64) (int, error) {
	if f.left.Add(-1) < 0 {
		return 0, f.err
	}
	return f.workDisk.WriteAt(b, off)
}

func TestDiskFails(t *testing.T) {
	for _, left := range []int64{0, 4} {
		t.Run(fmt.Sprint(left), func(t *testing.T) {
			ownTemp(t)
			d, p := build(t, roomy())
			broken := &failing{workDisk: d, err: errors.New("the cable is out")}
			broken.left.Store(left)
			_, err := Inject(t.Context(), broken, injection(p), ignore)
			wantCode(t, err, job.PlatformError, "the cable is out")
		})
	}
}

func TestCancel(t *testing.T) {
	ownTemp(t)
	d, p := build(t, roomy())
	cause := errors.New("cancelled by the test")
	ctx, cancel := context.WithCancelCause(t.Context())
	in := injection(p)
	in.Files[1].Open = func(context.Context) (io.ReadCloser, error) {
		cancel(cause)
		return io.NopCloser(bytes.NewReader(installerFile)), nil
	}
	if _, err := Inject(ctx, d, in, ignore); !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
}

// TestMountErrors: what ntfs-3g refuses has the code that it has elsewhere.
func TestMountErrors(t *testing.T) {
	for _, c := range []struct {
		err  error
		code job.Code
		says string
	}{
		{ntfsmount.ErrMissing, job.ToolMissing, "Install ntfs-3g"},
		{fmt.Errorf("%w: %w", ntfsmount.ErrReadOnly, ntfsmount.ErrHibernated), job.Hibernated, "powercfg"},
		{fmt.Errorf("%w: %w", ntfsmount.ErrReadOnly, ntfsmount.ErrUnclean), job.NTFSDirty, "shut it down"},
		{ntfsmount.ErrReadOnly, job.NTFSDirty, "shut it down"},
		{ntfsmount.ErrCorrupt, job.NTFSCorrupt, "chkdsk"},
		{&os.PathError{Op: "write", Path: "setup.exe", Err: unix.ENOSPC}, job.WindowsFull, "setup.exe"},
		{&os.PathError{Op: "write", Path: "setup.exe", Err: unix.EIO}, job.ToolFailed, "setup.exe"},
		{ntfsmount.ErrTool, job.ToolFailed, "report it"},
		{ntfsmount.ErrBusy, job.ToolFailed, "partition 3"},
		{diskError(unix.ENOSPC), job.PlatformFull, "platform"},
		{diskError(unix.EIO), job.PlatformError, "platform"},
	} {
		wantCode(t, mountError(Partition{Number: 3}, c.err), c.code, c.says)
	}
}

// A folder that is there is used by the name that it has, and stays.
func TestParentIsThere(t *testing.T) {
	d, p := build(t, roomy())
	onMounted(t, d, p, func(root string) {
		if err := os.Mkdir(filepath.Join(root, "PROGRAMDATA"), 0o755); err != nil {
			t.Fatal(err)
		}
	})
	got, err := Inject(t.Context(), d, injection(p), ignore)
	if err != nil || got.Undo.MadeParent {
		t.Fatalf("%+v, %v", got.Undo, err)
	}
	if list, err := volume(t, d, p).NTFS.ReadDir(`\ProgramData`); err != nil || len(list) != 1 || list[0].Name != "imageport-firstboot" {
		t.Errorf("%+v, %v", list, err)
	}
	if _, err := Clean(t.Context(), d, p, got.Undo, ignore); err != nil {
		t.Fatal(err)
	}
	if list, err := volume(t, d, p).NTFS.ReadDir(`\ProgramData`); err != nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
}

// Where the folder is a link, nothing is put into what it leads to.
func TestParentIsALink(t *testing.T) {
	d, p := build(t, roomy())
	onMounted(t, d, p, func(root string) {
		if err := errors.Join(os.Mkdir(filepath.Join(root, "elsewhere"), 0o755), os.Mkdir(filepath.Join(root, "ProgramData"), 0o755)); err != nil {
			t.Fatal(err)
		}
		// IO_REPARSE_TAG_MOUNT_POINT ([MS-FSCC] 2.1.2.5): what mklink /J makes.
		target := utf16Text(`\??\C:\elsewhere`)[2:]
		data := append([]byte{0, 0, byte(len(target)), 0, byte(len(target) + 2), 0, 0, 0}, target...)
		data = append(data, 0, 0, 0, 0)
		reparse := append([]byte{0x03, 0, 0, 0xa0, byte(len(data)), 0, 0, 0}, data...)
		if err := unix.Setxattr(filepath.Join(root, "ProgramData"), "system.ntfs_reparse_data", reparse, 0); err != nil {
			t.Fatal(err)
		}
	})
	_, err := Inject(t.Context(), d, injection(p), ignore)
	wantCode(t, err, job.FileNotEditableInPlace, "0xa0000003")
}

// TestUndoIsSmall: it goes into a workflow's history.
func TestUndoIsSmall(t *testing.T) {
	undo := Undo{Current: "ControlSet001", MadeParent: true}
	for i := range maxSets {
		n := ^uint32(0)
		undo.Sets = append(undo.Sets, SetUndo{fmt.Sprintf("ControlSet%03d", i), &n, true})
	}
	if b, err := json.Marshal(undo); err != nil || len(b) >= 8<<10 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	d, p := build(t, roomy())
	edit(t, d, p, func(h *hive.Hive) error {
		var errs []error
		for i := range maxSets {
			errs = append(errs, h.CreateKey([]string{fmt.Sprintf("ControlSet%03d", i+100)}, time.Unix(1_600_000_000, 0)))
		}
		return errors.Join(errs...)
	})
	_, err := Inject(t.Context(), d, injection(p), ignore)
	wantCode(t, err, job.HiveCorrupt, "control sets")
}

// TestCutOff: a hive that was being written says so.
func TestCutOff(t *testing.T) {
	d, p := build(t, roomy())
	v := volume(t, d, p)
	h, err := v.OpenHive(offline.PathSystem)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.SetValue([]string{"Select"}, hive.DWORD("Failed", 1)); err != nil {
		t.Fatal(err)
	}
	n, err := sealed(v, offline.PathSystem, h)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "SYSTEM")
	if err := os.WriteFile(path, n.stored, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.begin(f); err != nil {
		t.Fatal(err)
	}
	state := func() *hive.Hive {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		read, err := hive.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		return read
	}
	if !state().Dirty() {
		t.Error("a hive that is being written is clean")
	}
	if err := errors.Join(n.writePages(f), f.Close()); err != nil {
		t.Fatal(err)
	}
	if read := state(); read.Dirty() || number(t, read, "Failed", "Select") != 1 {
		t.Error("a hive that was written is not as it should be")
	}
}
