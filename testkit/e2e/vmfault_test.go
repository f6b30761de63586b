package e2e

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/log"

	"imageport/job"
	"imageport/job/seed"
	"imageport/platforms"
	"imageport/platforms/qemu"
	"imageport/testkit/cevm"
	"imageport/testkit/devserver"
	"imageport/testkit/winimage"
	"imageport/wallet"
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
			cfg := qemu.Config{StateDir: r.State(), Image: image, Accel: "tcg", Firmware: "bios", MemoryMB: 320, CPUs: 1}
			if tc.vm != nil {
				tc.vm(t, &cfg)
			}
			driver, err := qemu.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			r.startVMs(spoiler{driver, tc.spoil})
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

// startVMs runs a worker inside of the test with that platform.
func (r rig) startVMs(d platforms.Driver) {
	r.t.Helper()
	c, err := client.Dial(client.Options{HostPort: r.Temporal.Address, Logger: log.NewStructuredLogger(slog.New(slog.DiscardHandler))})
	if err != nil {
		r.t.Fatal(err)
	}
	w, err := worker.New(c, worker.Config{
		ResourceLocation: r.ResourceLocation,
		Namespace:        devserver.Namespace,
		Wallet:           wallet.Dir(r.Dir + "/wallet"),
		Gateway:          worker.Gateway{Listen: r.Gateway(), Address: "10.0.2.2:1", KeyFile: filepath.Join(r.Dir, "gateway.key")},
		Log:              slog.New(slog.DiscardHandler),
		EnrolWithin:      time.Minute,
		CELifetime:       15 * time.Minute,
		StateDir:         r.State(),
		Platforms:        platforms.Registry{job.PlatformQEMU: d},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	r.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Errorf("worker: %v", err)
		}
		c.Close()
	})
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
