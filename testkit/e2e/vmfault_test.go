package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imageport/job"
	"imageport/job/seed"
	"imageport/platforms"
	"imageport/platforms/qemu"
	"imageport/testkit/cevm"
	"imageport/testkit/winimage"
	"imageport/worker"
)

// spoiler is a platform whose CEs get another seed than the worker has written.
type spoiler struct {
	*qemu.Driver
	spoil func(*seed.Seed)
}

func (s spoiler) Create(ctx context.Context, ce platforms.Spec) (platforms.Instance, error) {
	s.spoil(&ce.Seed)
	return s.Driver.Create(ctx, ce)
}

// A virtual machine that cannot do its work says why on its console and is
// gone; the job fails with that cause in time, and nothing is left.
func TestVMFaults(t *testing.T) {
	t.Parallel()
	fine := func(*seed.Seed) {}
	image := cevm.Appliance(t).Raw
	for _, tc := range []struct {
		name  string
		spoil func(*seed.Seed)
		vm    func(t *testing.T, cfg *qemu.Config)
		says  string
	}{
		{"nobody listens", func(s *seed.Seed) { s.Gateway.Address, s.Gateway.Patience = "10.0.2.2:1", 2 }, nil, "the gateway 10.0.2.2:1 cannot be reached"},
		{"clock", fine, func(t *testing.T, cfg *qemu.Config) { cfg.Program = withArguments(t, "-rtc base=2020-01-01") }, "set the clock of the machine"},
		{"corrupt appliance", fine, func(t *testing.T, cfg *qemu.Config) { cfg.Image = damaged(t, image) }, "does not match"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, winimage.Small())
			before := r.files()
			// The smallest machine, with the firmware that is there first.
			cfg := qemu.Config{StateDir: r.State(), Image: image, Accel: "tcg", Firmware: "bios", MemoryMB: 320}
			if tc.vm != nil {
				tc.vm(t, &cfg)
			}
			driver, err := qemu.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			r.startInside(func(cfg *worker.Config) {
				cfg.Platforms = platforms.Registry{job.PlatformQEMU: platforms.Always(spoiler{driver, tc.spoil})}
			})
			id := r.start(r.body(func(b map[string]any) { b["platform"] = job.PlatformQEMU }))
			s := r.wait(id, 4*time.Minute)
			if s.Error == nil || s.Error.Code != job.CENeverCame || !strings.Contains(s.Error.Message, tc.says) {
				t.Errorf("the job ended as %s: %v; want %s with %q", s.State, s.Error, job.CENeverCame, tc.says)
			}
			if after := r.files(); !same(before, after) {
				t.Errorf("the share changed\nbefore %v\nafter  %v", before, after)
			}
			r.noCE()
		})
	}
}

// withArguments makes a QEMU that has some arguments more.
func withArguments(t *testing.T, arguments string) string {
	t.Helper()
	program, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "qemu")
	if err := os.WriteFile(path, fmt.Appendf(nil, "#!/bin/sh\nexec %s \"$@\" %s\n", program, arguments), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// damaged gives a copy of the appliance's disk with a flipped bit in the kernel.
func damaged(t *testing.T, image string) string {
	t.Helper()
	b, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	path := filepath.Join(t.TempDir(), "damaged.raw")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
