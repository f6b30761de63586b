//go:build !no_xenserver

package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"imageport/appliance/export"
	"imageport/job"
	"imageport/lab/guest"
	"imageport/lab/xapi"
)

const (
	repositories = "repositories" // below Config.Dir
	repository   = "Lab storage"
	// repositorySizeBytes is so much that it is full when this machine's disk is.
	repositorySizeBytes = 16 << 40
)

// StartXenServer starts a pool of one host, whose guests are processes. The
// stand-in of an appliance is a raw disk. Everything in it is over with Close, or
// with this process.
func StartXenServer(ctx context.Context, cfg Config) (*Lab, error) {
	if cfg.Appliance != "" {
		return nil, errors.New("lab: guests of XenServer are processes: QEMU has no Xen devices for an appliance")
	}
	return start(ctx, cfg, export.Raw, func(dir string, cfg Config, guests guest.Guests) (platform, error) {
		dir = filepath.Join(dir, repositories)
		pool, err := xapi.Start(xapi.Config{
			Listen: cfg.Listen, Dir: dir, Guests: guests,
			SRs: []xapi.SR{{Name: repository, SizeBytes: repositorySizeBytes, Shared: true}},
		})
		if err != nil {
			return nil, err
		}
		for _, sr := range pool.Records("SR") {
			if sr["name_label"] == repository {
				x := xenServer{Pool: pool}
				x.sr, _ = sr["uuid"].(string) // a field of every SR
				x.dir = filepath.Join(dir, x.sr)
				if err := os.MkdirAll(x.dir, 0o700); err != nil {
					pool.Close()
					return nil, err
				}
				return x, nil
			}
		}
		pool.Close()
		return nil, fmt.Errorf("the pool has no SR %q", repository)
	})
}

// xenServer is a pool with a storage repository in a directory.
type xenServer struct {
	*xapi.Pool
	dir string
	sr  string // UUID
}

func (x xenServer) storage() string { return x.dir }

func (x xenServer) target() job.Target {
	t := job.Target{Platform: job.PlatformXenServer}
	t.XenHost, t.XenPort = x.Host(), x.Port()
	t.XenSSLFingerprint = x.Fingerprint()
	t.StorageRepositoryUUID, t.Network = x.sr, xapi.DefaultNetwork
	return t
}

func (x xenServer) diskFile(name string) (string, bool) {
	for _, d := range x.VDIs() {
		if d.Name == name {
			return d.File, true
		}
	}
	return "", false
}
