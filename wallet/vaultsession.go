package wallet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"imageport/job"
)

// session is the token of a login.
type session struct {
	token Secret // empty where there is none
	lease time.Duration
	// renew is when it is to be renewed or followed by another one, ends when it
	// is of no use any more. They are zero for a token that does not end.
	renew, ends time.Time
	renewable   bool
}

// answer is what Vault has said. Of the statuses that are errors, 404 is one
// that it is for the caller to understand.
type answer struct {
	status int
	body   []byte
}

// ask reads a path of Vault, or lists it, with a token of our own. If Vault
// refuses that, which may have been revoked, it asks with a new one.
func (v *VaultKV) ask(parent context.Context, path string, list bool) (answer, error) {
	ctx, cancel := context.WithTimeout(parent, vaultTimeout)
	defer cancel()
	token, fresh, err := v.login(ctx, Secret{})
	if err != nil {
		return answer{}, err
	}
	a, err := v.read(ctx, token, path, list)
	if refused, ok := errors.AsType[*api.ResponseError](err); ok && refused.StatusCode == http.StatusForbidden && !fresh {
		if token, _, err = v.login(ctx, token); err != nil {
			return answer{}, err
		}
		a, err = v.read(ctx, token, path, list)
	}
	return a, err
}

func (v *VaultKV) read(ctx context.Context, token Secret, path string, list bool) (answer, error) {
	c, err := v.with(token)
	if err != nil {
		return answer{}, err
	}
	var parameters map[string][]string
	if list {
		parameters = map[string][]string{"list": {"true"}}
	}
	// The raw answer: the others do not tell one 404 from another.
	resp, err := c.Logical().ReadRawWithDataWithContext(ctx, path, parameters)
	if resp != nil {
		defer resp.Body.Close()
	}
	if refused, ok := errors.AsType[*api.ResponseError](err); ok && refused.StatusCode == http.StatusNotFound && len(refused.Errors) == 0 {
		err = nil
	}
	if err != nil {
		return answer{}, err
	}
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, body}, err
}

// with gives a client with that token: clients keep theirs.
func (v *VaultKV) with(token Secret) (*api.Client, error) {
	c, err := v.client.CloneWithHeaders()
	if err != nil {
		return nil, err
	}
	c.SetToken(token.Reveal())
	return c, nil
}

// login gives a token other than refused, and whether it was made just now.
func (v *VaultKV) login(ctx context.Context, refused Secret) (token Secret, fresh bool, err error) {
	select {
	case v.lock <- struct{}{}:
		defer func() { <-v.lock }()
	case <-ctx.Done():
		return Secret{}, false, ctx.Err()
	}
	if v.config.TokenFile != "" {
		s, err := v.secretFile("token_file", v.config.TokenFile, 0o077)
		return NewSecret(s), true, err
	}
	at := time.Now()
	if v.clock != nil {
		at = v.clock()
	}
	s := v.token
	usable := s.token.Reveal() != "" && s.token.Reveal() != refused.Reveal()
	if usable && (s.ends.IsZero() || at.Before(s.renew)) {
		return s.token, false, nil
	}
	if usable && s.renewable && at.Before(s.ends) {
		if auth, err := v.write(ctx, s.token, "auth/token/renew-self", map[string]any{}); err == nil {
			next := newSession(auth, at)
			// Near the end of its life a token gets shorter and shorter leases.
			next.renewable = next.renewable && next.lease >= s.lease/2
			next.lease = max(next.lease, s.lease)
			v.token = next
			return next.token, false, nil
		}
	}
	v.token = session{}
	path, fields, err := v.loginFields()
	if err != nil {
		return Secret{}, false, err
	}
	auth, err := v.write(ctx, Secret{}, path, fields)
	if err != nil {
		return Secret{}, false, &loginError{err}
	}
	v.token = newSession(auth, at)
	return v.token.token, true, nil
}

// loginError says that it was the login that failed.
type loginError struct{ error }

func (e *loginError) Unwrap() error { return e.error }

func newSession(auth *api.SecretAuth, at time.Time) session {
	s := session{token: NewSecret(auth.ClientToken), renewable: auth.Renewable, lease: time.Duration(auth.LeaseDuration) * time.Second}
	if s.lease > 0 {
		s.renew, s.ends = at.Add(s.lease/2), at.Add(s.lease)
	}
	return s
}

// loginFields gives the path of the auth method and what it takes.
func (v *VaultKV) loginFields() (path string, fields map[string]any, err error) {
	path = "auth/" + v.config.AuthMount + "/login"
	if v.config.KubernetesRole != "" {
		// Kubernetes sets the rights of the file.
		jwt, err := v.secretFile("jwt_file", v.config.JWTFile, 0)
		return path, map[string]any{"role": v.config.KubernetesRole, "jwt": jwt}, err
	}
	id, err := v.secretFile("secret_id_file", v.config.SecretIDFile, 0o077)
	return path, map[string]any{"role_id": v.config.RoleID, "secret_id": id}, err
}

// write asks for a token. There is one in the answer, or an error.
func (v *VaultKV) write(ctx context.Context, token Secret, path string, fields map[string]any) (*api.SecretAuth, error) {
	c, err := v.with(token)
	if err != nil {
		return nil, err
	}
	secret, err := c.Logical().WriteWithContext(ctx, path, fields)
	if err != nil {
		return nil, err
	}
	if secret == nil || secret.Auth == nil || secret.Auth.ClientToken == "" {
		return nil, errors.New("no token in the answer")
	}
	return secret.Auth, nil
}

// secretFile reads a file with a secret on one line.
func (v *VaultKV) secretFile(key, path string, deny fs.FileMode) (string, error) {
	b, err := readOwn(path, maxEntryBytes, deny)
	if m, ok := errors.AsType[openToOthers](err); ok {
		return "", job.Errorf(job.UnknownCredential, "Take the rights of group and others away (chmod 600)",
			"wallet.vault.%s %s is open to others than its owner (%w)", key, path, m)
	}
	if err != nil {
		return "", unreadable(err, "Check that the file is there and that the worker's user may read it", "wallet.vault.%s %s", key, path)
	}
	s := strings.TrimSpace(string(b))
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", job.Errorf(job.UnknownCredential, "Put it there, on one line", "wallet.vault.%s %s does not hold a secret of Vault's", key, path)
	}
	return s, nil
}

// failure is the error for people for one of ask. rights is the policy that
// would have helped.
func (v *VaultKV) failure(parent context.Context, err error, place, rights string) error {
	if parent.Err() != nil {
		return parent.Err()
	}
	if e, ok := errors.AsType[*job.Error](err); ok {
		return e
	}
	login, isLogin := errors.AsType[*loginError](err)
	if isLogin {
		err, place = login.error, "log on to "+v.where()
	}
	if verify, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return job.Errorf(job.UnknownCredential, "Give the certificate of its authority as wallet.vault.ca_file, or correct wallet.vault.address",
			"%s: its certificate is not trusted: %w", place, verify.Err)
	}
	if strings.Contains(err.Error(), "server gave HTTP response to HTTPS client") {
		return job.Errorf(job.UnknownCredential, "Correct wallet.vault.address in the configuration", "%s: the server does not speak TLS", place)
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return v.strange(place)
	}
	refused, ok := errors.AsType[*api.ResponseError](err)
	if !ok {
		return job.Errorf(job.WalletUnavailable, "Check wallet.vault.address, and that Vault runs", "%s: no answer: %w", place, err)
	}
	said := vaultErrors(refused)
	switch {
	case refused.StatusCode == http.StatusServiceUnavailable && strings.Contains(said, "sealed"):
		return job.Errorf(job.WalletUnavailable, "Unseal it", "%s: Vault is sealed", place)
	case refused.StatusCode >= 500, refused.StatusCode == http.StatusTooManyRequests, refused.StatusCode == http.StatusPreconditionFailed:
		return job.Errorf(job.WalletUnavailable, "Look at the state and the log of Vault", "%s: Vault fails: %s", place, said)
	case isLogin:
		return job.Errorf(job.UnknownCredential, "Check the role and its secret, and wallet.vault.auth_mount", "%s: Vault refuses: %s", place, said)
	case refused.StatusCode == http.StatusNotFound && !refused.RawError:
		return job.Errorf(job.UnknownCredential, "Correct wallet.vault.mount, or wallet.vault.namespace, in the configuration",
			"%s: there is no secrets engine at %s: %s", place, v.config.Mount, said)
	case refused.StatusCode == http.StatusForbidden:
		return job.Errorf(job.UnknownCredential, "Give it this policy: "+rights+"; or another token, if it has ended",
			"%s: Vault denies it to our token: %s", place, said)
	}
	return job.Errorf(job.UnknownCredential, "Check wallet.vault in the configuration", "%s: Vault refuses: %s", place, said)
}

// maxSaid bounds what is shown of Vault's errors.
const maxSaid = 300

// vaultErrors are the errors in an answer on one line. What is not Vault's own,
// such as a page of a proxy, is not shown.
func vaultErrors(e *api.ResponseError) string {
	said := ""
	if !e.RawError {
		said = strings.TrimRight(strings.Join(strings.Fields(strings.Join(e.Errors, "; ")), " "), ".")
	}
	if len(said) > maxSaid {
		said = strings.ToValidUTF8(said[:maxSaid], "") + "…"
	}
	if said == "" {
		return fmt.Sprintf("status %d", e.StatusCode)
	}
	return fmt.Sprintf("status %d, %s", e.StatusCode, said)
}
