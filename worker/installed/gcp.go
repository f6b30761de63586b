//go:build !no_gcp

package installed

import (
	"context"

	"imageport/config"
	"imageport/platforms/gcp"
	"imageport/wallet"
)

func buildGCP(cfg config.Config, secrets wallet.Provider) (platform, error) {
	p, err := gcp.New(gcp.Config{
		Credential: func(ctx context.Context, id string) (gcp.Credential, error) {
			c, err := secrets.Credential(ctx, id)
			if err != nil {
				return gcp.Credential{}, err
			}
			g, err := c.GCP()
			return gcp.Credential{ProjectID: g.ProjectID, KeyJSON: []byte(g.Key.Reveal()), ApplicationDefault: g.ApplicationDefault}, err
		},
		Appliance: cfg.GCP.Appliance, Bucket: cfg.GCP.Bucket, Image: cfg.GCP.Image, MachineType: cfg.GCP.MachineType,
	})
	if err != nil {
		return platform{}, err
	}
	return platform{p.Open, p.Close}, nil
}
