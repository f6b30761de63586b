package kmod

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"imageport/engine/blockdev/uevent"
)

// An index like that of the appliance, in little.
const index = `virtio_scsi		virtio:d00000008v*
virtio_net	net_failover	virtio:d00000001v*
net_failover	failover	
failover		
vmw_pvscsi		pci:v000015ADd000007C0sv*sd*bc*sc*i*
sr-mod	cdrom	scsi:t-0x04* scsi:t-0x05*
cdrom		
isofs		fs-iso9660 iso9660
qemu_fw_cfg		acpi*:QEMU0002:* of:N*T*Cqemu,fw-cfg-mmio
hv_vmbus		acpi*:VMBUS:* acpi*:MSFT1000:*
mlx5_core		pci:v000015B3d0000101[8-9a]sv*sd*bc*sc*i* pci:v000015B3d0000A2D6sv*sd*bc*sc*i*
`

// fakeKernel takes modules, and is slow, so that races show.
type fakeKernel struct {
	mu    sync.Mutex
	took  []string
	fails map[string]error
	after func(name string)
}

func (k *fakeKernel) load(path string) error {
	name := strings.TrimSuffix(filepath.Base(path), ".ko")
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.fails[name]; err != nil {
		return err
	}
	k.took = append(k.took, name)
	if k.after != nil {
		k.after(name)
	}
	return nil
}

func loader(t *testing.T, text string, k *fakeKernel) *Loader {
	t.Helper()
	x, err := ReadIndex(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return newLoader(x, "/lib/modules", k.load)
}

func TestMatch(t *testing.T) {
	l := loader(t, index, nil)
	for alias, want := range map[string][]string{
		"virtio:d00000008v00001AF4":                             {"virtio_scsi"},
		"pci:v000015ADd000007C0sv000015ADsd000007C0bc01sc07i00": {"vmw_pvscsi"},
		"pci:v000015B3d00001019sv0sd0bc02sc00i00":               {"mlx5_core"},
		"pci:v000015B3d0000101Bsv0sd0bc02sc00i00":               nil,
		"scsi:t-0x05":         {"sr_mod"},
		"scsi:t-0x00":         nil,
		"acpi:QEMU0002:":      {"qemu_fw_cfg"},
		"acpi:MSFT1000:VID:x": {"hv_vmbus"},
		"fs-iso9660":          {"isofs"},
		"fs_iso9660":          {"isofs"},
		"isofs":               {"isofs"},
		"sr-mod":              {"sr_mod"},
		"sr_mod":              {"sr_mod"},
		"net-pf-10":           nil,
		"":                    nil,
	} {
		if got := l.Index().Match(alias); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, want %v", alias, got, want)
		}
	}
}

func TestLoad(t *testing.T) {
	k := &fakeKernel{fails: map[string]error{"cdrom": unix.EKEYREJECTED, "hv_vmbus": unix.ENODEV}}
	l := loader(t, index, k)
	for range 2 {
		if err := l.LoadAlias("virtio:d00000001v00001AF4"); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"failover", "net_failover", "virtio_net"}; !reflect.DeepEqual(k.took, want) {
		t.Errorf("loaded %v, want %v", k.took, want)
	}
	for range 2 {
		if err := l.Load("sr-mod"); !errors.Is(err, unix.EKEYREJECTED) || !strings.Contains(err.Error(), "sr_mod needs load module cdrom: ") {
			t.Errorf("a dependency is refused: %v", err)
		}
	}
	if err := l.LoadAlias("acpi:VMBUS:"); !Absent(err) {
		t.Errorf("without the hardware: %v", err)
	}
	if err := l.Load("ext4"); !errors.Is(err, ErrUnknown) {
		t.Errorf("not there: %v", err)
	}
	if err := l.LoadAlias("fs-ext4"); !errors.Is(err, ErrUnknown) {
		t.Errorf("not there: %v", err)
	}
	if got := l.Loaded(); !reflect.DeepEqual(got, k.took) {
		t.Errorf("%v are loaded, not %v", got, k.took)
	}
}

func TestLoadInACircle(t *testing.T) {
	k := &fakeKernel{}
	l := loader(t, "a\tb\t\nb\ta\t\nc\ta,b\t\n", k)
	if err := l.Load("c"); !errors.Is(err, ErrIndex) || len(k.took) != 0 {
		t.Errorf("%v, loaded %v", err, k.took)
	}
}

// Drivers bring devices, and those bring drivers.
func TestColdplugAndFollow(t *testing.T) {
	sys := t.TempDir()
	device := func(name, alias string) {
		dir := filepath.Join(sys, "devices", name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "modalias"), []byte(alias+"\n"), 0o444); err != nil {
			t.Fatal(err)
		}
	}
	device("pci0/a", "virtio:d00000008v00001AF4")
	device("pci0/b", "virtio:d00000008v00001AF4")
	device("acpi/c", "acpi:VMBUS:")
	device("acpi/d", "acpi:QEMU0002:")
	device("pci0/e", "pci:v00008086d00001237sv0sd0bc06sc00i00")
	k := &fakeKernel{fails: map[string]error{"hv_vmbus": unix.ENODEV, "qemu_fw_cfg": unix.EKEYREJECTED}}
	k.after = func(name string) {
		if name == "virtio_scsi" {
			device("pci0/a/host0", "scsi:t-0x05")
		}
	}
	var log bytes.Buffer
	d := &Devices{Loader: loader(t, index, k), Sys: sys, Workers: 4, Log: slog.New(slog.NewTextHandler(&log, nil))}
	if err := d.Coldplug(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := []string{"cdrom", "sr_mod", "virtio_scsi"}; !reflect.DeepEqual(d.Loader.Loaded(), want) {
		t.Errorf("loaded %v, want %v", d.Loader.Loaded(), want)
	}
	if !strings.Contains(log.String(), "qemu_fw_cfg") || strings.Contains(log.String(), "hv_vmbus") {
		t.Errorf("log: %s", log.String())
	}
	events := make(chan uevent.Event, 8)
	events <- uevent.Event{Action: uevent.Remove, Modalias: "pci:v000015ADd000007C0sv0sd0bc01sc07i00"}
	events <- uevent.Event{Action: uevent.Add, Modalias: "virtio:d00000001v00001AF4"}
	close(events)
	d.Follow(t.Context(), events)
	device("late", "pci:v000015ADd000007C0sv0sd0bc01sc07i00")
	events = make(chan uevent.Event, 8)
	events <- uevent.Event{Action: uevent.Lost}
	close(events)
	d.Follow(t.Context(), events)
	if want := []string{"cdrom", "failover", "net_failover", "sr_mod", "virtio_net", "virtio_scsi", "vmw_pvscsi"}; !reflect.DeepEqual(d.Loader.Loaded(), want) {
		t.Errorf("loaded %v, want %v", d.Loader.Loaded(), want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	device("later", "acpi:MSFT1000:")
	if err := d.Coldplug(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestReadIndexRefuses(t *testing.T) {
	for what, text := range map[string]string{
		"line 2: 2 fields":       "a\t\t\nb\tc\n",
		"is no name":             "../../init\t\t\n",
		"a second time":          "a-b\t\t\na_b\t\t\n",
		`a needs "b"`:            "a\tb\t\n",
		"token too long":         "a\t\t" + strings.Repeat("x", maxIndex) + "\n",
		"longer than":            strings.Repeat("#", 10) + strings.Repeat("\n", maxIndex),
		"line 1: 1 fields, want": "\n",
	} {
		if what == "longer than" {
			var b strings.Builder
			for i := 0; b.Len() <= maxIndex; i++ {
				fmt.Fprintf(&b, "m%d\t\t%s\n", i, strings.Repeat("x", 4000))
			}
			text = b.String()
		}
		if _, err := ReadIndex(strings.NewReader(text)); !errors.Is(err, ErrIndex) || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestModprobe(t *testing.T) {
	dir := t.TempDir()
	if err := Modprobe(dir, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no index: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "index"), []byte(index), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := Modprobe(dir, []string{"-q", "--", "fs-ext4"}); !errors.Is(err, ErrUnknown) {
		t.Errorf("unknown: %v", err)
	}
	if err := Modprobe(dir, []string{"-q", "--", "fs-iso9660"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no such file: %v", err)
	}
}

func FuzzMatch(f *testing.F) {
	f.Add("pci:v000015B3d0000101[8-9a]sv*", "pci:v000015B3d00001019sv1")
	f.Add("[!a-]*?", "b-c")
	f.Fuzz(func(t *testing.T, pattern, text string) {
		got := match(pattern, text)
		// path.Match has the same language but for these.
		if strings.ContainsAny(pattern, `/\^!`) || strings.Contains(text, "/") || !ascii(pattern) || !ascii(text) {
			return
		}
		want, err := path.Match(pattern, text)
		if err != nil || strings.Contains(pattern, "[]") || oddRange(pattern) {
			return
		}
		if got != want {
			t.Errorf("%q %q: %v", pattern, text, got)
		}
	})
}

// oddRange reports a hyphen at the edge of a set, which path.Match refuses late.
func oddRange(pattern string) bool {
	return strings.Contains(pattern, "[-") || strings.Contains(pattern, "-]") || strings.Contains(pattern, "--")
}

func ascii(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r > 126 }) < 0
}

func FuzzReadIndex(f *testing.F) {
	f.Add(index, "scsi:t-0x05")
	f.Fuzz(func(t *testing.T, text, alias string) {
		x, err := ReadIndex(strings.NewReader(text))
		if err != nil {
			return
		}
		l := newLoader(x, "", func(string) error { return nil })
		for _, name := range x.Match(alias) {
			if !namePattern.MatchString(name) {
				t.Errorf("%q", name)
			}
			_ = l.Load(name)
		}
	})
}
