package lock

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"imageport/appliance/deb"
)

// ErrNoMirror: it is not known where packages are downloaded from.
var ErrNoMirror = errors.New("no mirror of Debian")

// Mirror is where the archives are: for Debian and Security the URLs, without a
// slash at the end, in the order to try them in.
type Mirror map[string][]string

// MirrorAt is a mirror whose archive of Debian is at a URL such as
// http://mirror.example.com/debian. That of the security updates is expected
// beside it, with -security added to the name.
func MirrorAt(debian string) (Mirror, error) {
	debian = strings.TrimRight(debian, "/")
	if !isWeb(debian) {
		return nil, fmt.Errorf("%w: %q is no http or https URL", ErrNoMirror, debian)
	}
	return Mirror{Debian: {debian}, Security: {debian + "-security"}}, nil
}

func isWeb(address string) bool {
	u, err := url.Parse(address)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.RawQuery == "" && u.Fragment == ""
}

// maxAptFile bounds a file of apt's configuration, in bytes.
const maxAptFile = 1 << 20

// AptMirror finds the mirror of this machine in apt's configuration: the
// folder /etc/apt. It may be that of another release of Debian, as what is
// downloaded is verified by its hash or signature.
func AptMirror(apt fs.FS) (Mirror, error) {
	deb822, err := fs.Glob(apt, "sources.list.d/*.sources")
	if err != nil {
		return nil, err
	}
	oneLine, err := fs.Glob(apt, "sources.list.d/*.list")
	if err != nil {
		return nil, err
	}
	m := Mirror{}
	for _, name := range append(append([]string{"sources.list"}, oneLine...), deb822...) {
		raw, err := readBounded(apt, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		var sources []source
		if path.Ext(name) == ".sources" {
			sources, err = parseSources(raw)
		} else {
			sources = parseSourcesList(raw)
		}
		if err != nil {
			return nil, fmt.Errorf("apt's configuration: %s: %w", name, err)
		}
		for _, s := range sources {
			if err := m.add(apt, s); err != nil {
				return nil, err
			}
		}
	}
	if len(m[Debian]) == 0 {
		return nil, fmt.Errorf("%w: apt's configuration has none", ErrNoMirror)
	}
	for _, d := range m[Debian] {
		m.addURL(Security, d+"-security")
	}
	return m, nil
}

func readBounded(apt fs.FS, name string) ([]byte, error) {
	info, err := fs.Stat(apt, name)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxAptFile {
		return nil, fmt.Errorf("apt's configuration: %s has %d bytes, want at most %d", name, info.Size(), maxAptFile)
	}
	return fs.ReadFile(apt, name)
}

// source is what sources.list(5) calls one: suites and components at URIs.
type source struct {
	uris, suites, components []string
}

// parseSources reads a file of the deb822 style.
func parseSources(raw []byte) ([]source, error) {
	var list []source
	for fields, err := range deb.Stanzas(bytes.NewReader(raw)) {
		if err != nil {
			return nil, err
		}
		if !slices.Contains(strings.Fields(fields["types"]), "deb") || disabled(fields["enabled"]) {
			continue
		}
		list = append(list, source{strings.Fields(fields["uris"]), strings.Fields(fields["suites"]), strings.Fields(fields["components"])})
	}
	return list, nil
}

// disabled has apt's words for false.
func disabled(enabled string) bool {
	return slices.Contains([]string{"no", "false", "without", "off", "disable", "0"}, strings.ToLower(enabled))
}

var options = regexp.MustCompile(`\[[^\]]*\]`)

// parseSourcesList reads a file of the one-line style: deb [options] uri suite
// component... What is no such line does not count.
func parseSourcesList(raw []byte) []source {
	var list []source
	for line := range strings.Lines(string(raw)) {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(options.ReplaceAllString(line, " "))
		if len(words) >= 4 && words[0] == "deb" {
			list = append(list, source{words[1:2], words[2:3], words[3:]})
		}
	}
	return list
}

// A suite of Debian's own archives, not of those of others, whose names are
// such as bookworm-pgdg.
var debianSuite = regexp.MustCompile(`^(stable|oldstable|oldoldstable|testing|unstable|buster|bullseye|bookworm|trixie|forky|duke|sid)(-updates|-security|/updates)?$`)

// add takes the URIs of a source that is Debian's main component.
func (m Mirror) add(apt fs.FS, s source) error {
	if !slices.Contains(s.components, "main") {
		return nil
	}
	for _, suite := range s.suites {
		if !debianSuite.MatchString(suite) {
			continue
		}
		archive := Debian
		if strings.HasSuffix(suite, "-security") || strings.HasSuffix(suite, "/updates") {
			archive = Security
		}
		for _, uri := range s.uris {
			// Debian's images for clouds name a list of mirrors in a file.
			if list, ok := strings.CutPrefix(uri, "mirror+file:"); ok {
				if err := m.addList(apt, archive, list); err != nil {
					return err
				}
				continue
			}
			m.addURL(archive, uri)
		}
	}
	return nil
}

// addList adds the mirrors of a list, see apt-transport-mirror(1). One outside
// of apt's folder is left out.
func (m Mirror) addList(apt fs.FS, archive, file string) error {
	name, ok := strings.CutPrefix(path.Clean("/"+strings.TrimLeft(file, "/")), "/etc/apt/")
	if !ok {
		return nil
	}
	raw, err := readBounded(apt, name)
	if err != nil {
		return fmt.Errorf("apt's list of mirrors: %w", err)
	}
	for line := range strings.Lines(string(raw)) {
		if words := strings.Fields(line); len(words) > 0 {
			m.addURL(archive, words[0])
		}
	}
	return nil
}

func (m Mirror) addURL(archive, address string) {
	address = strings.TrimRight(address, "/")
	if isWeb(address) && !slices.Contains(m[archive], address) {
		m[archive] = append(m[archive], address)
	}
}
