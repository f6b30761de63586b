package samba

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// configure writes smb.conf.
func (s *Server) configure(opt Options) error {
	var b strings.Builder
	set := func(key, value string) { fmt.Fprintf(&b, "\t%s = %s\n", key, value) }

	b.WriteString("[global]\n")
	set("server role", "standalone server")
	set("netbios name", "TESTKIT")
	set("map to guest", "never")
	set("disable netbios", "yes")
	set("interfaces", "127.0.0.1")
	set("bind interfaces only", "yes")
	set("smb ports", fmt.Sprint(s.Port))
	// No printers, and no helper processes for pipes, which would leave the
	// process group.
	set("load printers", "no")
	set("printing", "bsd")
	set("printcap name", "/dev/null")
	set("disable spoolss", "yes")
	set("rpc start on demand helpers", "no")
	set("passdb backend", "tdbsam")
	set("max log size", "0")
	if opt.Signing != "" {
		set("server signing", opt.Signing)
	}
	if opt.Protocol != "" {
		set("server min protocol", opt.Protocol)
		set("server max protocol", opt.Protocol)
	}
	if opt.Encrypt {
		set("server smb encrypt", "required")
	}
	for _, p := range []struct{ key, name string }{
		{"username map", "users"},
		{"private dir", "private"},
		{"lock directory", "lock"},
		{"state directory", "state"},
		{"cache directory", "cache"},
		{"pid directory", "lock"},
		{"ncalrpc dir", "state/ncalrpc"},
	} {
		path, err := value(s.file(p.name))
		if err != nil {
			return err
		}
		set(p.key, path)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Shares)) {
		path, err := value(s.Shares[name])
		if err != nil {
			return err
		}
		if strings.ContainsAny(name, "]\r\n/\\") || name == "" || strings.EqualFold(name, "global") {
			return fmt.Errorf("%q cannot be the name of a share", name)
		}
		fmt.Fprintf(&b, "[%s]\n", name)
		set("path", path)
		if slices.Contains(opt.ReadOnly, name) {
			set("read only", "yes")
		} else {
			set("read only", "no")
		}
		if slices.Contains(opt.Closed, name) {
			set("valid users", "nobody")
		}
		if user := opt.As[name]; user != "" {
			set("force user", user)
		}
	}
	return os.WriteFile(s.file("smb.conf"), []byte(b.String()), 0o600)
}

// value keeps smbd from taking a path for more than a path.
func value(path string) (string, error) {
	if strings.ContainsAny(path, "\r\n") {
		return "", fmt.Errorf("%q has a line break", path)
	}
	return strings.ReplaceAll(path, "%", "%%"), nil
}
