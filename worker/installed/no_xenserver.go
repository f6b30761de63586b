//go:build no_xenserver

package installed

import (
	"imageport/config"
	"imageport/wallet"
)

var buildXenServer func(config.Config, wallet.Provider) (platform, error)
