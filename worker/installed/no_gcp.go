//go:build no_gcp

package installed

import (
	"imageport/config"
	"imageport/wallet"
)

var buildGCP func(config.Config, wallet.Provider) (platform, error)
