package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
)

// EnvPath names the environment variable that holds the path of the file.
const EnvPath = "IMAGEPORT_CONFIG"

// Config is the content of the file, with the defaults filled in and all paths
// absolute. In the file, paths are relative to the directory it lies in.
type Config struct {
	// ResourceLocation is the resource location that the worker serves: the
	// resourceLocationId of requests, and the name of the task queue.
	ResourceLocation string `toml:"resource_location"`
	// Wallet is the directory with the credentials, by default "wallet" beside
	// the file.
	Wallet string `toml:"wallet"`
	// ShareDriver is the SMB library to use: "cloudsoda", the default, or
	// "hirochachacha".
	ShareDriver string `toml:"share_driver"`
	// EnrolWithin is how long a Compositing Engine may take from its creation
	// until it reports, by default one minute.
	EnrolWithin time.Duration `toml:"enrol_within"`
	// CELifetime is after how long a Compositing Engine ends by itself, by
	// default 24 hours.
	CELifetime time.Duration `toml:"ce_lifetime"`
	// Local is the platform without a hypervisor.
	Local Local `toml:"local"`

	// Path is the file that the configuration came from, "" if there is none.
	Path string `toml:"-"`
}

// Local configures the platform "local".
type Local struct {
	// StateDir holds what there is of the Compositing Engines, by default
	// imageport/ce in the user's directory for state (~/.local/state).
	StateDir string `toml:"state_dir"`
	// AgentProgram is the program that a Compositing Engine runs, by default
	// the running one.
	AgentProgram string `toml:"agent_program"`
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
		return Config{}, fmt.Errorf("config file %s: %w", path, err)
	}
	c.Path = path
	if c, err = complete(c, filepath.Dir(path)); err != nil {
		return Config{}, fmt.Errorf("config file %s: %w", path, err)
	}
	return c, nil
}

func parse(text string) (Config, error) {
	var c Config
	meta, err := toml.Decode(text, &c)
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

// complete fills in the defaults. Paths are relative to dir; where there is no
// home directory, it is empty and some paths stay so.
func complete(c Config, dir string) (Config, error) {
	if c.Wallet == "" && dir != "" {
		c.Wallet = "wallet"
	}
	if c.Local.StateDir == "" {
		c.Local.StateDir = defaultStateDir()
	}
	for _, path := range []*string{&c.Wallet, &c.Local.StateDir, &c.Local.AgentProgram} {
		if *path != "" && !filepath.IsAbs(*path) {
			*path = filepath.Join(dir, *path)
		}
	}
	for _, d := range []struct {
		key   string
		value *time.Duration
		zero  time.Duration
	}{
		{"enrol_within", &c.EnrolWithin, time.Minute},
		{"ce_lifetime", &c.CELifetime, 24 * time.Hour},
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

func defaultStateDir() string {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "imageport", "ce")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".local", "state", "imageport", "ce")
}
