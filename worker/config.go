package worker

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"go.temporal.io/sdk/interceptor"

	"imageport/engine/share"
	"imageport/engine/upgrade"
	"imageport/platforms"
	"imageport/platforms/qemu"
	"imageport/wallet"
)

// Config says what a worker serves, and with what.
type Config struct {
	// ResourceLocation is the task queue, and the owner of the Compositing
	// Engines that the worker makes.
	ResourceLocation string
	// Namespace is the Temporal namespace of the worker's client.
	Namespace string
	// Wallet has the credentials.
	Wallet wallet.Provider
	// ShareDriver is the SMB library to use, by default share.DriverCloudSoda.
	ShareDriver string
	// Gateway is the door for Compositing Engines.
	Gateway Gateway
	// EnrolWithin is how long a Compositing Engine may take from its creation
	// until it reports.
	EnrolWithin time.Duration
	// CELifetime is after how long a Compositing Engine ends by itself.
	CELifetime time.Duration
	// StateDir is where the platform "local" keeps its Compositing Engines.
	StateDir string
	// AgentProgram is the program that they run, by default the running one.
	AgentProgram string

	// QEMU configures the platform "qemu", which is there if it has an image.
	QEMU qemu.Config
	// SweepEvery is how often what jobs left behind is looked for, by default
	// every 15 minutes; negative: never.
	SweepEvery time.Duration
	// Catalogue is where the installers of upgradePvs are; the zero value is
	// nowhere.
	Catalogue upgrade.Catalogue
	// Guest is the program, with arguments, that is the machine of a disk on the
	// platform "local": see local.Config.
	Guest []string
	// OutputDir is where the platform "local" puts output disks.
	OutputDir string
	// Log takes what the gateway has to tell.
	Log *slog.Logger
	// Platforms are further platforms, which the caller closes when the worker has
	// stopped. One called "local" replaces our own.
	Platforms platforms.Registry
	// Version is what Temporal is told of the worker's release; the zero value is
	// nothing.
	Version Version
	// Interceptors are called around ours, the first one outermost.
	Interceptors []interceptor.WorkerInterceptor
}

// Version is a worker's release, as Temporal's worker versioning has it.
type Version struct {
	// Deployment is the name that all releases of the worker share, BuildID that
	// of this one.
	Deployment, BuildID string
	// Pinned has jobs stay with the release that they began with. Otherwise they
	// move to the current one with their next step, which every release can take
	// over.
	Pinned bool
}

// Gateway says where Compositing Engines find the worker.
type Gateway struct {
	// Listen is the "host:port" to listen on. Workers on one machine may share it.
	Listen string
	// Address is the "host:port" that Compositing Engines on other machines
	// dial. It may lead to any worker of the resource location.
	Address string
	// KeyFile holds the secret that the workers of a resource location share.
	// It is made where there is none.
	KeyFile string
	// CEsPerAddress is how many Compositing Engines may come from one address; 0 is
	// the gateway's default.
	CEsPerAddress int
}

// Validate reports everything that keeps the worker from being of use.
func (c Config) Validate() error {
	var bad []error
	refuse := func(format string, args ...any) { bad = append(bad, fmt.Errorf(format, args...)) }
	if c.ResourceLocation == "" {
		refuse("no resource location: it is the resourceLocationId of the requests to serve")
	}
	// It travels in the headers of gRPC, which take nothing else.
	if strings.ContainsFunc(c.ResourceLocation, func(r rune) bool { return r < ' ' || r > '~' }) {
		refuse("resource location %q holds characters that are not printable ASCII", c.ResourceLocation)
	}
	if c.Namespace == "" {
		refuse("no Temporal namespace")
	}
	if c.Wallet == nil {
		refuse("no wallet")
	}
	switch c.ShareDriver {
	case "", share.DriverCloudSoda, share.DriverHirochachacha:
	default:
		refuse("there is no SMB driver %q: use %q or %q", c.ShareDriver, share.DriverCloudSoda, share.DriverHirochachacha)
	}
	if _, _, err := net.SplitHostPort(c.Gateway.Listen); err != nil {
		refuse("the gateway is to listen on %q: want host:port", c.Gateway.Listen)
	}
	if host, port, err := net.SplitHostPort(c.Gateway.Address); c.Gateway.Address != "" && (err != nil || host == "" || port == "") {
		refuse("the gateway's address is %q: want host:port, as Compositing Engines are to dial it", c.Gateway.Address)
	}
	if c.Gateway.KeyFile == "" {
		refuse("no file for the gateway's key")
	}
	if c.EnrolWithin <= 0 {
		refuse("the time for a Compositing Engine to enrol is %v", c.EnrolWithin)
	}
	if c.CELifetime <= c.EnrolWithin {
		refuse("the lifetime of a Compositing Engine, %v, is no longer than the time that it has to enrol", c.CELifetime)
	}
	if c.StateDir == "" && !c.replacesLocal() {
		refuse("no state directory for the platform local")
	}
	return errors.Join(bad...)
}

// replacesLocal reports whether Platforms has the platform "local".
func (c Config) replacesLocal() bool {
	for name := range c.Platforms {
		if strings.EqualFold(name, localPlatform) {
			return true
		}
	}
	return false
}
