package nativeboot

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"imageport/engine/disk"
	"imageport/engine/disk/overlay"
	"imageport/engine/windows/hive"
	"imageport/engine/windows/offline"
	"imageport/job"
	"imageport/testkit/disktest"
	"imageport/testkit/winimage"
	"imageport/testkit/winimage/windisk"
)

// What only Windows or its owner can put right is refused, with what to do.
func TestRefused(t *testing.T) {
	for _, c := range []struct {
		name     string
		platform string
		spec     func(s *winimage.Spec)
		change   func(e *editor)
		want     job.Code
		message  []string
	}{
		{"hibernated", "", func(s *winimage.Spec) { s.Hibernated = true }, nil, job.Hibernated, []string{"partition 1"}},
		{"dirty NTFS", "", func(s *winimage.Spec) { s.DirtyNTFS = true }, nil, job.NTFSDirty, []string{"partition 1"}},
		{"hive without its logs", "", func(s *winimage.Spec) { s.DirtySystemHive = true }, nil, job.HiveDirty, []string{"SYSTEM"}},
		{"hive with bad logs", "", func(s *winimage.Spec) { s.DirtySystemHiveBadLogs = true }, nil, job.HiveDirty, []string{"SYSTEM"}},
		{"damaged hive", "", func(s *winimage.Spec) { s.CorruptSystemHive = true }, nil, job.HiveCorrupt, []string{"SYSTEM"}},
		{"no control sets", "", nil, func(e *editor) { e.drop("ControlSet001") }, job.HiveCorrupt, []string{"control sets"}},
		{"overlapping partitions", "", func(s *winimage.Spec) {
			s.SizeBytes, s.SystemReservedMiB, s.Overlap = 256*mib, 50, true
		}, nil, job.BadPartitionTable, nil},
		{"foreign platform", job.PlatformAzure, nil, nil, job.NativeDriversMissing, []string{"Azure", "no service vmbus"}},
		{"half of the drivers", job.PlatformAzure, nil, func(e *editor) { e.driver("ControlSet001", "vmbus", 0, false) }, job.NativeDriversMissing, []string{"no service storvsc"}},
		{"a driver for some machines only", job.PlatformGCP, nil, nil, job.NativeDriversMissing, []string{"no service vioscsi", "nvme"}},
		{"no driver at all", "", nil, func(e *editor) {
			for _, name := range []string{"storahci", "stornvme", "LSI_SAS"} {
				e.drop(`ControlSet001\Services\` + name)
			}
			e.set(`ControlSet001\Services\pvscsi`, hive.ExpandSZ("ImagePath", `\SystemRoot\gone.sys`))
		}, job.NativeDriversMissing, []string{`the service pvscsi has no \Windows\gone.sys`, "no service LSI_SAS", "no service storahci", "no service msahci", "no service stornvme", "no service LSI_SCSI"}},
		{"drivers of another platform's name", "HyperSomething", nil, nil, job.UnknownPlatform, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			spec := small()
			if c.spec != nil {
				c.spec(&spec)
			}
			img, d := windisk.Cached(t, spec)
			if c.change != nil {
				edit(t, img, d, offline.PathSystem, c.change)
			}
			if c.platform == "" {
				c.platform = job.PlatformVSphere
			}
			dirty := d.DirtyBytes()
			_, err := New(t.Context(), d, Target{Platform: c.platform, SizeBytes: d.Size()})
			e, ok := errors.AsType[*job.Error](err)
			if !ok || e.Code != c.want || e.Remedy == "" {
				t.Fatalf("%v, want %s", err, c.want)
			}
			for _, part := range c.message {
				if !strings.Contains(e.Message, part) {
					t.Errorf("%q does not tell of %q", e.Message, part)
				}
			}
			if d.DirtyBytes() != dirty {
				t.Error("the image was written to")
			}
		})
	}
}

// What is not a Windows that can be looked into is copied as it is.
func TestLeftAlone(t *testing.T) {
	for name, c := range map[string]struct {
		spec    func(s *winimage.Spec)
		warning string
	}{
		"no Windows":   {func(s *winimage.Spec) { s.NoWindows = true }, "no Windows"},
		"no table":     {func(s *winimage.Spec) { s.NoMBR = true }, "no partition table"},
		"BitLocker":    {func(s *winimage.Spec) { s.BitLocker = true }, "partition 1 is encrypted with BitLocker"},
		"damaged NTFS": {func(s *winimage.Spec) { s.CorruptNTFS = true }, "partition 1 was not looked at"},
		"dynamic disk": {func(s *winimage.Spec) { s.DynamicDisk = true }, "dynamic"},
		"FAT, and no NTFS": {func(s *winimage.Spec) {
			s.NoWindows, s.OEM = true, []winimage.OEM{{Type: 0xde, MiB: 16, Content: winimage.FAT}}
		}, "no Windows"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := small()
			c.spec(&spec)
			_, d := windisk.Cached(t, spec)
			p := plan(t, d, job.PlatformVSphere, d.Size()+mib)
			if len(p.Writes) > 0 || p.Firmware != job.BIOS || p.Product != "" || len(p.Controllers) > 0 {
				t.Errorf("%+v", p)
			}
			if !strings.Contains(strings.Join(p.Warnings, "\n"), c.warning) {
				t.Errorf("warnings %q", p.Warnings)
			}
		})
	}
}

// A Windows is found behind logical partitions, and a BitLocker volume beside it
// is told of.
func TestOtherPartitions(t *testing.T) {
	spec := winimage.Small()
	spec.Data = []winimage.Data{{Letter: "D", MiB: 48, Logical: true}}
	spec.RecoveryLogical, spec.ToLastSector = true, true
	img, d := windisk.Cached(t, spec)
	i := slices.IndexFunc(img.Partitions, func(p winimage.Partition) bool { return p.Letter == "D" })
	if _, err := d.WriteAt([]byte("-FVE-FS-"), img.Partitions[i].StartBytes+3); err != nil {
		t.Fatal(err)
	}
	p := plan(t, d, job.PlatformVSphere, d.Size())
	if len(p.FixUps) != 4 || len(p.Warnings) != 1 || !strings.Contains(p.Warnings[0], "partition 5 is encrypted") {
		t.Errorf("%+v", p)
	}
}

func TestTarget(t *testing.T) {
	_, d := windisk.Cached(t, small())
	for _, size := range []int64{0, d.Size() - 512, d.Size() + 1} {
		if _, err := New(t.Context(), d, Target{Platform: job.PlatformVSphere, SizeBytes: size}); job.CodeOf(err) != job.Internal {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := New(ctx, d, Target{Platform: job.PlatformVSphere, SizeBytes: d.Size()}); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

// A lost share is no fault of the image's: its error stays what it is.
func TestDiskErrors(t *testing.T) {
	_, d := windisk.Cached(t, small())
	disktest.Losing(t, d, func(d disk.Disk) error {
		_, err := New(t.Context(), d, Target{Platform: job.PlatformVSphere, SizeBytes: d.Size()})
		return err
	}, func(err error, n, reads int) {
		if !errors.Is(err, disktest.ErrLost) || job.CodeOf(err) != "" {
			t.Errorf("read %d of %d: %v", n, reads, err)
		}
	})
}

// Nothing is written outside of the partition that is meant.
func TestPart(t *testing.T) {
	_, d := windisk.Cached(t, small())
	w := part{overlay.New(d), mib, 8192}
	for _, c := range []struct{ off, n int64 }{{-1, 1}, {8192, 1}, {4096, 4097}, {1 << 62, 1}} {
		if _, err := w.WriteAt(make([]byte, c.n), c.off); job.CodeOf(err) != job.Internal {
			t.Errorf("%d bytes at %d: %v", c.n, c.off, err)
		}
	}
	if _, err := w.ReadAt(make([]byte, 2), 8191); err != io.EOF {
		t.Errorf("read behind the end: %v", err)
	}
	if w.disk.DirtyBytes() != 0 {
		t.Error("something was written")
	}
}

func TestLonger(t *testing.T) {
	_, d := windisk.Cached(t, small())
	l := longer{d, d.Size() + 1024}
	b := make([]byte, 2048)
	if _, err := d.WriteAt([]byte{7}, d.Size()-1); err != nil {
		t.Fatal(err)
	}
	for i := range b {
		b[i] = 9
	}
	n, err := l.ReadAt(b, d.Size()-512)
	if n != 1536 || err != io.EOF || b[511] != 7 || b[512] != 0 || b[1535] != 0 || b[1536] != 9 {
		t.Errorf("%d, %v", n, err)
	}
	if n, err := l.ReadAt(b, l.Size()); n != 0 || err != io.EOF {
		t.Errorf("behind the end: %d, %v", n, err)
	}
}
