//go:build !no_azure

package installed

import (
	"context"

	"imageport/config"
	"imageport/platforms/azure"
	"imageport/wallet"
)

func buildAzure(cfg config.Config, secrets wallet.Provider) (platform, error) {
	p, err := azure.New(azure.Config{
		Credential: func(ctx context.Context, id string) (azure.Credential, error) {
			c, err := secrets.Credential(ctx, id)
			if err != nil {
				return azure.Credential{}, err
			}
			a, err := c.Azure()
			return azure.Credential{
				TenantID: a.TenantID, ClientID: a.ClientID, Secret: a.ClientSecret.Reveal(), CertificatePEM: []byte(a.Certificate.Reveal()),
				ManagedIdentity: a.Identity == wallet.ManagedIdentity, WorkloadIdentity: a.Identity == wallet.WorkloadIdentity,
			}, err
		},
		Appliance: cfg.Azure.Appliance, Gallery: cfg.Azure.Gallery, Image: cfg.Azure.Image,
		ResourceGroup: cfg.Azure.ResourceGroup, VMSize: cfg.Azure.VMSize,
	})
	if err != nil {
		return platform{}, err
	}
	return platform{p.Open, p.Close}, nil
}
