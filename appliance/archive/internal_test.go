package archive

import (
	"errors"
	"strings"
	"testing"
	"time"

	"imageport/appliance/lock"
)

func FuzzParseRelease(f *testing.F) {
	f.Add([]byte("Codename: trixie\nDate: Sat, 12 Sep 2026 07:55:41 UTC\nValid-Until: Sat, 19 Sep 2026 07:55:41 UTC\nAcquire-By-Hash: yes\nSHA256:\n " + strings.Repeat("ab", 32) + " 9678380 main/binary-amd64/Packages.xz\n"))
	now := time.Date(2026, 9, 13, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := parseRelease(text, "trixie", now)
		if err != nil {
			if !errors.Is(err, ErrUntrusted) {
				t.Error(err)
			}
			return
		}
		if r.packages.size < 0 || r.packages.size > maxIndex || len(r.packages.sha256) != 64 || r.date.IsZero() {
			t.Errorf("%+v", r)
		}
	})
}

func FuzzReadList(f *testing.F) {
	f.Add("Package: linux-image-cloud-amd64\nVersion: 6.12.117-1\nSource: linux-signed-amd64 (6.12.117+1)\nDepends: linux-image-6.12-cloud-amd64 (= 6.12.117-1)\nFilename: pool/updates/main/l/x_6.12.117-1_amd64.deb\nSize: 1508\nSHA256: " + strings.Repeat("ab", 32) + "\n\n" +
		"Package: linux-image-6.12-cloud-amd64\nVersion: 6.12.117-1\nFilename: pool/updates/main/l/y_6.12.117-1_amd64.deb\nSize: 34671208\nSHA256: " + strings.Repeat("cd", 32) + "\n")
	want := []lock.Want{{Name: "linux-image-cloud-amd64", Follow: true}}
	f.Fuzz(func(t *testing.T, list string) {
		newest := map[string]candidate{}
		if err := readList(strings.NewReader(list), lock.Security, interesting(want), newest); err != nil {
			if !errors.Is(err, ErrUntrusted) {
				t.Error(err)
			}
			return
		}
		p, err := choose(want[0], newest)
		if err != nil {
			if !errors.Is(err, ErrUnknownPackage) {
				t.Error(err)
			}
			return
		}
		if _, err := lock.Parse(lock.Lock{Suite: "trixie", Packages: []lock.Package{p}}.Encode()); err != nil {
			t.Error(err)
		}
	})
}
