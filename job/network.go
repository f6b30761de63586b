package job

import (
	"fmt"
	"net"
	"net/netip"
)

// Localhost reports whether host, a name or an address, is the machine itself.
func Localhost(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// CENetwork are the addresses of a Compositing Engine on a network without
// DHCP.
type CENetwork struct {
	// Address is the CE's own, with the length of its network's prefix, as
	// 192.0.2.7/24.
	Address string `json:"address"`
	// Router is the next hop to everywhere else. It may be empty.
	Router string `json:"router,omitempty"`
	// DNS are the name servers.
	DNS []string `json:"dns,omitempty"`
}

// Validate says what is wrong with the addresses.
func (n *CENetwork) Validate() error {
	if _, err := netip.ParsePrefix(n.Address); err != nil {
		return fmt.Errorf("address %q: want one such as 192.0.2.7/24", n.Address)
	}
	if _, err := netip.ParseAddr(n.Router); n.Router != "" && err != nil {
		return fmt.Errorf("router %q is no IP address", n.Router)
	}
	for _, server := range n.DNS {
		if _, err := netip.ParseAddr(server); err != nil {
			return fmt.Errorf("name server %q is no IP address", server)
		}
	}
	return nil
}
