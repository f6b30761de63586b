package config

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"

	"imageport/job"
)

// Serve configures the HTTP API.
type Serve struct {
	// Listen is the "host:port" to listen on, by default 127.0.0.1:8088.
	Listen string `toml:"listen"`
	// Auth is "none" for a server that lets everybody do everything: only on an
	// address of the machine itself. By default a token is needed.
	Auth string `toml:"auth"`
	// KeysFile holds the hashes of the API keys, by default api-keys.json beside
	// the configuration.
	KeysFile string `toml:"keys_file"`
	// OIDC is the issuer of tokens, if there is one.
	OIDC OIDC `toml:"oidc"`
	// CertFile and KeyFile are the certificate with its chain and its key, in PEM.
	CertFile string `toml:"cert_file"`
	KeyFile  string `toml:"key_file"`
	// PlainHTTP allows to serve other machines without a certificate: behind a
	// proxy that has one.
	PlainHTTP bool `toml:"plain_http"`
	// NoCredentials leaves out the endpoints for credentials.
	NoCredentials bool `toml:"no_credentials"`
	// MaxStreams is how many requests may wait for changes of jobs, by default
	// 2000.
	MaxStreams int `toml:"max_streams"`
}

// OIDC is an OpenID Connect issuer whose tokens the HTTP API takes.
type OIDC struct {
	// Issuer is its URL, as its discovery document has it.
	Issuer string `toml:"issuer"`
	// Audience is who tokens must be for.
	Audience string `toml:"audience"`
	// Claim is the claim that grants go by, by default "groups".
	Claim string `toml:"claim"`
	// NameClaim is the claim with the name for the log, by default "sub".
	NameClaim string `toml:"name_claim"`
	// Grants say what the values of the claim allow.
	Grants []OIDCGrant `toml:"grants"`
}

// OIDCGrant is what a value of the claim allows.
type OIDCGrant struct {
	Value string `toml:"value"`
	// ResourceLocations are ids of resource locations, or "*" for all.
	ResourceLocations []string `toml:"resource_locations"`
	ReadOnly          bool     `toml:"read_only"`
	// Credentials is the right to see and change the wallet.
	Credentials bool `toml:"credentials"`
}

const (
	// AuthNone is the value of Serve.Auth for a server that asks nobody.
	AuthNone = "none"

	defaultServe    = "127.0.0.1:8088"
	defaultKeysFile = "api-keys.json"
)

// complete fills in the defaults, but for the directory of paths.
func (s *Serve) complete(dir string) error {
	s.Listen = cmp.Or(s.Listen, defaultServe)
	if s.KeysFile == "" && dir != "" {
		s.KeysFile = defaultKeysFile
	}
	return s.validate()
}

func (s *Serve) validate() error {
	host, _, err := net.SplitHostPort(s.Listen)
	if err != nil {
		return fmt.Errorf("serve.listen: %w", err)
	}
	switch {
	case s.Auth != "" && s.Auth != AuthNone:
		return fmt.Errorf("serve.auth is %q: leave it out, or give %q", s.Auth, AuthNone)
	case s.Auth == AuthNone && !job.Localhost(host):
		return fmt.Errorf("serve.auth is %q, which is only for an address of the machine itself such as %s, and serve.listen is %s", AuthNone, defaultServe, s.Listen)
	case s.Auth == AuthNone && s.OIDC.Issuer != "":
		return fmt.Errorf("serve.auth is %q, and there is an issuer: nobody would be asked for its tokens", AuthNone)
	case (s.CertFile == "") != (s.KeyFile == ""):
		return errors.New("serve: give both cert_file and key_file, or neither")
	case s.CertFile == "" && !s.PlainHTTP && !job.Localhost(host):
		return fmt.Errorf("serve.listen is %s, and tokens would cross the network in the open: give cert_file and key_file, or plain_http = true behind a proxy that has a certificate", s.Listen)
	case s.MaxStreams < 0:
		return fmt.Errorf("serve.max_streams is %d", s.MaxStreams)
	}
	return s.OIDC.validate()
}

func (o OIDC) validate() error {
	if o.Issuer == "" {
		if o.Audience != "" || o.Claim != "" || o.NameClaim != "" || len(o.Grants) > 0 {
			return errors.New("serve.oidc: issuer is missing")
		}
		return nil
	}
	u, err := url.Parse(o.Issuer)
	if err != nil || u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && job.Localhost(u.Hostname())) {
		return fmt.Errorf("serve.oidc.issuer %q is not an https URL", o.Issuer)
	}
	if o.Audience == "" {
		return errors.New("serve.oidc: audience is missing: tokens for other services would be taken")
	}
	if len(o.Grants) == 0 {
		return errors.New("serve.oidc: there are no grants: no token would allow anything")
	}
	for i, g := range o.Grants {
		if g.Value == "" || len(g.ResourceLocations) == 0 && !g.Credentials || slices.Contains(g.ResourceLocations, "") {
			return fmt.Errorf("serve.oidc.grants: number %d lacks its value, or what it allows", i+1)
		}
	}
	return nil
}

// On gives the configuration with another address to listen on.
func (s Serve) On(listen string) (Serve, error) {
	s.Listen = listen
	return s, s.validate()
}
