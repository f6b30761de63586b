//go:build !no_vsphere

package lab

import (
	"context"
	"os"
	"path/filepath"

	"github.com/vmware/govmomi/object"

	"imageport/appliance/export"
	"imageport/job"
	"imageport/lab/guest"
	"imageport/lab/vcenter"
)

// vSphereUsername is who logs in to the lab's vCenter.
const vSphereUsername = "imageport-lab@vsphere.local"

const (
	datastores = "datastores" // below Config.Dir
	datastore  = "LocalDS_0"
)

// StartVSphere starts a vSphere with one datacenter. The appliance is an OVA.
// Everything in it is over with Close, or with this process.
func StartVSphere(ctx context.Context, cfg Config) (*Lab, error) {
	return start(ctx, cfg, export.OVA, func(dir string, cfg Config, guests guest.Guests) (platform, error) {
		dir = filepath.Join(dir, datastores)
		v, err := vcenter.Start(vcenter.Config{Listen: cfg.Listen, Dir: dir, Username: vSphereUsername, Guests: guests})
		if err != nil {
			return nil, err
		}
		return vSphere{v, filepath.Join(dir, datastore)}, nil
	})
}

// vSphere is a vCenter with a datastore in a directory.
type vSphere struct {
	*vcenter.VCenter
	datastore string
}

func (v vSphere) storage() string { return v.datastore }

func (v vSphere) target() job.Target {
	t := job.Target{Platform: job.PlatformVSphere}
	t.VCenterHost, t.VCenterPort = v.Host(), v.Port()
	t.VCenterSSLFingerprint = v.Fingerprint()
	t.Datacenter, t.Datastore, t.Cluster, t.Network = "DC0", datastore, "DC0_C0", "VM Network"
	return t
}

func (v vSphere) diskFile(name string) (string, bool) {
	var p object.DatastorePath
	if !p.FromString(name) || p.Datastore != datastore || !filepath.IsLocal(p.Path) {
		return "", false
	}
	file := filepath.Join(v.datastore, p.Path)
	_, err := os.Stat(file)
	return file, err == nil
}
