package network

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"imageport/job/seed"
)

// Wait is how long a machine waits for its first address.
const Wait = 60 * time.Second

// carrierWait is how long static addresses wait for a card that is plugged in
// before they go to one that is not.
const carrierWait = 10 * time.Second

// Config says which addresses the machine gets.
type Config struct {
	// Static are the machine's addresses. Without, DHCP servers are asked.
	Static *seed.Network
	// Wait is how long to wait for the first one.
	Wait time.Duration
	// ResolvConf is the file with the name servers.
	ResolvConf string
	Log        *slog.Logger
	// Go starts what keeps the leases; nil is a plain go statement.
	Go func(func())
}

// Up gives this machine its addresses, and goes on keeping them until ctx ends.
// It returns when there is the first, with a channel that tells if that is lost
// again; the error says what every card said.
func Up(ctx context.Context, cfg Config) (lost <-chan error, err error) {
	return up(ctx, cfg, rtnetlink{sys: "/sys"}, dhcp{})
}

// network is the machine's network in the making.
type network struct {
	Config
	stack  stack
	server server

	first chan Card  // the first card with an address
	lost  chan error // which it lost

	mu   sync.Mutex
	main int               // index of that card, 0 if there is none yet
	said map[string]string // by card, for people: why it has no address
}

func up(ctx context.Context, cfg Config, k stack, s server) (<-chan error, error) {
	n := &network{Config: cfg, stack: k, server: s,
		first: make(chan Card, 1), lost: make(chan error, 1), said: map[string]string{}}
	if n.Go == nil {
		n.Go = func(f func()) { go f() }
	}
	changes, err := k.Changes(ctx)
	if err != nil {
		return nil, err
	}
	if n.Static != nil {
		return n.lost, n.static(ctx, changes)
	}
	n.Go(func() { n.follow(ctx, changes) })
	late := time.NewTimer(n.Wait)
	defer late.Stop()
	select {
	case <-n.first:
		return n.lost, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-late.C:
		return nil, n.complaint()
	}
}

// follow asks for a lease for every card, also for those that come later.
func (n *network) follow(ctx context.Context, changes <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	busy := map[int]bool{}
	for {
		cards, err := n.stack.Cards()
		if err != nil {
			n.Log.Warn("network cards", "error", err)
		}
		for _, c := range cards {
			if !busy[c.Index] {
				busy[c.Index] = true
				n.say(c, nil)
				n.Log.Info("network card", "card", c.Name, "mac", c.MAC, "carrier", c.Carrier)
				n.Go(func() { n.tend(ctx, c) })
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-changes:
		case <-tick.C:
		}
	}
}

// say notes why a card has no address.
func (n *network) say(c Card, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err == nil {
		n.said[c.String()] = "no answer"
		return
	}
	n.said[c.String()] = err.Error()
}

// complaint is what is wrong when no card has an address in time.
func (n *network) complaint() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.said) == 0 {
		return fmt.Errorf("no network card in %v: it has none, or one that needs another driver", n.Wait)
	}
	var all []string
	for _, card := range sorted(n.said) {
		all = append(all, fmt.Sprintf("on %s in %v: %s", card, n.Wait, n.said[card]))
	}
	return fmt.Errorf("no address by DHCP %s", strings.Join(all, "; "))
}

// serves reports whether the card is the one that got an address first: it has
// the default route and the name servers.
func (n *network) serves(c Card) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.main == 0 {
		n.main = c.Index
	}
	return n.main == c.Index
}

// static gives the addresses that were told to the first card that is plugged
// in, or to the first at all if none seems to be.
func (n *network) static(ctx context.Context, changes <-chan struct{}) error {
	addr, routes, servers, err := parse(n.Static)
	if err != nil {
		return err
	}
	tick := time.NewTicker(time.Second / 4)
	defer tick.Stop()
	start := time.Now()
	for {
		cards, err := n.stack.Cards()
		if err != nil {
			return err
		}
		if c, ok := choose(cards, time.Since(start) >= carrierWait); ok {
			n.Log.Info("static address", "card", c.Name, "mac", c.MAC, "carrier", c.Carrier, "address", addr, "routes", routes, "dns", servers)
			if err := n.stack.Address(c, addr); err != nil {
				return err
			}
			for _, r := range routes {
				if err := n.stack.Route(c, r); err != nil {
					return err
				}
			}
			return n.resolve(servers)
		}
		if time.Since(start) >= n.Wait {
			return n.complaint()
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changes:
		case <-tick.C:
		}
	}
}

func choose(cards []Card, unplugged bool) (Card, bool) {
	for _, c := range cards {
		if c.Carrier {
			return c, true
		}
	}
	if unplugged && len(cards) > 0 {
		return cards[0], true
	}
	return Card{}, false
}

// parse reads what package seed has checked.
func parse(s *seed.Network) (addr netip.Prefix, routes []Route, servers []netip.Addr, err error) {
	if addr, err = netip.ParsePrefix(s.Address); err != nil {
		return addr, nil, nil, fmt.Errorf("static address: %w", err)
	}
	if s.Router != "" {
		via, err := netip.ParseAddr(s.Router)
		if err != nil {
			return addr, nil, nil, fmt.Errorf("router: %w", err)
		}
		if via.Is4() != addr.Addr().Is4() {
			return addr, nil, nil, fmt.Errorf("router %s is not of the same family as address %s", via, addr)
		}
		routes = append(routes, Route{To: anywhere(via), Via: via})
	}
	for _, text := range s.DNS {
		server, err := netip.ParseAddr(text)
		if err != nil {
			return addr, nil, nil, fmt.Errorf("name server: %w", err)
		}
		servers = append(servers, server)
	}
	return addr, routes, servers, nil
}

// resolve writes the name servers down.
func (n *network) resolve(servers []netip.Addr) error {
	var b bytes.Buffer
	for _, s := range servers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	// Readers see the old file or the new one.
	partial := n.ResolvConf + ".partial"
	if err := os.WriteFile(partial, b.Bytes(), 0o644); err != nil {
		return fmt.Errorf("name servers: %w", err)
	}
	if err := os.Rename(partial, n.ResolvConf); err != nil {
		return fmt.Errorf("name servers: %w", err)
	}
	return nil
}
