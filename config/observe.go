package config

import (
	"errors"
	"fmt"
	"net"
)

// Log configures what the worker and the API write to standard error.
type Log struct {
	// Format is "text", the default, or "json".
	Format string `toml:"format"`
	// Level is "debug", "info" (the default), "warn" or "error".
	Level string `toml:"level"`
}

// Metrics configures where Prometheus finds the metrics of the worker.
type Metrics struct {
	// Listen is a "host:port"; without, there are none. They are for nobody else,
	// so 127.0.0.1:9464 or an address of a network of one's own.
	Listen string `toml:"listen"`
	// ListenAPI is the same of the API's process, where both run on one machine.
	ListenAPI string `toml:"listen_api"`
}

// Traces configures where traces go.
type Traces struct {
	// Endpoint is the URL of a collector that takes OTLP over HTTP, such as
	// http://127.0.0.1:4318; without, there are none.
	Endpoint string `toml:"endpoint"`
	// Sample is the share of calls that are traced, from 0 to 1, by default all.
	Sample *float64 `toml:"sample"`
}

// Versioning configures what Temporal is told of the worker's release, so that
// an operator decides when jobs move to the next one. Without a deployment,
// whichever worker runs takes the jobs.
type Versioning struct {
	// Deployment is the name of the worker deployment, the same for all releases.
	Deployment string `toml:"deployment"`
	// BuildID names the release, by default what the program says of itself.
	BuildID string `toml:"build_id"`
	// Behavior is "auto-upgrade", the default, with which running jobs move to
	// the current version, or "pinned", with which they stay with the one that they
	// began with.
	Behavior string `toml:"behavior"`
}

// The behaviors of Versioning.
const (
	BehaviorAutoUpgrade = "auto-upgrade"
	BehaviorPinned      = "pinned"
)

// validateObserving checks what is about telling, and about versions.
func (c *Config) validateObserving() error {
	for key, listen := range map[string]string{"listen": c.Metrics.Listen, "listen_api": c.Metrics.ListenAPI} {
		if listen == "" {
			continue
		}
		if _, _, err := net.SplitHostPort(listen); err != nil {
			return fmt.Errorf("metrics.%s is %q: give a host and a port, as in \"127.0.0.1:9464\"", key, listen)
		}
	}
	if s := c.Traces.Sample; s != nil && (*s < 0 || *s > 1) {
		return fmt.Errorf("traces.sample is %v: give a share from 0 to 1", *s)
	}
	switch v := c.Versioning; {
	case v.Deployment == "" && v != Versioning{}:
		return errors.New("versioning: give a deployment, without which there are no versions")
	case v.Behavior != "" && v.Behavior != BehaviorAutoUpgrade && v.Behavior != BehaviorPinned:
		return fmt.Errorf("versioning.behavior is %q: use %q or %q", v.Behavior, BehaviorAutoUpgrade, BehaviorPinned)
	}
	return nil
}
