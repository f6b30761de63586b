package job

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"unicode"
)

// StorageLocation is where an image lies: an SMB share, and a folder on it.
// It takes two forms: host and sharePath as in the specification, or one
// location (`\\host\share\folder` or smb://host/share/folder) as Citrix's own
// cmdlets send it.
type StorageLocation struct {
	Type         string `json:"type,omitempty"` // "SMB", the default
	CredentialID string `json:"credentialId"`
	Host         string `json:"host,omitempty"`
	SharePath    string `json:"sharePath,omitempty"`
	Location     string `json:"location,omitempty"`
	// Port is the TCP port of the SMB server, 445 where absent. It is ours:
	// the specification knows only 445.
	Port int `json:"port,omitempty"`
}

// DefaultSMBPort is the port that a StorageLocation without one means.
const DefaultSMBPort = 445

// Folder is a folder on an SMB share: the resolved form of a StorageLocation.
type Folder struct {
	Host  string
	Port  int
	Share string
	// Path is relative to the share, '/'-separated, "" for its root.
	Path string
}

// Folder resolves either form of the location.
func (s StorageLocation) Folder() (Folder, error) {
	f := Folder{Host: strings.TrimSuffix(strings.TrimPrefix(s.Host, "["), "]"), Port: cmp.Or(s.Port, DefaultSMBPort)}
	path := s.SharePath
	if s.Location != "" {
		if s.Host != "" || s.SharePath != "" {
			return Folder{}, fmt.Errorf("give either location, or host and sharePath")
		}
		var port string
		var err error
		if f.Host, port, path, err = splitLocation(s.Location); err != nil {
			return Folder{}, err
		}
		if port != "" {
			if f.Port, err = strconv.Atoi(port); err != nil {
				return Folder{}, fmt.Errorf("location %q: port %q is not a number", s.Location, port)
			}
		}
	}
	parts := strings.FieldsFunc(path, func(r rune) bool { return r == '/' || r == '\\' })
	for _, part := range parts {
		if trimmedByWindows(part) || isDevice(part) || strings.ContainsAny(part, `:*?"<>|`) || strings.ContainsFunc(part, unicode.IsControl) {
			return Folder{}, fmt.Errorf("share path %q: %q is not the name of a share or folder", path, part)
		}
	}
	switch {
	case f.Host == "":
		return Folder{}, fmt.Errorf("host is missing")
	case strings.ContainsAny(f.Host, `/\@ `), strings.Contains(f.Host, ":") && net.ParseIP(f.Host) == nil:
		return Folder{}, fmt.Errorf("host %q is not the name or address of a server (a port goes into port)", f.Host)
	case len(parts) == 0:
		return Folder{}, fmt.Errorf("sharePath is missing: it names the share, and a folder on it if any")
	case f.Port < 1 || f.Port > 65535:
		return Folder{}, fmt.Errorf("port %d is not a TCP port", f.Port)
	}
	f.Share, f.Path = parts[0], strings.Join(parts[1:], "/")
	return f, nil
}

// splitLocation takes apart smb://host:port/path, \\host\path and //host/path.
func splitLocation(location string) (host, port, path string, err error) {
	slashed := strings.ReplaceAll(location, `\`, "/")
	if !strings.HasPrefix(slashed, "//") && !strings.HasPrefix(strings.ToLower(slashed), "smb://") {
		return "", "", "", fmt.Errorf(`location %q is neither \\host\share\folder nor smb://host/share/folder`, location)
	}
	if strings.HasPrefix(slashed, "//") {
		host, path, _ = strings.Cut(slashed[2:], "/")
		return host, "", path, nil
	}
	u, err := url.Parse(slashed)
	if err != nil {
		return "", "", "", fmt.Errorf("location %q is not a URL: %w", location, err)
	}
	if u.User != nil {
		return "", "", "", fmt.Errorf("location must not carry a user name or password: put them into the wallet and name them by credentialId")
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return "", "", "", fmt.Errorf("location %q holds %q or %q, which mean something else in a URL: give it as \\\\host\\share\\folder", location, "?", "#")
	}
	return u.Hostname(), u.Port(), u.Path, nil
}

// UNC gives the Windows path of a file in the folder, or of the folder itself
// for "".
func (f Folder) UNC(file string) string {
	parts := []string{`\\` + f.Host, f.Share}
	if f.Path != "" {
		parts = append(parts, strings.Split(f.Path, "/")...)
	}
	if file != "" {
		parts = append(parts, file)
	}
	return strings.Join(parts, `\`)
}

// canonical is the folder in the spelling that identifies it: SMB names have
// no case, and 445 goes without saying.
func (f Folder) canonical() string {
	host := f.Host
	if f.Port != DefaultSMBPort {
		host += ":" + strconv.Itoa(f.Port)
	}
	parts := []string{host, f.Share}
	if f.Path != "" {
		parts = append(parts, f.Path)
	}
	return strings.ToLower(strings.Join(parts, "/"))
}
