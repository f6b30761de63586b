package gateway_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.temporal.io/api/common/v1"
	"go.temporal.io/api/workflowservice/v1"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcgzip "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"imageport/gateway"
	"imageport/job/seed"
)

// Only TLS 1.3 with HTTP/2 gets in.
func TestOtherProtocols(t *testing.T) {
	l := newLocation(t, nil)
	for what, c := range map[string]*tls.Config{
		"TLS 1.2":  {MaxVersion: tls.VersionTLS12, NextProtos: []string{"h2"}},
		"HTTP/1.1": {NextProtos: []string{"http/1.1"}},
		"no ALPN":  {},
	} {
		c.InsecureSkipVerify = true
		conn, err := tls.Dial("tcp", l.gateway.Addr(), c)
		if err != nil {
			continue // refused in the handshake
		}
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err == nil {
			answer, _ := io.ReadAll(conn)
			if bytes.Contains(answer, []byte("HTTP/1")) {
				t.Errorf("%s: %q", what, answer)
			}
		}
		conn.Close()
	}
	conn, err := net.Dial("tcp", l.gateway.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	if answer, err := io.ReadAll(conn); errors.Is(err, unix.ETIMEDOUT) || len(answer) > 100 {
		t.Errorf("plain text: %d bytes, %v", len(answer), err)
	}
}

// What is too big is refused before it is understood, also when it is small on
// the wire, and whoever sends it.
func TestBigMessages(t *testing.T) {
	l := newLocation(t, nil)
	_, s := l.start("win10")
	c, _ := l.temporal(l.enrolled(s))
	result := &common.Payloads{Payloads: []*common.Payload{{Data: make([]byte, 3<<20)}}}
	for what, options := range map[string][]grpc.CallOption{"plain": nil, "compressed": {grpc.UseCompressor(grpcgzip.Name)}} {
		_, err := c.RespondActivityTaskCompleted(t.Context(), &workflowservice.RespondActivityTaskCompletedRequest{Result: result}, options...)
		if status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "larger than max") {
			t.Errorf("%s: %v", what, err)
		}
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x", strings.Repeat("x", 64<<10))
	if _, err := c.GetSystemInfo(ctx, &workflowservice.GetSystemInfoRequest{}); err == nil {
		t.Error("headers of 64 KiB were taken")
	}
	if _, err := c.GetSystemInfo(t.Context(), &workflowservice.GetSystemInfoRequest{}); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// What a CE can make the log say has an end, in lines and in their length.
func TestLogFlood(t *testing.T) {
	l := newLocation(t, nil)
	_, s := l.start("win10")
	c, conn := l.temporal(l.enrolled(s))
	evil := "x\nlevel=ERROR msg=forged\x1b[2J" + strings.Repeat("y", 100<<10)
	if _, err := poll(t.Context(), c, evil); status.Code(err) != codes.PermissionDenied {
		t.Errorf("got %v", err)
	}
	for range 600 {
		_ = conn.Invoke(t.Context(), "/x.Y/"+strings.Repeat("z", 1<<10), &workflowservice.GetSystemInfoRequest{}, &workflowservice.GetSystemInfoResponse{})
	}
	text := l.log.String()
	if lines := strings.Count(text, "\n"); lines > 300 || lines < 100 {
		t.Errorf("%d lines", lines)
	}
	for line := range strings.Lines(text) {
		if len(line) > 1500 || strings.HasPrefix(line, "level=ERROR") || strings.Contains(line, "\x1b") {
			t.Errorf("a line of %d bytes: %.200q", len(line), line)
		}
	}
	_, other := l.start("win11")
	l.enrolled(other) // is not in the first one's way
}

// A CE cannot hold more of the server's polls than its share.
func TestManyPolls(t *testing.T) {
	l := newLocation(t, nil)
	_, s := l.start("win10")
	session := l.enrolled(s)
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	got := map[codes.Code]int{}
	var wg sync.WaitGroup
	for range 3 {
		c, _ := l.temporal(session)
		for range 10 {
			wg.Go(func() {
				_, err := poll(ctx, c, seed.Queue(s.Name))
				mu.Lock()
				defer mu.Unlock()
				got[status.Code(err)]++
				if status.Code(err) == codes.ResourceExhausted && !strings.Contains(err.Error(), "too many calls") {
					t.Error(err)
				}
			})
		}
	}
	time.Sleep(time.Second)
	cancel()
	wg.Wait()
	if got[codes.ResourceExhausted] < 10 {
		t.Errorf("30 polls at a time: %v", got)
	}
	// They are over, and so the CE may poll again.
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		c, _ := l.temporal(session)
		_, err := c.GetSystemInfo(t.Context(), &workflowservice.GetSystemInfoRequest{})
		if err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// A host that opens connections without end gets six for each CE that it may stand
// for, and does not keep those of others from being served.
func TestManyConnections(t *testing.T) {
	for _, tc := range []struct{ ces, taken int }{{0, 256 * 6}, {20, 20 * 6}} {
		l := newLocation(t, func(c *gateway.Config) { c.CEsPerAddress = tc.ces })
		for n := range tc.taken + 20 {
			conn := l.knock("127.0.0.1")
			if n < tc.taken-1 || n > tc.taken {
				continue
			}
			if refused := l.closed(conn); refused != (n == tc.taken) {
				t.Errorf("%d CEs per address: connection %d is closed: %v", tc.ces, n, refused)
			}
		}
		if l.closed(l.knock("127.0.0.2")) {
			t.Error("another host is not served")
		}
	}
}

// knock opens a connection to the gateway from an address of this machine.
func (l *location) knock(from string) net.Conn {
	l.t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := dialer.Dial("tcp", l.gateway.Addr())
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { conn.Close() })
	return conn
}

// closed reports whether the gateway has closed a connection on which nothing was
// said. One that it takes it keeps for a while.
func (l *location) closed(conn net.Conn) bool {
	conn.SetReadDeadline(time.Now().Add(time.Second))
	_, err := conn.Read(make([]byte, 1))
	return errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET)
}

// The workers of one user share the port, and nobody else gets a part of it.
func TestPortOfAnotherUser(t *testing.T) {
	l := newLocation(t, nil)
	addr := l.gateway.Addr()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	l.cfg.Listen = addr
	l.open()
	if err := listenAs(65534, port); errors.Is(err, unix.EPERM) {
		t.Skip("only root can become another user")
	} else if !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("another user listens: %v", err)
	}
}

func reusePort(_, _ string, c syscall.RawConn) error {
	var err error
	return errors.Join(c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) }), err)
}

// listenAs listens as another user on that port of 127.0.0.1, as the gateway does.
func listenAs(uid int, port string) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with its user
		_, _ = unix.SetfsuidRetUid(uid)
		if now, _ := unix.SetfsuidRetUid(-1); now != uid {
			result <- unix.EPERM
			return
		}
		l, err := (&net.ListenConfig{Control: reusePort}).Listen(context.Background(), "tcp", "127.0.0.1:"+port)
		if err == nil {
			l.Close()
		}
		result <- err
	}()
	return <-result
}
