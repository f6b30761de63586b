package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"imageport/job/seed"
)

// fakeStack is a machine with cards; what is done to them is a list.
type fakeStack struct {
	mu    sync.Mutex
	cards []Card
	done  []string
	start time.Time
}

func (s *fakeStack) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done = append(s.done, fmt.Sprintf("%v ", time.Since(s.start).Round(time.Second))+fmt.Sprintf(format, args...))
}

func (s *fakeStack) history() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.done, "\n")
}

func (s *fakeStack) Cards() ([]Card, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.cards), nil
}

func (s *fakeStack) plug(c Card) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cards = append(s.cards, c)
}

func (s *fakeStack) Changes(context.Context) (<-chan struct{}, error) { return nil, nil }
func (s *fakeStack) Address(c Card, a netip.Prefix) error             { s.note("%s has %s", c.Name, a); return nil }
func (s *fakeStack) DropAddress(c Card, a netip.Prefix) error {
	s.note("%s drops %s", c.Name, a)
	return nil
}
func (s *fakeStack) Route(c Card, r Route) error { s.note("%s: %s", c.Name, r); return nil }
func (s *fakeStack) MTU(c Card, n int) error {
	s.note("%s: MTU %d", c.Name, n)
	if n > 1500 {
		return errors.New("too big for it")
	}
	return nil
}

// fakeServer answers by functions; an exchange without one has no answer in 15 s.
type fakeServer struct {
	acquire, renew, rebind func(c Card, since time.Duration) (Lease, error)
	start                  time.Time
}

func (f *fakeServer) ask(ctx context.Context, by func(Card, time.Duration) (Lease, error), c Card) (Lease, error) {
	if by != nil {
		return by(c, time.Since(f.start))
	}
	if !pause(ctx, 15*time.Second) {
		return Lease{}, ctx.Err()
	}
	return Lease{}, errors.New("no answer")
}

func (f *fakeServer) Acquire(ctx context.Context, c Card) (Lease, error) {
	return f.ask(ctx, f.acquire, c)
}
func (f *fakeServer) Renew(ctx context.Context, c Card, _ Lease) (Lease, error) {
	return f.ask(ctx, f.renew, c)
}
func (f *fakeServer) Rebind(ctx context.Context, c Card, _ Lease) (Lease, error) {
	return f.ask(ctx, f.rebind, c)
}

// grant is a lease of 80 s that begins now: T1 is at 40, T2 at 70.
func grant(addr string) Lease {
	return Lease{Address: pfx(addr), Routes: []Route{{pfx("10.9.0.0/16"), adr("10.0.0.2")}, {pfx("0.0.0.0/0"), adr("10.0.0.1")}},
		DNS: []netip.Addr{adr("10.0.0.3")}, From: time.Now(), Renew: 40 * time.Second, Rebind: 70 * time.Second, Expire: 80 * time.Second}
}

var (
	eth0 = Card{Name: "eth0", Index: 2, MAC: net.HardwareAddr{0x52, 0x54, 0, 0, 0, 1}, Carrier: true}
	eth1 = Card{Name: "eth1", Index: 3, MAC: net.HardwareAddr{0x52, 0x54, 0, 0, 0, 2}, Carrier: true}
)

type site struct {
	stack  *fakeStack
	server *fakeServer
	cfg    Config
	log    *bytes.Buffer
}

func newSite(t *testing.T, cards ...Card) *site {
	now := time.Now()
	s := &site{stack: &fakeStack{cards: cards, start: now}, server: &fakeServer{start: now}, log: &bytes.Buffer{}}
	s.cfg = Config{Wait: Wait, ResolvConf: filepath.Join(t.TempDir(), "resolv.conf"), Log: slog.New(slog.NewTextHandler(s.log, nil))}
	return s
}

func (s *site) up(ctx context.Context) (<-chan error, error) {
	return up(ctx, s.cfg, s.stack, s.server)
}

func (s *site) servers(t *testing.T) string {
	b, err := os.ReadFile(s.cfg.ResolvConf)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestNoAnswer(t *testing.T) {
	for name, test := range map[string]struct {
		cards []Card
		want  string
	}{
		"one card":  {[]Card{eth0}, "no address by DHCP on eth0 (52:54:00:00:00:01) in 1m0s: no answer"},
		"two cards": {[]Card{eth0, eth1}, "no address by DHCP on eth0 (52:54:00:00:00:01) in 1m0s: no answer; on eth1 (52:54:00:00:00:02) in 1m0s: no answer"},
		"none":      {nil, "no network card in 1m0s: it has none, or one that needs another driver"},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t, test.cards...)
			ctx, cancel := context.WithCancel(t.Context())
			if _, err := s.up(ctx); err == nil || err.Error() != test.want || time.Since(s.stack.start) != Wait {
				t.Errorf("%s: %v", name, err)
			}
			cancel()
			synctest.Wait()
		})
	}
}

// The lease is renewed at T1 by its server, or at T2 by any, and is lost when
// neither answers or one refuses.
func TestLeaseOfALongJob(t *testing.T) {
	for name, test := range map[string]struct {
		renew, rebind func(Card, time.Duration) (Lease, error)
		history       string // of addresses, with the time
		lost          string
	}{
		"renewed twice, then nobody answers": {
			renew: func(_ Card, since time.Duration) (Lease, error) {
				if since > 100*time.Second {
					return Lease{}, errors.New("no route to host")
				}
				return grant("10.0.0.7/24"), nil
			},
			history: "0s eth0 has 10.0.0.7/24\n2m40s eth0 drops 10.0.0.7/24",
			lost:    "address 10.0.0.7/24 of eth0 (52:54:00:00:00:01) by DHCP is lost: the lease ran out after 1m20s: no answer",
		},
		"another server takes over": {
			rebind: func(_ Card, since time.Duration) (Lease, error) {
				if since > 80*time.Second {
					return Lease{}, fmt.Errorf("%w: %q", errRefused, "pool moved")
				}
				return grant("10.0.0.7/24"), nil
			},
			history: "0s eth0 has 10.0.0.7/24\n2m20s eth0 drops 10.0.0.7/24",
			lost:    `by DHCP is lost: the server refuses: "pool moved"`,
		},
		"another address": {
			renew:   func(Card, time.Duration) (Lease, error) { return grant("10.0.0.8/24"), nil },
			history: "0s eth0 has 10.0.0.7/24\n40s eth0 drops 10.0.0.7/24",
			lost:    "the server gave 10.0.0.8/24 in its place",
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t, eth0)
			s.server.acquire = func(Card, time.Duration) (Lease, error) { return grant("10.0.0.7/24"), nil }
			s.server.renew, s.server.rebind = test.renew, test.rebind
			lost, err := s.up(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := <-lost; err == nil || !strings.Contains(err.Error(), test.lost) {
				t.Errorf("%s: lost: %v", name, err)
			}
			addresses := slices.DeleteFunc(strings.Split(s.stack.history(), "\n"), func(l string) bool { return strings.Contains(l, " via ") })
			if got := strings.Join(addresses, "\n"); got != test.history {
				t.Errorf("%s:\n%s", name, got)
			}
			if s.servers(t) != "nameserver 10.0.0.3\n" {
				t.Errorf("%s: name servers: %q", name, s.servers(t))
			}
		})
	}
}

// A renewal that changes routes and name servers is obeyed.
func TestRenewalBringsNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, eth0)
		s.server.acquire = func(Card, time.Duration) (Lease, error) { return grant("10.0.0.7/24"), nil }
		s.server.renew = func(Card, time.Duration) (Lease, error) {
			l := grant("10.0.0.7/24")
			l.Routes, l.DNS, l.MTU, l.Expire = []Route{{pfx("0.0.0.0/0"), adr("10.0.0.254")}}, nil, 9000, forever
			return l, nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		if _, err := s.up(ctx); err != nil {
			t.Fatal(err)
		}
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		if h := s.stack.history(); !strings.HasSuffix(h, "40s eth0: MTU 9000\n40s eth0 has 10.0.0.7/24\n40s eth0: 0.0.0.0/0 via 10.0.0.254") {
			t.Errorf("%s", h)
		}
		if s.servers(t) != "" {
			t.Errorf("name servers: %q", s.servers(t))
		}
		cancel()
		synctest.Wait()
	})
}

// The card that comes late serves; the other one is tried on, and gets no
// default route when it has an address at last. It may lose it, too.
func TestManyCards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, eth0)
		time.AfterFunc(19500*time.Millisecond, func() { s.stack.plug(eth1) })
		s.server.acquire = func(c Card, since time.Duration) (Lease, error) {
			if c.Index == eth1.Index {
				l := grant("10.1.0.7/24")
				l.Expire = forever
				return l, nil
			}
			if since < 2*time.Minute || since > 220*time.Second {
				return Lease{}, errors.New("no answer")
			}
			return grant("10.0.0.7/24"), nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		lost, err := s.up(ctx)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		select {
		case err := <-lost:
			t.Error(err)
		default:
		}
		cancel()
		synctest.Wait()
		want := `20s eth1 has 10.1.0.7/24
20s eth1: 10.9.0.0/16 via 10.0.0.2
20s eth1: 0.0.0.0/0 via 10.0.0.1
2m0s eth0 has 10.0.0.7/24
2m0s eth0: 10.9.0.0/16 via 10.0.0.2
3m20s eth0 drops 10.0.0.7/24
3m20s eth0 has 10.0.0.7/24
3m20s eth0: 10.9.0.0/16 via 10.0.0.2
4m40s eth0 drops 10.0.0.7/24`
		if got := s.stack.history(); got != want {
			t.Errorf("%s", got)
		}
	})
}

func TestStatic(t *testing.T) {
	unplugged := eth0
	unplugged.Carrier = false
	for name, test := range map[string]struct {
		cards   []Card
		static  seed.Network
		history string
		servers string
		err     string
	}{
		"the card that is plugged in": {[]Card{unplugged, eth1}, seed.Network{Address: "192.0.2.7/24", Router: "192.0.2.1", DNS: []string{"192.0.2.2", "2001:db8::2"}},
			"0s eth1 has 192.0.2.7/24\n0s eth1: 0.0.0.0/0 via 192.0.2.1", "nameserver 192.0.2.2\nnameserver 2001:db8::2\n", ""},
		"none seems to be": {[]Card{unplugged}, seed.Network{Address: "2001:db8::7/64", Router: "fe80::1"},
			"10s eth0 has 2001:db8::7/64\n10s eth0: ::/0 via fe80::1", "", ""},
		"no router":     {[]Card{eth0}, seed.Network{Address: "192.0.2.7/24"}, "0s eth0 has 192.0.2.7/24", "", ""},
		"no card":       {nil, seed.Network{Address: "192.0.2.7/24"}, "", "", "no network card in 1m0s"},
		"two families":  {[]Card{eth0}, seed.Network{Address: "192.0.2.7/24", Router: "fe80::1"}, "", "", "not of the same family"},
		"not addresses": {[]Card{eth0}, seed.Network{Address: "192.0.2.7"}, "", "", "static address: "},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t, test.cards...)
			s.cfg.Static = &test.static
			_, err := s.up(t.Context())
			switch {
			case test.err == "" && err != nil, test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)):
				t.Errorf("%s: %v", name, err)
			case s.stack.history() != test.history:
				t.Errorf("%s: %s", name, s.stack.history())
			case err == nil && s.servers(t) != test.servers:
				t.Errorf("%s: %q", name, s.servers(t))
			}
		})
	}
}

func TestUpIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, static := range []*seed.Network{nil, {Address: "192.0.2.7/24"}} {
			s := newSite(t)
			s.cfg.Static = static
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, errors.New("told to stop"))
			if _, err := s.up(ctx); err == nil || err.Error() != "told to stop" {
				t.Error(err)
			}
			cancel()
			synctest.Wait()
		}
	})
}
