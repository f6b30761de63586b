package wallet

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"imageport/job"
)

// Provider gives credentials by id.
type Provider interface {
	// Credential gives the credential of that id as it is now. If there is no
	// usable one, the error is a *job.Error with code UNKNOWN_CREDENTIAL that
	// names the id, where it was looked up and what to do. If that cannot be
	// told now, but may be later, the code is WALLET_UNAVAILABLE.
	Credential(ctx context.Context, id string) (Credential, error)
}

// Catalog is a Provider that can be looked through. It shows no secrets.
type Catalog interface {
	Provider
	// List gives all credentials, sorted by id. Those that cannot be used are
	// among them. Errors are as those of Credential.
	List(ctx context.Context) ([]Metadata, error)
	// Describe gives one. Errors are as those of Credential.
	Describe(ctx context.Context, id string) (Metadata, error)
	// Editor gives what changes the wallet. Where that is another program's
	// business, the error is a *job.Error that says what to run.
	Editor() (Editor, error)
}

// Editor changes a wallet.
type Editor interface {
	// Add adds a credential. If there is one with its id, it is replaced if
	// replace is true; otherwise the error is ErrExists, wrapped. Where Hosts is
	// nil, those of the one that is replaced stay: a new password must not open
	// it for others. AnyHost takes them away.
	Add(ctx context.Context, c Credential, replace bool) (Metadata, error)
	// Remove removes the credential of that id. If there is none, the error has
	// code UNKNOWN_CREDENTIAL.
	Remove(ctx context.Context, id string) error
}

// AnyHost are the hosts of a credential that is to be for any host, even if it
// replaces one that is not.
var AnyHost = job.Hosts{}

// ErrExists says that the wallet has a credential with that id already.
var ErrExists = errors.New("the wallet has it already")

// State says whether a credential can be used.
type State string

// States of credentials. "Ok" is what the Credential Wallet API has.
const (
	StateOK       State = "Ok"
	StateUnusable State = "Unusable"
)

// Metadata is what may be known of a credential.
type Metadata struct {
	ID   string `json:"id"`
	Type Type   `json:"type"`
	// Username is whom the credential stands for: the user, the client id in
	// Azure, the e-mail address of a service account in the Google Cloud.
	Username string `json:"username"`
	// Domain is where: the user's domain, the tenant id, the project id. It may
	// be empty.
	Domain string `json:"domain,omitempty"`
	// Hosts are those that the credential is for; none is any host.
	Hosts job.Hosts `json:"hosts,omitempty"`
	State State     `json:"state,omitempty"`
	// Problem says why a credential is unusable.
	Problem string `json:"problem,omitempty"`
	// CreatedAt and UpdatedAt are zero where the provider does not know.
	CreatedAt time.Time `json:"createdAt,omitzero"`
	UpdatedAt time.Time `json:"updatedAt,omitzero"`
}

// unusable is the metadata of a credential that there is, but that gave err.
func unusable(id string, err error) Metadata {
	problem := err.Error()
	if e, ok := errors.AsType[*job.Error](err); ok {
		problem = e.Message
	}
	return Metadata{ID: id, State: StateUnusable, Problem: problem}
}

// unreadable is the error for files that cannot be read.
func unreadable(err error, remedy, format string, args ...any) error {
	code := job.UnknownCredential
	for _, passing := range []error{syscall.EIO, syscall.ESTALE, syscall.ETIMEDOUT, syscall.EHOSTDOWN, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EAGAIN, syscall.EINTR} {
		if errors.Is(err, passing) {
			code = job.WalletUnavailable
		}
	}
	return job.Errorf(code, remedy, "%s: %w", fmt.Sprintf(format, args...), err)
}

// now gives the time of a clock that may be nil, in UTC and seconds: that is
// what wallets keep.
func now(clock func() time.Time) time.Time {
	if clock == nil {
		clock = time.Now
	}
	return clock().UTC().Truncate(time.Second)
}
