package worker

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"go.temporal.io/sdk/interceptor"

	"imageport/engine/share"
	"imageport/platforms"
)

// Config says what a worker serves, and with what.
type Config struct {
	// ResourceLocation is the task queue, and the owner of the Compositing
	// Engines that the worker makes.
	ResourceLocation string
	// Namespace is the Temporal namespace of the worker's client.
	Namespace string
	// Wallet is the directory with the credentials.
	Wallet string
	// ShareDriver is the SMB library to use, by default share.DriverCloudSoda.
	ShareDriver string
	// EnrolWithin is how long a Compositing Engine may take from its creation
	// until it reports.
	EnrolWithin time.Duration
	// CELifetime is after how long a Compositing Engine ends by itself.
	CELifetime time.Duration
	// StateDir is where the platform "local" keeps its Compositing Engines.
	StateDir string
	// AgentProgram is the program that they run, by default the running one.
	AgentProgram string
	// AgentEnv are the "NAME=value" entries that their environment has besides
	// the worker's own.
	AgentEnv []string

	// Platforms are further platforms. One called "local" replaces our own.
	Platforms platforms.Registry
	// Interceptors are called around ours, the first one outermost.
	Interceptors []interceptor.WorkerInterceptor
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
	if c.Wallet == "" {
		refuse("no wallet: the directory with the credentials")
	}
	switch c.ShareDriver {
	case "", share.DriverCloudSoda, share.DriverHirochachacha:
	default:
		refuse("there is no SMB driver %q: use %q or %q", c.ShareDriver, share.DriverCloudSoda, share.DriverHirochachacha)
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
