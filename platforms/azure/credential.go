package azure

import (
	"crypto/sha256"
	"fmt"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"imageport/platforms"
)

// Credential says in which way the worker logs in, exactly one: by a secret, by
// a certificate, as the managed identity of the machine that it runs on, or by
// the workload identity of its pod.
type Credential struct {
	// TenantID and ClientID are the directory and the application. A managed
	// identity has no TenantID, and ClientID only if it is a user-assigned one.
	TenantID, ClientID string
	// Secret is a client secret.
	Secret string
	// CertificatePEM has the application's certificate and its private key,
	// without a password.
	CertificatePEM []byte
	// ManagedIdentity is one of the machine's.
	ManagedIdentity bool
	// WorkloadIdentity is by the token of a Kubernetes service account in
	// TokenFile, which Kubernetes renews.
	WorkloadIdentity bool
	TokenFile        string
}

// sum tells credentials apart.
func (c Credential) sum() [sha256.Size]byte {
	return sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q %t %t %q",
		c.TenantID, c.ClientID, c.Secret, c.CertificatePEM, c.ManagedIdentity, c.WorkloadIdentity, c.TokenFile))
}

func (c Credential) validate() error {
	ways := 0
	for _, chosen := range []bool{c.Secret != "", len(c.CertificatePEM) > 0, c.ManagedIdentity, c.WorkloadIdentity} {
		if chosen {
			ways++
		}
	}
	switch {
	case ways != 1:
		return platforms.Errorf(platforms.BadRequest, "the credential has %d ways to log in: want exactly one of secret, certificate, managed identity and workload identity", ways)
	case !c.ManagedIdentity && (c.TenantID == "" || c.ClientID == ""):
		return platforms.Errorf(platforms.BadRequest, "the credential needs the directory (tenant) id and the application (client) id")
	case c.ManagedIdentity && c.TenantID != "":
		return platforms.Errorf(platforms.BadRequest, "the credential of a managed identity has no tenant id: the machine's is its directory")
	case c.WorkloadIdentity != (c.TokenFile != ""):
		return platforms.Errorf(platforms.BadRequest, "a workload identity, and only that, has a token file")
	}
	return nil
}

// token gives what asks for tokens.
func (c Credential) token(options policy.ClientOptions) (azcore.TokenCredential, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	var token azcore.TokenCredential
	var err error
	switch {
	case c.Secret != "":
		token, err = azidentity.NewClientSecretCredential(c.TenantID, c.ClientID, c.Secret, &azidentity.ClientSecretCredentialOptions{ClientOptions: options})
	case len(c.CertificatePEM) > 0:
		certificates, key, parseErr := azidentity.ParseCertificates(c.CertificatePEM, nil)
		if parseErr != nil {
			return nil, platforms.Errorf(platforms.BadRequest, "the certificate: %w", parseErr)
		}
		token, err = azidentity.NewClientCertificateCredential(c.TenantID, c.ClientID, certificates, key, &azidentity.ClientCertificateCredentialOptions{ClientOptions: options})
	case c.ManagedIdentity:
		o := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: options}
		if c.ClientID != "" {
			o.ID = azidentity.ClientID(c.ClientID)
		}
		token, err = azidentity.NewManagedIdentityCredential(o)
	default:
		token, err = azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
			ClientOptions: options, TenantID: c.TenantID, ClientID: c.ClientID, TokenFilePath: c.TokenFile,
		})
	}
	if err != nil {
		return nil, platforms.Errorf(platforms.BadRequest, "%w", fmt.Errorf("log in: %w", err))
	}
	return token, nil
}
