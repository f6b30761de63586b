package blockdev_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imageport/engine/blockdev"
)

// attributes are the files of one disk by their names under /sys/block/NAME,
// and "device", where the link of that name leads to under /sys.
type attributes map[string]string

// sysfs makes a machine with those disks, as Linux 6.12 shows them.
func sysfs(t *testing.T, disks map[string]attributes) blockdev.Machine {
	t.Helper()
	m := blockdev.Machine{Sys: filepath.Join(t.TempDir(), "sys"), Dev: "/dev"}
	if err := os.MkdirAll(filepath.Join(m.Sys, "block"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, files := range disks {
		attach(t, m, name, files)
	}
	return m
}

func attach(t *testing.T, m blockdev.Machine, name string, files attributes) {
	t.Helper()
	real := filepath.Join(m.Sys, "devices", name)
	for path, content := range files {
		if path == "device" {
			continue
		}
		if rest, ok := strings.CutPrefix(path, "device/"); ok {
			path = filepath.Join(m.Sys, files["device"], rest)
		} else {
			path = filepath.Join(real, path)
		}
		write(t, path, content)
	}
	if target, ok := files["device"]; ok {
		write(t, filepath.Join(m.Sys, target, "uevent"), "")
		if err := os.Symlink(filepath.Join(m.Sys, target), filepath.Join(real, "device")); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(real, filepath.Join(m.Sys, "block", name)); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// one is a disk of each kind.
var one = map[string]attributes{
	// QEMU scsi-hd on virtio-scsi, serial=target0.
	"sda": {"size": "2097152\n", "ro": "0\n", "queue/logical_block_size": "512\n", "device": "devices/pci0/host2/target2:0:0/2:0:0:0",
		"device/type": "0\n", "device/vpd_pg80": "\x00\x80\x00\x07target0", "device/wwid": "t10.ATA     QEMU HARDDISK                           target0\n"},
	// An Azure data disk at LUN 3.
	"sdb": {"size": "8388608\n", "ro": "1\n", "queue/logical_block_size": "4096\n", "device": "devices/vmbus/host1/target1:0:0/1:0:0:3",
		"device/type": "0\n", "device/wwid": "naa.60022480d7d2c3a1d7d2c3a1d7d2c3a1\n"},
	// vSphere with disk.EnableUUID: the UUID without hyphens.
	"sdc": {"size": "2048", "device": "devices/pci0/host3/target3:0:1/3:0:1:0", "device/type": "0\n",
		"device/vpd_pg80": "\x00\x80\x00\x206000c29a1b2c3d4e5f60718293a4b5c6", "device/wwid": "naa.6000C29a1b2c3d4e5f60718293a4b5c6\n"},
	// A name of type T10.
	"sdd": {"size": "2048", "device": "devices/pci0/host4/target4:0:2/4:0:2:1", "device/type": "0", "device/wwid": "t10.Google  PersistentDisk  ce-output\n"},
	// GCP, as scsi_id reads it there: "0Google  PersistentDisk  ce-data".
	"sdf": {"size": "2048", "device": "devices/pci0/host5/target5:0:2/5:0:2:2", "device/type": "0",
		"device/vpd_pg83": "\x00\x83\x00\x1f" + "\x01\x03\x00\x08\x01\x02\x03\x04\x05\x06\x07\x08" + "\x02\x10\x00\x04port" + "\x02\x00\x00\x07ce-data" + "rest"},
	"vda":     {"size": "2048", "serial": "0123456789abcdefghij", "device": "devices/pci0/virtio3"},
	"nvme0n1": {"size": "2048", "wwid": "nvme.1b36-6f7574-51454d55-00000001\n", "device": "devices/pci0/nvme/nvme0", "device/serial": "out-1               \n"},
	"xvdb":    {"size": "2048", "ro": "0", "device": "devices/vbd-51728"},
	// Not disks: an optical drive, an empty reader, a loop device.
	"sr0":   {"size": "2097151\n", "device": "devices/pci0/host5/target5:0:0/5:0:0:0", "device/type": "5\n", "device/vpd_pg80": "\x00\x80\x00\x07QM00003"},
	"sde":   {"size": "0\n", "device": "devices/pci0/host6/target6:0:0/6:0:0:7", "device/type": "0\n"},
	"loop0": {"size": "4096\n", "serial": "looped"},
}

func TestFind(t *testing.T) {
	m := sysfs(t, one)
	for selector, path := range map[string]string{
		"serial:target0": "/dev/sda",
		"serial:6000C29A1B2C3D4E5F60718293A4B5C6":     "/dev/sdc",
		"serial:naa.60022480d7d2c3a1d7d2c3a1d7d2c3a1": "/dev/sdb",
		"serial:60022480d7d2c3a1d7d2c3a1d7d2c3a1":     "/dev/sdb",
		"serial:ce-output":                            "/dev/sdd",
		"serial:0123456789abcdefghij":                 "/dev/vda",
		"serial:out-1":                                "/dev/nvme0n1",
		"serial:ce-data":                              "/dev/sdf",
		"lun:3":                                       "/dev/sdb",
		"lun:1":                                       "/dev/sdd",
		"xen:51728":                                   "/dev/xvdb",
	} {
		s, err := blockdev.Parse(selector)
		if err != nil {
			t.Fatal(err)
		}
		if s.String() != selector {
			t.Errorf("%s became %s", selector, s)
		}
		d, err := m.Find(s)
		if err != nil || d.Path != path {
			t.Errorf("%s: %v, %v; want %s", selector, d, err, path)
		}
	}
	d, err := m.Find(blockdev.LUN(3))
	if err != nil || d.SizeBytes != 4<<30 || d.SectorSize != 4096 || !d.ReadOnly {
		t.Errorf("%+v, %v", d, err)
	}
	for _, absent := range []blockdev.Selector{
		blockdev.Serial("target"), blockdev.Serial("port"), blockdev.Serial("ce-dat"), blockdev.Serial("target00"), blockdev.Serial("QM00003"), blockdev.Serial("looped"),
		blockdev.LUN(7), blockdev.LUN(9), blockdev.Xen(51712),
	} {
		if d, err := m.Find(absent); !errors.Is(err, blockdev.ErrNotFound) || !strings.Contains(err.Error(), `/dev/sda (1024 MiB, "target0"`) {
			t.Errorf("%s: %v, %v", absent, d, err)
		}
	}
	if d, err := m.Find(blockdev.LUN(0)); !errors.Is(err, blockdev.ErrAmbiguous) || !strings.Contains(err.Error(), "/dev/sdc") {
		t.Errorf("two disks of LUN 0: %v, %v", d, err)
	}
	if _, err := (blockdev.Machine{Sys: t.TempDir()}).Find(blockdev.LUN(0)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no sysfs: %v", err)
	}
}

func TestWait(t *testing.T) {
	m := sysfs(t, nil)
	ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, errors.New("not in time"))
	defer cancel()
	if d, err := m.Wait(ctx, blockdev.Serial("target0")); !errors.Is(err, blockdev.ErrNotFound) || !strings.Contains(err.Error(), "there are none: not in time") {
		t.Errorf("%v, %v", d, err)
	}
	go func() {
		time.Sleep(50 * time.Millisecond)
		attach(t, m, "sda", one["sda"])
	}()
	d, err := m.Wait(t.Context(), blockdev.Serial("target0"))
	if err != nil || d.Path != "/dev/sda" {
		t.Errorf("%v, %v", d, err)
	}
}

// For a LUN, the kernel is told to look.
func TestWaitProbes(t *testing.T) {
	m := sysfs(t, nil)
	for _, host := range []string{"host0", "host12"} {
		write(t, filepath.Join(m.Sys, "class/scsi_host", host, "scan"), "")
	}
	said := func() string {
		var all string
		for _, host := range []string{"host0", "host12"} {
			b, err := os.ReadFile(filepath.Join(m.Sys, "class/scsi_host", host, "scan"))
			if err != nil {
				t.Fatal(err)
			}
			all += string(b) + ";"
		}
		return all
	}
	for _, c := range []struct {
		s    blockdev.Selector
		want string
	}{{blockdev.Serial("x"), ";;"}, {blockdev.Xen(3), ";;"}, {blockdev.LUN(5), "- - 5;- - 5;"}} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		if _, err := m.Wait(ctx, c.s); !errors.Is(err, blockdev.ErrNotFound) {
			t.Error(err)
		}
		cancel()
		if got := said(); got != c.want {
			t.Errorf("%s: the hosts are told %q, want %q", c.s, got, c.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, bad := range []string{"", "sda", "serial", "serial:", "serial: x", "lun:", "lun:-1", "lun:x", "xen:99999999999999999999", "serial:" + strings.Repeat("x", 253)} {
		if s, err := blockdev.Parse(bad); !errors.Is(err, blockdev.ErrSelector) {
			t.Errorf("%q: %v, %v", bad, s, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("serial:out-1")
	f.Add("lun:007")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := blockdev.Parse(text)
		if err != nil {
			return
		}
		if again, err := blockdev.Parse(s.String()); err != nil || again != s {
			t.Errorf("%q: %v, %v", text, again, err)
		}
	})
}
