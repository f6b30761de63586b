package config

import (
	"errors"
	"fmt"

	"imageport/job"
)

// Catalogue says where the installer catalogue is: a directory, or a folder on an
// SMB share with a credential of its own. Without either, upgradePvs is refused.
type Catalogue struct {
	// Dir is a directory of the worker's machine. Only Compositing Engines on that
	// machine reach it.
	Dir string `toml:"dir"`
	// Host, Port and SharePath are as in the storage locations of requests: "port"
	// is 445 where absent, and "share_path" is the share with the folder on it.
	Host      string `toml:"host"`
	Port      int    `toml:"port"`
	SharePath string `toml:"share_path"`
	// CredentialID is the id in the wallet of the share's credential.
	CredentialID string `toml:"credential"`
}

// Location gives the folder on the share, if the catalogue is on one.
func (c Catalogue) Location() (job.StorageLocation, bool) {
	if c.Host == "" {
		return job.StorageLocation{}, false
	}
	return job.StorageLocation{Type: "SMB", Host: c.Host, Port: c.Port, SharePath: c.SharePath, CredentialID: c.CredentialID}, true
}

func (c Catalogue) validate() error {
	onShare := c
	onShare.Dir = ""
	switch {
	case onShare == Catalogue{}:
		return nil
	case c.Dir != "":
		return errors.New("catalogue: give either dir, or host, share_path and credential")
	}
	if c.Host == "" {
		return errors.New("catalogue: host is missing")
	}
	location, _ := c.Location()
	if _, err := location.Folder(); err != nil {
		return fmt.Errorf("catalogue: %w", err)
	}
	if c.CredentialID == "" {
		return errors.New("catalogue: credential is missing")
	}
	return nil
}
