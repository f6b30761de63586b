package enrol

import (
	"context"
	"encoding/json"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"imageport/job"
)

// ServerName is the name in the gateway's certificate. The seed's CA vouches
// for nothing else, so it is the same everywhere.
const ServerName = "gateway.imageport.internal"

// MaxSkew is how far a CE's clock may be off the gateway's.
const MaxSkew = 15 * time.Minute

// Protocol is the version of the activities that workflow and CE have agreed on.
const Protocol = 1

const service = "imageport.ce.v1.Gateway"

// The full names of the gateway's own methods. Request and reply are JSON in a
// google.protobuf.BytesValue.
const (
	MethodEnrol      = "/" + service + "/Enrol"
	MethodRenew      = "/" + service + "/Renew"
	MethodCredential = "/" + service + "/Credential"
)

// EnrolRequest asks for the first certificate. It needs none.
type EnrolRequest struct {
	Token    string `json:"token"`
	CSR      []byte `json:"csr"`      // PKCS #10, DER; only its key counts
	Protocol int    `json:"protocol"` // Protocol
	// Time is by the CE's clock.
	Time time.Time `json:"time"`
}

// Issued is a certificate for a CE's key.
type Issued struct {
	Certificate []byte        `json:"certificate"` // X.509, DER
	RenewAfter  time.Duration `json:"renewAfter"`  // from now
}

// EnrolReply is what a CE needs besides its seed.
type EnrolReply struct {
	Issued
	// ShareDriver is the SMB library to use, as in share.Options.
	ShareDriver string `json:"shareDriver,omitempty"`
}

// RenewRequest asks for another certificate for the key of this one.
type RenewRequest struct{}

// RenewReply has it.
type RenewReply struct{ Issued }

// CredentialRequest asks for a credential of a share.
type CredentialRequest struct {
	ID string `json:"id"`
	// Host is the share's, as the job's request calls it.
	Host string `json:"host,omitempty"`
}

// CredentialReply is one, or says why there is none. It is never logged.
type CredentialReply struct {
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`
	Domain   string `json:"domain,omitempty"`
	// Hosts are those that it is for. It must be used for no other.
	Hosts job.Hosts  `json:"hosts,omitempty"`
	Error *job.Error `json:"error,omitempty"`
}

// Gateway is what a server of these methods does. Errors that are no gRPC
// status are told to the CE as they are.
type Gateway interface {
	Enrol(context.Context, EnrolRequest) (EnrolReply, error)
	Renew(context.Context, RenewRequest) (RenewReply, error)
	Credential(context.Context, CredentialRequest) (CredentialReply, error)
}

// Register registers the gateway's methods with a server.
func Register(s *grpc.Server, g Gateway) {
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: service,
		HandlerType: (*Gateway)(nil),
		Methods: []grpc.MethodDesc{
			method("Enrol", g.Enrol),
			method("Renew", g.Renew),
			method("Credential", g.Credential),
		},
	}, g)
}

func method[Request, Reply any](name string, f func(context.Context, Request) (Reply, error)) grpc.MethodDesc {
	handle := func(_ any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
		in := new(wrapperspb.BytesValue)
		if err := decode(in); err != nil {
			return nil, err
		}
		serve := func(ctx context.Context, _ any) (any, error) {
			var request Request
			if err := json.Unmarshal(in.Value, &request); err != nil {
				return nil, status.Error(codes.InvalidArgument, "the request is not what this release's gateway takes")
			}
			reply, err := f(ctx, request)
			if err != nil {
				return nil, err
			}
			b, err := json.Marshal(reply)
			return wrapperspb.Bytes(b), err
		}
		if intercept == nil {
			return serve(ctx, in)
		}
		return intercept(ctx, in, &grpc.UnaryServerInfo{FullMethod: "/" + service + "/" + name}, serve)
	}
	return grpc.MethodDesc{MethodName: name, Handler: handle}
}

// call calls one of the gateway's methods.
func call[Request, Reply any](ctx context.Context, c grpc.ClientConnInterface, method string, request Request) (reply Reply, err error) {
	b, err := json.Marshal(request)
	if err != nil {
		return reply, err
	}
	out := new(wrapperspb.BytesValue)
	if err := c.Invoke(ctx, method, wrapperspb.Bytes(b), out); err != nil {
		return reply, err
	}
	if err := json.Unmarshal(out.Value, &reply); err != nil {
		return reply, status.Error(codes.Internal, "the gateway's reply is not what this release's agent takes")
	}
	return reply, nil
}
