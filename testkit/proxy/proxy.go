package proxy

import (
	"fmt"
	"net"
	"sync"
	"testing"
	"time"
)

// Direction is a way through the proxy.
type Direction int

// The directions, as the client sees them.
const (
	Up   Direction = iota // from the client to the target
	Down                  // from the target to the client
)

// Proxy forwards connections to one target. Its methods may be called
// concurrently, and apply to open and to new connections.
type Proxy struct {
	target   string
	listener net.Listener
	done     sync.WaitGroup

	mu      sync.Mutex
	changed sync.Cond // mu; any of the fields below
	stalled bool
	refuse  bool
	closed  bool
	delay   time.Duration
	rate    int64        // bytes a second, each way; 0 is no limit
	turn    [2]time.Time // when the next byte may go, by Direction
	count   [2]int64     // bytes forwarded, by Direction
	total   int          // connections accepted
	trigger [2]*trigger
	open    map[*pair]struct{}
}

// trigger stalls or cuts when the bytes of a direction reach at.
type trigger struct {
	at    int64
	stall bool
}

// pair is a connection and its continuation.
type pair struct {
	ends [2]*net.TCPConn // client, target
}

// cut resets both ends, so that neither takes it for an orderly end.
func (p *pair) cut() {
	for _, c := range p.ends {
		_ = c.SetLinger(0)
		_ = c.Close()
	}
}

// Start makes a proxy to target, which is host:port.
func Start(target string) (*Proxy, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("proxy to %s: %w", target, err)
	}
	p := &Proxy{target: target, listener: l, open: make(map[*pair]struct{})}
	p.changed.L = &p.mu
	p.done.Go(p.accept)
	return p, nil
}

// New makes a proxy that lasts as long as the test.
func New(t testing.TB, target string) *Proxy {
	t.Helper()
	p, err := Start(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p
}

// Addr is where to connect to, host:port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Port is the port of Addr.
func (p *Proxy) Port() int { return p.listener.Addr().(*net.TCPAddr).Port }

// Stop cuts all connections and takes no more.
func (p *Proxy) Stop() {
	p.listener.Close()
	p.mu.Lock()
	p.closed = true
	p.cut()
	p.mu.Unlock()
	p.done.Wait()
}

// Delay holds every byte for d, each way: the round trip grows by 2d.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// Rate lets so many bytes through in a second, each way, over all connections; 0
// is no limit.
func (p *Proxy) Rate(bytesPerSecond int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rate = bytesPerSecond
}

// reserve gives the time at which n bytes may go.
func (p *Proxy) reserve(d Direction, n int) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rate == 0 {
		return time.Time{}
	}
	at := p.turn[d]
	if now := time.Now(); at.Before(now) {
		at = now
	}
	p.turn[d] = at.Add(time.Duration(float64(n) / float64(p.rate) * float64(time.Second)))
	return at
}

// Stall forwards nothing more until Resume. Connections stay open, and new ones
// are accepted.
func (p *Proxy) Stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stalled = true
}

// Resume ends a stall.
func (p *Proxy) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stalled = false
	p.changed.Broadcast()
}

// Refuse resets new connections as soon as they are made, or no longer does.
func (p *Proxy) Refuse(refuse bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = refuse
}

// CutOne resets one of the open connections, any, and reports whether there was
// one.
func (p *Proxy) CutOne() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		c.cut()
		delete(p.open, c)
		p.changed.Broadcast()
		return true
	}
	return false
}

// Cut resets all open connections. New ones are accepted.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut()
}

// cut is Cut with mu held.
func (p *Proxy) cut() {
	for c := range p.open {
		c.cut()
	}
	clear(p.open)
	p.changed.Broadcast()
}

// StallAfter stalls when n more bytes have gone in a direction, exactly there.
// It replaces what was set for the direction before.
func (p *Proxy) StallAfter(d Direction, n int64) { p.after(d, n, true) }

// CutAfter cuts all connections when n more bytes have gone in a direction. The
// receiver may lose the last of them, as with any reset. It replaces what was
// set for the direction before.
func (p *Proxy) CutAfter(d Direction, n int64) { p.after(d, n, false) }

func (p *Proxy) after(d Direction, n int64, stall bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trigger[d] = &trigger{at: p.count[d] + max(n, 1), stall: stall}
}

// Stalled reports whether nothing is forwarded now.
func (p *Proxy) Stalled() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stalled
}

// Bytes is how many bytes went in a direction, over all connections.
func (p *Proxy) Bytes(d Direction) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count[d]
}

// Open is how many connections there are now.
func (p *Proxy) Open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.open)
}

// Connections is how many connections clients have made.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.total
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		target, err := net.Dial("tcp", p.target)
		if err != nil {
			client.Close()
			continue
		}
		c := &pair{[2]*net.TCPConn{client.(*net.TCPConn), target.(*net.TCPConn)}}
		p.mu.Lock()
		p.total++
		if p.closed || p.refuse {
			c.cut()
		} else {
			p.open[c] = struct{}{}
			p.done.Go(func() { p.forward(c, Up) })
			p.done.Go(func() { p.forward(c, Down) })
		}
		p.mu.Unlock()
	}
}

// piece is bytes on their way.
type piece struct {
	data []byte
	due  time.Time
}

// forward carries one direction of a pair.
func (p *Proxy) forward(c *pair, d Direction) {
	from, to := c.ends[d], c.ends[1-d]
	// Reading runs ahead of writing, or a delay would also be a limit of the
	// bandwidth: 64 pieces of 256 KiB are enough for 1 GB/s at 16 ms.
	pieces := make(chan piece, 64)
	p.done.Go(func() {
		defer close(pieces)
		for {
			buf := make([]byte, 256<<10)
			n, err := from.Read(buf)
			if n > 0 {
				p.mu.Lock()
				due := time.Now().Add(p.delay)
				p.mu.Unlock()
				pieces <- piece{buf[:n], due}
			}
			if err != nil {
				return
			}
		}
	})
	for x := range pieces {
		time.Sleep(time.Until(x.due))
		time.Sleep(time.Until(p.reserve(d, len(x.data))))
		if !p.write(c, to, d, x.data) {
			break
		}
	}
	for range pieces { // let the reader finish
	}
	_ = to.CloseWrite()
	p.mu.Lock()
	defer p.mu.Unlock()
	if d == Down { // the target has ended: nothing more can come of it
		_ = c.ends[0].Close()
		_ = c.ends[1].Close()
		delete(p.open, c)
		p.changed.Broadcast()
	}
}

// write forwards data, in two parts if there is a trigger within. It reports
// whether the pair is still there.
func (p *Proxy) write(c *pair, to net.Conn, d Direction, data []byte) bool {
	for len(data) > 0 {
		p.mu.Lock()
		for p.stalled && p.has(c) {
			p.changed.Wait()
		}
		if !p.has(c) {
			p.mu.Unlock()
			return false
		}
		n := len(data)
		cut := false
		if t := p.trigger[d]; t != nil {
			n = int(min(int64(n), t.at-p.count[d]))
			if p.count[d]+int64(n) == t.at {
				p.trigger[d] = nil
				p.stalled = p.stalled || t.stall
				cut = !t.stall
			}
		}
		// Counted before it is sent: who has got a byte finds it counted. The
		// lock is not held while sending, which may block.
		p.count[d] += int64(n)
		p.mu.Unlock()

		_, err := to.Write(data[:n])
		if cut {
			p.Cut()
			return false
		}
		if err != nil {
			return false
		}
		data = data[n:]
	}
	return true
}

func (p *Proxy) has(c *pair) bool {
	_, ok := p.open[c]
	return ok
}
