package share

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// link is the TCP connection under an SMB session. It notices its own end, and
// can be ended from outside.
//
// The libraries take a context for each request, but give it up on a shared
// connection: a request abandoned while it is being written leaves the stream
// in an unknown state, and with hirochachacha's, requests that wait for credits
// never learn that the connection is gone. So the libraries only ever see the
// link's context, which ends with the link, and whoever wants a request to end
// kills the link.
type link struct {
	net.Conn
	ctx context.Context
	end context.CancelCauseFunc
}

var errStalled = errors.New("the server did not answer")

func newLink(conn net.Conn) *link {
	l := &link{Conn: conn}
	l.ctx, l.end = context.WithCancelCause(context.Background())
	return l
}

// kill closes the connection. Everything that waits for it returns. The first
// cause stays.
func (l *link) kill(cause error) {
	l.end(cause)
	_ = l.Conn.Close()
}

// killAfter kills the link when ctx ends, until the function returned is called.
func (l *link) killAfter(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() { l.kill(context.Cause(ctx)) })
}

func (l *link) alive() bool { return l.ctx.Err() == nil }

// cause says why the link is dead.
func (l *link) cause() error { return context.Cause(l.ctx) }

func (l *link) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	if err != nil {
		l.kill(err)
	}
	return n, err
}

func (l *link) Write(p []byte) (int, error) {
	n, err := l.Conn.Write(p)
	if err != nil {
		l.kill(err)
	}
	return n, err
}

// session is a connected share on one link.
type session struct {
	*link
	tree tree
}

// call runs one request, or a few that belong together. The link dies if ctx
// ends or the server keeps it waiting for longer than patience.
func (s *session) call(ctx context.Context, patience time.Duration, request func(*session) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	defer s.killAfter(ctx)()
	timer := time.AfterFunc(patience, func() {
		s.kill(fmt.Errorf("%w for %v", errStalled, patience))
	})
	defer timer.Stop()

	err := request(s)
	if err != nil && sessionGone(err) {
		s.kill(err)
	}
	return err
}
