package wallet

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// maxEntryBytes bounds the JSON object of a credential. The key of a service
// account, the longest, has 2.4 KB.
const maxEntryBytes = 64 << 10

// entry is a credential as providers keep it.
type entry struct {
	Credential
	created, updated time.Time // zero where not known
}

func (e entry) metadata() Metadata {
	m := e.Credential.metadata()
	m.State = StateOK
	m.CreatedAt, m.UpdatedAt = e.created, e.updated
	return m
}

// entryHead has the keys that credentials of all types have.
type entryHead struct {
	ID        *string         `json:"id,omitempty"`
	Type      string          `json:"type"`
	Hosts     json.RawMessage `json:"hosts,omitempty"` // decodeHosts
	CreatedAt stamp           `json:"createdAt,omitzero"`
	UpdatedAt stamp           `json:"updatedAt,omitzero"`
}

// stamp is a time, or zero where something else stands in its place: what is
// only shown must not make a credential unusable.
type stamp struct{ time.Time }

// UnmarshalJSON never fails.
func (s *stamp) UnmarshalJSON(b []byte) error {
	if s.Time.UnmarshalJSON(b) != nil {
		s.Time = time.Time{}
	}
	return nil
}

// kinds are the types of credentials by the value of "type".
var kinds = []struct {
	name   string
	decode func(object []byte) (Value, error)
}{
	{string(TypeUsernamePassword), decodeUsernamePassword},
	{"", decodeUsernamePassword}, // as wallets from before there were types have it
	{string(TypeAzure), decodeAzure},
	{string(TypeGCP), decodeGCP},
	{gcpKeyType, decodeGCPKey},
}

// decodeEntry reads the JSON object of the credential of that id. Its errors
// complete the sentence "the credential cannot be used: …". They quote nothing
// of it but its id and type, and so wrap no error of package json, which does.
func decodeEntry(id string, object []byte) (entry, error) {
	// Package json would put U+FFFD into a password in another encoding.
	if !utf8.Valid(object) {
		return entry{}, errors.New("it is not in UTF-8")
	}
	var head entryHead
	if err := json.Unmarshal(object, &head); err != nil {
		return entry{}, badJSON(err)
	}
	if head.ID != nil && *head.ID != id {
		return entry{}, fmt.Errorf("it holds the credential %q", *head.ID)
	}
	for _, k := range kinds {
		if !strings.EqualFold(k.name, head.Type) {
			continue
		}
		v, err := k.decode(object)
		if err != nil {
			return entry{}, err
		}
		hosts, err := decodeHosts(head.Hosts)
		if err != nil {
			return entry{}, err
		}
		c := Credential{id, v, hosts}
		if err := c.Validate(); err != nil {
			return entry{}, err
		}
		return entry{c, head.CreatedAt.Time, head.UpdatedAt.Time}, nil
	}
	return entry{}, fmt.Errorf("its type is %q, and this release knows %s, %s and %s only", head.Type, TypeUsernamePassword, TypeAzure, TypeGCP)
}

// encodeEntry gives the JSON object that decodeEntry reads, on one line, with
// its keys in a fixed order.
func encodeEntry(e entry) ([]byte, error) {
	h := entryHead{ID: &e.ID, Type: string(e.Type()), CreatedAt: stamp{e.created}, UpdatedAt: stamp{e.updated}}
	if len(e.Hosts) > 0 {
		var err error
		if h.Hosts, err = json.Marshal(e.Hosts); err != nil {
			return nil, err
		}
	}
	head, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	value, err := json.Marshal(e.Value.encode())
	if err != nil {
		return nil, errors.New("its value cannot be encoded") // package json may quote it
	}
	object := append(append(head[:len(head)-1], ','), value[1:]...)
	if len(object) > maxEntryBytes {
		return nil, fmt.Errorf("it takes more than %d bytes", maxEntryBytes)
	}
	return object, nil
}

// badJSON is an error of package json without the text that it quotes.
func badJSON(err error) error {
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("it is not valid JSON at byte %d", syntax.Offset)
	}
	return errors.New("it is not a JSON object with strings as the values of its keys")
}
