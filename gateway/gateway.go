package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"syscall"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"imageport/engine/enrol"
	"imageport/job"
	"imageport/job/durable"
	"imageport/job/seed"
)

const (
	// askTimeout is how long a job's workflow may take to answer.
	askTimeout = 10 * time.Second
	// stopTimeout is how long calls may go on when the gateway stops.
	stopTimeout = 2 * time.Second
)

// Config says what a gateway serves, and with what.
type Config struct {
	Key *Key
	// Listen is the "host:port" to listen on. Several workers on one machine
	// share it.
	Listen string
	// Client and Namespace are the worker's way to Temporal.
	Client    client.Client
	Namespace string
	// Credential gives a credential of a share, with the hosts that it is for. The
	// gateway gives it to CEs for these only.
	Credential func(ctx context.Context, id string) (enrol.CredentialReply, error)
	// ShareDriver is the SMB library that CEs are to use.
	ShareDriver string
	Log         *slog.Logger
	// CEsPerAddress is how many CEs may come from one address, by default 256: what
	// one address takes of the worker is bounded by six connections for each.
	CEsPerAddress int
	// Now and CertificateLife are for tests; the defaults are time.Now and an hour.
	Now             func() time.Time
	CertificateLife time.Duration
}

// Gateway is the server.
type Gateway struct {
	cfg      Config
	listener net.Listener
	server   *grpc.Server
	rations  rations
}

// Listen opens the door: from now on CEs can connect, and are served when
// Serve runs.
func Listen(cfg Config) (*Gateway, error) {
	cfg.CertificateLife = cmp.Or(cfg.CertificateLife, certificateLife)
	cfg.CEsPerAddress = cmp.Or(cfg.CEsPerAddress, defaultCEs)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	// Two workers on one machine are as good as each other, so they may listen
	// on one port; the kernel allows it to programs of one user only.
	shared := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		}), err)
	}}
	l, err := shared.Listen(context.Background(), "tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("the gateway for Compositing Engines: %w (the address is listen under [gateway] in the configuration)", err)
	}
	limited := &limitedListener{Listener: l, most: ceConnections * cfg.CEsPerAddress, open: map[string]int{}}
	g := &Gateway{cfg: cfg, listener: limited, rations: rations{now: cfg.Now, of: map[string]*ration{}}}
	g.server = grpc.NewServer(
		grpc.Creds(credentials.NewTLS(cfg.Key.serverTLS(cfg.Now))),
		grpc.UnaryInterceptor(g.guard),
		grpc.UnknownServiceHandler(g.guardUnknown),
		grpc.MaxRecvMsgSize(maxMessageBytes),
		grpc.MaxHeaderListSize(maxHeaderBytes),
		grpc.MaxConcurrentStreams(maxCalls),
		grpc.ConnectionTimeout(20*time.Second),
		// The Temporal SDK sends a ping every 30 s.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: time.Minute, Timeout: 20 * time.Second,
			// So that renewed certificates come into use. The grace is for long polls.
			MaxConnectionAge: cfg.CertificateLife / 4, MaxConnectionAgeGrace: 80 * time.Second,
		}),
	)
	enrol.Register(g.server, g)
	workflowservice.RegisterWorkflowServiceServer(g.server, &door{Gateway: g, upstream: cfg.Client.WorkflowService()})
	return g, nil
}

// Port is the port that the gateway listens on.
func (g *Gateway) Port() string {
	return strconv.Itoa(g.listener.Addr().(*net.TCPAddr).Port)
}

// Addr is what the gateway listens on.
func (g *Gateway) Addr() string { return g.listener.Addr().String() }

// Serve serves until ctx ends, which is no error.
func (g *Gateway) Serve(ctx context.Context) error {
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		force := time.AfterFunc(stopTimeout, g.server.Stop)
		defer force.Stop()
		g.server.GracefulStop()
	})
	err := g.server.Serve(g.listener)
	if !stop() {
		<-stopped
		return nil
	}
	return fmt.Errorf("the gateway for Compositing Engines: %w", err)
}

// Close closes a gateway that does not serve.
func (g *Gateway) Close() error { return g.listener.Close() }

// Invite gives the part of a seed with which the CE enrols at that address,
// within that time from now.
func (g *Gateway) Invite(p Peer, address string, within time.Duration) (seed.Gateway, error) {
	// The token must outlive the CE's patience, which begins when it has booted.
	token, err := g.cfg.Key.invite(p, g.cfg.Now().Add(2*within+clockSlack))
	return seed.Gateway{
		Address:  address,
		CA:       g.cfg.Key.CA(),
		Patience: max(1, int(within.Seconds()*2/3)), // so that its last words are heard in time
		Token:    token,
	}, err
}

// Enrol implements enrol.Gateway.
func (g *Gateway) Enrol(ctx context.Context, r enrol.EnrolRequest) (enrol.EnrolReply, error) {
	who, err := g.cfg.Key.invited(r.Token, g.cfg.Now())
	if err != nil {
		return enrol.EnrolReply{}, &denial{codes.Unauthenticated, fmt.Sprintf("the token of the seed is refused: %v", err)}
	}
	csr, err := parseRequest(r.CSR)
	if err != nil {
		return enrol.EnrolReply{}, status.Error(codes.InvalidArgument, err.Error())
	}
	if r.Time.IsZero() {
		return enrol.EnrolReply{}, status.Error(codes.InvalidArgument, "the appliance is of another release than the worker: build the one of this release")
	}
	if skew := r.Time.Sub(g.cfg.Now()).Round(time.Second); skew.Abs() > enrol.MaxSkew {
		return enrol.EnrolReply{}, status.Errorf(codes.InvalidArgument, "the clock of %s is %v off (%s, here it is %s): set the clock of the machine that it runs on",
			who.CE, skew, r.Time.UTC().Format(time.RFC3339), g.cfg.Now().UTC().Format(time.RFC3339))
	}
	key := fingerprint(csr.RawSubjectPublicKeyInfo)
	if err := g.register(ctx, who.Job, durable.Enrolment{CE: who.CE, Key: key, Protocol: r.Protocol}); err != nil {
		return enrol.EnrolReply{}, err
	}
	// The answer may have been one of an earlier enrolment with this key, when
	// the job still needed the CE.
	if _, err := g.access(ctx, who, key); err != nil {
		return enrol.EnrolReply{}, err
	}
	issued, err := g.issue(who, csr.PublicKey)
	if err != nil {
		return enrol.EnrolReply{}, err
	}
	g.cfg.Log.Info("gateway: enrolled", "ce", who.CE, "job", who.Job, "key", key[:16])
	return enrol.EnrolReply{Issued: issued, ShareDriver: g.cfg.ShareDriver}, nil
}

// register has the job's workflow take the key for its CE.
func (g *Gateway) register(ctx context.Context, jobID string, e durable.Enrolment) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	update, err := g.cfg.Client.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
		WorkflowID: jobID, UpdateName: durable.UpdateEnrol, Args: []any{e},
		// Once in the job's history, however often the CE asks.
		UpdateID:     durable.UpdateEnrol + "/" + e.CE + "/" + e.Key,
		WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	if err == nil {
		err = update.Get(ctx, nil)
	}
	if err == nil {
		return nil
	}
	if _, gone := errors.AsType[*serviceerror.NotFound](err); gone {
		return deny("job %s does not run", jobID)
	}
	if app, ok := errors.AsType[*temporal.ApplicationError](err); ok {
		return deny("%s", app.Message())
	}
	return status.Errorf(codes.Unavailable, "job %s does not answer: %v", jobID, err)
}

// access asks the job of a CE what the CE with that key may have.
func (g *Gateway) access(ctx context.Context, who Peer, key string) (durable.Access, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	answer, err := g.cfg.Client.QueryWorkflowWithOptions(ctx, &client.QueryWorkflowWithOptionsRequest{
		WorkflowID: who.Job, QueryType: durable.QueryAccess,
		Args:                 []any{durable.Enrolment{CE: who.CE, Key: key}},
		QueryRejectCondition: enums.QUERY_REJECT_CONDITION_NOT_OPEN,
	})
	if _, gone := errors.AsType[*serviceerror.NotFound](err); gone || err == nil && answer.QueryRejected != nil {
		return durable.Access{}, deny("job %s does not run", who.Job)
	}
	if failed, ok := errors.AsType[*serviceerror.QueryFailed](err); ok {
		return durable.Access{}, deny("%s", failed.Message)
	}
	if err != nil {
		return durable.Access{}, status.Errorf(codes.Unavailable, "job %s does not answer: %v", who.Job, err)
	}
	var a durable.Access
	return a, answer.QueryResult.Get(&a)
}

// Renew implements enrol.Gateway.
func (g *Gateway) Renew(ctx context.Context, _ enrol.RenewRequest) (enrol.RenewReply, error) {
	who := callerIn(ctx)
	if _, err := g.access(ctx, who.Peer, who.key()); err != nil {
		return enrol.RenewReply{}, err
	}
	issued, err := g.issue(who.Peer, who.leaf.PublicKey)
	return enrol.RenewReply{Issued: issued}, err
}

func (g *Gateway) issue(who Peer, public any) (enrol.Issued, error) {
	der, err := g.cfg.Key.issue(who, public, g.cfg.Now(), g.cfg.CertificateLife)
	return enrol.Issued{Certificate: der, RenewAfter: g.cfg.CertificateLife / 3}, err
}

// Credential implements enrol.Gateway.
func (g *Gateway) Credential(ctx context.Context, r enrol.CredentialRequest) (enrol.CredentialReply, error) {
	who := callerIn(ctx)
	access, err := g.access(ctx, who.Peer, who.key())
	if err != nil {
		return enrol.CredentialReply{}, err
	}
	if !access.Has(r.ID) {
		return enrol.CredentialReply{}, deny("the job's request names no share with credential %.100q", r.ID)
	}
	reply, err := g.cfg.Credential(ctx, r.ID)
	if err == nil {
		// The worker has refused such a job already: whoever asks now is no good CE.
		if err = reply.Hosts.Check(r.ID, r.Host); err != nil {
			g.cfg.Log.Warn("gateway: credential refused", "cause", err, "ce", who.CE, "job", who.Job)
		}
	}
	if refusal, ok := errors.AsType[*job.Error](err); ok {
		return enrol.CredentialReply{Error: refusal}, nil
	}
	if err != nil {
		return enrol.CredentialReply{}, status.Errorf(codes.Unavailable, "credential %q: %v", r.ID, err)
	}
	g.cfg.Log.Info("gateway: credential handed out", "credential", r.ID, "ce", who.CE, "job", who.Job)
	return reply, nil
}
