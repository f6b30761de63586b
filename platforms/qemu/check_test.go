package qemu

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"testing"

	"imageport/platforms"
	"imageport/platforms/cedir/cedirtest"
)

func TestCheck(t *testing.T) {
	good := talker("", false)
	spoilt := func(at int) []byte {
		b := talker("", false)
		b[at] ^= 0xff
		return b
	}
	sum := fmt.Sprintf("%x  appliance.raw\n", sha256.Sum256(good))
	for name, tc := range map[string]struct {
		image  []byte
		digest string
		change func(*Config)
		kind   platforms.Kind
		in     string
	}{
		"good":               {},
		"good with a digest": {digest: strings.ToUpper(sum[:64]) + sum[64:]},
		"UEFI":               {image: spoilt(511), change: func(c *Config) { c.Firmware = uefi }},
		"auto":               {change: func(c *Config) { c.Accel = auto }},
		"damaged":            {image: spoilt(1 << 19), digest: sum, kind: platforms.BadRequest, in: "is damaged: its SHA-256 is "},
		"spoilt digest":      {digest: "no digest", kind: platforms.BadRequest, in: "appliance.raw.sha256 does not begin with a SHA-256"},
		"no GPT":             {image: spoilt(512), kind: platforms.BadRequest, in: `at byte 512 it has "\xbaFI PART", want "EFI PART"`},
		"no boot sector":     {image: spoilt(511), kind: platforms.BadRequest, in: "at byte 510 it has 5555, want 55aa"},
		"half a sector":      {image: good[:1000], kind: platforms.BadRequest, in: "it has 1000 bytes"},
		"cut off":            {image: cutOff(), kind: platforms.BadRequest, in: "is cut off: it has 2048 sectors of 512 bytes, and its GPT ends in sector 2048"},
		"empty":              {image: []byte{}, kind: platforms.BadRequest, in: "it has 0 bytes"},
		"no image":           {change: func(c *Config) { c.Image += "x" }, kind: platforms.NotFound, in: "imageport appliance build --formats raw"},
		"a directory":        {change: func(c *Config) { c.Image = c.StateDir }, kind: platforms.BadRequest, in: "is no raw disk"},
		"no QEMU":            {change: func(c *Config) { c.Program = "qemu-system-z80" }, kind: platforms.NotFound, in: "apt"},
		"no qemu-img":        {change: func(c *Config) { c.ImageProgram = "/nowhere/qemu-img" }, kind: platforms.NotFound, in: "qemu-utils"},
		"no firmware": {change: func(c *Config) {
			c.Firmware, c.FirmwareCode, c.FirmwareVars = uefi, "/nowhere/code.fd", "/nowhere/vars.fd"
		}, kind: platforms.NotFound, in: "edk2-ovmf"},
		"too big":          {change: func(c *Config) { c.MemoryMB = maxMemoryMB }, kind: platforms.Full, in: "a CE needs 1048576 MiB of memory (memory_mb under [qemu]), and this machine has "},
		"no bridge":        {change: func(c *Config) { c.Network = "bridge:nowhere0" }, kind: platforms.NotFound, in: `no bridge "nowhere0"`},
		"no tap":           {change: func(c *Config) { c.Network = "tap:lo" }, kind: platforms.NotFound, in: `no tap "lo"`},
		"no output":        {change: func(c *Config) { c.OutputDir += "x" }, kind: platforms.NotFound, in: "the directory of output disks"},
		"output to a file": {change: func(c *Config) { c.OutputDir = c.Image }, kind: platforms.BadRequest, in: "is no directory"},
		"no outputs":       {change: func(c *Config) { c.OutputDir, c.ImageProgram = "", "/nowhere/qemu-img" }},
	} {
		t.Run(name, func(t *testing.T) {
			image := tc.image
			if image == nil {
				image = good
			}
			cfg := testConfig(testHarness(t, image).Dir)
			if tc.digest != "" {
				if err := os.WriteFile(cfg.Image+".sha256", []byte(tc.digest), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if tc.change != nil {
				tc.change(&cfg)
			}
			err := open(t, cfg).Check(t.Context(), cedirtest.Spec())
			if platforms.KindOf(err) != tc.kind || tc.kind != "" && !strings.Contains(strings.Replace(err.Error(), "qemu-system-x86;", "apt", 1), tc.in) {
				t.Errorf("%s: %v; want %s: …%s…", platforms.KindOf(err), err, tc.kind, tc.in)
			}
			if left := cedirtest.Entries(t, cfg.StateDir); len(left) > 0 {
				t.Errorf("Check made %q", left)
			}
		})
	}
}

// cutOff is a disk that lost its last sector.
func cutOff() []byte {
	b := talker("", false)
	binary.LittleEndian.PutUint64(b[512+32:], uint64(len(b)/512))
	return b
}

func TestConfigRefused(t *testing.T) {
	for in, change := range map[string]func(*Config){
		"no state directory":           func(c *Config) { c.StateDir = "" },
		"no image":                     func(c *Config) { c.Image = "" },
		`accelerator "hvf"`:            func(c *Config) { c.Accel = "hvf" },
		`firmware "coreboot"`:          func(c *Config) { c.Firmware = "coreboot" },
		"belong together":              func(c *Config) { c.FirmwareCode = "/code.fd" },
		"1 MiB of memory":              func(c *Config) { c.MemoryMB = 1 },
		"-1 processors":                func(c *Config) { c.CPUs = -1 },
		"bytes of console":             func(c *Config) { c.ConsoleKeep = -1 },
		`network "wifi"`:               func(c *Config) { c.Network = "wifi" },
		`network "user:x"`:             func(c *Config) { c.Network = "user:x" },
		`"" is no name of`:             func(c *Config) { c.Network = "bridge:" },
		`"br0,helper=/tmp/x" is no na`: func(c *Config) { c.Network = "bridge:br0,helper=/tmp/x" },
	} {
		cfg := testConfig(t.TempDir())
		change(&cfg)
		if _, err := New(cfg); platforms.KindOf(err) != platforms.BadRequest || !strings.Contains(err.Error(), in) {
			t.Errorf("%s: %v", in, err)
		}
	}
}

func TestAvailableMB(t *testing.T) {
	for _, tc := range []struct {
		text string
		want int
		in   string
	}{
		{"MemTotal:       24683016 kB\nMemFree:        14073128 kB\nMemAvailable:   23787276 kB\n", 23229, ""},
		{"MemTotal: 1 kB\n", 0, "no MemAvailable"},
		{"MemAvailable: many kB\n", 0, "MemAvailable: "},
		{"", 0, "no MemAvailable"},
	} {
		got, err := availableMB(strings.NewReader(tc.text))
		if got != tc.want || (err == nil) != (tc.in == "") || err != nil && !strings.Contains(err.Error(), tc.in) {
			t.Errorf("%q: %d, %v", tc.text, got, err)
		}
	}
}
