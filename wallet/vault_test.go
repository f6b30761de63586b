package wallet_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"imageport/job"
	"imageport/wallet"
)

// fakeVault answers as Vault 1.21 does, whose answers to the same requests it
// repeats.
type fakeVault struct {
	t      *testing.T
	server *httptest.Server

	mu       sync.Mutex
	files    map[string]string // what is asked: what is answered
	status   map[string]int    // 200 where none is given
	tokens   map[string]bool   // tokens that are good
	lease    int               // seconds
	renewals int
	logins   int
	seen     []string // namespaces
}

const denied = `{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}`

func newVault(t *testing.T) (*fakeVault, wallet.VaultConfig) {
	t.Helper()
	f := &fakeVault{t: t, tokens: map[string]bool{}, lease: 3600, files: map[string]string{}, status: map[string]int{}}
	f.server = httptest.NewTLSServer(f)
	t.Cleanup(f.server.Close)
	dir := put(t, map[string]string{
		"ca.pem":    string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.server.Certificate().Raw})),
		"secret-id": "s3cr3t-id\n", "jwt": "s3cr3t.jwt", "token": "s3cr3t-token\n",
	})
	return f, wallet.Config{Provider: wallet.ProviderVault, Vault: wallet.VaultConfig{
		Address: f.server.URL, CAFile: "ca.pem", RoleID: "imageport", SecretIDFile: "secret-id",
	}}.Complete(dir).Vault
}

func (f *fakeVault) open(c wallet.VaultConfig) *wallet.VaultKV {
	f.t.Helper()
	w, err := wallet.Vault(c)
	if err != nil {
		f.t.Fatal(err)
	}
	return w
}

func (f *fakeVault) set(asked string, status int, answer string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.files[asked], f.status[asked] = answer, status
}

func secret(data string, version int) string {
	return fmt.Sprintf(`{"request_id":"1","lease_id":"","renewable":false,"lease_duration":0,"data":{"data":%s,"metadata":{"created_time":"2026-01-31T12:00:00.123456789Z","custom_metadata":null,"deletion_time":"","destroyed":false,"version":%d}},"wrap_info":null,"warnings":null,"auth":null,"mount_type":"kv"}`, data, version)
}

func (f *fakeVault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen = append(f.seen, r.Header.Get("X-Vault-Namespace"))
	asked := strings.TrimPrefix(r.URL.Path, "/v1/")
	if r.URL.Query().Get("list") == "true" {
		asked += "?list"
	}
	var body map[string]string
	if r.Method == http.MethodPut {
		_ = json.NewDecoder(r.Body).Decode(&body) // an empty one is none
	}
	answer := func(status int, text string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(text)) // whoever does not want it is tested
	}
	if text, ok := f.files[asked]; ok && (strings.HasPrefix(asked, "auth/") || f.status[asked] == http.StatusServiceUnavailable) {
		answer(f.status[asked], text)
		return
	}
	token := r.Header.Get("X-Vault-Token")
	switch {
	case asked == "auth/approle/login" && body["role_id"] == "imageport" && body["secret_id"] == "s3cr3t-id",
		asked == "auth/k8s/login" && body["role"] == "imageport" && body["jwt"] == "s3cr3t.jwt":
		f.logins++
		token = fmt.Sprintf("s3cr3t-%d", f.logins)
		f.tokens[token] = true
	case strings.HasSuffix(asked, "/login"):
		answer(http.StatusBadRequest, `{"errors":["invalid role or secret ID"]}`)
		return
	case !f.tokens[token]:
		answer(http.StatusForbidden, denied)
		return
	case asked == "auth/token/renew-self":
		f.renewals++
	default:
		if text, ok := f.files[asked]; ok {
			answer(f.status[asked], text)
			return
		}
		answer(http.StatusNotFound, `{"errors":[]}`)
		return
	}
	answer(http.StatusOK, fmt.Sprintf(`{"request_id":"1","data":null,"auth":{"client_token":%q,"accessor":"a","policies":["default","imageport"],"lease_duration":%d,"renewable":true,"entity_id":"e","token_type":"service","orphan":true}}`, token, f.lease))
}

const userData = `{"type":"UsernamePassword","username":"ips","domain":"test","password":"s3cr3t-Pa55"}`

func TestVault(t *testing.T) {
	f, c := newVault(t)
	c.Namespace = "team/pvs"
	w := f.open(c)
	f.set("secret/data/imageport/files", 200, secret(userData, 3))
	f.set("secret/data/imageport/azure", 200, secret(`{"type":"azure","tenantId":"t-1","clientId":"c-1","secret":"s3cr3t"}`, 1))
	f.set("secret/data/imageport/gcp", 200, secret(`{"type":"Gcp","key":`+quoted(gcpKey)+`}`, 1))
	f.set("secret/data/imageport/bad", 200, secret(`{"username":"u","password":12345}`, 1))
	f.set("secret/data/imageport/a b%2F?#ü", 200, secret(userData, 1))
	f.set("secret/metadata/imageport?list", 200, `{"data":{"keys":["azure","bad","files","gcp","folder/"]}}`)
	lookThrough(t, w)
	got, err := w.Credential(t.Context(), "files")
	if err != nil || passwordOf(t, got) != password {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := w.Credential(t.Context(), "a b%2F?#ü"); err != nil || passwordOf(t, got) != password {
		t.Errorf("%v, %v", got, err)
	}
	m, err := w.Describe(t.Context(), "azure")
	if err != nil || m.CreatedAt.IsZero() || !m.CreatedAt.Equal(m.UpdatedAt) {
		t.Errorf("%+v, %v", m, err)
	}
	for _, namespace := range f.seen {
		if namespace != "team/pvs" {
			t.Errorf("asked in the namespace %q", namespace)
		}
	}
	if f.logins != 1 {
		t.Errorf("%d logins", f.logins)
	}
	_, err = w.Editor()
	if e, ok := errors.AsType[*job.Error](err); !ok || !strings.Contains(e.Remedy, "vault kv put -namespace=team/pvs -mount=secret imageport/<id>") {
		t.Errorf("%v", err)
	}
	_, err = w.Credential(t.Context(), "../x")
	refused(t, err, "cannot be the id")
	empty, c := newVault(t)
	if list, err := empty.open(c).List(t.Context()); err != nil || list == nil || len(list) != 0 {
		t.Errorf("the empty wallet: %v, %v", list, err)
	}
}

func TestVaultLogins(t *testing.T) {
	f, c := newVault(t)
	dir := filepath.Dir(c.CAFile)
	f.set("secret/data/imageport/files", 200, secret(userData, 1))
	kubernetes := wallet.Config{Provider: wallet.ProviderVault, Vault: wallet.VaultConfig{Address: c.Address, CAFile: c.CAFile, KubernetesRole: "imageport", JWTFile: "jwt", AuthMount: "k8s"}}.Complete(dir).Vault
	if _, err := f.open(kubernetes).Credential(t.Context(), "files"); err != nil {
		t.Error(err)
	}
	token := wallet.Config{Provider: wallet.ProviderVault, Vault: wallet.VaultConfig{Address: c.Address, CAFile: c.CAFile, TokenFile: "token"}}.Complete(dir).Vault
	t.Setenv("VAULT_TOKEN", "s3cr3t-of-the-environment")
	t.Setenv("VAULT_NAMESPACE", "elsewhere")
	w := f.open(token)
	_, err := w.Credential(t.Context(), "files")
	refused(t, err, "denies it to our token", "invalid token", `path "secret/data/imageport/*" { capabilities = ["read"] }`)
	f.tokens["s3cr3t-token"] = true
	if _, err = w.Credential(t.Context(), "files"); err != nil {
		t.Error(err)
	}
	for name, content := range map[string]string{"token": "", "secret-id": "two\nlines", "jwt": "s3cr3t\x00"} {
		write(t, filepath.Join(dir, name), content)
	}
	for _, c := range []wallet.VaultConfig{token, c, kubernetes} {
		_, err = f.open(c).Credential(t.Context(), "files")
		refused(t, err, "does not hold a secret of Vault's")
	}
	token.TokenFile = filepath.Join(dir, "none")
	_, err = f.open(token).Credential(t.Context(), "files")
	refused(t, err, "wallet.vault.token_file", "none")
}

// A token is renewed after half of its lease, and followed by another one when
// it has ended, was revoked or cannot be renewed.
func TestVaultLease(t *testing.T) {
	f, c := newVault(t)
	w := f.open(c)
	at := noon
	wallet.SetClock(w, func() time.Time { return at })
	f.set("secret/data/imageport/files", 200, secret(userData, 1))
	step := func(what string, pass time.Duration, logins, renewals int) {
		t.Helper()
		at = at.Add(pass)
		if _, err := w.Credential(t.Context(), "files"); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if f.logins != logins || f.renewals != renewals {
			t.Errorf("%s: %d logins and %d renewals; want %d and %d", what, f.logins, f.renewals, logins, renewals)
		}
	}
	step("the first", 0, 1, 0)
	step("early", 29*time.Minute, 1, 0)
	step("late", 2*time.Minute, 1, 1)
	step("renewed", 29*time.Minute, 1, 1)
	step("ended", 2*time.Hour, 2, 1)
	f.tokens = map[string]bool{}
	step("revoked", time.Second, 3, 1)
	f.lease = 60 // it nears its end
	step("a shorter lease", 31*time.Minute, 3, 2)
	step("not renewed again", 40*time.Second, 4, 2)
	f.tokens = map[string]bool{}
	step("renewal refused", 40*time.Second, 5, 2)
	f.lease = 0
	f.tokens = map[string]bool{}
	step("without a lease", 0, 6, 2)
	step("for ever", 1000*time.Hour, 6, 2)
}

func TestVaultRefused(t *testing.T) {
	const asked = "secret/data/imageport/files"
	for name, tc := range map[string]struct {
		asked  string
		status int
		answer string
		in     []string
	}{
		"denied":        {asked, 403, `{"errors":["1 error occurred:\n\t* permission denied\n\n"]}`, []string{"denies it", "1 error occurred: * permission denied", "capabilities"}},
		"deleted":       {asked, 404, `{"data":{"data":null,"metadata":{"created_time":"2026-01-31T12:00:00Z","deletion_time":"2026-02-01T08:00:00Z","destroyed":false,"version":3}}}`, []string{"was deleted: version 3, at 2026-02-01T08:00:00Z", "vault kv undelete -mount=secret -versions=3 imageport/files"}},
		"destroyed":     {asked, 404, `{"data":{"data":null,"metadata":{"created_time":"2026-01-31T12:00:00Z","deletion_time":"","destroyed":true,"version":2}}}`, []string{"was destroyed: version 2"}},
		"none":          {asked, 404, `{"errors":[]}`, []string{"there is no credential"}},
		"wrong mount":   {asked, 404, `{"errors":["no handler for route \"secret/data/imageport/files\". route entry not found."]}`, []string{"no secrets engine at secret", "wallet.vault.mount"}},
		"version 1":     {"sys/internal/ui/mounts/secret", 200, `{"data":{"type":"kv","path":"secret/","options":{"version":"1"}}}`, []string{"is kv version 1, not kv version 2", "enable-versioning secret"}},
		"version 2":     {"sys/internal/ui/mounts/secret", 200, `{"data":{"type":"kv","path":"secret/","options":{"version":"2"}}}`, []string{"there is no credential"}},
		"other engine":  {"sys/internal/ui/mounts/secret", 200, `{"data":{"type":"pki","path":"secret/","options":null}}`, []string{"is pki, not"}},
		"not Vault":     {asked, 200, `<html>s3cr3t</html>`, []string{"not that of KV version 2"}},
		"not Vault 404": {asked, 404, `<html>s3cr3t</html>`, []string{"Check wallet.vault"}},
		"no object":     {asked, 200, secret(`"s3cr3t"`, 1), []string{"cannot be used", "not a JSON object"}},
		"null":          {asked, 200, secret(`null`, 1), []string{"cannot be used"}},
		"endless":       {asked, 200, `"` + strings.Repeat("s3cr3t", 1<<19), []string{"not that of KV version 2"}},
		"login refused": {"auth/approle/login", 400, `{"errors":["invalid role or secret ID"]}`, []string{"log on to Vault", "invalid role or secret ID", "auth_mount"}},
		"login denied":  {"auth/approle/login", 403, `{"errors":["permission denied"]}`, []string{"log on to Vault", "permission denied"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, c := newVault(t)
			f.set(tc.asked, tc.status, tc.answer)
			_, err := f.open(c).Credential(t.Context(), "files")
			refused(t, err, append(tc.in, "Vault at "+c.Address)...)
		})
	}
	f, c := newVault(t)
	f.set("secret/metadata/imageport?list", 403, `{"errors":["permission denied"]}`)
	_, err := f.open(c).List(t.Context())
	refused(t, err, `path "secret/metadata/imageport" { capabilities = ["list"] }`)
	c.CAFile = ""
	_, err = f.open(c).Credential(t.Context(), "files")
	refused(t, err, "certificate is not trusted", "ca_file")
	plain := httptest.NewServer(f)
	t.Cleanup(plain.Close)
	c.Address = strings.Replace(plain.URL, "http:", "https:", 1)
	_, err = f.open(c).Credential(t.Context(), "files")
	refused(t, err, "does not speak TLS")
}

// What may pass is told apart from what is not there.
func TestVaultUnavailable(t *testing.T) {
	unavailable := func(t *testing.T, w *wallet.VaultKV, in string) {
		t.Helper()
		_, err := w.Credential(t.Context(), "files")
		if job.CodeOf(err) != job.WalletUnavailable || !strings.Contains(err.Error(), in) || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("got %v; want %s and %q", err, job.WalletUnavailable, in)
		}
		if _, err := w.List(t.Context()); job.CodeOf(err) != job.WalletUnavailable {
			t.Errorf("List: %v", err)
		}
	}
	for name, tc := range map[string]struct {
		status     int
		answer, in string
	}{
		"sealed":   {503, `{"errors":["Vault is sealed"]}`, "Vault is sealed. Unseal it"},
		"internal": {500, `{"errors":["internal error"]}`, "internal error"},
		"proxy":    {502, `<html>s3cr3t</html>`, "status 502"},
		"limited":  {429, `{"errors":["request path \"secret/data\": rate limit quota exceeded"]}`, "rate limit"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, c := newVault(t)
			for _, asked := range []string{"auth/approle/login", "secret/data/imageport/files", "secret/metadata/imageport?list"} {
				f.set(asked, tc.status, tc.answer)
			}
			unavailable(t, f.open(c), tc.in)
		})
	}
	t.Run("no server", func(t *testing.T) {
		t.Parallel()
		f, c := newVault(t)
		w := f.open(c)
		f.server.Close()
		unavailable(t, w, "no answer")
	})
	t.Run("it unseals", func(t *testing.T) {
		t.Parallel()
		f, c := newVault(t)
		w := f.open(c)
		f.set("auth/approle/login", 503, `{"errors":["Vault is sealed"]}`)
		unavailable(t, w, "sealed")
		f.mu.Lock()
		delete(f.files, "auth/approle/login")
		f.mu.Unlock()
		f.set("secret/data/imageport/files", 200, secret(userData, 1))
		if _, err := w.Credential(t.Context(), "files"); err != nil {
			t.Error(err)
		}
	})
	f, c := newVault(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.open(c).Credential(ctx, "files"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestVaultAtOnce(t *testing.T) {
	f, c := newVault(t)
	f.set("secret/data/imageport/files", 200, secret(userData, 1))
	w := f.open(c)
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			if _, err := w.Credential(t.Context(), "files"); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if f.logins != 1 {
		t.Errorf("%d logins", f.logins)
	}
}

func TestValidateConfig(t *testing.T) {
	good := wallet.VaultConfig{Address: "https://vault:8200", TokenFile: "t"}
	vault := func(change func(c *wallet.VaultConfig)) wallet.Config {
		c := wallet.Config{Provider: wallet.ProviderVault, Vault: good}
		change(&c.Vault)
		return c.Complete("/etc/imageport")
	}
	if err := vault(func(*wallet.VaultConfig) {}).Validate(); err != nil {
		t.Error(err)
	}
	if err := vault(func(c *wallet.VaultConfig) { c.Address = "http://[::1]:8200" }).Validate(); err != nil {
		t.Error(err)
	}
	for says, c := range map[string]wallet.Config{
		"no wallet provider": {Provider: "keepass"},
		"no path":            {Provider: wallet.ProviderDir},
		"key_file is for":    {Provider: wallet.ProviderDir, Path: "w", KeyFile: "k"},
		"the wallet itself":  {Provider: wallet.ProviderFile, Path: "w", KeyFile: "w"},
		"path is not for":    {Provider: wallet.ProviderVault, Path: "w", Vault: good},
		"wallet.vault is":    {Provider: wallet.ProviderFile, Path: "w", KeyFile: "k", Vault: good},
		"address is missing": vault(func(c *wallet.VaultConfig) { c.Address = "" }),
		"not a URL":          vault(func(c *wallet.VaultConfig) { c.Address = "https://u:s3cr3t@vault" }),
		"use https":          vault(func(c *wallet.VaultConfig) { c.Address = "http://vault:8200" }),
		"one way":            vault(func(c *wallet.VaultConfig) { c.KubernetesRole = "r" }),
		"one way to log on":  vault(func(c *wallet.VaultConfig) { c.TokenFile = "" }),
		"belong together":    vault(func(c *wallet.VaultConfig) { c.TokenFile, c.RoleID = "", "r" }),
		"needs kubernetes":   vault(func(c *wallet.VaultConfig) { c.JWTFile = "j" }),
		`mount "a/../b"`:     vault(func(c *wallet.VaultConfig) { c.Mount = "a/../b" }),
		"prefix is missing":  vault(func(c *wallet.VaultConfig) { c.Prefix = "/" }),
	} {
		_, err := wallet.Open(c)
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%+v: %v; want %q", c, err, says)
		}
	}
	for _, file := range []string{"/no/such/ca.pem", filepath.Join(put(t, map[string]string{"ca.pem": "x"}), "ca.pem")} {
		c := vault(func(c *wallet.VaultConfig) { c.CAFile = file })
		if _, err := wallet.Open(c); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%v", err)
		}
	}
}
