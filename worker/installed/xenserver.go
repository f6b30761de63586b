//go:build !no_xenserver

package installed

import (
	"imageport/config"
	"imageport/job"
	"imageport/platforms/xenserver"
	"imageport/wallet"
)

func buildXenServer(cfg config.Config, secrets wallet.Provider) (platform, error) {
	p, err := xenserver.New(xenserver.Config{
		Credential: login(secrets),
		Appliance:  cfg.XenServer.Appliance,
		MemoryMB:   cfg.XenServer.MemoryMB, CPUs: cfg.XenServer.CPUs,
	})
	if err != nil {
		return platform{}, err
	}
	return platform{at(func(t job.Target) string { return t.XenHost }, p.Open), p.Close}, nil
}
