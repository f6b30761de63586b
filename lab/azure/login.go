package azure

import (
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// tokenLife is how long a token is good for.
const tokenLife = time.Hour

// login is Entra ID, as far as an application with a secret needs it.
func (c *Cloud) login(req *http.Request) (*http.Response, error) {
	authority := "https://" + loginHost + "/" + TenantID
	switch {
	case strings.HasPrefix(req.URL.Path, "/common/discovery/instance"):
		return respond(200, map[string]any{
			"tenant_discovery_endpoint": authority + "/v2.0/.well-known/openid-configuration",
			"metadata":                  []any{map[string]any{"preferred_network": loginHost, "preferred_cache": "login.windows.net", "aliases": []string{loginHost}}},
		}, nil)
	case strings.HasSuffix(req.URL.Path, "/.well-known/openid-configuration"):
		return respond(200, map[string]any{
			"token_endpoint":         authority + "/oauth2/v2.0/token",
			"authorization_endpoint": authority + "/oauth2/v2.0/authorize",
			"issuer":                 authority + "/v2.0",
		}, nil)
	case req.URL.Path == "/"+TenantID+"/oauth2/v2.0/token":
		return c.token(req)
	}
	return respond(404, map[string]any{"error": "invalid_request", "error_description": "there is no " + req.URL.Path}, nil)
}

func (c *Cloud) token(req *http.Request) (*http.Response, error) {
	body, err := readBody(req)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || form.Get("client_id") != ClientID || form.Get("client_secret") != c.cfg.Secret || form.Get("grant_type") != "client_credentials" {
		return respond(401, map[string]any{
			"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided.",
		}, nil)
	}
	token := rand.Text()
	c.mu.Lock()
	c.tokens[token] = time.Now().Add(tokenLife)
	c.mu.Unlock()
	return respond(200, map[string]any{"token_type": "Bearer", "expires_in": int(tokenLife / time.Second), "access_token": token}, nil)
}

// unauthenticated refuses who has no token that is good, with the challenge that
// a client answers with another one.
func (c *Cloud) unauthenticated(req *http.Request) *http.Response {
	token, _ := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
	c.mu.Lock()
	until, ok := c.tokens[token]
	c.mu.Unlock()
	if ok && time.Now().Before(until) {
		return nil
	}
	resp, err := c.refuse(refusal(401, "InvalidAuthenticationToken", "The access token is invalid."))
	if err != nil {
		return nil // its body is always encoded
	}
	claims := base64.StdEncoding.EncodeToString([]byte(`{"access_token":{"nbf":{"essential":true,"value":"1"}}}`))
	resp.Header.Set("WWW-Authenticate", `Bearer realm="", authorization_uri="https://`+loginHost+`/common/oauth2/authorize", error="insufficient_claims", claims="`+claims+`"`)
	return resp
}

// permissions are those of the application, by its one role.
func (c *Cloud) permissions() []any {
	c.mu.Lock()
	defer c.mu.Unlock()
	actions := []string{"*"}
	if c.granted != nil {
		actions = c.granted
	}
	return []any{map[string]any{"actions": actions, "notActions": append([]string{}, c.revoked...)}}
}
