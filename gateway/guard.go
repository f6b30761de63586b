package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"

	"go.temporal.io/api/serviceerror"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"imageport/engine/enrol"
)

// callerKey is the context key of the caller.
type callerKey struct{}

func callerIn(ctx context.Context) caller { return ctx.Value(callerKey{}).(caller) }

// denial says that a CE asked for what is not its own.
type denial struct {
	code  codes.Code
	cause string
}

func (d *denial) Error() string { return d.cause }

func deny(format string, args ...any) error {
	return &denial{codes.PermissionDenied, fmt.Sprintf(format, args...)}
}

// guard lets CEs do what they may, and logs what it denies. What is wrong
// behind the gateway is for the worker's log only.
func (g *Gateway) guard(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (reply any, err error) {
	from, host := origin(ctx)
	log := g.cfg.Log.With("method", fmt.Sprintf("%.200s", info.FullMethod), "from", from)
	who, stranger := callerOf(ctx, g.cfg.Now())
	taker := host
	if stranger == nil {
		taker = who.CE
		log = log.With("ce", who.CE, "job", who.Job)
		ctx = context.WithValue(ctx, callerKey{}, who)
	}
	leave, taken := g.rations.take(taker)
	defer leave()
	defer func() { // a defect must not end the worker, which has other jobs
		if p := recover(); p != nil {
			log.Error("gateway: a call panicked", "panic", fmt.Sprintf("%.1000v", p), "stack", string(debug.Stack()))
			reply, err = nil, status.Error(codes.Internal, "the gateway has a defect: the worker's log says more")
		}
	}()
	enrols := info.FullMethod == enrol.MethodEnrol
	switch {
	case taken != nil:
		err = taken
	case stranger != nil && !enrols:
		err = &denial{codes.Unauthenticated, stranger.Error()}
	case !enrols && !allowed[info.FullMethod]:
		err = deny("no Compositing Engine may call %.200s", info.FullMethod)
	default:
		if reply, err = handle(ctx, request); err == nil {
			return reply, nil
		}
	}
	return nil, g.refusal(err, enrols, taker, log).Err()
}

// guardUnknown is guard for the methods that there are not.
func (g *Gateway) guardUnknown(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	_, err := g.guard(stream.Context(), nil, &grpc.UnaryServerInfo{FullMethod: method}, nil)
	return err
}

// refusal gives what a CE is told of err, and logs what matters.
func (g *Gateway) refusal(err error, enrols bool, taker string, log *slog.Logger) *status.Status {
	// Temporal's own errors have a way of their own to travel.
	told := serviceerror.ToStatus(err)
	event := ""
	d, denied := errors.AsType[*denial](err)
	if denied {
		event, told = "gateway: denied", status.New(d.code, d.cause)
	}
	cause := told.Message()
	if enrols {
		event = "gateway: enrolment refused"
	}
	if !denied && behind(told.Code()) {
		event, told = "gateway: no answer", status.New(codes.Unavailable, "the worker's log says why it has no answer")
	}
	if event == "" {
		return told // such as a task that has ended meanwhile
	}
	if more, may := g.rations.mayLog(taker); may {
		if more > 0 {
			log = log.With("unlogged", more)
		}
		log.Warn(event, "cause", fmt.Sprintf("%.1000s", cause))
	}
	return told
}

// behind reports whether an error that is no denial of ours is that of what is
// behind the gateway, rather than of what the CE asked for. It may name it.
func behind(c codes.Code) bool {
	switch c {
	case codes.Unavailable, codes.Internal, codes.Unknown, codes.PermissionDenied, codes.Unauthenticated:
		return true
	}
	return false
}

// origin gives the address that a call comes from, and the part of it that is
// counted as one host.
func origin(ctx context.Context) (from, host string) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return "unknown", "unknown"
	}
	return p.Addr.String(), hostOf(p.Addr)
}

// hostOf gives the network that belongs to one host: an IPv4 address, or the 64
// bits of an IPv6 address in which a host may choose the rest.
func hostOf(a net.Addr) string {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return a.String()
	}
	ip := tcp.AddrPort().Addr().Unmap()
	if ip.Is6() {
		network, _ := ip.Prefix(64) // fails for other lengths only
		return network.String()
	}
	return ip.String()
}
