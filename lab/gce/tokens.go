package gce

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"strings"
)

const (
	tokenPath    = "/token"
	tokenSeconds = 3600
	grantType    = "urn:ietf:params:oauth:grant-type:jwt-bearer"
)

// Account is the e-mail address of the service account, the only one that there is.
func (c *Cloud) Account() string { return "imageport@" + c.cfg.Project + ".iam.gserviceaccount.com" }

// KeyJSON is the key file of the service account.
func (c *Cloud) KeyJSON() []byte {
	der, err := x509.MarshalPKCS8PrivateKey(c.key)
	if err != nil {
		return nil // a key that was just made can be written
	}
	b, _ := json.Marshal(map[string]string{ // strings
		"type": "service_account", "project_id": c.cfg.Project, "private_key_id": "lab", "client_email": c.Account(), "client_id": "1",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "token_uri": c.url + tokenPath,
	})
	return b
}

// giveToken answers who has the key (RFC 7523).
func (c *Cloud) giveToken(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	w.Header().Set("Content-Type", "application/json")
	if err := c.checkAssertion(r.PostFormValue("grant_type"), r.PostFormValue("assertion")); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": "invalid_grant", "error_description": err.Error()}) // as below
		return
	}
	token := rand.Text()
	c.mu.Lock()
	c.tokens[token] = true
	c.mu.Unlock()
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": tokenSeconds}) // who has gone does not read it
}

func (c *Cloud) checkAssertion(grant, assertion string) error {
	parts := strings.Split(assertion, ".")
	if grant != grantType || len(parts) != 3 {
		return errors.New("want an assertion that is signed with a key")
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err := rsa.VerifyPKCS1v15(&c.key.PublicKey, crypto.SHA256, sum[:], signature); err != nil {
		return errors.New("invalid signature")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return err
	}
	var claims struct{ Iss, Aud, Scope string }
	if err := json.Unmarshal(payload, &claims); err != nil {
		return err
	}
	if claims.Iss != c.Account() || claims.Aud != c.url+tokenPath || claims.Scope == "" {
		return errors.New("the assertion is not of the account, not for this service, or asks for nothing")
	}
	return nil
}
