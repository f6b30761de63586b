//go:build no_azure

package installed

import (
	"imageport/config"
	"imageport/wallet"
)

var buildAzure func(config.Config, wallet.Provider) (platform, error)
