package vsphere

import (
	"testing"

	"imageport/job"
	"imageport/platforms/platformtest"
)

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	p, err := New(h.config())
	if err != nil {
		t.Fatal(err)
	}
	platformtest.Refuses(t, h.where, func(w job.Target) error {
		_, err := p.Open(t.Context(), w)
		return err
	}, map[string]func(*job.Target){
		"vCenterHost":          func(w *job.Target) { w.VCenterHost = "" },
		"datacenter":           func(w *job.Target) { w.Datacenter = "" },
		"datastore":            func(w *job.Target) { w.Datastore = "" },
		"network":              func(w *job.Target) { w.Network = "" },
		"platformCredentialId": func(w *job.Target) { w.PlatformCredentialID = "" },
		"cluster":              func(w *job.Target) { w.Cluster = "" },
		"hostSystem":           func(w *job.Target) { w.HostSystem = "x" },
		"vCenterPort":          func(w *job.Target) { w.VCenterPort = 70000 },
	})
	platformtest.Refuses(t, h.config(), func(c Config) error {
		_, err := New(c)
		return err
	}, map[string]func(*Config){
		"credentials": func(c *Config) { c.Credential = nil },
		"either":      func(c *Config) { c.Template = "x" },
		"OVA":         func(c *Config) { c.Appliance = "" },
		"memory":      func(c *Config) { c.MemoryMB = 1 },
		"processors":  func(c *Config) { c.CPUs = 1000 },
	})
}
