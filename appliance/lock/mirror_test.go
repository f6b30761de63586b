package lock_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"imageport/appliance/lock"
)

func TestAptMirror(t *testing.T) {
	const main, security = "http://mirror.example.com/debian", "http://mirror.example.com/debian-security"
	for name, c := range map[string]struct {
		files map[string]string
		want  lock.Mirror
		fails string
	}{
		"deb822, as containers have it": {map[string]string{"sources.list.d/debian.sources": "Types: deb\n# a comment\nURIs: " + main + "\nSuites: bookworm bookworm-updates\nComponents: main\nSigned-By: /usr/share/keyrings/x.gpg\n\n" +
			"Types: deb\nURIs: " + security + "/\nSuites: bookworm-security\nComponents: main\n"},
			lock.Mirror{lock.Debian: {main}, lock.Security: {security}}, ""},
		"one-line, as the installer writes it": {map[string]string{"sources.list": "# deb cdrom:[Debian]/ trixie main\n\ndeb " + main + "/ trixie main non-free-firmware\ndeb-src " + main + "-source/ trixie main\n" +
			"deb [arch=amd64 signed-by=/etc/apt/keyrings/x.gpg] http://security.example.com/debian-security trixie-security main # here\n"},
			lock.Mirror{lock.Debian: {main}, lock.Security: {"http://security.example.com/debian-security", security}}, ""},
		"others' archives beside it": {map[string]string{"sources.list": "deb " + main + " trixie main\n",
			"sources.list.d/docker.list":     "deb [arch=amd64] https://docker.example.com/linux/debian trixie stable\n",
			"sources.list.d/pgdg.sources":    "Types: deb\nURIs: https://postgresql.example.com/pub\nSuites: trixie-pgdg\nComponents: main\n",
			"sources.list.d/old.sources":     "Enabled: no\nTypes: deb\nURIs: http://old.example.com/debian\nSuites: trixie\nComponents: main\n",
			"sources.list.d/ignored.sources": "Types: deb-src\nURIs: http://source.example.com/debian\nSuites: trixie\nComponents: main\n",
			"sources.list.d/x.list.disabled": "deb http://disabled.example.com/debian trixie main\n",
			"sources.list.d/local.list":      "deb file:/srv/debian trixie main\ndeb ftp://ftp.example.com/debian trixie main\n"},
			lock.Mirror{lock.Debian: {main}, lock.Security: {security}}, ""},
		"a list of mirrors, as clouds have it": {map[string]string{
			"sources.list.d/debian.sources":     "Types: deb deb-src\nURIs: mirror+file:///etc/apt/mirrors/debian.list\nSuites: trixie trixie-updates trixie-backports\nComponents: main\n\nTypes: deb\nURIs: mirror+file:///etc/apt/mirrors/debian-security.list\nSuites: trixie-security\nComponents: main\n",
			"mirrors/debian.list":               "https://one.example.com/debian\thealthy:1\nhttps://two.example.com/debian\n",
			"mirrors/debian-security.list":      "https://one.example.com/debian-security\n",
			"sources.list.d/elsewhere.list":     "deb mirror+file:/srv/mirrors.list trixie main\n",
			"sources.list.d/not-there-too.list": "",
		}, lock.Mirror{lock.Debian: {"https://one.example.com/debian", "https://two.example.com/debian"}, lock.Security: {"https://one.example.com/debian-security", "https://two.example.com/debian-security"}}, ""},
		"a list of mirrors that is not there": {map[string]string{"sources.list": "deb mirror+file:/etc/apt/mirrors/x.list trixie main\n"}, nil, "mirrors/x.list"},
		"Ubuntu":                              {map[string]string{"sources.list": "deb http://archive.example.com/ubuntu noble main universe\n"}, nil, "apt's configuration has none"},
		"nothing":                             {nil, nil, "apt's configuration has none"},
		"damaged":                             {map[string]string{"sources.list.d/a.sources": "Types deb\n"}, nil, "sources.list.d/a.sources: line 1"},
	} {
		apt := fstest.MapFS{}
		for path, text := range c.files {
			apt[path] = &fstest.MapFile{Data: []byte(text)}
		}
		m, err := lock.AptMirror(apt)
		if (err == nil) != (c.fails == "") || err != nil && !strings.Contains(err.Error(), c.fails) || fmt.Sprint(m) != fmt.Sprint(c.want) {
			t.Errorf("%s: %v, %v; want %v", name, m, err, c.want)
		}
	}
}

func TestMirrorAt(t *testing.T) {
	m, err := lock.MirrorAt("http://mirror.example.com/debian/")
	if want := (lock.Mirror{lock.Debian: {"http://mirror.example.com/debian"}, lock.Security: {"http://mirror.example.com/debian-security"}}); err != nil || fmt.Sprint(m) != fmt.Sprint(want) {
		t.Errorf("%v, %v; want %v", m, err, want)
	}
	for _, address := range []string{"", "mirror.example.com/debian", "ftp://mirror.example.com/debian", "file:///srv/debian", "http:///debian", "http://x/debian?y", "http://%zz/"} {
		if _, err := lock.MirrorAt(address); !errors.Is(err, lock.ErrNoMirror) {
			t.Errorf("%q: %v", address, err)
		}
	}
}

func FuzzAptMirror(f *testing.F) {
	f.Add("Types: deb\nURIs: http://mirror.example.com/debian mirror+file:/etc/apt/mirrors/x\nSuites: trixie\nComponents: main\n", "deb [arch=amd64] http://x/debian trixie main\n")
	f.Fuzz(func(t *testing.T, sources, list string) {
		apt := fstest.MapFS{"sources.list": {Data: []byte(list)}, "sources.list.d/x.sources": {Data: []byte(sources)}, "mirrors/x": {Data: []byte(list)}}
		m, err := lock.AptMirror(apt)
		for _, urls := range m {
			for _, u := range urls {
				if _, bad := lock.MirrorAt(u); err != nil || bad != nil {
					t.Errorf("%q, %v", u, err)
				}
			}
		}
	})
}
