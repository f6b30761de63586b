package pvstarget

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"imageport/engine/disk"
	"imageport/engine/windows/hive"
	"imageport/engine/windows/offline"
	"imageport/job"
	"imageport/testkit/disktest"
	"imageport/testkit/winimage"
	"imageport/testkit/winimage/windisk"
)

// small is a disk with one partition, for quick tests.
func small() winimage.Spec {
	return winimage.Spec{SizeBytes: 128 * mib, BootFiles: winimage.SmallBootFiles}
}

// A Windows on MBR and GPT disks, with what its registry says and its volume has.
func TestInspect(t *testing.T) {
	for name, change := range map[string]func(s *winimage.Spec){
		"MBR":                 func(*winimage.Spec) {},
		"GPT":                 func(s *winimage.Spec) { s.AlreadyGPT = true },
		"sectors of 4 KiB":    func(s *winimage.Spec) { s.SectorSize = 4096 },
		"hive with its logs":  func(s *winimage.Spec) { s.DirtySystemHiveWithLogs = true },
		"behind System":       func(s *winimage.Spec) { s.SizeBytes, s.SystemReservedMiB = 256*mib, 50 },
		"Windows 11, and x86": func(s *winimage.Spec) { s.Build, s.Windows32Bit = "22631", true },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spec := small()
			spec.PVSVersion = "7.33.0.100"
			change(&spec)
			img, d := windisk.Cached(t, spec)
			f, err := InspectFor(t.Context(), d, Options{Files: []string{`C:\Windows\System32\hal.dll`, `%SystemRoot%\gone`, `C:\Windows`}})
			if err != nil {
				t.Fatal(err)
			}
			c, _ := img.Partition(winimage.Windows)
			if f.Partition != c.Number || f.Offset != c.StartBytes || f.SizeBytes != c.SizeBytes {
				t.Errorf("%+v is not %+v", f, c)
			}
			wantArch, wantProduct := "x64", "Windows 10 Enterprise"
			if spec.Windows32Bit {
				wantArch, wantProduct = "x86", "Windows 11 Enterprise"
			}
			if f.Arch != wantArch || f.Product != wantProduct || strconv.Itoa(f.Build) != img.Spec.Build {
				t.Errorf("%+v", f)
			}
			if f.Version != "7.33.0.100" || !strings.Contains(f.Broken, `no SOFTWARE\Classes\Installer\Products`) {
				t.Errorf("%+v", f)
			}
			if len(f.Services) != 3 || f.Services[0] != (Service{Name: "bnistack", File: `\Windows\System32\drivers\bnistack6.sys`}) {
				t.Errorf("services %+v", f.Services)
			}
			if !slices.Equal(f.Files, []string{`C:\Windows\System32\hal.dll`}) {
				t.Errorf("files %q", f.Files)
			}
			if want := freeByTools(t, d, c); f.FreeBytes != want {
				t.Errorf("%d bytes are free, ntfs-3g's tools say %d", f.FreeBytes, want)
			}
			plain, err := Inspect(t.Context(), d)
			if err != nil || plain.Version != f.Version || len(plain.Files) > 0 || d.DirtyBytes() > 0 {
				t.Errorf("%+v, %v; %d bytes were written", plain, err, d.DirtyBytes())
			}
		})
	}
}

// freeByTools asks ntfsinfo, which is not ours, what is free on a volume.
func freeByTools(t *testing.T, d disk.Disk, p winimage.Partition) int64 {
	t.Helper()
	path := filepath.Join(t.TempDir(), "volume")
	windisk.Export(t, path, d, p.StartBytes, p.SizeBytes)
	out, err := exec.CommandContext(t.Context(), "ntfsinfo", "-m", path).CombinedOutput()
	if err != nil {
		t.Fatalf("ntfsinfo: %v\n%s", err, out)
	}
	number := func(name string) int64 {
		for line := range strings.Lines(string(out)) {
			if rest, ok := strings.CutPrefix(strings.TrimSpace(line), name+": "); ok {
				n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				return n
			}
		}
		t.Fatalf("ntfsinfo does not tell %s:\n%s", name, out)
		return 0
	}
	return number("Free Clusters") * number("Cluster Size")
}

// What keeps an image from being read is refused, with what to do.
func TestRefused(t *testing.T) {
	for _, c := range []struct {
		name    string
		spec    func(s *winimage.Spec)
		want    job.Code
		message string
	}{
		{"BitLocker", func(s *winimage.Spec) { s.BitLocker = true }, job.BitLocker, "partition 1"},
		{"dirty NTFS", func(s *winimage.Spec) { s.DirtyNTFS = true }, job.NTFSDirty, "partition 1"},
		{"damaged NTFS", func(s *winimage.Spec) { s.CorruptNTFS = true }, job.NTFSCorrupt, "partition 1"},
		{"hibernated", func(s *winimage.Spec) { s.Hibernated = true }, job.Hibernated, "partition 1"},
		{"no Windows", func(s *winimage.Spec) { s.NoWindows = true }, job.NoWindows, "SYSTEM"},
		{"no table", func(s *winimage.Spec) { s.NoMBR = true }, job.NoWindows, "no partition table"},
		{"two of them", func(s *winimage.Spec) {
			s.SizeBytes, s.Data = 256*mib, []winimage.Data{{Letter: "D", MiB: 64, Windows: true}}
		}, job.MultipleWindows, "partition 1 and partition 2"},
		{"overlapping partitions", func(s *winimage.Spec) {
			s.SizeBytes, s.SystemReservedMiB, s.Overlap = 256*mib, 50, true
		}, job.BadPartitionTable, ""},
		{"dynamic disk", func(s *winimage.Spec) { s.DynamicDisk = true }, job.DynamicDisk, ""},
		{"hive without its logs", func(s *winimage.Spec) { s.DirtySystemHive = true }, job.HiveDirty, "SYSTEM on partition 1"},
		{"hive with bad logs", func(s *winimage.Spec) { s.DirtySystemHiveBadLogs = true }, job.HiveDirty, "SYSTEM on partition 1"},
		{"damaged hive", func(s *winimage.Spec) { s.CorruptSystemHive = true }, job.HiveCorrupt, "SYSTEM on partition 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			spec := small()
			c.spec(&spec)
			_, d := windisk.Cached(t, spec)
			_, err := Inspect(t.Context(), d)
			refused(t, err, c.want, c.message)
		})
	}
}

func refused(t *testing.T, err error, want job.Code, message string) {
	t.Helper()
	e, ok := errors.AsType[*job.Error](err)
	if !ok || e.Code != want || e.Remedy == "" || !strings.Contains(e.Message, message) {
		t.Errorf("%v, want %s with %q", err, want, message)
	}
}

// Damage to SOFTWARE and to the kernel.
func TestDamage(t *testing.T) {
	const version = `Microsoft\Windows NT\CurrentVersion`
	for _, c := range []struct {
		name    string
		path    string
		change  func(b []byte) []byte
		want    job.Code
		message string
	}{
		{"dirty SOFTWARE", offline.PathSoftware, func(b []byte) []byte { b[4]++; return b }, job.HiveDirty, "SOFTWARE on partition 1"},
		{"no hive", offline.PathSoftware, func(b []byte) []byte { clear(b); return b }, job.HiveCorrupt, "SOFTWARE on partition 1"},
		{"a key that is none", offline.PathSoftware, func(b []byte) []byte {
			i := bytes.Index(b, []byte("CurrentVersion"))
			copy(b[i-76:], "xx") // the signature of its node
			return b
		}, job.HiveCorrupt, "SOFTWARE on partition 1"},
		{"no word of the release", offline.PathSoftware, func(b []byte) []byte {
			return bytes.Replace(b, []byte("Windows NT"), []byte("Windows XX"), 1)
		}, job.HiveCorrupt, `not found`},
	} {
		t.Run(c.name, func(t *testing.T) {
			img, d := windisk.Cached(t, small())
			w, _ := img.Partition(winimage.Windows)
			windisk.Replace(t, d, w, c.path, c.change)
			_, err := Inspect(t.Context(), d)
			refused(t, err, c.want, c.message)
		})
	}
	img, d := windisk.Cached(t, small())
	windisk.Edit(t, d, windisk.Windows(t, img), offline.PathSoftware, func(h *hive.Hive) error {
		return h.SetValue([]string{version}, hive.SZ("CurrentBuild", "many"))
	})
	if f, err := Inspect(t.Context(), d); err != nil || f.Build != 0 || len(f.Warnings) != 1 || !strings.Contains(f.Warnings[0], `"many"`) {
		t.Errorf("%+v, %v", f, err)
	}
}

// A BitLocker volume beside Windows is told of.
func TestOtherVolumes(t *testing.T) {
	spec := winimage.Small()
	spec.Data = []winimage.Data{{Letter: "D", MiB: 48, Logical: true}}
	spec.RecoveryLogical, spec.ToLastSector = true, true
	img, d := windisk.Cached(t, spec)
	i := slices.IndexFunc(img.Partitions, func(p winimage.Partition) bool { return p.Letter == "D" })
	if _, err := d.WriteAt([]byte("-FVE-FS-"), img.Partitions[i].StartBytes+3); err != nil {
		t.Fatal(err)
	}
	f, err := Inspect(t.Context(), d)
	if err != nil || len(f.Warnings) != 1 || !strings.Contains(f.Warnings[0], "partition 5 is encrypted") {
		t.Errorf("%+v, %v", f, err)
	}
}

func TestMachine(t *testing.T) {
	program := func(at uint32, machine uint16) []byte {
		b := make([]byte, 512)
		copy(b, "MZ")
		binary.LittleEndian.PutUint32(b[0x3c:], at)
		if int(at)+6 <= len(b) {
			copy(b[at:], "PE\x00\x00")
			binary.LittleEndian.PutUint16(b[at+4:], machine)
		}
		return b
	}
	for name, c := range map[string]struct {
		b    []byte
		want string
	}{
		"x64":               {program(0x80, 0x8664), "x64"},
		"x86":               {program(0x80, 0x14c), "x86"},
		"arm64":             {program(0x80, 0xaa64), "arm64"},
		"Itanium":           {program(0x80, 0x200), "0x0200"},
		"header at the end": {program(512-6, 0x8664), "x64"},
		"header behind it":  {program(512-5, 0x8664), ""},
		"header far off":    {program(0xffffffff, 0x8664), ""},
		"empty":             {nil, ""},
		"of 63 bytes":       {program(0x80, 0x8664)[:63], ""},
		"no DOS header":     {append([]byte("ZM"), program(0x80, 0x8664)[2:]...), ""},
		"no PE header":      {make([]byte, 512), ""},
	} {
		if got, err := readMachine(bytes.NewReader(c.b)); got != c.want || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// A lost share is no fault of the image's: its error stays what it is. So does the
// end of the context.
func TestDiskErrors(t *testing.T) {
	_, d := windisk.Cached(t, small())
	disktest.Losing(t, d, func(d disk.Disk) error {
		_, err := Inspect(t.Context(), d)
		return err
	}, func(err error, n, reads int) {
		if !errors.Is(err, disktest.ErrLost) || job.CodeOf(err) != "" {
			t.Errorf("read %d of %d: %v", n, reads, err)
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Inspect(ctx, d); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}
