package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"imageport/job"
)

// Credentials is the wallet, as far as it is shown and changed over HTTP. Its
// errors quote no secret.
type Credentials interface {
	// List gives all credentials, sorted by id.
	List(ctx context.Context) ([]Credential, error)
	// Put keeps the credential of that id. The object has the keys of the
	// Credential Wallet API; what is wrong with it is a *job.Error with
	// job.BadRequest. If there is one with that id, it is replaced if replace is
	// true; otherwise the error is ErrCredentialExists, wrapped.
	Put(ctx context.Context, id string, object json.RawMessage, replace bool) (Credential, error)
	// Remove removes one. If there is none, the error has the code
	// job.UnknownCredential.
	Remove(ctx context.Context, id string) error
}

// ErrCredentialExists says that there is a credential with that id already.
var ErrCredentialExists = errors.New("there is one already")

// Credential is what may be known of a credential: never its secret.
type Credential struct {
	ID        string    `json:"id"`
	Type      string    `json:"type"`
	Username  string    `json:"username,omitempty" doc:"Whom it stands for: a user, an application, a service account."`
	Domain    string    `json:"domain,omitempty" doc:"Where: a domain, a tenant, a project."`
	Hosts     []string  `json:"hosts,omitempty" doc:"The hosts that it is for; without, any."`
	State     string    `json:"state,omitempty" enum:"Ok,Unusable"`
	Problem   string    `json:"problem,omitempty" doc:"Why it is unusable."`
	CreatedAt time.Time `json:"createdAt,omitzero"`
	UpdatedAt time.Time `json:"updatedAt,omitzero"`
}

// maxCredentialBytes bounds the body of a credential, as the wallet does.
const maxCredentialBytes = 64 << 10

func (s *Server) credentialRoutes() {
	tags := []string{"credentials"}
	handle(s, huma.Operation{OperationID: "listCredentials", Method: http.MethodGet, Path: "/credentials", Tags: tags,
		Summary: "List the credentials, without their secrets"}, s.listCredentials)
	handle(s, huma.Operation{OperationID: "addCredential", Method: http.MethodPost, Path: "/credentials", Tags: tags, MaxBodyBytes: maxCredentialBytes,
		Summary: "Add a credential", DefaultStatus: http.StatusCreated}, s.addCredential)
	handle(s, huma.Operation{OperationID: "putCredential", Method: http.MethodPut, Path: "/credentials/{id}", Tags: tags, MaxBodyBytes: maxCredentialBytes,
		Summary: "Replace a credential, or add it"}, s.putCredential)
	handle(s, huma.Operation{OperationID: "removeCredential", Method: http.MethodDelete, Path: "/credentials/{id}", Tags: tags,
		Summary: "Remove a credential"}, s.removeCredential)
}

func mayChangeCredentials(ctx context.Context) error {
	if requestOf(ctx).who.MayChangeCredentials() {
		return nil
	}
	return job.Errorf(job.Forbidden, "Ask for the right to do so", "you may not change credentials")
}

type listCredentialsInput struct {
	Type string `query:"type" doc:"Only those of this type." maxLength:"100"`
}

// CredentialList is the list of credentials.
type CredentialList struct {
	Items []Credential `json:"items" nullable:"false"`
}

type listCredentialsOutput struct{ Body CredentialList }

func (s *Server) listCredentials(ctx context.Context, in *listCredentialsInput) (*listCredentialsOutput, error) {
	if !requestOf(ctx).who.MaySeeCredentials() {
		return nil, job.Errorf(job.Forbidden, "Ask for the right to do so", "you may not look at credentials")
	}
	all, err := s.Credentials.List(ctx)
	if err != nil {
		return nil, err
	}
	list := []Credential{}
	for _, c := range all {
		if in.Type == "" || strings.EqualFold(c.Type, in.Type) {
			list = append(list, c)
		}
	}
	return &listCredentialsOutput{CredentialList{list}}, nil
}

type addCredentialInput struct {
	RawBody []byte `contentType:"application/json"`
}

type addCredentialOutput struct {
	Location string `header:"Location"`
	Body     Credential
}

func (s *Server) addCredential(ctx context.Context, in *addCredentialInput) (*addCredentialOutput, error) {
	if err := mayChangeCredentials(ctx); err != nil {
		return nil, err
	}
	var head struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(in.RawBody, &head); err != nil || head.ID == "" {
		return nil, job.Errorf(job.BadRequest, "Send an object with id, type and what the type needs", "the body is no JSON object with an id")
	}
	added, err := s.Credentials.Put(ctx, head.ID, in.RawBody, false)
	if errors.Is(err, ErrCredentialExists) {
		return nil, problem(http.StatusConflict, job.BadRequest, "Replace it with PUT /credentials/{id}, or choose another id", "there is a credential of that id already")
	}
	if err != nil {
		return nil, err
	}
	return &addCredentialOutput{requestOf(ctx).base + "/credentials/" + url.PathEscape(added.ID), added}, nil
}

// CredentialPath names a credential, in paths.
type CredentialPath struct {
	ID string `path:"id" maxLength:"128"`
}

type putCredentialInput struct {
	CredentialPath
	RawBody []byte `contentType:"application/json"`
}

type putCredentialOutput struct{ Body Credential }

func (s *Server) putCredential(ctx context.Context, in *putCredentialInput) (*putCredentialOutput, error) {
	if err := mayChangeCredentials(ctx); err != nil {
		return nil, err
	}
	put, err := s.Credentials.Put(ctx, in.ID, in.RawBody, true)
	if err != nil {
		return nil, err
	}
	return &putCredentialOutput{put}, nil
}

func (s *Server) removeCredential(ctx context.Context, in *CredentialPath) (*struct{}, error) {
	if err := mayChangeCredentials(ctx); err != nil {
		return nil, err
	}
	err := s.Credentials.Remove(ctx, in.ID)
	if job.CodeOf(err) == job.UnknownCredential {
		return nil, problem(http.StatusNotFound, job.UnknownCredential, "List the credentials to see what there is", "there is no such credential")
	}
	return nil, err
}
