// Package wallet turns the credential ids of a request into credentials, on
// the worker, at the moment they are used. Requests, workflow histories and
// logs carry only the ids.
//
// Secrets hide themselves: no way of printing, logging or encoding a
// Credential shows its password, and no error of this package quotes the
// content of a secret's file. It does not store, list or change credentials.
package wallet
