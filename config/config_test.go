package config_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"imageport/config"
	"imageport/job"
	"imageport/wallet"
)

// home gives the test a home directory of its own.
func home(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	t.Setenv("XDG_CONFIG_HOME", "")
	t.Setenv("XDG_STATE_HOME", "")
	t.Setenv(config.EnvPath, "")
	return dir
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDefaults(t *testing.T) {
	h := home(t)
	got, err := config.Load("")
	if err != nil {
		t.Fatal(err)
	}
	want := config.Config{
		Wallet: wallet.Config{Provider: wallet.ProviderFile, Path: filepath.Join(h, ".config/imageport/wallet.age"),
			KeyFile: filepath.Join(h, ".config/imageport/wallet.key")},
		EnrolWithin: 5 * time.Minute,
		CELifetime:  24 * time.Hour,
		Gateway:     config.Gateway{Listen: "127.0.0.1:7443", CEsPerAddress: 256, Key: filepath.Join(h, ".local/state/imageport/gateway.key")},
		QEMU:        config.QEMU{StateDir: filepath.Join(h, ".local/state/imageport/qemu")},
		Sweep:       config.Sweep{Every: 15 * time.Minute},
		Serve:       config.Serve{Listen: "127.0.0.1:8088", KeysFile: filepath.Join(h, ".config/imageport/api-keys.json")},
		Local:       config.Local{StateDir: filepath.Join(h, ".local/state/imageport/ce")},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v; want %+v", got, want)
	}
	t.Setenv("HOME", "")
	if got, err := config.Load(""); err != nil || got.Wallet.Path != "" || got.Local.StateDir != "" {
		t.Errorf("without a home: %+v, %v", got, err)
	}
}

func TestWhereItIsFound(t *testing.T) {
	h := home(t)
	for _, tc := range []struct {
		name  string
		set   func(path string) (argument string)
		place string
	}{
		{"default", func(string) string { return "" }, ".config/imageport/config.toml"},
		{"environment", func(p string) string { t.Setenv(config.EnvPath, p); return "" }, "env.toml"},
		{"argument", func(p string) string { return p }, "arg.toml"},
	} {
		path := write(t, filepath.Join(h, tc.place), "resource_location = '"+tc.name+"'\n")
		got, err := config.Load(tc.set(path))
		if err != nil || got.ResourceLocation != tc.name || got.Path != path {
			t.Errorf("%s: %+v, %v", tc.name, got, err)
		}
	}
}

func TestEverything(t *testing.T) {
	h := home(t)
	path := write(t, filepath.Join(h, "site", "imageport.toml"), `
resource_location = "5f3b"
wallet = "secrets"
share_driver = "hirochachacha"
enrol_within = "5m"
ce_lifetime = "2h"

[gateway]
ces_per_address = 90
listen = ":8443"
address = "worker.example.com:8443"
key = "door.key"

[qemu]
image = "ce.raw"
accel = "tcg"
firmware = "bios"
memory_mb = 512
cpus = 1
network = "bridge:br0"
output_dir = "/srv/disks"

[local]
state_dir = "/var/lib/imageport"
agent_program = "../bin/imageport"
output_dir = "disks"

[vsphere]
appliance = "ce.ova"
memory_mb = 512
cpus = 4

[catalogue]
dir = "installers"

[sweep]
every = "1h"
off = true

[serve]
listen = "127.0.0.1:9000"
keys_file = "keys.json"
cert_file = "cert.pem"
key_file = "/etc/key.pem"
max_streams = 7
no_credentials = true
`)
	got, err := config.Load(path)
	want := config.Config{
		ResourceLocation: "5f3b", Wallet: wallet.DirConfig(filepath.Join(h, "site/secrets")), ShareDriver: "hirochachacha",
		EnrolWithin: 5 * time.Minute, CELifetime: 2 * time.Hour,
		Gateway:   config.Gateway{Listen: ":8443", Address: "worker.example.com:8443", CEsPerAddress: 90, Key: filepath.Join(h, "site/door.key")},
		QEMU:      config.QEMU{Image: filepath.Join(h, "site/ce.raw"), StateDir: filepath.Join(h, ".local/state/imageport/qemu"), Accel: "tcg", Firmware: "bios", MemoryMB: 512, CPUs: 1, Network: "bridge:br0", OutputDir: "/srv/disks"},
		Local:     config.Local{StateDir: "/var/lib/imageport", AgentProgram: filepath.Join(h, "bin/imageport"), OutputDir: filepath.Join(h, "site/disks")},
		VSphere:   config.VSphere{Appliance: filepath.Join(h, "site/ce.ova"), MemoryMB: 512, CPUs: 4},
		Catalogue: config.Catalogue{Dir: filepath.Join(h, "site/installers")},
		Sweep:     config.Sweep{Every: time.Hour, Off: true},
		Serve:     config.Serve{Listen: "127.0.0.1:9000", KeysFile: filepath.Join(h, "site/keys.json"), CertFile: filepath.Join(h, "site/cert.pem"), KeyFile: "/etc/key.pem", MaxStreams: 7, NoCredentials: true},
		Path:      path,
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

func TestWallet(t *testing.T) {
	h := home(t)
	site := filepath.Join(h, "site")
	for text, want := range map[string]wallet.Config{
		"":                                  {Provider: "file", Path: site + "/wallet.age", KeyFile: site + "/wallet.key"},
		"wallet = ''":                       {Provider: "dir", Path: site + "/wallet"},
		"wallet = '/etc/w'":                 {Provider: "dir", Path: "/etc/w"},
		"[wallet]\nprovider = 'dir'":        {Provider: "dir", Path: site + "/wallet"},
		"[wallet]\npath = 'secrets'":        {Provider: "file", Path: site + "/secrets", KeyFile: site + "/secrets.key"},
		"[wallet]\nkey_file = '/run/w.key'": {Provider: "file", Path: site + "/wallet.age", KeyFile: "/run/w.key"},
		"[wallet]\nprovider = 'vault'\n[wallet.vault]\naddress = 'https://v:8200'\nkubernetes_role = 'r'\nca_file = 'ca.pem'": {Provider: "vault",
			Vault: wallet.VaultConfig{Address: "https://v:8200", CAFile: site + "/ca.pem", Mount: "secret", Prefix: "imageport", KubernetesRole: "r",
				JWTFile: "/var/run/secrets/kubernetes.io/serviceaccount/token", AuthMount: "kubernetes"}},
	} {
		got, err := config.Load(write(t, filepath.Join(site, "config.toml"), text))
		if err != nil || got.Wallet != want {
			t.Errorf("%q: got %+v, %v; want %+v", text, got.Wallet, err, want)
		}
	}
	// The directory that was the default before goes on to be.
	if err := os.Mkdir(filepath.Join(site, "wallet"), 0o700); err != nil {
		t.Fatal(err)
	}
	got, err := config.Load(write(t, filepath.Join(site, "config.toml"), ""))
	if want := wallet.DirConfig(site + "/wallet"); err != nil || got.Wallet != want {
		t.Errorf("got %+v, %v; want %+v", got.Wallet, err, want)
	}
}

func TestRefused(t *testing.T) {
	h := home(t)
	for text, says := range map[string]string{
		"walet = 'x'":                                    `unknown key "walet"`,
		"[local]\nstatedir = 'x'":                        `unknown key "local.statedir"`,
		"wallet = 'x'\n\nshare_driver = oh":              "line 3",
		"enrol_within = 'soon'":                          "soon",
		"enrol_within = 60":                              "enrol_within is 60ns",
		"ce_lifetime = '-1h'":                            "ce_lifetime is -1h",
		"[gateway]\nces_per_address = -1":                "gateway.ces_per_address is -1: give 1 to 10000",
		"[qemu]\nmemory_mb = 100":                        "qemu.memory_mb is 100: the appliance does not start with less than 192",
		"[vsphere]\nmemory_mb = 100":                     "vsphere.memory_mb is 100",
		"[vsphere]\nappliance = \"a\"\ntemplate = \"t\"": "give either appliance or template",
		"[sweep]\nevery = \"1ms\"":                       "sweep.every is 1ms",
		"[qemu]\nmemory_mb = -1":                         "qemu.memory_mb is -1",
		"wallet = 7":                                     "wallet",
		"[wallet]\nprovidr = 'file'":                     `unknown key "wallet.providr"`,
		"[wallet]\nprovider = 'keepass'":                 `no wallet provider "keepass"`,
		"[wallet]\nprovider = 'vault'":                   "the address is missing",
		"[wallet.vault]\naddress = 'x'":                  `wallet.vault is for the provider "vault"`,
		"[catalogue]\ndir = 'a'\nhost = 'b'":             "catalogue: give either dir",
		"[catalogue]\nhost = 'b'\ncredential = 'c'":      "catalogue: sharePath is missing",
		"[catalogue]\nhost = 'b'\nshare_path = 'c'":      "catalogue: credential is missing",
		"[catalogue]\ncredential = 'c'":                  "catalogue: host is missing",
		"[catalogue]\nport = 1":                          "catalogue: host is missing",
		"[catalogue]\nhost = 'b'\nport = 70000\nshare_path = 'c'\ncredential = 'd'": "catalogue: port 70000",
		"[catalogue]\nhost = 'b'\nshare_path = '../c'\ncredential = 'd'":            "catalogue: share path",
		"[wallet.vault]\ntoken = 's3cr3t'":                                          `unknown key "wallet.vault.token"`,
	} {
		path := write(t, filepath.Join(h, "bad.toml"), text)
		if _, err := config.Load(path); err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: %v; want %s", text, err, says)
		}
	}
	if _, err := config.Load(filepath.Join(h, "missing.toml")); err == nil || !strings.Contains(err.Error(), "missing.toml") {
		t.Errorf("missing file: %v", err)
	}
}

func TestCatalogue(t *testing.T) {
	h := home(t)
	for text, want := range map[string]job.StorageLocation{
		"":                              {},
		"[catalogue]\ndir = '/srv/ips'": {},
		"[catalogue]\nhost = 'files'\nshare_path = 'pvs/installers'\ncredential = 'c'":   {Type: "SMB", Host: "files", SharePath: "pvs/installers", CredentialID: "c"},
		"[catalogue]\nhost = 'files'\nport = 4450\nshare_path = 'pvs'\ncredential = 'c'": {Type: "SMB", Host: "files", Port: 4450, SharePath: "pvs", CredentialID: "c"},
	} {
		c, err := config.Load(write(t, filepath.Join(h, "config.toml"), text))
		got, ok := c.Catalogue.Location()
		if err != nil || got != want || ok != (want != job.StorageLocation{}) {
			t.Errorf("%q: %+v, %t, %v; want %+v", text, got, ok, err, want)
		}
	}
}
