//go:build no_vsphere

package installed

import (
	"imageport/config"
	"imageport/wallet"
)

var buildVSphere func(config.Config, wallet.Provider) (platform, error)
