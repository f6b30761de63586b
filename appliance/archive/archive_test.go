package archive_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/ulikunitz/xz"

	"imageport/appliance/archive"
	"imageport/appliance/lock"
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func at(when time.Time) *packet.Config {
	return &packet.Config{Time: func() time.Time { return when }, Algorithm: packet.PubKeyAlgoEdDSA}
}

func newKey(t *testing.T) *openpgp.Entity {
	t.Helper()
	key, err := openpgp.NewEntity("Archive", "", "archive@example.com", at(now.AddDate(-1, 0, 0)))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// suite is a suite of an archive. Its fields are as Debian has them.
type suite struct {
	archive, name, component string
	date, until              time.Time
	list                     string
	key                      *openpgp.Entity
	byHash                   bool
}

// files gives the files of the suite by their paths in the mirror.
func (s suite) files(t *testing.T) map[string][]byte {
	t.Helper()
	var packed bytes.Buffer
	w, err := xz.NewWriter(&packed)
	if err == nil {
		_, err = w.Write([]byte(s.list))
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(packed.Bytes())
	release := fmt.Sprintf("Origin: Debian\nCodename: %s\nDate: %s\n", s.name, s.date.Format(time.RFC1123))
	if !s.until.IsZero() {
		release += fmt.Sprintf("Valid-Until: %s\n", s.until.Format(time.RFC1123))
	}
	if s.byHash {
		release += "Acquire-By-Hash: yes\n"
	}
	release += fmt.Sprintf("MD5Sum:\n %032d 1 main/binary-amd64/Packages.xz\nSHA256:\n %064d 5 main/Contents-amd64.gz\n %x %d %s/binary-amd64/Packages.xz\n", 0, 0, sum, packed.Len(), s.component)
	var signed bytes.Buffer
	body, err := clearsign.Encode(&signed, s.key.PrivateKey, at(s.date))
	if err == nil {
		_, err = body.Write([]byte(release))
	}
	if err = errors.Join(err, body.Close()); err != nil {
		t.Fatal(err)
	}
	dists := "/" + s.archive + "/dists/" + s.name + "/"
	list := s.component + "/binary-amd64/Packages.xz"
	if s.byHash {
		list = fmt.Sprintf("%s/binary-amd64/by-hash/SHA256/%x", s.component, sum)
	}
	return map[string][]byte{dists + "InRelease": append(signed.Bytes(), '\n'), dists + list: packed.Bytes()}
}

func entry(name, version, more string) string {
	return fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: amd64\n%sFilename: pool/main/x/%s_%s_amd64.deb\nSize: 1234\nSHA256: %x\nDescription: something\n\n",
		name, version, more, name, version[strings.IndexByte(version, ':')+1:], sha256.Sum256([]byte(name+version)))
}

// debian is a mirror in good order.
func debian(key *openpgp.Entity) []suite {
	return []suite{
		{lock.Debian, "trixie", "main", now.AddDate(0, -2, 0), time.Time{}, entry("libc6", "2.41-12", "Source: glibc\nDepends: libgcc-s1\n") +
			entry("linux-image-cloud-amd64", "6.12.107-1", "Source: linux-signed-amd64 (6.12.107+1)\nDepends: linux-image-6.12.107+deb13-cloud-amd64 (= 6.12.107-1)\n") +
			entry("linux-image-6.12.107+deb13-cloud-amd64", "6.12.107-1", "Source: linux-signed-amd64 (6.12.107+1)\nDepends: kmod\n") +
			entry("ntfs-3g", "1:2022.10.3-5", "Depends: fuse3\n") + entry("other", "not/a/version", ""), key, true},
		{lock.Debian, "trixie-updates", "main", now.AddDate(0, 0, -3), now.AddDate(0, 0, 4), entry("libc6", "2.41-12+deb13u1", "Source: glibc\n"), key, true},
		{lock.Security, "trixie-security", "updates/main", now.AddDate(0, 0, -2), now.AddDate(0, 0, 5), entry("libc6", "2.41-12~bpo1", "Source: glibc\n") +
			entry("linux-image-cloud-amd64", "6.12.117-1", "Source: linux-signed-amd64 (6.12.117+1)\nDepends: linux-image-6.12.117+deb13-cloud-amd64 (= 6.12.117-1)\n") +
			entry("linux-image-6.12.117+deb13-cloud-amd64", "6.12.117-1", "Source: linux-signed-amd64 (6.12.117+1)\n"), key, false},
	}
}

var want = []lock.Want{{Name: "ntfs-3g"}, {Name: "linux-image-cloud-amd64", Follow: true}, {Name: "libc6"}}

// serve is a mirror of suites, changed at the end.
func serve(t *testing.T, suites []suite, change func(files map[string][]byte)) lock.Mirror {
	files := map[string][]byte{}
	for _, s := range suites {
		for path, contents := range s.files(t) {
			files[path] = contents
		}
	}
	change(files)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if contents, ok := files[r.URL.Path]; ok {
			w.Write(contents)
			return
		}
		http.NotFound(w, r)
	}))
	t.Cleanup(server.Close)
	m, err := lock.MirrorAt(server.URL + "/debian")
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestLock(t *testing.T) {
	key := newKey(t)
	m := serve(t, debian(key), func(map[string][]byte) {})
	l, err := archive.Archives{Mirror: m, Keyring: openpgp.EntityList{newKey(t), key}, Now: now}.Lock(t.Context(), "trixie", want)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range l.Packages {
		got = append(got, p.String()+" "+p.Archive+" "+p.Source)
	}
	const pinned = "libc6 2.41-12+deb13u1 debian glibc=2.41-12+deb13u1, " +
		"linux-image-6.12.117+deb13-cloud-amd64 6.12.117-1 debian-security linux-signed-amd64=6.12.117+1, " +
		"ntfs-3g 1:2022.10.3-5 debian ntfs-3g=1:2022.10.3-5"
	if strings.Join(got, ", ") != pinned || !l.Date.Equal(now.AddDate(0, 0, -2)) || l.Suite != "trixie" {
		t.Errorf("%s\nwant %s\n%s", got, pinned, l.Encode())
	}
}

func TestLockRefusals(t *testing.T) {
	key, stranger := newKey(t), newKey(t)
	const release = "/debian/dists/trixie/InRelease"
	replace := func(path, old, with string) func(map[string][]byte) {
		return func(files map[string][]byte) {
			if !bytes.Contains(files[path], []byte(old)) {
				t.Errorf("no %q in %s", old, path)
			}
			files[path] = bytes.Replace(files[path], []byte(old), []byte(with), 1)
		}
	}
	for name, c := range map[string]struct {
		suites func([]suite)
		change func(map[string][]byte)
		want   []lock.Want
		kind   error
		says   string
	}{
		"changed after it was signed": {change: replace(release, "Origin: Debian", "Origin: Somebody"), kind: archive.ErrUntrusted, says: "debian trixie: "},
		"signed by a stranger":        {suites: func(s []suite) { s[2].key = stranger }, kind: archive.ErrUntrusted, says: "debian-security trixie-security: "},
		"not signed":                  {change: func(f map[string][]byte) { f[release] = []byte("Codename: trixie\n") }, kind: archive.ErrUntrusted, says: "not one clear-signed message"},
		"text before what is signed":  {change: replace(release, "-----BEGIN PGP SIGNED", "Codename: trixie\n\n-----BEGIN PGP SIGNED"), kind: archive.ErrUntrusted, says: "not one clear-signed message"},
		"text behind what is signed":  {change: replace(release, "-----END PGP SIGNATURE-----", "-----END PGP SIGNATURE-----\nCodename: trixie"), kind: archive.ErrUntrusted, says: "not one clear-signed message"},
		"another suite's":             {change: func(f map[string][]byte) { f[release] = f["/debian/dists/trixie-updates/InRelease"] }, kind: archive.ErrUntrusted, says: `it is that of "trixie-updates", want trixie`},
		"out of date":                 {suites: func(s []suite) { s[2].until = now.Add(-time.Hour) }, kind: archive.ErrUntrusted, says: "the mirror is out of date"},
		"signed in the future":        {suites: func(s []suite) { s[0].date = now.AddDate(0, 1, 0) }, kind: archive.ErrUntrusted, says: "debian trixie: "},
		"another list":                {change: otherList, kind: archive.ErrUntrusted, says: "has the SHA-256"},
		"without a list":              {suites: func(s []suite) { s[0].component = "contrib" }, kind: archive.ErrUntrusted, says: "lists no main/binary-amd64/Packages.xz"},
		"a list that is gone":         {suites: func(s []suite) { s[0].component = "main" }, change: func(f map[string][]byte) { deleteLists(f) }, kind: lock.ErrGone, says: "Packages.xz"},
		"no such suite":               {change: func(f map[string][]byte) { delete(f, release) }, kind: lock.ErrGone, says: "InRelease"},
		"a strange path":              {suites: func(s []suite) { s[0].list = strings.Replace(s[0].list, "pool/main", "../pool", 1) }, kind: archive.ErrUntrusted, says: "is no path in a pool"},
		"a damaged list":              {suites: func(s []suite) { s[0].list += "nonsense\n" }, kind: archive.ErrUntrusted, says: "is no field"},
		"an unknown package":          {want: []lock.Want{{Name: "ntfs-4g"}}, kind: archive.ErrUnknownPackage, says: "ntfs-4g"},
		"nothing to follow":           {want: []lock.Want{{Name: "ntfs-3g", Follow: true}}, kind: archive.ErrUnknownPackage, says: `depends on "fuse3"`},
		"what it follows is missing":  {suites: func(s []suite) { s[2].list = s[2].list[:strings.LastIndex(s[2].list, "Package: ")] }, kind: archive.ErrUnknownPackage, says: "linux-image-6.12.117+deb13-cloud-amd64 (= 6.12.117-1), which"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			suites := debian(key)
			if c.suites != nil {
				c.suites(suites)
			}
			if c.change == nil {
				c.change = func(map[string][]byte) {}
			}
			if c.want == nil {
				c.want = want
			}
			a := archive.Archives{Mirror: serve(t, suites, c.change), Keyring: openpgp.EntityList{key}, Now: now}
			l, err := a.Lock(t.Context(), "trixie", c.want)
			if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, %v", l, err)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	m := serve(t, debian(key), func(map[string][]byte) {})
	if _, err := (archive.Archives{Mirror: m, Keyring: openpgp.EntityList{key}, Now: now}).Lock(ctx, "trixie", want); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

// otherList replaces the list of the release by another one of the same size.
func otherList(files map[string][]byte) {
	for path, contents := range files {
		if strings.HasPrefix(path, "/debian/dists/trixie/main/") {
			files[path] = bytes.Repeat([]byte{'x'}, len(contents))
		}
	}
}

func deleteLists(files map[string][]byte) {
	for path := range files {
		if strings.HasPrefix(path, "/debian/dists/trixie/main/") {
			delete(files, path)
		}
	}
}

func TestReadKeyring(t *testing.T) {
	if _, err := archive.ReadKeyring([]byte("something else")); err == nil {
		t.Error("something else is a keyring")
	}
	var b bytes.Buffer
	if err := newKey(t).Serialize(&b); err != nil {
		t.Fatal(err)
	}
	if keys, err := archive.ReadKeyring(b.Bytes()); err != nil || len(keys) != 1 {
		t.Errorf("%d keys, %v", len(keys), err)
	}
}
