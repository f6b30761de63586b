package auth

import (
	"context"
	"errors"
	"slices"

	"imageport/job"
)

// Everywhere stands for all resource locations in a Grant.
const Everywhere = "*"

// Grant is what somebody may do, and where.
type Grant struct {
	// ResourceLocations are the ids of resource locations, or Everywhere.
	ResourceLocations []string `json:"resourceLocations"`
	// ReadOnly is the right to look at jobs, and to do nothing with them.
	ReadOnly bool `json:"readOnly,omitempty"`
	// Credentials is the right to see and change the list of credentials.
	Credentials bool `json:"credentials,omitempty"`
}

// Principal is who sent a request. The zero value may do nothing.
type Principal struct {
	// Name is for the log: that of an API key, or the subject of a token.
	Name   string
	Grants []Grant
}

// Anybody is everybody, where nobody is asked who he is.
func Anybody() Principal {
	return Principal{Name: "anybody", Grants: []Grant{{ResourceLocations: []string{Everywhere}, Credentials: true}}}
}

// MaySee reports whether the jobs of a resource location may be looked at.
func (p Principal) MaySee(resourceLocation string) bool {
	return p.may(resourceLocation, func(Grant) bool { return true })
}

// MayOperate reports whether jobs may be started and canceled there.
func (p Principal) MayOperate(resourceLocation string) bool {
	return p.may(resourceLocation, func(g Grant) bool { return !g.ReadOnly })
}

func (p Principal) may(resourceLocation string, allows func(Grant) bool) bool {
	return slices.ContainsFunc(p.Grants, func(g Grant) bool {
		return allows(g) && (slices.Contains(g.ResourceLocations, Everywhere) || resourceLocation != "" && slices.Contains(g.ResourceLocations, resourceLocation))
	})
}

// MaySeeCredentials reports whether the list of credentials may be looked at.
func (p Principal) MaySeeCredentials() bool {
	return slices.ContainsFunc(p.Grants, func(g Grant) bool { return g.Credentials })
}

// MayChangeCredentials reports whether credentials may be added and removed.
func (p Principal) MayChangeCredentials() bool {
	return slices.ContainsFunc(p.Grants, func(g Grant) bool { return g.Credentials && !g.ReadOnly })
}

// Visible gives the resource locations whose jobs may be looked at, sorted; nil
// is all of them.
func (p Principal) Visible() []string {
	all := []string{}
	for _, g := range p.Grants {
		if slices.Contains(g.ResourceLocations, Everywhere) {
			return nil
		}
		all = append(all, g.ResourceLocations...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Authenticator tells whose a token is.
type Authenticator interface {
	// Authenticate gives the principal of a token. The error has the code
	// job.Unauthenticated if there is none, or is ErrUnavailable, wrapped.
	Authenticate(ctx context.Context, token string) (Principal, error)
}

// ErrUnavailable says that it cannot be told now whose a token is.
var ErrUnavailable = errors.New("tokens cannot be checked at the moment")

func unknown() error {
	return job.Errorf(job.Unauthenticated, "Send a valid token as Authorization: Bearer <token>", "the token is not valid")
}

// First gives the authenticator that asks all of them in turn, and takes the
// first that knows a token.
func First(all ...Authenticator) Authenticator { return first(all) }

type first []Authenticator

// Authenticate implements Authenticator.
func (f first) Authenticate(ctx context.Context, token string) (Principal, error) {
	failed := unknown()
	for _, a := range f {
		p, err := a.Authenticate(ctx, token)
		if err == nil {
			return p, nil
		}
		if errors.Is(err, ErrUnavailable) {
			failed = err
		}
	}
	return Principal{}, failed
}
