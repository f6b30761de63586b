package site

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"imageport/config"
	"imageport/lab"
	"imageport/starter"
	"imageport/testkit/devserver"
	"imageport/testkit/port"
	"imageport/testkit/samba"
	"imageport/testkit/winimage"
)

// The names in the specification's request.
const (
	ResourceLocation = "25b561b8-06b0-45bf-83b4-86ac84598443"
	CredentialID     = "pvs-smb"
	Image            = "win10.vhdx"
)

// Site is an installation that runs.
type Site struct {
	Dir      string // everything of it lies here
	Store    string // the directory that Samba serves
	Program  string // imageport
	Samba    *samba.Server
	Temporal *devserver.Server
	Jobs     *starter.Client
	gateway  *port.Port // of its workers
	// ResourceLocation is the task queue of its workers.
	ResourceLocation string

	// Lab is the simulated platform that jobs run on, if they do.
	Lab *lab.Lab

	appliance, firmware string
	guest               string
	labLog              *os.File
}

// Options say what a site has.
type Options struct {
	Dir      string            // must exist; short, because of Unix sockets in it
	Program  string            // imageport, built
	Temporal *devserver.Server // runs already
	Image    winimage.Spec     // of the vDisk; none for the zero value
	// ResourceLocation keeps sites apart that share a Temporal server; empty is
	// the specification's.
	ResourceLocation string
	// Appliance is the raw disk of the Compositing Engine's VM. With it, jobs
	// run on platform qemu, else on platform local.
	Appliance string
	// VSphere has jobs run on platform vSphere, in a lab. Appliance is an OVA
	// then, which its VMs start from; without it they are processes.
	VSphere bool
	// XenServer has jobs run on platform XenServer, in a lab whose VMs are
	// processes.
	XenServer bool
	Firmware  string // of the VMs, as in the configuration
	// Guest is the program that is the machine of a disk for upgradePvs, on
	// platform local and of the lab's VMs. With it, there is a catalogue.
	Guest string
}

// Start brings a site up. Workers are started apart.
func Start(ctx context.Context, o Options) (*Site, error) {
	s := &Site{
		Dir:      o.Dir,
		Store:    filepath.Join(o.Dir, "store"),
		Program:  o.Program,
		Temporal: o.Temporal,
		Jobs:     starter.New(o.Temporal.Client()),

		ResourceLocation: cmp.Or(o.ResourceLocation, ResourceLocation),

		appliance: o.Appliance,
		firmware:  o.Firmware,
		guest:     o.Guest,
	}
	for _, dir := range []string{s.Store, s.Outputs()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	if o.Image.SizeBytes > 0 {
		img, err := winimage.Cached(ctx, o.Image)
		if err != nil {
			return nil, err
		}
		if err := img.VHDX(ctx, filepath.Join(s.Store, Image), winimage.Dynamic); err != nil {
			return nil, err
		}
	}
	var err error
	if s.gateway, err = port.Reserve("127.0.0.1", 0); err != nil {
		return nil, err
	}
	switch {
	case o.VSphere:
		err = s.startLab(ctx, lab.StartVSphere)
	case o.XenServer:
		err = s.startLab(ctx, lab.StartXenServer)
	}
	if err != nil {
		return nil, errors.Join(err, s.stopLab())
	}
	s.Samba, err = samba.Start(ctx, samba.Options{Dir: filepath.Join(o.Dir, "samba"), Shares: map[string]string{"disks": s.Store}})
	if err != nil {
		return nil, errors.Join(err, s.stopLab())
	}
	if o.Guest != "" {
		if err := s.makeCatalogue(); err != nil {
			return nil, errors.Join(err, s.stopLab())
		}
	}
	return s, errors.Join(s.AddCredential(CredentialID, s.Samba.Password), s.writeConfig())
}

// Stop ends what Start has started, and the Compositing Engines of jobs that
// were cut off.
func (s *Site) Stop() error {
	s.Samba.Stop()
	defer s.gateway.Release()
	if s.Lab != nil {
		return s.stopLab()
	}
	return s.destroyLeft()
}

// AddCredential adds a credential for the site's Samba to the wallet.
func (s *Site) AddCredential(id, password string) error {
	return s.addCredential(id, s.Samba.Username, password)
}

func (s *Site) addCredential(id, username, password string) error {
	dir := filepath.Join(s.Dir, "wallet")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	b, err := json.Marshal(map[string]string{"type": "UsernamePassword", "username": username, "password": password})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, id+".json"), b, 0o600)
}

// Gateway is the "host:port" on which the site's workers listen for
// Compositing Engines.
func (s *Site) Gateway() string { return fmt.Sprintf("127.0.0.1:%d", s.gateway.Number) }

// Config is the configuration file of the site.
func (s *Site) Config() string { return filepath.Join(s.Dir, "config.toml") }

func (s *Site) writeConfig() error {
	return os.WriteFile(s.Config(), fmt.Appendf(nil, `resource_location = %q
wallet = "wallet"
ce_lifetime = "15m"

[gateway]
listen = %q
key = "gateway.key"
%s
%s`, s.ResourceLocation, s.Gateway(), s.gatewayAddress(), s.catalogueConfig()+"\n"+s.platformConfig()), 0o600)
}

// Env is the environment of imageport and of the Temporal CLI on the site.
func (s *Site) Env() []string {
	return append(os.Environ(), config.EnvPath+"="+s.Config(), "TEMPORAL_ADDRESS="+s.Temporal.Address, "TEMPORAL_NAMESPACE="+devserver.Namespace)
}

// Command is a command line of imageport on the site.
func (s *Site) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, s.Program, args...)
	cmd.Env = s.Env()
	return cmd
}

// Interactive runs a command line of imageport on our own terminal.
func (s *Site) Interactive(ctx context.Context, args ...string) error {
	cmd := s.Command(ctx, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	return cmd.Run()
}

// Body is a request of the specification with what differs here: the platform
// and where on it, the host and the port of the share.
func (s *Site) Body(specification []byte, change func(body map[string]any)) ([]byte, error) {
	var body map[string]any
	if err := json.Unmarshal(specification, &body); err != nil {
		return nil, err
	}
	if err := s.place(body); err != nil {
		return nil, err
	}
	where := body["inputStorageLocation"].(map[string]any)
	where["host"], where["port"] = s.Samba.Host, s.Samba.Port
	if change != nil {
		change(body)
	}
	return json.MarshalIndent(body, "", "  ")
}
