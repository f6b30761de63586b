package wallet

import (
	"fmt"
	"net/url"
	"strings"

	"imageport/job"
)

// VaultConfig says where the wallet is in HashiCorp Vault, and how to log on:
// with a token, an AppRole or a Kubernetes service account.
type VaultConfig struct {
	// Address is the URL of the server. http is for the machine itself only.
	Address string `toml:"address"`
	// CAFile has the certificates, in PEM, of the authorities to trust instead
	// of the system's.
	CAFile string `toml:"ca_file"`
	// Namespace is that of Vault Enterprise, by default none.
	Namespace string `toml:"namespace"`
	// Mount is the path of the secrets engine, KV version 2, by default
	// "secret".
	Mount string `toml:"mount"`
	// Prefix is the path within it under which the credentials are, by default
	// "imageport".
	Prefix string `toml:"prefix"`

	// TokenFile holds a token. It is read each time; whoever writes it, such as
	// Vault Agent, renews the token.
	TokenFile string `toml:"token_file"`

	// RoleID and SecretIDFile are those of an AppRole.
	RoleID       string `toml:"role_id"`
	SecretIDFile string `toml:"secret_id_file"`

	// KubernetesRole is the role to log on with as a Kubernetes service account.
	KubernetesRole string `toml:"kubernetes_role"`
	// JWTFile is the token of the service account, by default where Kubernetes
	// mounts it.
	JWTFile string `toml:"jwt_file"`

	// AuthMount is the path of the auth method, by default "approle" or
	// "kubernetes".
	AuthMount string `toml:"auth_mount"`
}

const (
	defaultVaultMount  = "secret"
	defaultVaultPrefix = "imageport"
	defaultJWTFile     = "/var/run/secrets/kubernetes.io/serviceaccount/token"
)

func (c VaultConfig) complete() VaultConfig {
	set := func(s *string, value string) {
		if *s == "" {
			*s = value
		}
	}
	set(&c.Mount, defaultVaultMount)
	set(&c.Prefix, defaultVaultPrefix)
	c.Mount, c.Prefix, c.AuthMount = strings.Trim(c.Mount, "/"), strings.Trim(c.Prefix, "/"), strings.Trim(c.AuthMount, "/")
	switch {
	case c.KubernetesRole != "":
		set(&c.JWTFile, defaultJWTFile)
		set(&c.AuthMount, "kubernetes")
	case c.RoleID != "":
		set(&c.AuthMount, "approle")
	}
	return c
}

func (c VaultConfig) validate() (bad []error) {
	refuse := func(format string, args ...any) { bad = append(bad, fmt.Errorf("wallet.vault: "+format, args...)) }
	u, err := url.Parse(c.Address)
	switch {
	case c.Address == "":
		refuse("the address is missing, as in https://vault.example.com:8200")
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		refuse("the address is not a URL such as https://vault.example.com:8200") // not quoted: there may be a password in it
	case u.Scheme == "http" && !job.Localhost(u.Hostname()):
		refuse("the address %s would send passwords in clear text: use https", c.Address)
	}
	for _, p := range []struct{ key, path string }{{"mount", c.Mount}, {"prefix", c.Prefix}, {"auth_mount", c.AuthMount}} {
		for part := range strings.SplitSeq(p.path, "/") {
			if p.path != "" && !validID(part) {
				refuse("%s %q is not a path", p.key, p.path)
				break
			}
		}
	}
	if c.Mount == "" || c.Prefix == "" {
		refuse("mount or prefix is missing")
	}
	methods := 0
	for _, used := range []bool{c.TokenFile != "", c.RoleID != "" || c.SecretIDFile != "", c.KubernetesRole != ""} {
		if used {
			methods++
		}
	}
	if methods != 1 {
		refuse("give one way to log on: token_file, role_id with secret_id_file, or kubernetes_role")
	}
	if (c.RoleID == "") != (c.SecretIDFile == "") {
		refuse("role_id and secret_id_file belong together")
	}
	if c.JWTFile != "" && c.KubernetesRole == "" {
		refuse("jwt_file needs kubernetes_role")
	}
	return bad
}

// path is the path of a credential as the vault program takes it.
func (c VaultConfig) path(id string) string { return c.Mount + "/" + c.Prefix + "/" + id }

// namespaceFlag is what the vault program is told, with a space behind it.
func (c VaultConfig) namespaceFlag() string {
	if c.Namespace == "" {
		return ""
	}
	return "-namespace=" + c.Namespace + " "
}
