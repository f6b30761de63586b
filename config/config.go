package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"imageport/job"
	"imageport/wallet"
)

// EnvPath names the environment variable that holds the path of the file.
const EnvPath = "IMAGEPORT_CONFIG"

// Config is the content of the file, with the defaults filled in and all paths
// absolute. In the file, paths are relative to the directory it lies in.
type Config struct {
	// ResourceLocation is the resource location that the worker serves: the
	// resourceLocationId of requests, and the name of the task queue.
	ResourceLocation string `toml:"resource_location"`
	// Wallet says where the credentials are. In the file it is a table, or the
	// path of a directory. By default it is the file wallet.age beside the
	// configuration; or the directory "wallet", if there is one.
	Wallet wallet.Config `toml:"-"`
	// ShareDriver is the SMB library to use: "cloudsoda", the default, or
	// "hirochachacha".
	ShareDriver string `toml:"share_driver"`
	// EnrolWithin is how long a Compositing Engine may take from its creation
	// until it reports, by default five minutes. One that stops before is
	// noticed earlier.
	EnrolWithin time.Duration `toml:"enrol_within"`
	// CELifetime is after how long a Compositing Engine ends by itself, by
	// default 24 hours.
	CELifetime time.Duration `toml:"ce_lifetime"`
	// Gateway is the worker's door for Compositing Engines.
	Gateway Gateway `toml:"gateway"`
	// QEMU is the platform of virtual machines on the worker's own machine. It
	// is there if it has an image.
	QEMU QEMU `toml:"qemu"`
	// Local is the platform without a hypervisor.
	Local Local `toml:"local"`
	// VSphere is the platform of vCenters. It is there if it has an appliance or
	// a template.
	VSphere VSphere `toml:"vsphere"`
	// XenServer, Azure and GCP are the platforms of that name. Each is there if it
	// has an appliance, or an image of it.
	XenServer XenServer `toml:"xenserver"`
	Azure     Azure     `toml:"azure"`
	GCP       GCP       `toml:"gcp"`
	// Catalogue is where the installers for upgradePvs are.
	Catalogue Catalogue `toml:"catalogue"`
	// Sweep says how what jobs left behind is looked for.
	Sweep Sweep `toml:"sweep"`
	// Serve is the HTTP API.
	Serve Serve `toml:"serve"`
	// Log, Metrics and Traces say what the processes tell of themselves.
	Log     Log     `toml:"log"`
	Metrics Metrics `toml:"metrics"`
	Traces  Traces  `toml:"traces"`
	// Versioning has Temporal know the worker's release.
	Versioning Versioning `toml:"versioning"`

	// Path is the file that the configuration came from, "" if there is none.
	Path string `toml:"-"`
}

// Gateway configures the worker's door for Compositing Engines.
type Gateway struct {
	// Listen is the "host:port" to listen on, by default 127.0.0.1:7443: enough
	// for Compositing Engines on the worker's own machine. All workers of one
	// machine can share it.
	Listen string `toml:"listen"`
	// Address is the "host:port" that Compositing Engines on other machines
	// dial. It may lead to any worker of the resource location.
	Address string `toml:"address"`
	// Key is the file with the secret that all workers of a resource location
	// must have, by default imageport/gateway.key in the user's directory for
	// state. It is made where there is none.
	Key string `toml:"key"`
	// CEsPerAddress is how many Compositing Engines may come from one address at
	// the same time, by default 256: all those behind one NAT, or on the worker's own
	// machine. The gateway takes six connections for each (an agent has three, and
	// again as many while certificates are renewed), and closes any more.
	CEsPerAddress int `toml:"ces_per_address"`
}

// QEMU configures the platform "qemu".
type QEMU struct {
	// Image is the appliance's raw disk, as "imageport appliance build" makes it.
	Image string `toml:"image"`
	// StateDir holds what there is of the Compositing Engines, by default
	// imageport/qemu in the user's directory for state.
	StateDir string `toml:"state_dir"`
	// Accel is "auto" (KVM where it works), "kvm" or "tcg".
	Accel string `toml:"accel"`
	// Firmware is "uefi", the default, or "bios", for an image built with --bios.
	Firmware string `toml:"firmware"`
	// MemoryMB and CPUs are those of a Compositing Engine, by default 1024 and 2;
	// in emulation it has one processor.
	// It needs 192 MiB at least.
	MemoryMB int `toml:"memory_mb"`
	CPUs     int `toml:"cpus"`
	// Network is "user", the default, "bridge:NAME" or "tap:NAME".
	Network string `toml:"network"`
	// OutputDir is where output disks go.
	OutputDir string `toml:"output_dir"`
}

// Local configures the platform "local".
type Local struct {
	// StateDir holds what there is of the Compositing Engines, by default
	// imageport/ce in the user's directory for state (~/.local/state).
	StateDir string `toml:"state_dir"`
	// AgentProgram is the program that a Compositing Engine runs, by default
	// the running one.
	AgentProgram string `toml:"agent_program"`
	// OutputDir is where output disks go.
	OutputDir string `toml:"output_dir"`
	// Guest is a program with its arguments that is the machine of a disk: it is
	// given the path of the disk's raw file, and runs for as long as the machine is
	// on. Without, upgradePvs does not run on this platform.
	Guest []string `toml:"guest"`
}

// VSphere configures the platform "vSphere". Which vCenter, and where in it, is
// for each request to say.
type VSphere struct {
	// Appliance is the appliance's OVA, as "imageport appliance build --formats
	// ova" makes it. It is imported where the first Compositing Engine is made.
	Appliance string `toml:"appliance"`
	// Template is the inventory path of a template of the appliance instead.
	Template string `toml:"template"`
	// MemoryMB and CPUs are those of a Compositing Engine, by default 1024 and 2.
	MemoryMB int `toml:"memory_mb"`
	CPUs     int `toml:"cpus"`
}

// XenServer configures the platform "XenServer". Which pool, and where in it, is
// for each request to say.
type XenServer struct {
	// Appliance is the appliance's raw disk, as "imageport appliance build
	// --formats raw" makes it. It is imported into the storage repository where
	// the first Compositing Engine is made.
	Appliance string `toml:"appliance"`
	// MemoryMB and CPUs are those of a Compositing Engine, by default 1024 and 2.
	MemoryMB int `toml:"memory_mb"`
	CPUs     int `toml:"cpus"`
}

// Azure configures the platform "Azure". Which subscription, region and network
// is for each request to say.
type Azure struct {
	// Appliance is the appliance's fixed VHD, as "imageport appliance build
	// --formats vhd" makes it. It becomes a version in Gallery.
	Appliance string `toml:"appliance"`
	// Gallery is the resource id of a gallery of images.
	Gallery string `toml:"gallery"`
	// Image is the resource id of an image of the appliance, in place of both.
	Image string `toml:"image"`
	// ResourceGroup is for requests that name none.
	ResourceGroup string `toml:"resource_group"`
	// VMSize is the size of a Compositing Engine, by default Standard_D2s_v5.
	VMSize string `toml:"vm_size"`
}

// GCP configures the platform "GCP". Which project, zones and network is for each
// request to say.
type GCP struct {
	// Appliance is the appliance's tarball for Google Cloud, as "imageport
	// appliance build --formats gcp" makes it. It becomes an image by way of
	// Bucket.
	Appliance string `toml:"appliance"`
	// Bucket is the name of a bucket.
	Bucket string `toml:"bucket"`
	// Image is an image of the appliance in place of both, such as
	// "projects/P/global/images/NAME".
	Image string `toml:"image"`
	// MachineType is that of a Compositing Engine, by default e2-medium.
	MachineType string `toml:"machine_type"`
}

// Sweep configures the search for what jobs that were terminated left behind.
type Sweep struct {
	// Every is how often it runs, by default every 15 minutes.
	Every time.Duration `toml:"every"`
	// Off switches it off.
	Off bool `toml:"off"`
}

// Load reads the configuration from path, or where path is empty from the file
// that EnvPath names, or else from imageport/config.toml in the user's
// directory for configuration (~/.config). Only the last one may be missing.
func Load(path string) (Config, error) {
	if path == "" {
		path = os.Getenv(EnvPath)
	}
	asked := path != ""
	if !asked {
		dir, err := os.UserConfigDir()
		if err != nil {
			return complete(Config{}, "")
		}
		path = filepath.Join(dir, "imageport", "config.toml")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return Config{}, fmt.Errorf("config file: %w", err)
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && !asked {
		return complete(Config{}, filepath.Dir(path))
	}
	if err != nil {
		return Config{}, fmt.Errorf("config file: %w", err)
	}
	c, err := parse(string(text))
	if err != nil {
		return Config{}, wrong(path, err)
	}
	c.Path = path
	if c, err = complete(c, filepath.Dir(path)); err != nil {
		return Config{}, wrong(path, err)
	}
	return c, nil
}

// wrong is the error of a file that cannot be understood.
func wrong(path string, err error) error {
	return job.Errorf(job.BadRequest, "Correct the file, and start it again", "config file %s: %w", path, err)
}

func parse(text string) (Config, error) {
	var file struct {
		Config
		Wallet toml.Primitive `toml:"wallet"`
	}
	meta, err := toml.Decode(text, &file)
	c := file.Config
	if err == nil && meta.IsDefined("wallet") {
		c.Wallet, err = parseWallet(meta, file.Wallet)
	}
	if parseErr, ok := errors.AsType[toml.ParseError](err); ok {
		return Config{}, errors.New(strings.TrimPrefix(parseErr.Error(), "toml: "))
	}
	if err != nil {
		return Config{}, err
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		names := make([]string, len(unknown))
		for i, key := range unknown {
			names[i] = fmt.Sprintf("%q", key.String())
		}
		return Config{}, fmt.Errorf("unknown key %s", strings.Join(names, ", "))
	}
	return c, nil
}

// parseWallet reads the table, or the path of a directory: a string is what
// there was before there were other wallets.
func parseWallet(meta toml.MetaData, p toml.Primitive) (wallet.Config, error) {
	if meta.Type("wallet") == "String" {
		var path string
		err := meta.PrimitiveDecode(p, &path)
		return wallet.DirConfig(path), err
	}
	var c wallet.Config
	if err := meta.PrimitiveDecode(p, &c); err != nil {
		return wallet.Config{}, fmt.Errorf("wallet: %w", err)
	}
	return c, nil
}

// complete fills in the defaults. Paths are relative to dir; where there is no
// home directory, it is empty and some paths stay so.
func complete(c Config, dir string) (Config, error) {
	configured := c.Wallet != wallet.Config{}
	c.Wallet = c.Wallet.Complete(dir)
	if configured {
		if err := c.Wallet.Validate(); err != nil {
			return Config{}, err
		}
	}
	if c.Local.StateDir == "" {
		c.Local.StateDir = inState("ce")
	}
	if c.QEMU.StateDir == "" {
		c.QEMU.StateDir = inState("qemu")
	}
	if c.Gateway.Key == "" {
		c.Gateway.Key = inState("gateway.key")
	}
	c.Gateway.Listen = cmp.Or(c.Gateway.Listen, defaultListen)
	c.Gateway.CEsPerAddress = cmp.Or(c.Gateway.CEsPerAddress, defaultCEsPerAddress)
	if n := c.Gateway.CEsPerAddress; n < 1 || n > maxCEsPerAddress {
		return Config{}, fmt.Errorf("gateway.ces_per_address is %d: give 1 to %d", n, maxCEsPerAddress)
	}
	if err := c.Serve.complete(dir); err != nil {
		return Config{}, err
	}
	for _, path := range []*string{&c.Local.StateDir, &c.Local.AgentProgram, &c.Gateway.Key, &c.QEMU.Image, &c.QEMU.StateDir, &c.QEMU.OutputDir, &c.Local.OutputDir, &c.VSphere.Appliance, &c.XenServer.Appliance, &c.Azure.Appliance, &c.GCP.Appliance, &c.Catalogue.Dir, &c.Serve.KeysFile, &c.Serve.CertFile, &c.Serve.KeyFile} {
		if *path != "" && !filepath.IsAbs(*path) {
			*path = filepath.Join(dir, *path)
		}
	}
	for section, m := range map[string]int{"qemu": c.QEMU.MemoryMB, "vsphere": c.VSphere.MemoryMB, "xenserver": c.XenServer.MemoryMB} {
		if m != 0 && m < minMemoryMB {
			return Config{}, fmt.Errorf("%s.memory_mb is %d: the appliance does not start with less than %d, and without the key it has 1024", section, m, minMemoryMB)
		}
	}
	if err := c.Catalogue.validate(); err != nil {
		return Config{}, err
	}
	if err := c.validateObserving(); err != nil {
		return Config{}, err
	}
	if c.VSphere.Appliance != "" && c.VSphere.Template != "" {
		return Config{}, errors.New("vsphere: give either appliance or template")
	}
	for _, d := range []struct {
		key   string
		value *time.Duration
		zero  time.Duration
	}{
		{"enrol_within", &c.EnrolWithin, 5 * time.Minute},
		{"ce_lifetime", &c.CELifetime, 24 * time.Hour},
		{"sweep.every", &c.Sweep.Every, 15 * time.Minute},
	} {
		if *d.value == 0 {
			*d.value = d.zero
		}
		if *d.value < time.Second {
			return Config{}, fmt.Errorf("%s is %v: give at least a second, as in %q", d.key, *d.value, d.zero)
		}
	}
	return c, nil
}

// minMemoryMB is what the appliance starts and does its work with. With less,
// firmware and kernel fail in ways that do not tell why.
const minMemoryMB = 192

// defaultListen is reached by nobody from outside.
const defaultListen = "127.0.0.1:7443"

const defaultCEsPerAddress, maxCEsPerAddress = 256, 10000

// inState gives the path of a file in the user's directory for state, or ""
// where there is no home.
func inState(name string) string {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "imageport", name)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".local", "state", "imageport", name)
}
