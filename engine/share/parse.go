package share

import (
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"imageport/job"
)

// Parse reads where a file is, in any of the forms that people write:
//
//	smb://[[domain;]user@]host[:port]/share/folder/file    %-encoded
//	\\host\share\folder\file                               and with '/'
//	host/share/folder/file
//
// The last element is the file; file is "" if the text ends in a separator or
// names nothing but a share. The user comes as Location.User, DOMAIN\user if
// there is a domain. A password is refused: what is on a command line is for
// everybody to read. Errors are job.BadRequest and do not repeat a password.
func Parse(s string) (loc Location, file string, err error) {
	authority, path, err := splitLocation(s)
	if err != nil {
		return Location{}, "", badLocation(err)
	}
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		if loc.User, err = parseUser(authority[:i]); err != nil {
			return Location{}, "", badLocation(err)
		}
		authority = authority[i+1:]
	}
	if isURL(s) { // letters that are not ASCII are %-encoded here too
		if authority, err = url.PathUnescape(authority); err != nil {
			return Location{}, "", badLocation(fmt.Errorf("the server's name is not %%-encoded as a URL must be"))
		}
	}
	if loc.Host, loc.Port, err = splitHost(authority); err != nil {
		return Location{}, "", badLocation(err)
	}
	isFolder := path == "" || strings.HasSuffix(path, "/")
	parts := strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
	if isURL(s) {
		for i, part := range parts {
			if parts[i], err = url.PathUnescape(part); err != nil {
				return Location{}, "", badLocation(fmt.Errorf("%q is not %%-encoded as a URL must be (%% itself is %%25)", part))
			}
		}
	}
	if len(parts) == 0 {
		return Location{}, "", badLocation(fmt.Errorf("it names no share on %s", loc.Host))
	}
	if last := len(parts) - 1; last > 0 && !isFolder {
		file = parts[last]
		if err := checkName(file); err != nil {
			return Location{}, "", err
		}
		parts = parts[:last]
	}
	// An element with a separator in it, which a URL can have, must not become
	// two.
	for _, part := range parts[1:] {
		if reason := badName(part); reason != "" {
			return Location{}, "", badLocation(fmt.Errorf("the name of the folder %q %s", part, reason))
		}
	}
	loc.Share, loc.Folder = parts[0], strings.Join(parts[1:], "/")
	if err := loc.check(); err != nil {
		return Location{}, "", err
	}
	return loc, file, nil
}

func badLocation(err error) error {
	return job.Errorf(job.BadRequest,
		`Write it as smb://host/share/folder/file, \\host\share\folder\file or host/share/folder/file`,
		"this is not a place on a share: %w", err)
}

const urlScheme = "smb://"

func isURL(s string) bool {
	return len(s) >= len(urlScheme) && strings.EqualFold(s[:len(urlScheme)], urlScheme)
}

// splitLocation gives what is before and after the separator that ends the host.
func splitLocation(s string) (authority, path string, err error) {
	rest := s
	if isURL(s) {
		if rest = s[len(urlScheme):]; strings.ContainsAny(rest, "?#") {
			return "", "", fmt.Errorf("in a URL, # is written %%23, and ? cannot be in a name")
		}
	} else {
		rest = strings.ReplaceAll(s, `\`, "/")
		if before, _, ok := strings.Cut(rest, "://"); ok {
			return "", "", fmt.Errorf("its scheme is %q, not smb", before)
		}
		rest = strings.TrimPrefix(rest, "//")
	}
	authority, path, _ = strings.Cut(rest, "/")
	switch {
	case authority == "":
		return "", "", fmt.Errorf("it names no server")
	case !isURL(s) && strings.Contains(authority, "@"):
		return "", "", fmt.Errorf("only a URL can carry a user name")
	}
	return authority, path, nil
}

// parseUser reads the part of a URL before '@'.
func parseUser(s string) (string, error) {
	if strings.Contains(s, ":") {
		return "", fmt.Errorf("a URL must not carry a password")
	}
	domain, user, hasDomain := strings.Cut(s, ";")
	if !hasDomain {
		domain, user = "", s
	}
	domain, err1 := url.PathUnescape(domain)
	user, err2 := url.PathUnescape(user)
	if err1 != nil || err2 != nil || user == "" || hasDomain && domain == "" ||
		!utf8.ValidString(domain+user) || strings.ContainsFunc(domain+user, unicode.IsControl) {
		return "", fmt.Errorf("what is before the @ is not a user name")
	}
	if hasDomain {
		user = domain + `\` + user
	}
	return user, nil
}

// splitHost takes host, host:port, an IP address, or [IPv6 address]:port. The
// port is 0 if it is the usual one. What does not fit is not repeated: it may
// be a password that got into the wrong place.
func splitHost(s string) (host string, port int, err error) {
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		return s, 0, nil
	}
	host, digits, hasPort := strings.Cut(s, ":")
	if inner, ok := strings.CutPrefix(s, "["); ok {
		var rest string
		host, rest, ok = strings.Cut(inner, "]")
		addr, err := netip.ParseAddr(host)
		if !ok || err != nil || !addr.Is6() || addr.Zone() != "" {
			return "", 0, fmt.Errorf("between brackets there is no IPv6 address")
		}
		if digits, hasPort = strings.CutPrefix(rest, ":"); !hasPort && rest != "" {
			return "", 0, fmt.Errorf("something other than a port follows the IPv6 address")
		}
	} else if host == "" || strings.ContainsFunc(host, notOfHost) {
		return "", 0, fmt.Errorf("what should be the server is not the name or address of one")
	}
	if !hasPort {
		return host, 0, nil
	}
	n, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || n == 0 {
		return "", 0, fmt.Errorf("what follows the colon after the server's name is not a TCP port")
	}
	if n == defaultPort {
		n = 0
	}
	return host, int(n), nil
}

// notOfHost reports what cannot be in a DNS or NetBIOS name.
func notOfHost(r rune) bool {
	return !unicode.IsLetter(r) && !unicode.IsMark(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-_.", r)
}
