//go:build !no_vsphere

package installed

import (
	"imageport/config"
	"imageport/job"
	"imageport/platforms/vsphere"
	"imageport/wallet"
)

func buildVSphere(cfg config.Config, secrets wallet.Provider) (platform, error) {
	p, err := vsphere.New(vsphere.Config{
		Credential: login(secrets),
		Appliance:  cfg.VSphere.Appliance, Template: cfg.VSphere.Template,
		MemoryMB: cfg.VSphere.MemoryMB, CPUs: cfg.VSphere.CPUs,
	})
	if err != nil {
		return platform{}, err
	}
	return platform{at(func(t job.Target) string { return t.VCenterHost }, p.Open), p.Close}, nil
}
