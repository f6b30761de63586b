// Package port keeps TCP ports for servers that tests start.
package port

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"
)

// Port is a TCP port kept for a server that binds with SO_REUSEPORT, as smbd
// does and our gateway. Two that are given the same port both start, and the
// kernel deals the clients out between them. A socket that is bound but does
// not listen keeps the port from being handed out a second time.
type Port struct {
	Number int
	fd     int
}

// Reserve takes a port of an IPv4 address, any free one if number is 0.
func Reserve(host string, number int) (*Port, error) {
	if number != 0 {
		// Without SO_REUSEPORT this fails if anybody listens.
		l, err := net.Listen("tcp4", net.JoinHostPort(host, strconv.Itoa(number)))
		if err != nil {
			return nil, err
		}
		l.Close()
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	p := &Port{fd: fd}
	if err := p.bind(&unix.SockaddrInet4{Port: number, Addr: addr.As4()}); err != nil {
		p.Release()
		return nil, fmt.Errorf("reserve port %d: %w", number, err)
	}
	return p, nil
}

func (p *Port) bind(addr *unix.SockaddrInet4) error {
	if err := unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if err := unix.Bind(p.fd, addr); err != nil {
		return err
	}
	bound, err := unix.Getsockname(p.fd)
	if err != nil {
		return err
	}
	p.Number = bound.(*unix.SockaddrInet4).Port
	return nil
}

// Release gives the port up.
func (p *Port) Release() { _ = unix.Close(p.fd) }
