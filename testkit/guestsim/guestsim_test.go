package guestsim_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"imageport/engine/inject"
	"imageport/firstboot/plan"
	"imageport/job"
	"imageport/testkit/guestsim"
	"imageport/testkit/ovmf"
	"imageport/testkit/targetdevice"
	"imageport/testkit/winimage"
)

// run runs a machine that is expected to end by itself.
func run(t *testing.T, d vdisk, opt guestsim.Options) guestsim.Result {
	t.Helper()
	if opt.MaxBoots == 0 {
		opt.MaxBoots = 6
	}
	if opt.Patience == 0 {
		opt.Patience = 2 * time.Minute
	}
	opt.Log = t.Output()
	result, err := guestsim.Run(t.Context(), d.Path, opt)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// checkInstalled checks that a version is there completely, and no other one.
func checkInstalled(t *testing.T, root, want string) {
	t.Helper()
	if got := version(t, root); got != want {
		t.Errorf("installed is %q, want %q", got, want)
	}
	system, software := readHive(t, root, "SYSTEM"), readHive(t, root, "SOFTWARE")
	for name, start := range map[string]uint32{"bnistack": 0, "CVhdMp": 0, "CFsDep2": 0, "BNDevice": 2} {
		k, err := system.Lookup("ControlSet001", "Services", name)
		if err != nil {
			t.Error(err)
			continue
		}
		v, _ := k.Value("Start")
		if n, ok := v.Uint32(); !ok || n != start {
			t.Errorf("%s starts as %d, want %d", name, n, start)
		}
	}
	products, err := software.SubkeyNames(`Microsoft\Windows\CurrentVersion\Installer\UserData\S-1-5-18\Products`)
	if err != nil || len(products) != 1 {
		t.Errorf("the Windows Installer knows %q (%v)", products, err)
	}
	k, err := software.Lookup("Citrix", "ProvisioningServices")
	if err != nil {
		t.Error(err)
	} else if v, _ := k.Value("ProductVersion"); v.String() != want {
		t.Errorf("the product says that it is %q", v.String())
	}
	for _, file := range []string{
		"Program Files/Citrix/Provisioning Services/BNDevice.exe", "Windows/System32/drivers/bnistack6.sys",
		"Windows/System32/drivers/CVhdMp.sys", "Windows/System32/drivers/CFsDep2.sys",
	} {
		content, err := os.ReadFile(filepath.Join(root, file))
		if err != nil || !bytes.Contains(content, utf16Bytes(want)) {
			t.Errorf("%s is not of version %s (%d bytes, %v)", file, want, len(content), err)
		}
	}
}

func utf16Bytes(s string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = append(b, byte(u), byte(u>>8))
	}
	return b
}

// What is installed is there, and the disk starts as it did before.
func TestTargetImages(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		image func(testing.TB, string) winimage.Image
		bios  bool
	}{
		{"BIOS", guestsim.TargetImage, true},
		{"UEFI", guestsim.UEFITargetImage, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			image := c.image(t, targetdevice.Version733)
			windows, _ := image.Partition(winimage.Windows)
			d := vdisk{image, windows}
			d.probe(t)
			d.look(t, func(root string) { checkInstalled(t, root, targetdevice.Version733) })
			report, err := ovmf.Boot(t.Context(), ovmf.Options{Disk: image.Path, BIOS: c.bios})
			if err != nil || !report.Passed {
				t.Errorf("it does not start: %v\n%s", err, report)
			}
		})
	}
}

// A registry that is only complete with its transaction logs is completed, as
// Windows does it.
func TestTransactionLogs(t *testing.T) {
	t.Parallel()
	spec := winimage.Small()
	spec.DirtySystemHiveWithLogs = true
	image, err := guestsim.MakeTargetImage(t.Context(), spec, targetdevice.Version733, job.BIOS)
	if err != nil {
		t.Fatal(err)
	}
	windows, _ := image.Partition(winimage.Windows)
	vdisk{image, windows}.look(t, func(root string) {
		checkInstalled(t, root, targetdevice.Version733)
		k, err := readHive(t, root, "SYSTEM").Lookup("ControlSet001", "Control", "ComputerName", "ComputerName")
		if err != nil {
			t.Fatal(err)
		}
		// That is in the second log only.
		if v, _ := k.Value("ComputerName"); v.String() != "PVS-GOLD" {
			t.Errorf("the computer's name is %q", v.String())
		}
		for _, log := range []string{"SYSTEM.LOG1", "SYSTEM.LOG2"} {
			if info, err := os.Stat(filepath.Join(root, "Windows/System32/config", log)); err != nil || info.Size() != 0 {
				t.Errorf("%s: %v, %v", log, info, err)
			}
		}
	})
}

// The whole way, from the disk with one version to the disk with the other one.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	d := newDisk(t)
	p, file := upgrade(t, targetdevice.Build(t, targetdevice.Version740, targetdevice.Works))
	injected := d.inject(t, p, file)
	result := run(t, d, guestsim.Options{})
	if len(result.Boots) != 2 || result.Boots[0].Action != guestsim.Reboot || result.Last() != guestsim.PowerOff {
		t.Errorf("%+v", result.Boots)
	}
	o := d.outcome(t)
	if o.State == nil || o.State.Status != plan.Succeeded || !o.State.Disarmed || o.State.Boots != 2 {
		t.Errorf("state %+v\n%s", o.State, o.Log)
	}
	if len(o.Logs) != 1 || !strings.Contains(o.Logs[0].Tail, "INSTALL. Return value 1") {
		t.Errorf("logs %q", o.Logs)
	}
	d.probe(t)
	f := d.open(t)
	defer f.Close()
	if _, err := inject.Clean(t.Context(), f, d.partition(), injected.Undo, func(job.Progress) {}); err != nil {
		t.Fatal(err)
	}
	if traces, err := inject.Traces(t.Context(), f, d.partition()); err != nil || len(traces) > 0 {
		t.Errorf("traces %q, %v", traces, err)
	}
	d.look(t, func(root string) {
		checkInstalled(t, root, targetdevice.Version740)
		// What else was in the Windows still is.
		system := readHive(t, root, "SYSTEM")
		names, err := system.SubkeyNames("ControlSet001", "Services")
		if err != nil || len(names) < 400 {
			t.Errorf("%d services, %v", len(names), err)
		}
		for _, name := range names {
			if strings.EqualFold(name, "PlugPlay") || strings.HasPrefix(strings.ToLower(name), "wine") {
				t.Errorf("Wine's service %s has come into the Windows", name)
			}
		}
		if k, err := system.Lookup("ControlSet001", "Services", "Driver001"); err != nil {
			t.Error(err)
		} else if v, _ := k.Value("Start"); len(v.Data) == 0 || v.Data[0] != 2 {
			t.Errorf("a driver that was not touched starts as % x", v.Data)
		}
	})
}

// Installers that do not do what they should, and what the runner makes of them.
func TestBadInstallers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind    targetdevice.Kind
		version string
		status  plan.Status
		failure plan.Failure
		timeout int
	}{
		{targetdevice.Hangs, targetdevice.Version733, plan.Failed, plan.Failure{Kind: plan.TimedOut}, 3},
		{targetdevice.Fails, targetdevice.Version733, plan.Failed, plan.Failure{Kind: plan.ExitCode, ExitCode: 1603}, 60},
		{targetdevice.Crashes, targetdevice.Version733, plan.Failed, plan.Failure{Kind: plan.ExitCode}, 60},
		{targetdevice.Lies, targetdevice.Version733, "", plan.Failure{}, 60},
		{targetdevice.Reboots, targetdevice.Version740, plan.Succeeded, plan.Failure{}, 60},
	} {
		t.Run(string(c.kind), func(t *testing.T) {
			t.Parallel()
			d := newDisk(t)
			p, file := upgrade(t, targetdevice.Build(t, targetdevice.Version740, c.kind))
			p.Steps[0].TimeoutSeconds = c.timeout
			d.inject(t, p, file)
			if result := run(t, d, guestsim.Options{}); result.Last() != guestsim.PowerOff {
				t.Errorf("%+v", result.Boots)
			}
			o := d.outcome(t)
			switch {
			case o.State == nil:
				t.Fatalf("no state: %s", o.Torn)
			case c.status != "" && o.State.Status != c.status:
				t.Errorf("status %s, failure %+v\n%s", o.State.Status, o.State.Failure, o.Log)
			case c.status == plan.Failed && (o.State.Failure == nil || o.State.Failure.Kind != c.failure.Kind ||
				c.failure.ExitCode != 0 && o.State.Failure.ExitCode != c.failure.ExitCode):
				t.Errorf("failure %+v\n%s", o.State.Failure, o.Log)
			}
			d.look(t, func(root string) {
				if got := version(t, root); got != c.version {
					t.Errorf("installed is %q, want %q", got, c.version)
				}
				_, err := readHive(t, root, "SYSTEM").Lookup("ControlSet001", "Services", "BNDevice")
				if gone := err != nil; gone != (c.kind == targetdevice.Crashes) {
					t.Errorf("service BNDevice: %v", err)
				}
			})
		})
	}
}

// A machine that loses power for a moment, with the registry and without it.
func TestPowerLoss(t *testing.T) {
	t.Parallel()
	for name, opt := range map[string]guestsim.Options{
		"registry lost": {PowerLoss: guestsim.Loss{StateWrites: 2, Restart: true}},
		"registry kept": {PowerLoss: guestsim.Loss{StateWrites: 3, Restart: true}, KeepRegistry: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDisk(t)
			p, file := upgrade(t, targetdevice.Build(t, targetdevice.Version740, targetdevice.Works))
			d.inject(t, p, file)
			result := run(t, d, opt)
			if result.Boots[0].Action != guestsim.PowerLoss || result.Last() != guestsim.PowerOff {
				t.Errorf("%+v", result.Boots)
			}
			o := d.outcome(t)
			if o.State == nil || o.State.Status == plan.Running || o.State.Boots != len(result.Boots) {
				t.Errorf("%d starts, state %+v, %s\n%s", len(result.Boots), o.State, o.Torn, o.Log)
			}
			d.probe(t)
			t.Log(o.State.Status)
		})
	}
}

// Machines that nothing switches off.
func TestStillOn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		armed  bool
		opt    guestsim.Options
		boots  int
		reboot bool
	}{
		{"nothing armed", false, guestsim.Options{Patience: 3 * time.Second}, 1, false},
		{"services blocked", true, guestsim.Options{Patience: 3 * time.Second, Defect: guestsim.ServicesBlocked}, 1, false},
		{"stop error, restarts", false, guestsim.Options{Patience: 3 * time.Second, Defect: guestsim.BlueScreen, MaxBoots: 3}, 3, true},
		{"stop error, stays", true, guestsim.Options{Patience: time.Second, Defect: guestsim.BlueScreen, MaxBoots: 3}, 1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := newDisk(t)
			if c.armed {
				p, file := upgrade(t, targetdevice.Build(t, targetdevice.Version740, targetdevice.Works))
				d.inject(t, p, file)
			}
			result, err := guestsim.Run(t.Context(), d.Path, c.opt)
			if errors.Is(err, guestsim.ErrTooManyBoots) != c.reboot || err != nil && !c.reboot {
				t.Fatal(err)
			}
			last := guestsim.StillOn
			if c.reboot {
				last = guestsim.Reboot
			}
			if len(result.Boots) != c.boots || result.Last() != last {
				t.Errorf("%+v", result.Boots)
			}
			if c.armed {
				if o := d.outcome(t); o.State != nil {
					t.Errorf("the runner was started: %+v", o.State)
				}
			}
		})
	}
}

func TestDoesNotStart(t *testing.T) {
	t.Parallel()
	noWindows := winimage.Small()
	noWindows.NoWindows = true
	image, err := winimage.Cached(t.Context(), noWindows)
	if err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{image.Path: "has a Windows", empty: "master boot record", empty + "x": "no such file"} {
		if _, err := guestsim.Run(t.Context(), path, guestsim.Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	d := newDisk(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := guestsim.Run(ctx, d.Path, guestsim.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// probe has ntfs-3g judge the volume.
func (d vdisk) probe(t *testing.T) {
	t.Helper()
	volume := d.copyVolume(t)
	if out, err := exec.Command("ntfs-3g.probe", "--readwrite", volume).CombinedOutput(); err != nil {
		t.Errorf("ntfs-3g.probe: %v\n%s", err, out)
	}
}
