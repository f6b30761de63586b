package proxy_test

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"imageport/testkit/proxy"
)

// echo is a server that sends back what it gets.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return l.Addr().String()
}

func dial(t *testing.T, p *proxy.Proxy) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// ping sends n bytes and reads them back.
func ping(t *testing.T, c net.Conn, n int) time.Duration {
	t.Helper()
	start := time.Now()
	sent := bytes.Repeat([]byte("imageport"), n/9+1)[:n]
	go func() { _, _ = c.Write(sent) }()
	got := make([]byte, n)
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.ReadFull(c, got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, sent) {
		t.Fatal("the bytes that came back are others")
	}
	return time.Since(start)
}

func TestForwardsAndCounts(t *testing.T) {
	p := proxy.New(t, echo(t))
	ping(t, dial(t, p), 3<<20)
	ping(t, dial(t, p), 1000)
	if n := p.Connections(); n != 2 {
		t.Errorf("counted %d connections", n)
	}
	for _, d := range []proxy.Direction{proxy.Up, proxy.Down} {
		if got := p.Bytes(d); got != 3<<20+1000 {
			t.Errorf("direction %d: counted %d bytes", d, got)
		}
	}
}

func TestDelay(t *testing.T) {
	p := proxy.New(t, echo(t))
	c := dial(t, p)
	p.Delay(20 * time.Millisecond)
	if took := ping(t, c, 1<<20); took < 40*time.Millisecond || took > time.Second {
		t.Errorf("a round trip with 20 ms each way took %v", took)
	}
}

func TestStallAfterIsExact(t *testing.T) {
	p := proxy.New(t, echo(t))
	c := dial(t, p)
	ping(t, c, 5)
	p.StallAfter(proxy.Down, 70_001)
	go func() { _, _ = c.Write(make([]byte, 1<<20)) }()

	got := make([]byte, 1<<20)
	_ = c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
	n, err := io.ReadFull(c, got)
	if n != 70_001 || err == nil {
		t.Fatalf("read %d bytes (%v), want 70001 and a time-out", n, err)
	}
	if !p.Stalled() || p.Bytes(proxy.Down) != 70_006 {
		t.Errorf("stalled %v at %d bytes", p.Stalled(), p.Bytes(proxy.Down))
	}
	other := dial(t, p) // accepted, and stalled as well
	_ = other.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := other.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Read(got); err == nil {
		t.Error("read over a stalled proxy")
	}

	p.Resume()
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.ReadFull(c, got[n:]); err != nil {
		t.Fatalf("after Resume: %v", err)
	}
}

func TestCut(t *testing.T) {
	p := proxy.New(t, echo(t))
	c := dial(t, p)
	ping(t, c, 5)
	p.Cut()
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Errorf("read from a cut connection: %v", err)
	}
	ping(t, dial(t, p), 5) // a new one works

	c = dial(t, p)
	p.CutAfter(proxy.Up, 10)
	_, _ = c.Write(make([]byte, 100))
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	if n, err := io.Copy(io.Discard, c); n > 10 || isTimeout(err) {
		t.Errorf("%d bytes came back (%v), want at most 10", n, err)
	}
}

func TestCutOneAndRefuse(t *testing.T) {
	p := proxy.New(t, echo(t))
	conns := []net.Conn{dial(t, p), dial(t, p), dial(t, p)}
	for _, c := range conns {
		ping(t, c, 5)
	}
	p.Refuse(true)
	if !p.CutOne() {
		t.Error("there was nothing to cut")
	}
	left := 0
	for _, c := range conns {
		if works(c) {
			left++
		}
	}
	if left != 2 || p.Open() != 2 {
		t.Errorf("%d of 3 connections are left, the proxy says %d", left, p.Open())
	}
	if c, err := net.Dial("tcp", p.Addr()); err == nil { // it may learn of the reset later
		if works(c) {
			t.Error("a new connection works")
		}
		c.Close()
	}
	p.Refuse(false)
	ping(t, dial(t, p), 5)
	p.Cut()
	if p.CutOne() {
		t.Error("cut one of none")
	}
}

// works reports whether a byte comes back.
func works(c net.Conn) bool {
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if _, err := c.Write([]byte("x")); err != nil {
		return false
	}
	_, err := c.Read(make([]byte, 1))
	return err == nil
}

func TestStopWhileStalled(t *testing.T) {
	p, err := proxy.Start(echo(t))
	if err != nil {
		t.Fatal(err)
	}
	c := dial(t, p)
	p.Stall()
	_, _ = c.Write(make([]byte, 1000))
	stopped := make(chan struct{})
	go func() { p.Stop(); close(stopped) }()
	select {
	case <-stopped:
	case <-time.After(2 * time.Second):
		t.Fatal("Stop hangs")
	}
}

func isTimeout(err error) bool {
	ne, ok := err.(net.Error)
	return ok && ne.Timeout()
}
