package share

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
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
	ctx   context.Context
	end   context.CancelCauseFunc
	start time.Time
	heard atomic.Int64 // when the server last sent something: nanoseconds since start

	writing sync.Mutex
	header  []byte // of the next message, not sent yet
}

var (
	errStalled = errors.New("the server did not answer")
	// errHungUp stands for the io.EOF of a connection, which would pass for that
	// of a file.
	errHungUp = errors.New("the server closed the connection")
)

func newLink(conn net.Conn) *link {
	l := &link{Conn: conn, start: time.Now()}
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
	if n > 0 {
		l.heard.Store(int64(time.Since(l.start)))
	}
	switch {
	case errors.Is(err, io.EOF):
		l.kill(errHungUp)
	case err != nil:
		l.kill(err)
	}
	return n, err
}

// headerSize is that of the length before every message ([MS-SMB2] 2.1).
const headerSize = 4

// Write sends what the libraries write. They write a message by two calls, its
// length and then the rest, which would each be a packet of its own and wake the
// server up; so a length waits for what follows it.
func (l *link) Write(p []byte) (int, error) {
	l.writing.Lock()
	defer l.writing.Unlock()
	if len(l.header) == 0 && len(p) == headerSize {
		if !l.alive() {
			return 0, l.cause()
		}
		l.header = append(l.header, p...)
		return len(p), nil
	}
	message := net.Buffers{p}
	held := len(l.header)
	if held > 0 {
		message = net.Buffers{l.header, p}
		l.header = l.header[:0]
	}
	n, err := message.WriteTo(l.Conn)
	if err != nil {
		l.kill(err)
	}
	return max(int(n)-held, 0), err
}

// silence is for how long nothing has come from the server.
func (l *link) silence() time.Duration {
	return time.Since(l.start) - time.Duration(l.heard.Load())
}

// patienceTimes bounds how long a request may take although the server keeps
// sending other things.
const patienceTimes = 10

// killStalled kills the link if the server is silent for as long as patience,
// until the function returned is called. Silence counts, not the time that the
// request takes: many requests share a slow line.
func (l *link) killStalled(patience time.Duration) (stop func()) {
	var (
		mu    sync.Mutex // over, timer
		over  bool
		timer *time.Timer
		begun = time.Now()
	)
	check := func() {
		mu.Lock()
		defer mu.Unlock()
		if over {
			return
		}
		waited := time.Since(begun)
		if quiet := min(waited, l.silence()); quiet < patience && waited < patienceTimes*patience {
			timer.Reset(patience - quiet)
			return
		}
		l.kill(fmt.Errorf("%w for %v", errStalled, patience))
	}
	mu.Lock()
	defer mu.Unlock()
	timer = time.AfterFunc(patience, check)
	return func() {
		mu.Lock()
		defer mu.Unlock()
		over = true
		timer.Stop()
	}
}

// session is a connected share on one link.
type session struct {
	*link
	tree tree
}

// call runs one request, or a few that belong together. The link dies if ctx
// ends or the server keeps silent for as long as patience.
func (s *session) call(ctx context.Context, patience time.Duration, request func(*session) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	defer s.killAfter(ctx)()
	defer s.killStalled(patience)()

	err := request(s)
	if err != nil && sessionGone(err) {
		s.kill(err)
	}
	return err
}
