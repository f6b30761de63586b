package share

import (
	"net"
	"net/url"
	"strconv"
	"strings"

	"imageport/job"
)

// defaultPort is the TCP port of SMB without NetBIOS ([MS-SMB2] 2.1).
const defaultPort = 445

// Location says where a folder is.
type Location struct {
	Host   string // name or address, without brackets
	Port   int    // 0 is 445
	Share  string
	Folder string // '/'-separated, "" is the share's root
	// User is the user name that a URL may carry. Dial takes it if the credential
	// has none.
	User string
}

// String gives the UNC path, `\\host\share\folder`. It leaves out the port.
func (l Location) String() string {
	s := `\\` + l.Host + `\` + l.Share
	if l.Folder != "" {
		s += `\` + l.folder()
	}
	return s
}

// URL gives the same as `smb://user@host/share/folder`, with the port if it is
// not 445. Parse reads both.
func (l Location) URL() string {
	host := l.Host
	if l.Port != 0 && l.Port != defaultPort {
		host = l.addr()
	} else if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	u := url.URL{Scheme: "smb", Host: host, Path: "/" + l.Share}
	if l.Folder != "" {
		u.Path += "/" + l.Folder
	}
	s := u.String()
	if l.User != "" {
		// Not url.User, which leaves the ';' that separates a domain as it is.
		user := strings.ReplaceAll(url.QueryEscape(l.User), "+", "%20")
		s = urlScheme + user + "@" + strings.TrimPrefix(s, urlScheme)
	}
	return s
}

// addr is host:port.
func (l Location) addr() string {
	port := l.Port
	if port == 0 {
		port = defaultPort
	}
	return net.JoinHostPort(l.Host, strconv.Itoa(port))
}

// folder is Folder as SMB wants it.
func (l Location) folder() string { return strings.ReplaceAll(l.Folder, "/", `\`) }

// path is the path of a file of the folder, seen from the share's root.
func (l Location) path(name string) string {
	if l.Folder == "" {
		return name
	}
	return l.folder() + `\` + name
}

// file is the UNC path of a file of the folder, for messages.
func (l Location) file(name string) string { return l.String() + `\` + name }

func (l Location) check() error {
	const remedy = "Give host, share and folder as in \\\\host\\share\\folder"
	if l.Host == "" || strings.ContainsAny(l.Host, `/\`) {
		return job.Errorf(job.BadRequest, remedy, "%q is not the name of a server", l.Host)
	}
	if l.Port < 0 || l.Port > 65535 {
		return job.Errorf(job.BadRequest, remedy, "%d is not a TCP port", l.Port)
	}
	if reason := badName(l.Share); reason != "" {
		return job.Errorf(job.BadRequest, remedy, "%q is not the name of a share: %s", l.Share, reason)
	}
	if l.Folder == "" {
		return nil
	}
	for part := range strings.SplitSeq(l.Folder, "/") {
		if reason := badName(part); reason != "" {
			return job.Errorf(job.BadRequest, remedy, "%q is not a folder: %q %s", l.Folder, part, reason)
		}
	}
	return nil
}
