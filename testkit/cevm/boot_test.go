package cevm_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imageport/job/seed"
	"imageport/testkit/cevm"
)

const token = "T0ken-that-nobody-must-see"

// told makes a seed for the trial of that name.
func told(t *testing.T, trial string, lives time.Duration, n *seed.Network) []byte {
	t.Helper()
	b, err := seed.Seed{
		Name: "ce-0123456789ab", Deadline: time.Now().Add(lives), Network: n,
		Gateway: seed.Gateway{Address: trial + ":1", CA: strings.Repeat("0a", 32), Patience: 3, Token: token},
	}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var static = &seed.Network{Address: "10.0.2.77/24", Router: "10.0.2.2", DNS: []string{"10.0.2.3"}}

// Whatever keeps a CE from its work, it says so on its last line, and switches
// itself off.
func TestEnds(t *testing.T) {
	for name, test := range map[string]struct {
		image   func(testing.TB) cevm.Image
		trial   string        // in the seed; none: no seed
		network *seed.Network // in the seed
		options cevm.Options
		cause   string   // of the end; none: done
		says    []string // earlier
	}{
		"no seed": {image: cevm.Appliance, cause: `no seed on this machine, "QEMU"`, says: []string{`drivers modules=\d+`}},
		"malformed seed": {image: cevm.Appliance, options: cevm.Options{Seed: []byte(`{"name":"ce-0123456789ab","token":"` + token + `"}`)},
			cause: "fw_cfg: seed: it is not a JSON object with the keys of this release"},
		"no network card": {image: cevm.Trial, trial: "done", options: cevm.Options{Append: "imageport.network=3s"}, cause: "no network card in 3s"},
		"nobody answers": {image: cevm.Appliance, trial: "gateway", options: cevm.Options{Append: "imageport.network=4s", Network: cevm.Silent},
			cause: "no address by DHCP on eth0 (52:54:00:12:34:56) in 4s: no answer"},
		"static address": {image: cevm.Trial, trial: "look", network: static, options: cevm.Options{Network: cevm.User, MemoryMiB: 1024},
			says: []string{`machine host=ce-0123456789ab addresses=".*10.0.2.77/24.*" resolv.conf="nameserver 10.0.2.3\\n" memory=7\d\dMiB`,
				`route eth0 00000000 0202000A 0003`, `processes number=2$`}},
		"DHCP": {image: cevm.Trial, trial: "look", options: cevm.Options{Network: cevm.User},
			says: []string{`address by DHCP card=eth0 address=10.0.2.15/24 .*server=10.0.2.2 lease=24h0m0s serves=true`, `route eth0 00000000 0202000A 0003`}},
		"work done": {image: cevm.Trial, trial: "orphans", network: static, options: cevm.Options{Network: cevm.Silent}, says: []string{`no zombies`}},
		"work failed": {image: cevm.Trial, trial: "fail", network: static, options: cevm.Options{Network: cevm.Silent},
			cause: "the share is gone:; session with [hidden]"},
		"agent crashes": {image: cevm.Trial, trial: "panic", network: static, options: cevm.Options{Network: cevm.Silent},
			cause: "the agent crashed: panic: a defect"},
		"deadline": {image: cevm.Trial, trial: "late", network: static, options: cevm.Options{Network: cevm.Silent},
			says: []string{`the agent does not end, and is killed`}, cause: "the deadline "},
		"asked to end": {image: cevm.Trial, trial: "helper", network: static, options: cevm.Options{Network: cevm.Silent}, says: []string{`told to end`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := test.options
			o.Image = test.image(t)
			if test.trial != "" {
				o.Seed = told(t, test.trial, time.Hour, test.network)
			}
			v := cevm.Boot(t, o)
			for _, line := range test.says {
				v.Wait(line)
			}
			end := v.End()
			t.Logf("%v: %s", end.Duration.Round(100*time.Millisecond), end.Last)
			switch {
			case !end.Off:
				t.Error("it did not switch itself off")
			case test.cause == "" && end.Last != "imageport-ce: done":
				t.Errorf("%s", end.Last)
			case !strings.HasPrefix(end.Cause, test.cause):
				t.Errorf("%q, want %q", end.Last, test.cause)
			}
			noToken(t, v)
		})
	}
}

func noToken(t *testing.T, v *cevm.VM) {
	t.Helper()
	if strings.Contains(strings.Join(v.Console(), "\n"), token) {
		t.Error("the token is on the console")
	}
}

// A disk that is attached while the machine runs is found by its serial number.
func TestLateDisk(t *testing.T) {
	t.Parallel()
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(disk, append([]byte("came late"), make([]byte, 1<<20)...), 0o600); err != nil {
		t.Fatal(err)
	}
	v := cevm.Boot(t, cevm.Options{Image: cevm.Trial(t), Seed: told(t, "disk", time.Hour, static), Network: cevm.Silent,
		Args: []string{"-device", "pcie-root-port,id=port1,slot=1",
			"-device", "virtio-scsi-pci,id=bus", "-drive", "if=none,id=other,driver=null-co,read-zeroes=on,size=1M", "-device", "scsi-hd,bus=bus.0,drive=other,serial=other"}})
	v.Wait(`disks late=.*there are /dev/sda \(1 MiB, .*other`)
	v.QMP("blockdev-add", map[string]any{"driver": "file", "node-name": "file0", "filename": disk})
	v.QMP("blockdev-add", map[string]any{"driver": "raw", "node-name": "disk0", "file": "file0"})
	// A disk on a card whose driver is not loaded yet.
	v.QMP("device_add", map[string]any{"driver": "virtio-blk-pci", "drive": "disk0", "id": "late0", "serial": "late", "bus": "port1"})
	v.Wait(`late disk disk="/dev/vda \(1 MiB, .*late.* content="came late"`)
	if end := v.End(); !end.Off || end.Last != "imageport-ce: done" {
		t.Errorf("%+v", end)
	}
}
