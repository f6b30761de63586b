package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"imageport/starter/httpapi"
	"imageport/wallet"
)

// servedWallet is the wallet as the HTTP API has it.
type servedWallet struct{ wallet.Catalog }

// List implements httpapi.Credentials.
func (w servedWallet) List(ctx context.Context) ([]httpapi.Credential, error) {
	all, err := w.Catalog.List(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]httpapi.Credential, len(all))
	for i, m := range all {
		list[i] = served(m)
	}
	return list, nil
}

// Put implements httpapi.Credentials.
func (w servedWallet) Put(ctx context.Context, id string, object json.RawMessage, replace bool) (httpapi.Credential, error) {
	editor, err := w.Editor()
	if err != nil {
		return httpapi.Credential{}, err
	}
	c, err := wallet.Parse(id, object)
	if err != nil {
		return httpapi.Credential{}, err
	}
	m, err := editor.Add(ctx, c, replace)
	if errors.Is(err, wallet.ErrExists) {
		return httpapi.Credential{}, fmt.Errorf("%w: %w", httpapi.ErrCredentialExists, err)
	}
	return served(m), err
}

// Remove implements httpapi.Credentials.
func (w servedWallet) Remove(ctx context.Context, id string) error {
	editor, err := w.Editor()
	if err != nil {
		return err
	}
	return editor.Remove(ctx, id)
}

func served(m wallet.Metadata) httpapi.Credential {
	return httpapi.Credential{ID: m.ID, Type: string(m.Type), Username: m.Username, Domain: m.Domain, Hosts: m.Hosts,
		State: string(m.State), Problem: m.Problem, CreatedAt: m.CreatedAt, UpdatedAt: m.UpdatedAt}
}
