package wallet

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Names of the providers.
const (
	ProviderFile  = "file"
	ProviderDir   = "dir"
	ProviderVault = "vault"
)

// Config says where the wallet is.
type Config struct {
	// Provider is "file", "dir" or "vault". By default it is "file"; where
	// nothing at all is configured and there is a directory "wallet", "dir".
	Provider string `toml:"provider"`
	// Path is that of the file, by default "wallet.age", or of the directory, by
	// default "wallet".
	Path string `toml:"path"`
	// KeyFile is the key of the file, by default beside it: "wallet.key" for
	// "wallet.age".
	KeyFile string `toml:"key_file"`
	// Vault is for the provider "vault".
	Vault VaultConfig `toml:"vault"`
	// RequireHosts has the wallet give no credential of the type
	// UsernamePassword that is for any host.
	RequireHosts bool `toml:"require_hosts"`
}

const (
	defaultFile = "wallet.age"
	defaultDir  = "wallet"
	fileSuffix  = ".age"
	keySuffix   = ".key"
)

// DirConfig is the configuration of the wallet in a directory.
func DirConfig(path string) Config { return Config{Provider: ProviderDir, Path: path} }

// Complete fills in the defaults, and makes paths absolute, which are relative
// to dir. Where dir is empty, paths that are not given stay so.
func (c Config) Complete(dir string) Config {
	if c == (Config{RequireHosts: c.RequireHosts}) {
		if st, err := os.Stat(filepath.Join(dir, defaultDir)); dir != "" && err == nil && st.IsDir() {
			c.Provider = ProviderDir
		}
	}
	switch c.Provider {
	case "", ProviderFile:
		c.Provider = ProviderFile
		if c.Path == "" && dir != "" {
			c.Path = defaultFile
		}
		if c.KeyFile == "" && c.Path != "" {
			c.KeyFile = strings.TrimSuffix(c.Path, fileSuffix) + keySuffix
		}
	case ProviderDir:
		if c.Path == "" && dir != "" {
			c.Path = defaultDir
		}
	case ProviderVault:
		c.Vault = c.Vault.complete()
	}
	for _, path := range []*string{&c.Path, &c.KeyFile, &c.Vault.CAFile, &c.Vault.TokenFile, &c.Vault.SecretIDFile, &c.Vault.JWTFile} {
		if *path != "" && !filepath.IsAbs(*path) {
			*path = filepath.Join(dir, *path)
		}
	}
	return c
}

// Validate reports everything that keeps a configuration that is complete from
// being of use. It reads no files.
func (c Config) Validate() error {
	var bad []error
	refuse := func(format string, args ...any) { bad = append(bad, fmt.Errorf(format, args...)) }
	switch c.Provider {
	case ProviderFile, ProviderDir:
		if c.Path == "" {
			refuse("the wallet has no path")
		}
		if c.Vault != (VaultConfig{}) {
			refuse("wallet.vault is for the provider %q, and the wallet's is %q", ProviderVault, c.Provider)
		}
	case ProviderVault:
		if c.Path != "" {
			refuse("wallet.path is not for the provider %q: it has wallet.vault.mount and wallet.vault.prefix", ProviderVault)
		}
		bad = append(bad, c.Vault.validate()...)
	default:
		refuse("there is no wallet provider %q: use %q, %q or %q", c.Provider, ProviderFile, ProviderDir, ProviderVault)
	}
	switch {
	case c.Provider == ProviderFile && c.Path != "" && c.KeyFile == c.Path:
		refuse("wallet.key_file is the wallet itself")
	case c.Provider != ProviderFile && c.KeyFile != "":
		refuse("wallet.key_file is for the provider %q, and the wallet's is %q", ProviderFile, c.Provider)
	}
	return errors.Join(bad...)
}

// Open gives the wallet of a configuration that is complete. It asks nothing of
// a server yet.
func Open(c Config) (Catalog, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	w, err := c.open()
	if err != nil || !c.RequireHosts {
		return w, err
	}
	return requiring{w}, nil
}

func (c Config) open() (Catalog, error) {
	switch c.Provider {
	case ProviderDir:
		return Dir(c.Path), nil
	case ProviderVault:
		return Vault(c.Vault)
	}
	return File(c.Path, c.KeyFile), nil
}

// Where says in a few words where the wallet is, for people.
func (c Config) Where() string {
	switch c.Provider {
	case ProviderDir:
		return "the directory " + c.Path
	case ProviderVault:
		return "Vault at " + c.Vault.Address + ", " + c.Vault.path("")
	}
	return c.Path
}
