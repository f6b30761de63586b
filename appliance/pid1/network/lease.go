package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// ErrLease says that a server's answer is no lease of an address.
var ErrLease = errors.New("network: not a usable lease")

const (
	// forever is the lease time of a lease without an end (RFC 2131 section 3.3).
	forever = math.MaxUint32 * time.Second
	// minMTU is what every host of IPv4 must take (RFC 791); less is a mistake,
	// and would break TLS for all practical purposes.
	minMTU = 576
	// maxServers bounds name servers, as resolv.conf(5) does.
	maxServers = 3
	// maxRoutes bounds routes. A message of 1500 bytes holds fewer.
	maxRoutes = 256
)

// Route leads to a network. Without a next hop, the network is on the link.
type Route struct {
	To  netip.Prefix
	Via netip.Addr
}

// String is for people.
func (r Route) String() string {
	if !r.Via.IsValid() {
		return r.To.String() + " on the link"
	}
	return r.To.String() + " via " + r.Via.String()
}

// Lease is an address for some time, and what belongs to it.
type Lease struct {
	Address netip.Prefix
	Routes  []Route
	DNS     []netip.Addr
	MTU     int        // 0: the server says nothing
	Server  netip.Addr // to be asked for renewal; not valid if it keeps its name to itself
	From    time.Time
	// Since From: when to ask the server again, when to ask any server, and
	// when the address is not ours any more.
	Renew, Rebind, Expire time.Duration

	ack *dhcpv4.DHCPv4
}

// newLease reads an ACK of that time. What a renewal leaves out stays as it was
// in last, which may be nil: not all servers repeat everything. Errors wrap
// ErrLease.
func newLease(ack *dhcpv4.DHCPv4, at time.Time, last *Lease) (Lease, error) {
	addr, ok := ipv4(ack.YourIPAddr)
	if !ok || !addr.IsGlobalUnicast() && !addr.IsLinkLocalUnicast() {
		return Lease{}, fmt.Errorf("%w: address %s", ErrLease, ack.YourIPAddr)
	}
	l := Lease{From: at, ack: ack}
	if last != nil {
		l.Routes, l.DNS, l.MTU, l.Server = last.Routes, last.DNS, last.MTU, last.Server
	}
	bits, err := prefixBits(ack, addr, last)
	if err != nil {
		return Lease{}, err
	}
	l.Address = netip.PrefixFrom(addr, bits)
	if server, ok := ipv4(ack.ServerIdentifier()); ok {
		l.Server = server
	}
	if routes := routesOf(ack); len(routes) > 0 {
		l.Routes = routes
	}
	if servers := ack.DNS(); len(servers) > 0 {
		l.DNS = nil
		for _, s := range servers[:min(len(servers), maxServers)] {
			if a, ok := ipv4(s); ok {
				l.DNS = append(l.DNS, a)
			}
		}
	}
	if mtu := ack.Options.Get(dhcpv4.OptionInterfaceMTU); len(mtu) == 2 {
		if n := int(binary.BigEndian.Uint16(mtu)); n >= minMTU {
			l.MTU = n
		}
	}
	l.Expire = ack.IPAddressLeaseTime(forever)
	if l.Expire < time.Second {
		return Lease{}, fmt.Errorf("%w: of %s for no time", ErrLease, addr)
	}
	// RFC 2131 section 4.4.5.
	l.Renew = ack.IPAddressRenewalTime(l.Expire / 2)
	l.Rebind = ack.IPAddressRebindingTime(l.Expire / 8 * 7)
	if l.Renew <= 0 || l.Renew > l.Rebind || l.Rebind > l.Expire {
		l.Renew, l.Rebind = l.Expire/2, l.Expire/8*7
	}
	return l, nil
}

// prefixBits gives the length of the network's prefix.
func prefixBits(ack *dhcpv4.DHCPv4, addr netip.Addr, last *Lease) (int, error) {
	mask := ack.SubnetMask()
	switch {
	case mask != nil:
		bits, size := mask.Size()
		if size != 32 || bits == 0 {
			return 0, fmt.Errorf("%w: netmask %s of %s", ErrLease, mask, addr)
		}
		return bits, nil
	case last != nil && last.Address.Addr() == addr:
		return last.Address.Bits(), nil
	}
	// The mask of the address's class, as before there were others.
	bits, _ := net.IP(addr.AsSlice()).DefaultMask().Size()
	return max(bits, 8), nil
}

// routesOf gives the classless static routes (RFC 3442), or if there are none,
// that by the first router. On-link routes come first: others may need them.
func routesOf(ack *dhcpv4.DHCPv4) []Route {
	var onLink, others []Route
	classless := ack.ClasslessStaticRoute()
	for _, r := range classless[:min(len(classless), maxRoutes)] {
		dst, ok := ipv4(r.Dest.IP)
		bits, _ := r.Dest.Mask.Size()
		if !ok {
			continue
		}
		to := netip.PrefixFrom(dst, bits).Masked()
		if via, ok := ipv4(r.Router); ok && !via.IsUnspecified() {
			others = append(others, Route{To: to, Via: via})
		} else {
			onLink = append(onLink, Route{To: to})
		}
	}
	if len(classless) > 0 {
		return slices.Concat(onLink, others)
	}
	for _, r := range ack.Router() {
		if via, ok := ipv4(r); ok && !via.IsUnspecified() {
			return []Route{{To: anywhere(via), Via: via}}
		}
	}
	return nil
}

// anywhere is the destination of the default route of the address's family.
func anywhere(a netip.Addr) netip.Prefix {
	if a.Is4() {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

func ipv4(ip net.IP) (netip.Addr, bool) {
	return netip.AddrFromSlice(ip.To4())
}
