package job

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Hosts are the hosts that a credential is for: names ("files.example.com"),
// addresses ("10.1.2.3", "fd00::7"), networks ("10.1.0.0/16") and all names in a
// domain ("*.example.com", which is not example.com itself). Letters have no
// case, and ports are not part of it. No Hosts at all are any host.
//
// What a request calls a host counts. Names are not looked up: whoever answers
// for a name must not decide what it is allowed. So a network is for requests
// with addresses only.
type Hosts []string

// maxHosts bounds the hosts of a credential.
const maxHosts = 256

// Validate says which of them can be no host.
func (h Hosts) Validate() error {
	if len(h) > maxHosts {
		return fmt.Errorf("it names %d hosts, and %d are the most", len(h), maxHosts)
	}
	for _, p := range h {
		if err := validPattern(p); err != nil {
			return fmt.Errorf("host %.300q: %w", p, err)
		}
	}
	return nil
}

// Allow reports whether host, as a request has it, is among them.
func (h Hosts) Allow(host string) bool {
	if len(h) == 0 {
		return true
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	address, err := netip.ParseAddr(host)
	isAddress := err == nil
	name := canonicalName(host)
	if !isAddress && validName(name) != nil {
		return false
	}
	for _, p := range h {
		switch {
		case isAddress && allowsAddress(p, address.Unmap()), !isAddress && allowsName(canonicalName(p), name):
			return true
		}
	}
	return false
}

// Check gives the error of the credential of that id for a host that it is not
// for. The error does not tell which ones it is for: that is not for everybody
// who may name it.
func (h Hosts) Check(credential, host string) error {
	if h.Allow(host) {
		return nil
	}
	return Errorf(CredentialNotForHost,
		"Correct the host in the request, as it is spelt in the credential, or name another credential; if it is right, whoever keeps the wallet can add the host",
		"the credential %q is not for the host %.300q", credential, host)
}

func allowsAddress(pattern string, a netip.Addr) bool {
	if network, err := netip.ParsePrefix(pattern); err == nil {
		return network.Contains(a) // of no address with a zone
	}
	one, err := netip.ParseAddr(pattern)
	return err == nil && one.Unmap() == a
}

func allowsName(pattern, name string) bool {
	if domain, ok := strings.CutPrefix(pattern, "*"); ok {
		return len(name) > len(domain) && strings.HasSuffix(name, domain)
	}
	return pattern == name
}

// canonicalName is a name of a host in lower case, without the dot at the end.
// Only letters of ASCII are changed: others become some of these in lower case,
// such as the sign of the kelvin.
func canonicalName(host string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + ('a' - 'A')
		}
		return r
	}, strings.TrimSuffix(host, "."))
}

func validPattern(p string) error {
	if strings.Contains(p, "/") { // a zone may hold one, too
		network, err := netip.ParsePrefix(p)
		switch {
		case err != nil:
			return errors.New("it is no network, such as 10.1.0.0/16")
		case network.Addr().Is4In6():
			return errors.New("write the network of IPv4 addresses as such, as in 10.1.0.0/16")
		case network != network.Masked():
			return fmt.Errorf("it is an address in the network %s: write one or the other", network.Masked())
		}
		return nil
	}
	if _, err := netip.ParseAddr(p); err == nil {
		return nil
	}
	return validName(strings.TrimPrefix(canonicalName(p), "*."))
}

// maxNameBytes and maxLabelBytes are those of the DNS.
const (
	maxNameBytes  = 253
	maxLabelBytes = 63
)

// validName says why a canonical name is that of no host. Names of one number,
// or that end in one, are what some libraries take for addresses.
func validName(name string) error {
	switch {
	case name == "":
		return errors.New("it is empty")
	case len(name) > maxNameBytes:
		return errors.New("it is too long")
	case strings.Contains(name, ":"):
		return errors.New("a port is not part of it")
	case strings.Contains(name, "*"):
		return errors.New(`a star stands for the first part of a name only, as in "*.example.com"; leave hosts out for any host`)
	}
	last := ""
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > maxLabelBytes || strings.ContainsFunc(label, notInName) {
			return errors.New("it is no name of a host, address or network (other letters than those of ASCII are written in Punycode)")
		}
		last = label
	}
	if last[0] >= '0' && last[0] <= '9' && strings.Trim(last, "0123456789abcdefx") == "" {
		return errors.New("it is neither a name nor a whole address")
	}
	return nil
}

func notInName(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_')
}
