package trust

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"imageport/platforms"
)

func TestParseFingerprint(t *testing.T) {
	sha1, sha256 := strings.Repeat("ab", 20), strings.Repeat("0c", 32)
	colons := func(s string) string {
		var parts []string
		for i := 0; i < len(s); i += 2 {
			parts = append(parts, s[i:i+2])
		}
		return strings.ToUpper(strings.Join(parts, ":"))
	}
	for _, s := range []string{
		sha1, strings.ToUpper(sha1), colons(sha1), "sha1 Fingerprint=" + colons(sha1), "SHA1:" + sha1, strings.ReplaceAll(colons(sha1), ":", " "),
		sha256, colons(sha256), "SHA256 Fingerprint=" + colons(sha256), "SHA-256:" + colons(sha256), " " + colons(sha256) + "\n",
	} {
		b, err := parseFingerprint(s)
		if got := fmt.Sprintf("%x", b); err != nil || got != sha1 && got != sha256 {
			t.Errorf("%q: %s, %v", s, got, err)
		}
	}
	for _, s := range []string{"x", sha1[2:], sha1 + "00", "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"} {
		if _, err := parseFingerprint(s); err == nil {
			t.Errorf("%q is one", s)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("AA:BB", "-----BEGIN CERTIFICATE-----\\nAAAA\\n-----END CERTIFICATE-----")
	f.Fuzz(func(t *testing.T, fingerprint, ca string) {
		tr, err := Parse(Wish{Fingerprint: fingerprint, CACertificate: ca})
		if err == nil && fingerprint != "" && len(tr.fingerprint) != sha1.Size && len(tr.fingerprint) != sha256.Size {
			t.Errorf("%q is a fingerprint of %d bytes", fingerprint, len(tr.fingerprint))
		}
	})
}

// A server that refers to another is trusted as the request says, the other by
// what the server says of it, or by the same CA.
func TestDialer(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	cert := server.Certificate()
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
	right := fmt.Sprintf("%x", sha256.Sum256(cert.Raw))
	short := fmt.Sprintf("%x", sha1.Sum(cert.Raw))
	wrong := "00" + right[2:]
	const elsewhere = "192.0.2.1:443"
	for what, tc := range map[string]struct {
		wish     Wish
		server   string // of which the address is a part, or to which it refers
		told     string
		kind     platforms.Kind
		unpinned bool
	}{
		"fingerprint":                  {wish: Wish{Fingerprint: right}, server: u.Host},
		"SHA-1":                        {wish: Wish{Fingerprint: short}, server: u.Host},
		"CA":                           {wish: Wish{CACertificate: ca}, server: u.Host, unpinned: true},
		"both":                         {wish: Wish{CACertificate: ca, Fingerprint: right}, server: u.Host, unpinned: true},
		"nothing":                      {server: u.Host, kind: platforms.Denied, unpinned: true},
		"nothing, any name":            {wish: Wish{AnyName: true}, server: u.Host, kind: platforms.Denied, unpinned: true},
		"wrong fingerprint":            {wish: Wish{Fingerprint: wrong}, server: u.Host, kind: platforms.Denied},
		"wrong fingerprint, right CA":  {wish: Wish{Fingerprint: wrong, CACertificate: ca}, server: u.Host, kind: platforms.Denied, unpinned: true},
		"another, told":                {wish: Wish{Fingerprint: wrong}, server: elsewhere, told: right},
		"another, wrongly told":        {wish: Wish{Fingerprint: right}, server: elsewhere, told: wrong, kind: platforms.Denied},
		"another, told nonsense":       {wish: Wish{Fingerprint: right}, server: elsewhere, told: "x", kind: platforms.Internal},
		"another, by the CA":           {wish: Wish{CACertificate: ca}, server: elsewhere, unpinned: true},
		"another, nothing known of it": {wish: Wish{Fingerprint: right}, server: elsewhere, kind: platforms.Denied},
	} {
		tr, err := Parse(tc.wish)
		if err != nil {
			t.Fatal(err)
		}
		if tr.Pinned() == tc.unpinned {
			t.Errorf("%s: pinned is %v", what, tr.Pinned())
		}
		conn, err := tr.Dialer(tc.server, func(string) string { return tc.told })(t.Context(), "tcp", u.Host)
		if err == nil {
			conn.Close()
		}
		if (err == nil) != (tc.kind == "") || err != nil && KindOf(err) != tc.kind {
			t.Errorf("%s: %v; want %q", what, err, tc.kind)
		}
	}
}

func TestKindOf(t *testing.T) {
	for _, tc := range []struct {
		err  error
		kind platforms.Kind
	}{
		{&net.DNSError{IsNotFound: true}, platforms.NotFound},
		{&net.DNSError{IsTimeout: true}, platforms.Busy},
		{tls.RecordHeaderError{}, platforms.BadRequest},
		{fmt.Errorf("x: %w", ErrUntrusted), platforms.Denied},
		{x509.UnknownAuthorityError{}, platforms.Denied},
		{&url.Error{Op: "Post", Err: net.ErrClosed}, platforms.Busy},
		{fmt.Errorf("x"), platforms.Internal},
	} {
		if got := KindOf(tc.err); got != tc.kind {
			t.Errorf("%v is %s, want %s", tc.err, got, tc.kind)
		}
	}
}
