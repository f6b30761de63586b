package auth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/time/rate"
)

// Issuer says which tokens of an OpenID Connect issuer are taken, and what
// their claims allow.
type Issuer struct {
	// URL is the issuer, as its discovery document has it.
	URL string
	// Audience is who the tokens must be for.
	Audience string
	// Claim is the claim with what Grants are by: a string, or several. By default
	// it is "groups".
	Claim string
	// NameClaim is the claim with the name for the log, by default "sub".
	NameClaim string
	Grants    []ClaimGrant
}

// ClaimGrant is what a value of the claim allows.
type ClaimGrant struct {
	Value string
	Grant
}

const (
	// askTimeout is how long the issuer may take to answer.
	askTimeout = 10 * time.Second
	// askPause is the pause before an issuer that could not be discovered is asked
	// again.
	askPause = 5 * time.Second
)

// OIDC gives the authenticator for the tokens (JWT) of an issuer. Nothing is
// asked of the issuer before the first token comes. client is the one to ask it
// with; nil is http.DefaultClient.
func OIDC(i Issuer, client *http.Client, now func() time.Time) (Authenticator, error) {
	switch {
	case i.URL == "":
		return nil, errors.New("the issuer is missing")
	case i.Audience == "":
		return nil, errors.New("the audience is missing: tokens that are for other services would be taken")
	case len(i.Grants) == 0:
		return nil, errors.New("there are no grants: no token would allow anything")
	}
	for _, g := range i.Grants {
		if g.Value == "" {
			return nil, errors.New("a grant is for no value of the claim")
		}
	}
	if client == nil {
		client = http.DefaultClient
	}
	i.Claim, i.NameClaim = cmp.Or(i.Claim, "groups"), cmp.Or(i.NameClaim, "sub")
	limited := *client
	limited.Timeout = cmp.Or(limited.Timeout, askTimeout)
	// A token that names an unknown signing key makes us ask the issuer: strangers
	// must not be able to make us ask it all the time.
	limited.Transport = limitedTransport{cmp.Or[http.RoundTripper](client.Transport, http.DefaultTransport), rate.NewLimiter(1, 10)}
	return &issuer{Issuer: i, client: &limited, now: now}, nil
}

type limitedTransport struct {
	http.RoundTripper
	limit *rate.Limiter
}

var errTooOften = errors.New("the issuer was asked too often")

// RoundTrip implements http.RoundTripper.
func (t limitedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if !t.limit.Allow() {
		return nil, errTooOften
	}
	return t.RoundTripper.RoundTrip(r)
}

type issuer struct {
	Issuer
	client *http.Client
	now    func() time.Time

	mu       sync.Mutex
	verifier *oidc.IDTokenVerifier
	failed   error
	asked    time.Time // when it has failed
}

// discover asks the issuer for its keys, once.
func (i *issuer) discover() (*oidc.IDTokenVerifier, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.verifier != nil {
		return i.verifier, nil
	}
	if i.failed != nil && i.now().Sub(i.asked) < askPause {
		return nil, i.failed
	}
	// Not the request's context: the provider keeps it to fetch keys later.
	p, err := oidc.NewProvider(oidc.ClientContext(context.Background(), i.client), i.URL)
	if err != nil {
		i.asked = i.now() // the answer may have taken its time
		i.failed = fmt.Errorf("%w: the issuer %s: %w", ErrUnavailable, i.URL, err)
		return nil, i.failed
	}
	i.verifier = p.Verifier(&oidc.Config{ClientID: i.Audience, Now: i.now})
	return i.verifier, nil
}

// Authenticate implements Authenticator.
func (i *issuer) Authenticate(ctx context.Context, token string) (Principal, error) {
	if strings.Count(token, ".") != 2 {
		return Principal{}, unknown()
	}
	verifier, err := i.discover()
	if err != nil {
		return Principal{}, err
	}
	verified, err := verifier.Verify(ctx, token)
	// go-oidc says in words only that it could not get the keys.
	if err != nil && strings.Contains(err.Error(), "fetching keys") {
		return Principal{}, fmt.Errorf("%w: the issuer %s: %w", ErrUnavailable, i.URL, err)
	}
	if err != nil {
		return Principal{}, unknown()
	}
	var claims map[string]any
	if err := verified.Claims(&claims); err != nil {
		return Principal{}, unknown()
	}
	p := Principal{Name: "user " + cmp.Or(texts(claims[i.NameClaim])...)}
	values := texts(claims[i.Claim])
	for _, g := range i.Grants {
		if slices.Contains(values, g.Value) {
			p.Grants = append(p.Grants, g.Grant)
		}
	}
	return p, nil // who may do nothing is still somebody
}

// texts gives the strings of a claim: one, or a list.
func texts(claim any) []string {
	switch v := claim.(type) {
	case string:
		return []string{v}
	case []any:
		var all []string
		for _, one := range v {
			if s, ok := one.(string); ok {
				all = append(all, s)
			}
		}
		return all
	}
	return nil
}
