// Package network gives the machine its addresses: those that it is told, or
// those of a DHCP server, which it keeps for as long as it runs (RFC 2131
// section 4.4). Every network card is tried; cards may come late.
//
// A machine without an address in a bounded time, or whose lease ran out, is
// told so with what every card said. The package sets IPv6 addresses when they
// are told, but asks no DHCPv6 server; it has no firewall and no names.
package network
