package lab

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"imageport/appliance/export"
	"imageport/job"
	"imageport/lab/guest"
)

// Config says what a lab is like.
type Config struct {
	// Dir is where all files of the lab go, a temporary directory by default.
	Dir string
	// Listen is the platform's address, 127.0.0.1 and a free port by default.
	Listen string
	// Appliance is the appliance in the platform's format. With it, guests are
	// machines, without it processes. Guests of XenServer are processes only.
	Appliance string
	// AgentProgram is imageport, for guests that are processes.
	AgentProgram string
	// Guest is the program, with its arguments, that is the machine of a VM which is
	// no CE, see ProcessesConfig and MachinesConfig.
	Guest []string
	// Log is told of guests that start and end. It may be nil.
	Log *slog.Logger
}

// Lab is a platform that runs.
type Lab struct {
	// Appliance is the file for the worker's configuration: that of Config, or
	// where guests are processes, a stand-in.
	Appliance string
	// WorkerHost is how guests reach services on this machine, the gateway among
	// them.
	WorkerHost string

	dir       string
	temporary bool
	guests    interface{ stop() }
	platform  platform
	up        chan struct{} // closed when platform is there
}

// platform is what a lab simulates.
type platform interface {
	URL() string
	Username() string
	Password() string
	// GuestEnded says that the guest of a VM has ended by itself.
	GuestEnded(vm string)
	// Close ends the platform and switches its VMs off.
	Close()

	// storage is the directory of the disks that a job leaves.
	storage() string
	// target is where in the platform a job can run, without a credential.
	target() job.Target
	// diskFile gives the file of the disk that a request calls name.
	diskFile(name string) (file string, ok bool)
}

// opener starts a platform whose disks are below dir.
type opener func(dir string, cfg Config, guests guest.Guests) (platform, error)

// start starts a lab of the platform that open starts, whose VMs start from an
// appliance in that format.
func start(ctx context.Context, cfg Config, format export.Format, open opener) (_ *Lab, err error) {
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
	if l.Appliance, err = l.appliance(ctx, cfg, format); err != nil {
		return nil, err
	}
	guests, err := l.newGuests(cfg)
	if err != nil {
		return nil, err
	}
	p, err := open(l.dir, cfg, guests)
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	l.platform = p
	close(l.up)
	return l, nil
}

// appliance gives the path of an appliance for the worker.
func (l *Lab) appliance(ctx context.Context, cfg Config, format export.Format) (string, error) {
	if cfg.Appliance == "" {
		path := filepath.Join(l.dir, "appliance."+string(format))
		return path, StandIn(ctx, path, format)
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
func (l *Lab) newGuests(cfg Config) (guest.Guests, error) {
	dir := l.Guests()
	ended := func(vm string) {
		<-l.up
		l.platform.GuestEnded(vm)
	}
	if cfg.Appliance == "" {
		p, err := NewProcesses(ProcessesConfig{Dir: dir, Program: cfg.AgentProgram, Args: []string{"agent", "--seed"}, Guest: cfg.Guest, Ended: ended, Log: cfg.Log})
		if err != nil {
			return nil, err
		}
		l.guests = p
		return p, nil
	}
	m, err := NewMachines(MachinesConfig{Dir: dir, Guest: cfg.Guest, Ended: ended, Log: cfg.Log})
	if err != nil {
		return nil, err
	}
	l.guests, l.WorkerHost = m, WorkerHost
	return m, nil
}

// URL is that of the platform's API.
func (l *Lab) URL() string { return l.platform.URL() }

// Username is the only one that may log in.
func (l *Lab) Username() string { return l.platform.Username() }

// Password is that of Username.
func (l *Lab) Password() string { return l.platform.Password() }

// Guests is the directory of the guests' files: one for each that runs.
func (l *Lab) Guests() string { return filepath.Join(l.dir, "guests") }

// Logs is the directory of what guests say, a file for each VM.
func (l *Lab) Logs() string { return filepath.Join(l.Guests(), logs) }

// Storage is the directory of the datastore or storage repository that Target
// names.
func (l *Lab) Storage() string { return l.platform.storage() }

// DiskFile gives the file of a disk on this machine: what a request calls
// name in its outputDiskName. It is a VMDK on vSphere, raw on XenServer.
func (l *Lab) DiskFile(name string) (file string, ok bool) { return l.platform.diskFile(name) }

// Target is what a request says of the lab, with the credential of that id: the
// specification's keys.
func (l *Lab) Target(credentialID string) job.Target {
	t := l.platform.target()
	t.PlatformCredentialID = credentialID
	return t
}

// Close ends the platform and its guests. A directory that was given stays, with
// the disks.
func (l *Lab) Close() error {
	if l.platform != nil {
		l.platform.Close()
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
