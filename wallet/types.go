package wallet

import (
	"bytes"
	"cmp"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// UsernamePassword is the credential of an SMB share, a vCenter or a XenServer.
type UsernamePassword struct {
	Username string
	Password Secret
	Domain   string // may be empty
}

// Type implements Value.
func (UsernamePassword) Type() Type { return TypeUsernamePassword }

func (u UsernamePassword) principal() (name, realm string) { return u.Username, u.Domain }

func (u UsernamePassword) validate() error {
	switch {
	case u.Username == "":
		return errors.New("it has no username")
	case u.Password.Reveal() == "":
		return errors.New("it has no password")
	}
	return nil
}

// usernamePasswordJSON has the keys of the Credential Wallet API.
type usernamePasswordJSON struct {
	Username string `json:"username"`
	Password string `json:"password"`
	Domain   string `json:"domain,omitempty"`
}

func (u UsernamePassword) encode() any {
	return usernamePasswordJSON{u.Username, u.Password.Reveal(), u.Domain}
}

func decodeUsernamePassword(object []byte) (Value, error) {
	var j usernamePasswordJSON
	if err := json.Unmarshal(object, &j); err != nil {
		return nil, badJSON(err)
	}
	return UsernamePassword{j.Username, NewSecret(j.Password), j.Domain}, nil
}

// Azure is the credential of an application (service principal) in Azure, or of
// an identity that the worker's machine has there. It is one of three: with a
// ClientSecret, with a Certificate, or with an Identity, which needs no secret.
type Azure struct {
	TenantID     string
	ClientID     string
	ClientSecret Secret
	// Certificate is the application's, with its private key, in PEM.
	Certificate Secret
	Identity    AzureIdentity
}

// AzureIdentity is an identity of the machine or the container that the worker
// runs in.
type AzureIdentity string

const (
	// ManagedIdentity is that of a VM in Azure; ClientID says which one, where
	// there are several, and may be empty.
	ManagedIdentity AzureIdentity = "managed"
	// WorkloadIdentity is that of a container in Kubernetes, by the file and the
	// variables (AZURE_FEDERATED_TOKEN_FILE …) that Azure puts there. TenantID and
	// ClientID may be empty: they are among these.
	WorkloadIdentity AzureIdentity = "workload"
)

// Type implements Value.
func (Azure) Type() Type { return TypeAzure }

func (a Azure) principal() (name, realm string) {
	return cmp.Or(a.ClientID, string(a.Identity)), a.TenantID
}

func (a Azure) validate() error {
	ways := 0
	for _, given := range []bool{a.ClientSecret.Reveal() != "", a.Certificate.Reveal() != "", a.Identity != ""} {
		if given {
			ways++
		}
	}
	switch {
	case ways == 0:
		return errors.New("it has no clientSecret, and no certificate or identity in its place")
	case ways > 1:
		return errors.New("it has more than one of clientSecret, certificate and identity")
	case a.Identity == ManagedIdentity, a.Identity == WorkloadIdentity:
		return nil
	case a.Identity != "":
		return fmt.Errorf("its identity %.20q is neither %q nor %q", a.Identity, ManagedIdentity, WorkloadIdentity)
	case a.TenantID == "":
		return errors.New("it has no tenantId")
	case a.ClientID == "":
		return errors.New("it has no clientId")
	case a.Certificate.Reveal() != "":
		return hasCertificateAndKey([]byte(a.Certificate.Reveal()))
	}
	return nil
}

// hasCertificateAndKey reports what is missing in a PEM file. It quotes nothing.
func hasCertificateAndKey(text []byte) error {
	var certificate, key bool
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		certificate = certificate || block.Type == "CERTIFICATE"
		key = key || strings.HasSuffix(block.Type, "PRIVATE KEY")
		text = rest
	}
	switch {
	case !certificate:
		return errors.New("its certificate is not in PEM")
	case !key:
		return errors.New("its certificate comes without the private key in PEM")
	}
	return nil
}

// azureJSON has the keys of a credential of type Azure. "secret" is another
// name of "clientSecret"; certificate and identity are ours.
type azureJSON struct {
	TenantID     string        `json:"tenantId,omitempty"`
	ClientID     string        `json:"clientId,omitempty"`
	ClientSecret string        `json:"clientSecret,omitempty"`
	Secret       string        `json:"secret,omitempty"`
	Certificate  string        `json:"certificate,omitempty"`
	Identity     AzureIdentity `json:"identity,omitempty"`
}

func (a Azure) encode() any {
	return azureJSON{TenantID: a.TenantID, ClientID: a.ClientID, ClientSecret: a.ClientSecret.Reveal(), Certificate: a.Certificate.Reveal(), Identity: a.Identity}
}

func decodeAzure(object []byte) (Value, error) {
	var j azureJSON
	if err := json.Unmarshal(object, &j); err != nil {
		return nil, badJSON(err)
	}
	if j.ClientSecret != "" && j.Secret != "" && j.ClientSecret != j.Secret {
		return nil, errors.New("its clientSecret and its secret differ")
	}
	return Azure{j.TenantID, j.ClientID, NewSecret(cmp.Or(j.ClientSecret, j.Secret)), NewSecret(j.Certificate), j.Identity}, nil
}

// GCP is the credential of a service account in the Google Cloud, by its key,
// which NewGCP reads, or as the one that the worker's machine has there.
type GCP struct {
	ProjectID   string // of the key; where there is none, given
	ClientEmail string // of the key
	// Key is the key file in JSON, as the Google Cloud gives it out.
	Key Secret
	// ApplicationDefault says that there is no key: the worker's machine, or its
	// environment, has the account (Application Default Credentials).
	ApplicationDefault bool
}

// gcpKeyType is the "type" of a key of a service account.
const gcpKeyType = "service_account"

// NewGCP gives the credential with that key, a key file of a service account in
// JSON. Its errors quote nothing of it.
func NewGCP(key []byte) (GCP, error) {
	var j struct {
		Type        string `json:"type"`
		ProjectID   string `json:"project_id"`
		ClientEmail string `json:"client_email"`
		PrivateKey  string `json:"private_key"`
	}
	if err := json.Unmarshal(key, &j); err != nil {
		return GCP{}, errors.New("its service account key is not the JSON of a key file")
	}
	if j.Type != gcpKeyType {
		return GCP{}, errors.New(`its service account key is not of the type "service_account"`)
	}
	if j.ClientEmail == "" {
		return GCP{}, errors.New("its service account key has no client_email")
	}
	if block, _ := pem.Decode([]byte(j.PrivateKey)); block == nil {
		return GCP{}, errors.New("the private_key of its service account key is not in PEM")
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, key); err != nil {
		return GCP{}, errors.New("its service account key is not the JSON of a key file")
	}
	return GCP{ProjectID: j.ProjectID, ClientEmail: j.ClientEmail, Key: NewSecret(compact.String())}, nil
}

// Type implements Value.
func (GCP) Type() Type { return TypeGCP }

func (g GCP) principal() (name, realm string) {
	if g.ApplicationDefault {
		return "application default", g.ProjectID
	}
	return g.ClientEmail, g.ProjectID
}

func (g GCP) validate() error {
	if g.ApplicationDefault {
		if g.Key.Reveal() != "" {
			return errors.New("it has a key, and is the application default")
		}
		return nil
	}
	_, err := NewGCP([]byte(g.Key.Reveal()))
	return err
}

// gcpJSON has the keys of a credential of type Gcp. "key" is another name of
// "serviceAccountKey"; both take the key file as an object or as a string. The
// two others are ours.
type gcpJSON struct {
	ServiceAccountKey  json.RawMessage `json:"serviceAccountKey,omitempty"`
	Key                json.RawMessage `json:"key,omitempty"`
	ApplicationDefault bool            `json:"applicationDefault,omitempty"`
	ProjectID          string          `json:"projectId,omitempty"`
}

func (g GCP) encode() any {
	if g.ApplicationDefault {
		return gcpJSON{ApplicationDefault: true, ProjectID: g.ProjectID}
	}
	return gcpJSON{ServiceAccountKey: json.RawMessage(g.Key.Reveal())}
}

func decodeGCP(object []byte) (Value, error) {
	var j gcpJSON
	if err := json.Unmarshal(object, &j); err != nil {
		return nil, badJSON(err)
	}
	key := j.ServiceAccountKey
	if len(key) == 0 {
		key = j.Key
	}
	if len(key) == 0 || string(key) == "null" {
		if j.ApplicationDefault {
			return GCP{ProjectID: j.ProjectID, ApplicationDefault: true}, nil
		}
		return nil, errors.New("it has no serviceAccountKey")
	}
	if j.ApplicationDefault {
		return nil, errors.New("it has a serviceAccountKey, and is the application default")
	}
	var text string
	if json.Unmarshal(key, &text) == nil { // the key file as a string
		key = json.RawMessage(text)
	}
	return NewGCP(key)
}

// decodeGCPKey takes a key file for the whole credential.
func decodeGCPKey(object []byte) (Value, error) { return NewGCP(object) }
