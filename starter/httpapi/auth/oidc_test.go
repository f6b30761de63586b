package auth_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"imageport/job"
	"imageport/starter/httpapi/auth"
)

// issuer is an OpenID Connect issuer.
type issuer struct {
	*httptest.Server
	key   *rsa.PrivateKey
	down  atomic.Bool
	asked atomic.Int64 // for keys
}

const keyID = "k1"

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{key: key}
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if i.down.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		var answer any
		switch r.URL.Path {
		case "/.well-known/openid-configuration":
			answer = map[string]any{"issuer": i.URL, "jwks_uri": i.URL + "/keys", "authorization_endpoint": i.URL + "/auth", "token_endpoint": i.URL + "/token",
				"id_token_signing_alg_values_supported": []string{"RS256"}}
		case "/keys":
			i.asked.Add(1)
			answer = jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: keyID, Algorithm: "RS256", Use: "sig"}}}
		}
		_ = json.NewEncoder(w).Encode(answer) // the test sees that it is missing
	}))
	t.Cleanup(i.Close)
	return i
}

// token signs claims.
func sign(t *testing.T, alg jose.SignatureAlgorithm, key any, keyID string, claims map[string]any) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", keyID))
	if err != nil {
		t.Fatal(err)
	}
	text, err := jwt.Signed(s).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestOIDC(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	now := time.Date(2026, 1, 31, 10, 0, 0, 0, time.UTC)
	a, err := auth.OIDC(auth.Issuer{URL: i.URL, Audience: "imageport", NameClaim: "email", Grants: []auth.ClaimGrant{
		{Value: "pvs-admins", Grant: auth.Grant{ResourceLocations: []string{"a"}}},
		{Value: "pvs-readers", Grant: auth.Grant{ResourceLocations: []string{"b"}, ReadOnly: true}},
	}}, nil, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	claims := func(change map[string]any) map[string]any {
		c := map[string]any{"iss": i.URL, "aud": "imageport", "sub": "1", "email": "ann@example.com", "groups": []string{"pvs-admins", "pvs-readers", "staff"},
			"exp": now.Add(time.Hour).Unix(), "iat": now.Unix()}
		for k, v := range change {
			c[k] = v
		}
		return c
	}
	good := sign(t, jose.RS256, i.key, keyID, claims(nil))

	i.down.Store(true)
	if _, err := a.Authenticate(t.Context(), good); !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("the issuer is down: %v", err)
	}
	i.down.Store(false)
	if _, err := a.Authenticate(t.Context(), good); !errors.Is(err, auth.ErrUnavailable) {
		t.Errorf("it is asked again at once: %v", err)
	}
	now = now.Add(time.Minute)

	p, err := a.Authenticate(t.Context(), good)
	if err != nil || p.Name != "user ann@example.com" || !p.MayOperate("a") || !p.MaySee("b") || p.MayOperate("b") || p.MaySee("c") || !reflect.DeepEqual(p.Visible(), []string{"a", "b"}) {
		t.Errorf("%+v, %v", p, err)
	}
	if p, err = a.Authenticate(t.Context(), sign(t, jose.RS256, i.key, keyID, claims(map[string]any{"groups": "pvs-readers"}))); err != nil || p.MaySee("a") || !p.MaySee("b") {
		t.Errorf("one group: %+v, %v", p, err)
	}
	for _, groups := range []any{nil, 7, []any{7}, map[string]any{"pvs-admins": true}, "pvs-admins pvs-readers", []string{"PVS-Admins"}} {
		if p, err = a.Authenticate(t.Context(), sign(t, jose.RS256, i.key, keyID, claims(map[string]any{"groups": groups}))); err != nil || p.MaySee("a") || len(p.Visible()) != 0 {
			t.Errorf("%v: %+v, %v", groups, p, err)
		}
	}

	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(good, ".")
	for name, token := range map[string]string{
		"for another service": sign(t, jose.RS256, i.key, keyID, claims(map[string]any{"aud": "grafana"})),
		"for nobody":          sign(t, jose.RS256, i.key, keyID, claims(map[string]any{"aud": nil})),
		"of another issuer":   sign(t, jose.RS256, i.key, keyID, claims(map[string]any{"iss": "https://evil.example"})),
		"expired":             sign(t, jose.RS256, i.key, keyID, claims(map[string]any{"exp": now.Add(-time.Minute).Unix()})),
		"without an end":      sign(t, jose.RS256, i.key, keyID, claims(map[string]any{"exp": nil})),
		"not yet":             sign(t, jose.RS256, i.key, keyID, claims(map[string]any{"nbf": now.Add(time.Hour).Unix()})),
		"of another key":      sign(t, jose.RS256, other, keyID, claims(nil)),
		"of an unknown key":   sign(t, jose.RS256, other, "k2", claims(nil)),
		"of a password":       sign(t, jose.HS256, []byte("0123456789abcdef0123456789abcdef"), keyID, claims(nil)),
		"without a signature": "eyJhbGciOiJub25lIn0." + parts[1] + ".",
		"a changed one":       parts[0] + "." + parts[1][:len(parts[1])-2] + "AA." + parts[2],
		"nothing":             "", "no token": "a.b.c", "two parts": parts[0] + "." + parts[1],
	} {
		if p, err := a.Authenticate(t.Context(), token); job.CodeOf(err) != job.Unauthenticated || p.MaySee("a") {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
	// Strangers cannot make us ask the issuer all the time.
	before := i.asked.Load()
	strange := sign(t, jose.RS256, other, "k3", claims(nil))
	for range 100 {
		_, _ = a.Authenticate(t.Context(), strange)
	}
	if asked := i.asked.Load() - before; asked > 20 {
		t.Errorf("the issuer was asked %d times", asked)
	}
	if _, err := a.Authenticate(t.Context(), good); err != nil {
		t.Errorf("afterwards: %v", err)
	}

	keys, ci := with(t, auth.Keys{}, "ci", auth.Grant{ResourceLocations: []string{"a"}})
	both := auth.First(keys, a)
	for _, token := range []string{ci, good} {
		if _, err := both.Authenticate(t.Context(), token); err != nil {
			t.Errorf("both: %v", err)
		}
	}
	if _, err := both.Authenticate(t.Context(), "x"); job.CodeOf(err) != job.Unauthenticated {
		t.Errorf("neither: %v", err)
	}
}

// hanging is an issuer that lets whoever asks wait for its time-out.
type hanging struct {
	asked int
	wait  func()
}

func (h *hanging) RoundTrip(*http.Request) (*http.Response, error) {
	h.asked++
	h.wait()
	return nil, errors.New("time out")
}

// An issuer that hangs is not asked by one request after the other.
func TestIssuerThatHangs(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 31, 10, 0, 0, 0, time.UTC)
	h := &hanging{wait: func() { now = now.Add(10 * time.Second) }}
	a, err := auth.OIDC(auth.Issuer{URL: "https://login.example.com", Audience: "x", Grants: []auth.ClaimGrant{{Value: "a"}}}, &http.Client{Transport: h}, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := a.Authenticate(t.Context(), "a.b.c"); !errors.Is(err, auth.ErrUnavailable) {
			t.Errorf("%v", err)
		}
	}
	if h.asked != 1 {
		t.Errorf("it was asked %d times in a row", h.asked)
	}
}

func TestBadIssuers(t *testing.T) {
	t.Parallel()
	good := auth.Issuer{URL: "https://x", Audience: "y", Grants: []auth.ClaimGrant{{Value: "z"}}}
	for name, change := range map[string]func(*auth.Issuer){
		"no URL": func(i *auth.Issuer) { i.URL = "" }, "no audience": func(i *auth.Issuer) { i.Audience = "" },
		"no grants": func(i *auth.Issuer) { i.Grants = nil }, "a grant for nothing": func(i *auth.Issuer) { i.Grants = []auth.ClaimGrant{{}} },
	} {
		bad := good
		change(&bad)
		if _, err := auth.OIDC(bad, nil, time.Now); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}
