package gateway

import (
	"net"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc/codes"
)

// A CE may have been taken over by the image that it reads, and strangers may
// connect. What each of them can take of the worker, of Temporal and of the log
// is many times what an agent needs, and no more.
const (
	// maxMessageBytes bounds a message to the gateway, decompressed. The longest
	// is the result of a conversion, some 40 KiB. What a CE says becomes part of
	// an activity's input or of the job's failure, in JSON, which may take six
	// bytes for one; beyond 2 MiB Temporal ends the job, without clean-up.
	maxMessageBytes = 256 << 10
	maxHeaderBytes  = 16 << 10
	// maxHeartbeatBytes bounds what Temporal writes down twenty times a second.
	maxHeartbeatBytes = 16 << 10
	// maxCalls is how many calls may be under way, of a CE as on a connection.
	// The agent's worker polls with two.
	maxCalls = 16
	// callRate and callBurst bound the calls of a CE. The agent has some two a
	// second, its heartbeats.
	callRate  = 20
	callBurst = 200
	// logRate and logBurst bound what the log says of one CE's wrong-doing.
	logRate  = 0.2
	logBurst = 200
	// defaultCEs is how many CEs one host may stand for, unless the configuration
	// says another number: those behind one NAT, or on the worker's own machine.
	defaultCEs = 256
	// ceConnections is how many connections a CE may have: its agent takes three,
	// and three old ones drain when certificates are renewed.
	ceConnections = 6
)

// ration is what one taker, a CE or a host, has left.
type ration struct {
	running    int
	calls, log *rate.Limiter
	unlogged   int
}

// idle reports whether there is nothing to remember of the taker.
func (r *ration) idle(now time.Time) bool {
	return r.running == 0 && r.calls.TokensAt(now) >= callBurst && r.log.TokensAt(now) >= logBurst
}

// rations are those of everybody who called lately.
type rations struct {
	now   func() time.Time
	mu    sync.Mutex
	of    map[string]*ration
	swept time.Time
}

// get gives the taker's ration. The caller holds the lock.
func (r *rations) get(taker string, now time.Time) *ration {
	if now.Sub(r.swept).Abs() > time.Minute {
		for name, old := range r.of {
			if old.idle(now) {
				delete(r.of, name)
			}
		}
		r.swept = now
	}
	mine, ok := r.of[taker]
	if !ok {
		mine = &ration{calls: rate.NewLimiter(callRate, callBurst), log: rate.NewLimiter(logRate, logBurst)}
		r.of[taker] = mine
	}
	return mine
}

// take takes one call of the taker's ration, until leave is called.
func (r *rations) take(taker string) (leave func(), err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	mine := r.get(taker, now)
	if mine.running >= maxCalls || !mine.calls.AllowN(now, 1) {
		return func() {}, &denial{codes.ResourceExhausted, "too many calls"}
	}
	mine.running++
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		mine.running--
	}, nil
}

// mayLog reports whether something may be logged of the taker, and how much was
// not since the last time.
func (r *rations) mayLog(taker string) (unlogged int, may bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	mine := r.get(taker, now)
	if !mine.log.AllowN(now, 1) {
		mine.unlogged++
		return 0, false
	}
	unlogged, mine.unlogged = mine.unlogged, 0
	return unlogged, true
}

// limitedListener closes the connections that a host has too many of.
type limitedListener struct {
	net.Listener
	most int // connections of one host
	mu   sync.Mutex
	open map[string]int // by hostOf
}

// Accept implements net.Listener.
func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		host := hostOf(conn.RemoteAddr())
		if l.enter(host) {
			return &limitedConn{Conn: conn, leave: sync.OnceFunc(func() { l.leave(host) })}, nil
		}
		conn.Close()
	}
}

func (l *limitedListener) enter(host string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[host] >= l.most {
		return false
	}
	l.open[host]++
	return true
}

func (l *limitedListener) leave(host string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[host]--; l.open[host] == 0 {
		delete(l.open, host)
	}
}

type limitedConn struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (c *limitedConn) Close() error {
	c.leave()
	return c.Conn.Close()
}
