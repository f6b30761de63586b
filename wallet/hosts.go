package wallet

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"imageport/job"
)

// decodeHosts reads the hosts of a credential: a list of strings, or one string
// with commas, spaces or line ends in between, as in a mounted file or a secret
// of the vault program. A list of none is an error: it is either a mistake, or
// meant for no host at all.
func decodeHosts(text json.RawMessage) (job.Hosts, error) {
	if len(text) == 0 || string(text) == "null" {
		return nil, nil
	}
	var hosts job.Hosts
	if json.Unmarshal(text, &hosts) != nil {
		var one string
		if json.Unmarshal(text, &one) != nil {
			return nil, errors.New("its hosts are neither a list of strings nor a string")
		}
		hosts = strings.FieldsFunc(one, func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) })
	}
	if len(hosts) == 0 {
		return nil, errors.New("its hosts are none: without hosts at all, it is for any host")
	}
	return hosts, nil
}

// inherit gives e what stays of the credential that it replaces, whose object is
// old. What cannot be used is replaced as well, but not if nobody knows which
// hosts it was for.
func (e *entry) inherit(old []byte) error {
	if was, err := decodeEntry(e.ID, old); err == nil {
		if !was.created.IsZero() {
			e.created = was.created
		}
		if e.Hosts == nil && e.Type() == TypeUsernamePassword {
			e.Hosts = was.Hosts
		}
		return nil
	}
	if e.Hosts != nil || e.Type() != TypeUsernamePassword {
		return nil
	}
	var head entryHead
	var hosts job.Hosts
	err := json.Unmarshal(old, &head)
	if err != nil {
		err = badJSON(err)
	} else if hosts, err = decodeHosts(head.Hosts); err == nil {
		err = hosts.Validate()
	}
	if err != nil {
		return job.Errorf(job.BadRequest, "Say which hosts it is for, or that it is for any host",
			"the hosts of the credential %q that is to be replaced cannot be read: %w", e.ID, err)
	}
	e.Hosts = hosts
	return nil
}

// requiring is a wallet in which a UsernamePassword that names no hosts is of no
// use.
type requiring struct{ Catalog }

// Credential implements Provider.
func (r requiring) Credential(ctx context.Context, id string) (Credential, error) {
	c, err := r.Catalog.Credential(ctx, id)
	if err == nil {
		err = requireHosts(c.metadata())
	}
	if err != nil {
		return Credential{}, err
	}
	return c, nil
}

// Describe implements Catalog.
func (r requiring) Describe(ctx context.Context, id string) (Metadata, error) {
	m, err := r.Catalog.Describe(ctx, id)
	if err == nil {
		err = requireHosts(m)
	}
	if err != nil {
		return Metadata{}, err
	}
	return m, nil
}

// List implements Catalog.
func (r requiring) List(ctx context.Context) ([]Metadata, error) {
	list, err := r.Catalog.List(ctx)
	for i := range list {
		if err := requireHosts(list[i]); err != nil {
			m := unusable(list[i].ID, err)
			list[i].State, list[i].Problem = m.State, m.Problem
		}
	}
	return list, err
}

// Editor implements Catalog.
func (r requiring) Editor() (Editor, error) {
	e, err := r.Catalog.Editor()
	if err != nil {
		return nil, err
	}
	return requiringEditor{e, r.Catalog}, nil
}

// requiringEditor adds nothing that would be of no use.
type requiringEditor struct {
	Editor
	catalog Catalog
}

// Add implements Editor.
func (e requiringEditor) Add(ctx context.Context, c Credential, replace bool) (Metadata, error) {
	m := c.metadata()
	if replace && c.Hosts == nil {
		if was, err := e.catalog.Describe(ctx, c.ID); err == nil {
			m.Hosts = was.Hosts
		}
	}
	if err := requireHosts(m); err != nil {
		return Metadata{}, err
	}
	return e.Editor.Add(ctx, c, replace)
}

// requireHosts gives the error of a credential that should name hosts.
func requireHosts(m Metadata) error {
	if m.State == StateUnusable || m.Type != TypeUsernamePassword || len(m.Hosts) > 0 {
		return nil
	}
	return job.Errorf(job.UnknownCredential, "Name the hosts that it is for: imageport credentials add, with --host",
		"the credential %q is for any host, which require_hosts in the configuration of the wallet forbids", m.ID)
}
