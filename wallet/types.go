package wallet

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"errors"
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

// Azure is the credential of an application (service principal) in Azure.
type Azure struct {
	TenantID     string
	ClientID     string
	ClientSecret Secret
}

// Type implements Value.
func (Azure) Type() Type { return TypeAzure }

func (a Azure) principal() (name, realm string) { return a.ClientID, a.TenantID }

func (a Azure) validate() error {
	switch {
	case a.TenantID == "":
		return errors.New("it has no tenantId")
	case a.ClientID == "":
		return errors.New("it has no clientId")
	case a.ClientSecret.Reveal() == "":
		return errors.New("it has no clientSecret")
	}
	return nil
}

// azureJSON has the keys of a credential of type Azure. "secret" is another
// name of "clientSecret".
type azureJSON struct {
	TenantID     string `json:"tenantId"`
	ClientID     string `json:"clientId"`
	ClientSecret string `json:"clientSecret"`
	Secret       string `json:"secret,omitempty"`
}

func (a Azure) encode() any {
	return azureJSON{TenantID: a.TenantID, ClientID: a.ClientID, ClientSecret: a.ClientSecret.Reveal()}
}

func decodeAzure(object []byte) (Value, error) {
	var j azureJSON
	if err := json.Unmarshal(object, &j); err != nil {
		return nil, badJSON(err)
	}
	if j.ClientSecret != "" && j.Secret != "" && j.ClientSecret != j.Secret {
		return nil, errors.New("its clientSecret and its secret differ")
	}
	if j.ClientSecret == "" {
		j.ClientSecret = j.Secret
	}
	return Azure{j.TenantID, j.ClientID, NewSecret(j.ClientSecret)}, nil
}

// GCP is the credential of a service account in the Google Cloud. NewGCP makes
// one of its key.
type GCP struct {
	ProjectID   string // of the key
	ClientEmail string // of the key
	// Key is the key file in JSON, as the Google Cloud gives it out.
	Key Secret
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
	return GCP{j.ProjectID, j.ClientEmail, NewSecret(compact.String())}, nil
}

// Type implements Value.
func (GCP) Type() Type { return TypeGCP }

func (g GCP) principal() (name, realm string) { return g.ClientEmail, g.ProjectID }

func (g GCP) validate() error {
	_, err := NewGCP([]byte(g.Key.Reveal()))
	return err
}

// gcpJSON has the keys of a credential of type Gcp. "key" is another name of
// "serviceAccountKey"; both take the key file as an object or as a string.
type gcpJSON struct {
	ServiceAccountKey json.RawMessage `json:"serviceAccountKey"`
	Key               json.RawMessage `json:"key,omitempty"`
}

func (g GCP) encode() any {
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
		return nil, errors.New("it has no serviceAccountKey")
	}
	var text string
	if json.Unmarshal(key, &text) == nil { // the key file as a string
		key = json.RawMessage(text)
	}
	return NewGCP(key)
}

// decodeGCPKey takes a key file for the whole credential.
func decodeGCPKey(object []byte) (Value, error) { return NewGCP(object) }
