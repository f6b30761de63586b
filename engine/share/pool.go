package share

import (
	"context"
	"fmt"
	"net"
	"time"
)

// maxRequests bounds the reads under way, for each connection that the store
// may have: at 1 MiB each that fills 16 MiB of line, and of memory.
const maxRequests = 16

// The reads under way are as many as fill a line of lineRate bytes a second for
// one round trip, and spareRequests more, so that server and client both have
// something to do. More would only queue up, and every byte that waits in a
// queue is out of the processor's caches when it is copied on: 8 at a time are
// 10 to 30 % slower than 4 where there is next to no round trip.
const (
	lineRate      = 1.25e9 // 10 Gbit/s
	spareRequests = 4
)

// requests is how many requests at a time a round trip is worth. 0, not known,
// is worth as many as are allowed.
func requests(roundTrip time.Duration, allowed int) int {
	if roundTrip <= 0 {
		return allowed
	}
	return min(allowed, spareRequests+int(roundTrip.Seconds()*lineRate/maxIO))
}

// slot is the place of one connection.
type slot struct {
	turn chan struct{} // held by who makes the session

	// Under the store's mu.
	ses      *session
	busy     int       // reads that have chosen this connection
	attempts int       // to connect, that ended
	failure  error     // of the last attempt, if the server was away
	rest     time.Time // until then others are preferred
}

// slotRest is for how long a connection that could not be made is left alone if
// there are others: servers limit how many they accept.
const slotRest = time.Second

// take chooses the connection with the least to do, the lowest of several, for
// one read: readers that come one after the other share one connection, and
// further ones are made as readers come at the same time. Every take needs a
// give.
func (s *smbStore) take() (int, error) {
	select {
	case s.window <- struct{}{}:
	case <-s.ctx.Done():
		return 0, s.ended(s.ctx, "read")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var best int
	now := time.Now()
	for i := range s.slots {
		a, b := &s.slots[i], &s.slots[best]
		if ar, br := now.Before(a.rest), now.Before(b.rest); ar != br {
			if br {
				best = i
			}
		} else if a.busy < b.busy {
			best = i
		}
	}
	s.slots[best].busy++
	return best, nil
}

// give ends a take. took is for how long the server had the request, 0 if it
// gave no answer: the shortest of all is the closest to a round trip.
//
// As that can only become shorter, the window can only become smaller: places
// that are too many are not given back.
func (s *smbStore) give(i int, took time.Duration) {
	s.mu.Lock()
	s.slots[i].busy--
	if took > 0 && (s.roundTrip == 0 || took < s.roundTrip) {
		s.roundTrip = took
	}
	keep := s.kept < cap(s.window)-requests(s.roundTrip, cap(s.window))
	if keep {
		s.kept++
	}
	s.mu.Unlock()
	if !keep {
		<-s.window
	}
}

// session gives the i-th connection, made anew if it is gone.
func (s *smbStore) session(ctx context.Context, i int) (*session, error) {
	sl := &s.slots[i]
	s.mu.Lock()
	before := sl.attempts
	s.mu.Unlock()
	select {
	case sl.turn <- struct{}{}:
		defer func() { <-sl.turn }()
	case <-ctx.Done():
		return nil, s.ended(ctx, "connect to "+s.loc.addr())
	case <-s.ctx.Done():
		return nil, s.ended(s.ctx, "connect to "+s.loc.addr())
	}
	s.mu.Lock()
	ses, attempts, failure := sl.ses, sl.attempts, sl.failure
	s.mu.Unlock()
	if ses != nil && ses.alive() {
		return ses, nil
	}
	if attempts > before && failure != nil {
		// Somebody has tried while we waited for our turn. If everybody did,
		// one after the other, the last would wait for many time-outs.
		return nil, failure
	}
	ses, err := s.connect(ctx, s.logon)

	s.mu.Lock()
	defer s.mu.Unlock()
	sl.attempts++
	sl.failure, sl.rest = nil, time.Time{}
	if err != nil {
		if away(err) == serverAway && ctx.Err() == nil {
			sl.failure = err
		}
		sl.rest = time.Now().Add(slotRest)
		return nil, err
	}
	sl.ses = ses
	return ses, nil
}

// others reports whether another connection than the i-th is there.
func (s *smbStore) others(i int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for j := range s.slots {
		if ses := s.slots[j].ses; j != i && ses != nil && ses.alive() {
			return true
		}
	}
	return false
}

// connect makes a connection that dies with the store.
func (s *smbStore) connect(ctx context.Context, logon logonFunc) (*session, error) {
	dial, cancel := context.WithTimeoutCause(ctx, s.opt.DialTimeout,
		fmt.Errorf("%w for %v", errStalled, s.opt.DialTimeout))
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()

	conn, err := (&net.Dialer{}).DialContext(dial, "tcp", s.loc.addr())
	if err != nil {
		return nil, s.dialFault(ctx, err)
	}
	l := newLink(conn)
	forget := l.killAfter(s.ctx)
	context.AfterFunc(l.ctx, func() { forget() })
	defer l.killAfter(dial)()

	user, err := logon(l.ctx, l)
	if err != nil {
		defer l.kill(err)
		return nil, s.logonFault(ctx, l, err)
	}
	t, err := user.tree(l.ctx, `\\`+s.loc.Host+`\`+s.loc.Share)
	if err != nil {
		defer l.kill(err)
		return nil, s.treeFault(ctx, l, err)
	}
	return &session{link: l, tree: t}, nil
}
