package network

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Card is a network card.
type Card struct {
	Name    string
	Index   int
	MAC     net.HardwareAddr
	Carrier bool
}

// String is for people.
func (c Card) String() string { return fmt.Sprintf("%s (%s)", c.Name, c.MAC) }

// stack is what of the kernel's network is needed.
type stack interface {
	// Cards lists the real Ethernet cards by index, after it has set them up.
	Cards() ([]Card, error)
	// Changes tells when there may be others, or a carrier, until ctx ends.
	Changes(ctx context.Context) (<-chan struct{}, error)
	// Address gives the card an address; DropAddress takes it away, with the
	// routes that need it.
	Address(c Card, a netip.Prefix) error
	DropAddress(c Card, a netip.Prefix) error
	MTU(c Card, bytes int) error
	// Route leads by the card, even if the next hop is on no network of ours.
	Route(c Card, r Route) error
}

// rtnetlink is this machine's (rtnetlink(7)).
type rtnetlink struct {
	sys string // sysfs
}

func (k rtnetlink) Cards() ([]Card, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list network cards: %w", err)
	}
	var cards []Card
	for _, l := range links {
		a := l.Attrs()
		if a.Flags&net.FlagLoopback != 0 {
			if err := netlink.LinkSetUp(l); err != nil {
				return nil, fmt.Errorf("set up %s: %w", a.Name, err)
			}
			continue
		}
		// Behind a real card there is a device. The slave of an accelerated card
		// (Azure's mlx5 and its netvsc) is used by its master, not by us.
		_, err := os.Stat(filepath.Join(k.sys, "class/net", a.Name, "device"))
		if err != nil || a.MasterIndex != 0 || a.EncapType != "ether" {
			continue
		}
		if a.Flags&net.FlagUp == 0 {
			if err := netlink.LinkSetUp(l); err != nil {
				return nil, fmt.Errorf("set up %s: %w", a.Name, err)
			}
		}
		cards = append(cards, Card{Name: a.Name, Index: a.Index, MAC: a.HardwareAddr, Carrier: a.RawFlags&unix.IFF_RUNNING != 0})
	}
	return cards, nil
}

func (rtnetlink) Changes(ctx context.Context) (<-chan struct{}, error) {
	updates := make(chan netlink.LinkUpdate)
	if err := netlink.LinkSubscribe(updates, ctx.Done()); err != nil {
		return nil, fmt.Errorf("listen for network cards: %w", err)
	}
	changes := make(chan struct{}, 1)
	go func() {
		for range updates {
			select {
			case changes <- struct{}{}:
			default: // somebody is about to look
			}
		}
	}()
	return changes, nil
}

func (rtnetlink) Address(c Card, a netip.Prefix) error {
	if err := netlink.AddrReplace(link(c), address(a)); err != nil {
		return fmt.Errorf("%s: set address %s: %w", c, a, err)
	}
	return nil
}

func (rtnetlink) DropAddress(c Card, a netip.Prefix) error {
	if err := netlink.AddrDel(link(c), address(a)); err != nil {
		return fmt.Errorf("%s: drop address %s: %w", c, a, err)
	}
	return nil
}

func (rtnetlink) MTU(c Card, bytes int) error {
	if err := netlink.LinkSetMTU(link(c), bytes); err != nil {
		return fmt.Errorf("%s: set MTU %d: %w", c, bytes, err)
	}
	return nil
}

func (rtnetlink) Route(c Card, r Route) error {
	route := &netlink.Route{LinkIndex: c.Index, Dst: ipNet(r.To)}
	if r.Via.IsValid() {
		route.Gw = r.Via.AsSlice()
		// GCP's router is outside of the machine's own network, a /32.
		route.Flags = int(netlink.FLAG_ONLINK)
	} else {
		route.Scope = netlink.SCOPE_LINK
	}
	if err := netlink.RouteReplace(route); err != nil {
		return fmt.Errorf("%s: route to %s: %w", c, r, err)
	}
	return nil
}

func link(c Card) netlink.Link {
	return &netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: c.Name, Index: c.Index}}
}

func address(a netip.Prefix) *netlink.Addr { return &netlink.Addr{IPNet: ipNet(a)} }

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
