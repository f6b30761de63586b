package wallet

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"unicode"
	"unicode/utf8"

	"imageport/job"
)

// Type is the type of a credential, as the Credential Wallet API spells it.
type Type string

// The types of credentials. They are found in any case of letters.
const (
	TypeUsernamePassword Type = "UsernamePassword"
	TypeAzure            Type = "Azure"
	TypeGCP              Type = "Gcp"
)

// Credential is one entry of the wallet. It may be printed and logged: that
// shows everything but the secret. The zero Credential is not valid.
type Credential struct {
	ID string
	// Value is a UsernamePassword, an Azure or a GCP.
	Value Value
	// Hosts are those that a UsernamePassword is for; none is any host. The
	// hosts of Azure and the Google Cloud are the same for everybody.
	Hosts job.Hosts
}

// Value is what a credential consists of, by its type.
type Value interface {
	// Type is the type of the credentials with such a value.
	Type() Type
	// principal says whom the credential stands for, and in what: a user in a
	// domain, an application in a tenant, an account in a project.
	principal() (name, realm string)
	// validate says what is missing. It quotes no secret.
	validate() error
	// encode gives the value as a struct for encoding/json, secrets included.
	encode() any
}

// UsernamePasswordFor gives the credential for an SMB share, a vCenter or a
// XenServer on that host, as the request calls it. The error for a host that it
// is not for is that of job.Hosts.Check, and else that of UsernamePassword.
func (c Credential) UsernamePasswordFor(host string) (UsernamePassword, error) {
	u, err := c.UsernamePassword()
	if err == nil {
		err = c.Hosts.Check(c.ID, host)
	}
	if err != nil {
		return UsernamePassword{}, err
	}
	return u, nil
}

// UsernamePassword gives the credential without regard to its Hosts. If it is
// one of another type, the error is a *job.Error with code UNKNOWN_CREDENTIAL.
func (c Credential) UsernamePassword() (UsernamePassword, error) { return as[UsernamePassword](c) }

// Azure gives the credential of an application in Azure, or an error as that of
// UsernamePassword.
func (c Credential) Azure() (Azure, error) { return as[Azure](c) }

// GCP gives the credential of a service account in the Google Cloud, or an
// error as that of UsernamePassword.
func (c Credential) GCP() (GCP, error) { return as[GCP](c) }

func as[V Value](c Credential) (V, error) {
	v, ok := c.Value.(V)
	if !ok {
		return v, job.Errorf(job.UnknownCredential, "Name another credential in the request, or change this one in the wallet",
			"the credential %q is of type %s; what it is used for takes the type %s", c.ID, c.Type(), v.Type())
	}
	return v, nil
}

// Type is the type of the value, "" if there is none.
func (c Credential) Type() Type {
	if c.Value == nil {
		return ""
	}
	return c.Value.Type()
}

// Validate says what keeps the credential from being of use.
func (c Credential) Validate() error {
	if !validID(c.ID) {
		return invalidID(c.ID)
	}
	if c.Value == nil {
		return errors.New("it has no value")
	}
	if err := c.Value.validate(); err != nil {
		return err
	}
	if len(c.Hosts) > 0 && c.Type() != TypeUsernamePassword {
		return fmt.Errorf("it names hosts, which are for the type %s", TypeUsernamePassword)
	}
	return c.Hosts.Validate()
}

// maxIDBytes keeps "<id>.json" and its temporary name within the length of a
// file name.
const maxIDBytes = 128

// validID reports whether id can be looked up: as the name of a file in a
// directory and the last part of a path in Vault, and of nothing else.
func validID(id string) bool {
	return id != "" && len(id) <= maxIDBytes && utf8.ValidString(id) && id[0] != '.' &&
		!strings.ContainsAny(id, `/\`) && !strings.ContainsFunc(id, unicode.IsControl)
}

func invalidID(id string) error {
	return job.Errorf(job.UnknownCredential,
		"Use an id of at most 128 bytes that is a plain file name, without slashes, control characters and leading dot",
		"%q cannot be the id of a credential", id)
}

// Format implements fmt.Formatter: every verb gives what String gives.
func (c Credential) Format(f fmt.State, _ rune) { fmt.Fprint(f, c.String()) }

// String gives the credential without its secret.
func (c Credential) String() string {
	m := c.metadata()
	user := m.Username
	if m.Domain != "" {
		user = m.Domain + `\` + user
	}
	return fmt.Sprintf("credential %q (%s, user %q)", m.ID, m.Type, user)
}

// GoString gives what String gives.
func (c Credential) GoString() string { return c.String() }

// LogValue gives the credential without its secret to package slog.
func (c Credential) LogValue() slog.Value {
	m := c.metadata()
	return slog.GroupValue(slog.String("id", m.ID), slog.String("type", string(m.Type)),
		slog.String("username", m.Username), slog.String("domain", m.Domain))
}

// MarshalJSON gives the credential without its secret. There is no way back: a
// credential is not meant to travel.
func (c Credential) MarshalJSON() ([]byte, error) { return json.Marshal(c.metadata()) }

func (c Credential) metadata() Metadata {
	m := Metadata{ID: c.ID, Type: c.Type(), Hosts: c.Hosts}
	if c.Value != nil {
		m.Username, m.Domain = c.Value.principal()
	}
	return m
}
