package lab

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"imageport/job"
	"imageport/lab/vcenter"
)

// Config says what a lab is like.
type Config struct {
	// Dir is where all files of the lab go, a temporary directory by default.
	Dir string
	// Listen is the vCenter's address, 127.0.0.1 and a free port by default.
	Listen string
	// Appliance is the appliance's OVA. With it, guests are machines, without it
	// processes.
	Appliance string
	// AgentProgram is imageport, for guests that are processes.
	AgentProgram string
	// Log is told of guests that start and end. It may be nil.
	Log *slog.Logger
}

// Username is who logs in to the lab's vCenter.
const Username = "imageport-lab@vsphere.local"

const (
	datastores = "datastores" // below Config.Dir
	datastore  = "LocalDS_0"
)

// Lab is a vSphere that runs.
type Lab struct {
	VCenter *vcenter.VCenter
	// Appliance is the OVA for the worker's configuration: that of Config, or
	// where guests are processes, a stand-in.
	Appliance string
	// WorkerHost is how guests reach services on this machine, the gateway among
	// them.
	WorkerHost string

	dir       string
	temporary bool
	guests    interface{ stop() }
	up        chan struct{} // closed when VCenter is there
}

// Start starts a vSphere with one datacenter. Everything in it is over with
// Close, or with this process.
func Start(ctx context.Context, cfg Config) (_ *Lab, err error) {
	l := &Lab{dir: cfg.Dir, WorkerHost: "127.0.0.1", up: make(chan struct{})}
	if cfg.Dir == "" {
		if l.dir, err = os.MkdirTemp("", "imageport-lab-"); err != nil {
			return nil, fmt.Errorf("lab: %w", err)
		}
		l.temporary = true
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	if l.dir, err = filepath.Abs(l.dir); err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	if err := os.MkdirAll(l.dir, 0o700); err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	if l.Appliance, err = l.appliance(ctx, cfg); err != nil {
		return nil, err
	}
	guests, err := l.newGuests(cfg)
	if err != nil {
		return nil, err
	}
	v, err := vcenter.Start(vcenter.Config{Listen: cfg.Listen, Dir: filepath.Join(l.dir, datastores), Username: Username, Guests: guests})
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	l.VCenter = v
	close(l.up)
	return l, nil
}

// appliance gives the path of an OVA for the worker.
func (l *Lab) appliance(ctx context.Context, cfg Config) (string, error) {
	if cfg.Appliance == "" {
		path := filepath.Join(l.dir, "appliance.ova")
		return path, StandIn(ctx, path)
	}
	path, err := filepath.Abs(cfg.Appliance)
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		return "", fmt.Errorf("lab: the appliance: %w", err)
	}
	return path, nil
}

// newGuests gives what runs in the VMs.
func (l *Lab) newGuests(cfg Config) (vcenter.Guests, error) {
	dir := l.Guests()
	ended := func(vm string) {
		<-l.up
		l.VCenter.GuestEnded(vm)
	}
	if cfg.Appliance == "" {
		p, err := NewProcesses(ProcessesConfig{Dir: dir, Program: cfg.AgentProgram, Args: []string{"agent", "--seed"}, Ended: ended, Log: cfg.Log})
		if err != nil {
			return nil, err
		}
		l.guests = p
		return p, nil
	}
	m, err := NewMachines(MachinesConfig{Dir: dir, Ended: ended, Log: cfg.Log})
	if err != nil {
		return nil, err
	}
	l.guests, l.WorkerHost = m, WorkerHost
	return m, nil
}

// Guests is the directory of the guests' files: one for each that runs.
func (l *Lab) Guests() string { return filepath.Join(l.dir, "guests") }

// Logs is the directory of what guests say, a file for each VM.
func (l *Lab) Logs() string { return filepath.Join(l.Guests(), logs) }

// Datastore is the directory of the datastore that Target names.
func (l *Lab) Datastore() string { return filepath.Join(l.dir, datastores, datastore) }

// Target is what a request says of the lab, with the credential of that id: the
// specification's keys.
func (l *Lab) Target(credentialID string) job.Target {
	t := job.Target{Platform: job.PlatformVSphere, PlatformCredentialID: credentialID}
	t.VCenterHost, t.VCenterPort = l.VCenter.Host(), l.VCenter.Port()
	t.VCenterSSLFingerprint = l.VCenter.Fingerprint()
	t.Datacenter, t.Datastore, t.Cluster, t.Network = "DC0", datastore, "DC0_C0", "VM Network"
	return t
}

// Close ends the vCenter and its guests. A directory that was given stays, with
// what is in the datastores.
func (l *Lab) Close() error {
	if l.VCenter != nil {
		l.VCenter.Close()
	}
	if l.guests != nil {
		l.guests.stop()
	}
	if l.temporary {
		if err := os.RemoveAll(l.dir); err != nil {
			return fmt.Errorf("lab: %w", err)
		}
	}
	return nil
}
