package site

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"imageport/job"
	"imageport/lab"
	"imageport/platforms"
	"imageport/platforms/local"
	"imageport/platforms/qemu"
)

// platformCredential is the id of the credential for the lab's platform.
const platformCredential = "lab-login"

// startLab starts the platform that jobs run on.
func (s *Site) startLab(ctx context.Context, start func(context.Context, lab.Config) (*lab.Lab, error)) error {
	words, err := os.OpenFile(filepath.Join(s.Dir, "lab.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	s.labLog = words
	s.Lab, err = start(ctx, lab.Config{
		Dir: filepath.Join(s.Dir, "lab"), Appliance: s.appliance, AgentProgram: s.Program, Guest: s.guestCommand(),
		Log: slog.New(slog.NewTextHandler(words, nil)),
	})
	if err != nil {
		return err
	}
	return s.addCredential(platformCredential, s.Lab.Username(), s.Lab.Password())
}

// stopLab ends it, and the Compositing Engines in it.
func (s *Site) stopLab() error {
	var err error
	if s.Lab != nil {
		err = s.Lab.Close()
	}
	if s.labLog != nil {
		err = errors.Join(err, s.labLog.Close())
	}
	return err
}

// destroyLeft ends the Compositing Engines that a job which was cut off has
// left on this machine: they outlive their worker.
func (s *Site) destroyLeft() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	driver, err := s.driver()
	if err != nil {
		return err
	}
	left, err := driver.List(ctx)
	for _, ce := range left {
		err = errors.Join(err, driver.Destroy(ctx, ce.Name))
	}
	return err
}

// driver is that of the platform of this machine.
func (s *Site) driver() (platforms.Driver, error) {
	if s.appliance != "" {
		return qemu.New(qemu.Config{StateDir: s.State(), Image: s.appliance, Firmware: s.firmware, OutputDir: s.Outputs()})
	}
	return local.New(local.Config{StateDir: s.State(), Program: s.Program, Grace: time.Second, OutputDir: s.Outputs()})
}

// Platform is the platform that jobs run on.
func (s *Site) Platform() string {
	switch {
	case s.Lab != nil:
		return s.Lab.Target("").Platform
	case s.appliance != "":
		return job.PlatformQEMU
	}
	return job.PlatformLocal
}

// State is where the Compositing Engines of the site are.
func (s *Site) State() string {
	if s.Lab != nil {
		return s.Lab.Guests()
	}
	return filepath.Join(s.Dir, "ce")
}

// Outputs is the directory of output disks: with a lab, that of the datastore or
// storage repository.
func (s *Site) Outputs() string {
	if s.Lab != nil {
		return s.Lab.Storage()
	}
	return filepath.Join(s.Dir, "disks")
}

// platformConfig is the part of the configuration that is about the platform.
func (s *Site) platformConfig() string {
	switch platform := s.Platform(); platform {
	case job.PlatformVSphere, job.PlatformXenServer:
		// Nobody is to meet this user's own CEs on platform local.
		return fmt.Sprintf("[%s]\nappliance = %q\n\n[local]\nstate_dir = \"ce\"\n", strings.ToLower(platform), s.Lab.Appliance)
	case job.PlatformQEMU:
		return fmt.Sprintf("[qemu]\nimage = %q\nfirmware = %q\naccel = \"tcg\"\nstate_dir = \"ce\"\noutput_dir = \"disks\"\n", s.appliance, s.firmware)
	}
	local := "[local]\nstate_dir = \"ce\"\noutput_dir = \"disks\"\n"
	if s.guest != "" {
		local += fmt.Sprintf("guest = [%q]\n", s.guest)
	}
	return local
}

// catalogueFolder is the folder of installers on the share.
const catalogueFolder = "installers"

// Catalogue is where the installers of upgradePvs are.
func (s *Site) Catalogue() string { return filepath.Join(s.Store, catalogueFolder) }

// catalogueCredential is the id of the credential for it.
const catalogueCredential = "pvs-installers"

// makeCatalogue makes the folder, with a credential of its own.
func (s *Site) makeCatalogue() error {
	if err := os.Mkdir(s.Catalogue(), 0o777); err != nil {
		return err
	}
	return s.AddCredential(catalogueCredential, s.Samba.Password)
}

// catalogueConfig is the part of the configuration that is about it.
func (s *Site) catalogueConfig() string {
	return fmt.Sprintf("[catalogue]\nhost = %q\nport = %d\nshare_path = %q\ncredential = %q\n", s.Samba.Host, s.Samba.Port, "disks/"+catalogueFolder, catalogueCredential)
}

// gatewayAddress is what Compositing Engines in a lab dial; those of this
// machine's platforms know by themselves.
func (s *Site) gatewayAddress() string {
	if s.Lab == nil {
		return ""
	}
	return fmt.Sprintf("address = %q\n", net.JoinHostPort(s.Lab.WorkerHost, strconv.Itoa(s.gateway.Number)))
}

// place puts into a request of the specification where it is to run here.
func (s *Site) place(body map[string]any) error {
	body["platform"], body["resourceLocationId"] = s.Platform(), s.ResourceLocation
	if s.Lab == nil {
		return nil
	}
	target := s.Lab.Target(platformCredential)
	b, err := json.Marshal(target)
	if err != nil {
		return err
	}
	if name, ok := body["outputDiskName"].(string); ok {
		body["outputDiskName"] = diskName(target, name)
	}
	return json.Unmarshal(b, &body) // over what is there
}

// diskName is the output disk that the specification's request names, in the
// words of the lab's platform.
func diskName(t job.Target, name string) string {
	_, inStore, ok := strings.Cut(name, "]")
	switch {
	case !ok:
		return name
	case t.Platform == job.PlatformVSphere:
		return "[" + t.Datastore + "]" + inStore
	}
	base := path.Base(inStore)
	return strings.TrimSuffix(base, path.Ext(base))
}

// guestCommand is the machine of a VM without an agent.
func (s *Site) guestCommand() []string {
	if s.guest == "" {
		return nil
	}
	return []string{s.guest}
}
