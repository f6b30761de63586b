package wallet

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"imageport/job"
)

const (
	// vaultTimeout bounds one question to Vault, retries included.
	vaultTimeout = 20 * time.Second
	// maxVaultBytes bounds an answer. A secret has at most 1 MiB by default.
	maxVaultBytes = 2 << 20
)

// Vault gives the wallet in HashiCorp Vault: the credential of an id is the
// secret <mount>/<prefix>/<id> of a secrets engine KV version 2, with the keys
// that the JSON files of Dir have. c is complete and valid.
//
// Nothing but the token is cached: a changed password counts from the next
// call on. The environment variables of the vault program are of no effect.
func Vault(c VaultConfig) (*VaultKV, error) {
	transport, err := vaultTransport(c.CAFile)
	if err != nil {
		return nil, err
	}
	client, err := api.NewClient(&api.Config{
		Address: c.Address,
		HttpClient: &http.Client{
			Transport: limited{transport},
			// The client follows one redirect by itself.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		// Another attempt is for what passes within a second; the rest is for
		// the retries of the job.
		MaxRetries:   1,
		MinRetryWait: 200 * time.Millisecond,
		MaxRetryWait: 500 * time.Millisecond,
	})
	if err != nil {
		return nil, fmt.Errorf("wallet.vault: %w", err)
	}
	client.ClearToken()
	client.SetHeaders(http.Header{api.RequestHeaderName: {"true"}})
	if c.Namespace != "" {
		client.SetNamespace(c.Namespace)
	}
	return &VaultKV{config: c, client: client, lock: make(chan struct{}, 1)}, nil
}

// VaultKV is the wallet that Vault gives. It is a Catalog. Any number of
// goroutines may use it.
type VaultKV struct {
	config VaultConfig
	client *api.Client
	clock  func() time.Time

	lock  chan struct{} // of session
	token session
}

// Credential implements Provider.
func (v *VaultKV) Credential(ctx context.Context, id string) (Credential, error) {
	e, err := v.find(ctx, id)
	return e.Credential, err
}

// Describe implements Catalog. It is known since when there is the latest
// version of a secret, but the first one only if that is it.
func (v *VaultKV) Describe(ctx context.Context, id string) (Metadata, error) {
	e, err := v.find(ctx, id)
	if err != nil {
		return Metadata{}, err
	}
	return e.metadata(), nil
}

// List implements Catalog. It reads the credentials one after the other.
func (v *VaultKV) List(ctx context.Context) ([]Metadata, error) {
	asked := v.config.Mount + "/metadata/" + v.config.Prefix
	a, err := v.ask(ctx, asked, true)
	if err != nil {
		return nil, v.failure(ctx, err, "the wallet in "+v.where(), fmt.Sprintf("path %q { capabilities = [\"list\"] }", asked))
	}
	list := []Metadata{}
	if a.status == http.StatusNotFound {
		return list, v.checkMount(ctx)
	}
	var found struct {
		Data struct {
			Keys []string `json:"keys"`
		} `json:"data"`
	}
	if err := json.Unmarshal(a.body, &found); err != nil {
		return nil, v.strange("the list of the wallet")
	}
	slices.Sort(found.Data.Keys)
	for _, id := range found.Data.Keys {
		if strings.HasSuffix(id, "/") || !validID(id) { // a folder, or nobody can name it
			continue
		}
		m, err := v.Describe(ctx, id)
		switch job.CodeOf(err) {
		case job.UnknownCredential:
			m = unusable(id, err)
		default:
			if err != nil {
				return nil, err
			}
		}
		list = append(list, m)
	}
	return list, nil
}

// Editor implements Catalog: it refuses, with what to run instead.
func (v *VaultKV) Editor() (Editor, error) {
	const commands = "Run: vault kv put %[1]s-mount=%[2]s %[3]s/<id> type=UsernamePassword username=<name> password=-; " +
		"to remove one: vault kv metadata delete %[1]s-mount=%[2]s %[3]s/<id>"
	return nil, job.Errorf(job.BadRequest, fmt.Sprintf(commands, v.config.namespaceFlag(), v.config.Mount, v.config.Prefix),
		"the wallet is in %s, and is changed there", v.where())
}

func (v *VaultKV) where() string {
	return "Vault at " + v.config.Address + " (" + v.config.Mount + "/" + v.config.Prefix + ")"
}

// secretJSON is what KV version 2 answers to the reading of a secret. Of one
// that was deleted it has the metadata only.
type secretJSON struct {
	Data struct {
		Data     json.RawMessage `json:"data"`
		Metadata struct {
			CreatedTime  stamp  `json:"created_time"`
			DeletionTime string `json:"deletion_time"`
			Destroyed    bool   `json:"destroyed"`
			Version      int    `json:"version"`
		} `json:"metadata"`
	} `json:"data"`
}

func (v *VaultKV) find(ctx context.Context, id string) (entry, error) {
	if err := ctx.Err(); err != nil {
		return entry{}, err
	}
	if !validID(id) {
		return entry{}, invalidID(id)
	}
	place := fmt.Sprintf("the credential %q in %s", id, v.where())
	asked := v.config.Mount + "/data/" + v.config.Prefix + "/" + id
	a, err := v.ask(ctx, asked, false)
	if err != nil {
		return entry{}, v.failure(ctx, err, place, fmt.Sprintf("path %q { capabilities = [\"read\"] }", v.config.Mount+"/data/"+v.config.Prefix+"/*"))
	}
	var secret secretJSON
	if err := json.Unmarshal(a.body, &secret); err != nil && a.status != http.StatusNotFound {
		return entry{}, v.strange(place)
	}
	meta := secret.Data.Metadata
	switch {
	case meta.Destroyed:
		return entry{}, job.Errorf(job.UnknownCredential, "Put a new version there", "%s was destroyed: version %d", place, meta.Version)
	case meta.DeletionTime != "" && (a.status == http.StatusNotFound || len(secret.Data.Data) == 0 || string(secret.Data.Data) == "null"):
		return entry{}, job.Errorf(job.UnknownCredential,
			fmt.Sprintf("Run: vault kv undelete %s-mount=%s -versions=%d %s/%s; or put a new version there", v.config.namespaceFlag(), v.config.Mount, meta.Version, v.config.Prefix, id),
			"%s was deleted: version %d, at %s", place, meta.Version, meta.DeletionTime)
	case a.status == http.StatusNotFound:
		if err := v.checkMount(ctx); err != nil {
			return entry{}, err
		}
		return entry{}, job.Errorf(job.UnknownCredential, "Put it there, or correct the id in the request", "there is no credential %q in %s", id, v.where())
	}
	e, err := decodeEntry(id, secret.Data.Data)
	if err != nil {
		return entry{}, job.Errorf(job.UnknownCredential, "Correct it in Vault", "%s cannot be used: %w", place, err)
	}
	e.updated = meta.CreatedTime.Time
	if e.created.IsZero() && meta.Version == 1 {
		e.created = e.updated
	}
	return e, nil
}

// checkMount tells, when there is no secret, whether there could be any: an
// engine of version 1 answers as if it were empty. What Vault does not tell,
// such as to a token without any rights there, is not held against it.
func (v *VaultKV) checkMount(ctx context.Context) error {
	a, err := v.ask(ctx, "sys/internal/ui/mounts/"+v.config.Mount, false)
	if err != nil || a.status != http.StatusOK {
		return nil
	}
	var mount struct {
		Data struct {
			Type    string            `json:"type"`
			Options map[string]string `json:"options"`
		} `json:"data"`
	}
	if json.Unmarshal(a.body, &mount) != nil || mount.Data.Type == "" {
		return nil
	}
	if version := mount.Data.Options["version"]; mount.Data.Type != "kv" || version != "2" {
		found := mount.Data.Type
		if found == "kv" {
			found = "kv version 1"
		}
		return job.Errorf(job.UnknownCredential, fmt.Sprintf("Correct wallet.vault.mount in the configuration, or run: vault kv enable-versioning %s%s", v.config.namespaceFlag(), v.config.Mount),
			"%s: the secrets engine at %s is %s, not kv version 2", v.where(), v.config.Mount, found)
	}
	return nil
}

func (v *VaultKV) strange(place string) error {
	return job.Errorf(job.UnknownCredential, "Check that wallet.vault.address is that of Vault", "%s: the answer is not that of KV version 2", place)
}

// vaultTransport speaks TLS with the authorities in caFile, or the system's.
func vaultTransport(caFile string) (http.RoundTripper, error) {
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		ForceAttemptHTTP2:     true,
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: vaultTimeout,
		IdleConnTimeout:       time.Minute,
		MaxIdleConns:          4,
	}
	if caFile == "" {
		return t, nil
	}
	pem, err := readOwn(caFile, maxVaultBytes, 0o022)
	if err != nil {
		return nil, fmt.Errorf("wallet.vault.ca_file %s: %w", caFile, err)
	}
	t.TLSClientConfig.RootCAs = x509.NewCertPool()
	if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("wallet.vault.ca_file %s has no certificate in PEM", caFile)
	}
	return t, nil
}

// limited bounds the bodies of answers.
type limited struct{ http.RoundTripper }

func (l limited) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Body = http.MaxBytesReader(nil, resp.Body, maxVaultBytes)
	}
	return resp, err
}
