package network

import (
	"errors"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

var start = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

// ack makes a server's answer.
func ack(t testing.TB, addr string, opts ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	t.Helper()
	opts = append([]dhcpv4.Modifier{dhcpv4.WithMessageType(dhcpv4.MessageTypeAck), dhcpv4.WithYourIP(net.ParseIP(addr))}, opts...)
	m, err := dhcpv4.New(opts...)
	if err != nil {
		t.Fatal(err)
	}
	// As it comes from the wire.
	m, err = dhcpv4.FromBytes(m.ToBytes())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func option(code dhcpv4.OptionCode, b ...byte) dhcpv4.Modifier {
	return dhcpv4.WithGeneric(code, b)
}

func mask(bits int) dhcpv4.Modifier { return dhcpv4.WithNetmask(net.CIDRMask(bits, 32)) }

func seconds(code dhcpv4.OptionCode, d time.Duration) dhcpv4.Modifier {
	s := uint32(d / time.Second)
	return option(code, byte(s>>24), byte(s>>16), byte(s>>8), byte(s))
}

func TestLease(t *testing.T) {
	for name, test := range map[string]struct {
		ack  *dhcpv4.DHCPv4
		want Lease
	}{
		"a home router": {
			ack(t, "192.168.1.7", mask(24), dhcpv4.WithRouter(net.IPv4(192, 168, 1, 1)), dhcpv4.WithDNS(net.IPv4(192, 168, 1, 1)),
				dhcpv4.WithLeaseTime(86400), dhcpv4.WithServerIP(net.IPv4(192, 168, 1, 1)),
				dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(192, 168, 1, 1)))),
			Lease{Address: pfx("192.168.1.7/24"), Routes: []Route{{pfx("0.0.0.0/0"), adr("192.168.1.1")}}, DNS: []netip.Addr{adr("192.168.1.1")},
				Server: adr("192.168.1.1"), Renew: 12 * time.Hour, Rebind: 21 * time.Hour, Expire: 24 * time.Hour},
		},
		"GCP: a /32, the router outside of it": {
			ack(t, "10.128.0.9", mask(32), dhcpv4.WithRouter(net.IPv4(10, 128, 0, 1)), dhcpv4.WithLeaseTime(3600),
				option(dhcpv4.OptionClasslessStaticRoute, 0, 10, 128, 0, 1, 32, 10, 128, 0, 1, 0, 0, 0, 0),
				option(dhcpv4.OptionInterfaceMTU, 0x05, 0xb4)),
			Lease{Address: pfx("10.128.0.9/32"), Routes: []Route{{pfx("10.128.0.1/32"), netip.Addr{}}, {pfx("0.0.0.0/0"), adr("10.128.0.1")}},
				MTU: 1460, Renew: 30 * time.Minute, Rebind: time.Hour / 8 * 7, Expire: time.Hour},
		},
		"Azure: classless routes win over the router": {
			ack(t, "10.0.0.4", mask(24), dhcpv4.WithRouter(net.IPv4(10, 0, 0, 254)), dhcpv4.WithLeaseTime(0xffffffff),
				option(dhcpv4.OptionClasslessStaticRoute, 0, 10, 0, 0, 1, 32, 168, 63, 129, 16, 10, 0, 0, 1, 25, 10, 9, 8, 128, 10, 0, 0, 2)),
			Lease{Address: pfx("10.0.0.4/24"), Routes: []Route{{pfx("0.0.0.0/0"), adr("10.0.0.1")}, {pfx("168.63.129.16/32"), adr("10.0.0.1")},
				{pfx("10.9.8.128/25"), adr("10.0.0.2")}}, Renew: forever / 2, Rebind: forever / 8 * 7, Expire: forever},
		},
		"a poor server: no mask, no router, no lease time, silly times, silly MTU, many name servers": {
			ack(t, "172.16.1.2", seconds(dhcpv4.OptionRenewTimeValue, 100), seconds(dhcpv4.OptionRebindingTimeValue, 50),
				option(dhcpv4.OptionInterfaceMTU, 0, 68), dhcpv4.WithDNS(net.IPv4(1, 1, 1, 1), net.IPv4(2, 2, 2, 2), net.IPv4(3, 3, 3, 3), net.IPv4(4, 4, 4, 4))),
			Lease{Address: pfx("172.16.1.2/16"), DNS: []netip.Addr{adr("1.1.1.1"), adr("2.2.2.2"), adr("3.3.3.3")},
				Renew: forever / 2, Rebind: forever / 8 * 7, Expire: forever},
		},
		"times of its own": {
			ack(t, "169.254.3.4", mask(16), dhcpv4.WithLeaseTime(100), seconds(dhcpv4.OptionRenewTimeValue, 10*time.Second), seconds(dhcpv4.OptionRebindingTimeValue, 20*time.Second)),
			Lease{Address: pfx("169.254.3.4/16"), Renew: 10 * time.Second, Rebind: 20 * time.Second, Expire: 100 * time.Second},
		},
	} {
		got, err := newLease(test.ack, start, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		test.want.ack, test.want.From = got.ack, start
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", name, got, test.want)
		}
	}
	for what, bad := range map[string]*dhcpv4.DHCPv4{
		"address 0.0.0.0":   ack(t, "0.0.0.0", mask(24)),
		"address 224.0.0.1": ack(t, "224.0.0.1", mask(24)),
		"address 127.0.0.1": ack(t, "127.0.0.1", mask(8)),
		"for no time":       ack(t, "10.0.0.1", mask(8), dhcpv4.WithLeaseTime(0)),
		"netmask 00000000":  ack(t, "10.0.0.1", mask(0)),
		"netmask ff00ff00":  ack(t, "10.0.0.1", option(dhcpv4.OptionSubnetMask, 255, 0, 255, 0)),
	} {
		if l, err := newLease(bad, start, nil); !errors.Is(err, ErrLease) || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %+v, %v", what, l, err)
		}
	}
}

// A renewal by Windows' server repeats nothing but the lease.
func TestLeaseRenewedInFewWords(t *testing.T) {
	first, err := newLease(ack(t, "10.1.2.3", mask(20), dhcpv4.WithRouter(net.IPv4(10, 1, 0, 1)), dhcpv4.WithDNS(net.IPv4(10, 1, 0, 2)),
		option(dhcpv4.OptionInterfaceMTU, 0x05, 0xdc), dhcpv4.WithLeaseTime(60), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(10, 1, 0, 1)))), start, nil)
	if err != nil {
		t.Fatal(err)
	}
	next, err := newLease(ack(t, "10.1.2.3", dhcpv4.WithLeaseTime(120)), start.Add(time.Minute), &first)
	if err != nil {
		t.Fatal(err)
	}
	want := first
	want.From, want.Renew, want.Rebind, want.Expire, want.ack = start.Add(time.Minute), time.Minute, 105*time.Second, 2*time.Minute, next.ack
	if !reflect.DeepEqual(next, want) {
		t.Errorf("got  %+v\nwant %+v", next, want)
	}
}

func FuzzLease(f *testing.F) {
	f.Add(ack(f, "10.128.0.9", mask(32), dhcpv4.WithRouter(net.IPv4(10, 128, 0, 1)), dhcpv4.WithLeaseTime(3600),
		option(dhcpv4.OptionClasslessStaticRoute, 0, 10, 128, 0, 1, 32, 10, 128, 0, 1, 0, 0, 0, 0)).ToBytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := dhcpv4.FromBytes(b)
		if err != nil {
			return
		}
		l, err := newLease(m, start, nil)
		if err != nil {
			if !errors.Is(err, ErrLease) {
				t.Error(err)
			}
			return
		}
		if !l.Address.IsValid() || l.Renew <= 0 || l.Renew > l.Rebind || l.Rebind > l.Expire || len(l.DNS) > maxServers || len(l.Routes) > maxRoutes {
			t.Errorf("%+v", l)
		}
		for _, r := range l.Routes {
			if !r.To.IsValid() {
				t.Errorf("%+v", l)
			}
		}
		if _, err := newLease(m, start, &l); err != nil {
			t.Errorf("the same again: %v", err)
		}
	})
}

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func adr(s string) netip.Addr   { return netip.MustParseAddr(s) }
