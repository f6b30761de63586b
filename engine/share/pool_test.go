package share

import (
	"net"
	"testing"
	"time"

	cloudsoda "github.com/cloudsoda/go-smb2"
)

// TestShortOfResources: what is worth another attempt, and what is not.
func TestShortOfResources(t *testing.T) {
	s := &smbStore{ctx: t.Context(), loc: Location{Host: "fs1", Share: "pvs"}}
	client, _ := net.Pipe()
	l := newLink(client)
	for status, want := range map[uint32]outcome{
		0xC0000017: serverAway, // STATUS_NO_MEMORY
		0xC000009A: serverAway, // STATUS_INSUFFICIENT_RESOURCES
		0xC0000205: serverAway, // STATUS_INSUFF_SERVER_RESOURCES
		0xC00000D0: serverAway, // STATUS_REQUEST_NOT_ACCEPTED
		0xC000007F: settled,    // STATUS_DISK_FULL
		0xC0000043: settled,    // STATUS_SHARING_VIOLATION
		0xC0000185: settled,    // STATUS_IO_DEVICE_ERROR
	} {
		err := &cloudsoda.ResponseError{Code: status}
		for what, fault := range map[string]error{
			"logon": s.logonFault(t.Context(), l, err),
			"tree":  s.treeFault(t.Context(), l, err),
			"read":  s.fault(t.Context(), l, "read", "f", err),
		} {
			if got := away(fault); got != want {
				t.Errorf("%#x at %s: outcome %d, want %d (%v)", status, what, got, want, fault)
			}
		}
	}
}

func TestRequests(t *testing.T) {
	for _, c := range []struct {
		roundTrip     time.Duration
		allowed, want int
	}{
		{0, 64, 64}, // not known
		{200 * time.Microsecond, 64, 4},
		{time.Millisecond, 64, 5},
		{10 * time.Millisecond, 64, 15},
		{10 * time.Millisecond, 8, 8},
		{time.Second, 64, 64},
		{time.Microsecond, 2, 2},
	} {
		if got := requests(c.roundTrip, c.allowed); got != c.want {
			t.Errorf("%v, %d allowed: %d, want %d", c.roundTrip, c.allowed, got, c.want)
		}
	}
}

// TestWindow: the window is open until the round trip is known, and then never
// smaller than what that is worth.
func TestWindow(t *testing.T) {
	s := &smbStore{ctx: t.Context(), slots: make([]slot, 4), window: make(chan struct{}, 64)}
	taken := make([]int, 64)
	for i := range taken {
		n, err := s.take()
		if err != nil {
			t.Fatal(err)
		}
		taken[i] = n
	}
	for i, n := range taken {
		s.give(n, time.Duration(64-i)*time.Millisecond)
	}
	for range taken { // each makes it smaller by one at most
		n, err := s.take()
		if err != nil {
			t.Fatal(err)
		}
		s.give(n, time.Second)
	}
	if free := cap(s.window) - len(s.window); free != requests(time.Millisecond, 64) {
		t.Errorf("%d places are free after a round trip of 1 ms", free)
	}
	for _, sl := range s.slots {
		if sl.busy != 0 {
			t.Errorf("%d reads are left on a connection", sl.busy)
		}
	}
}

// TestLinkJoinsHeaders: a length is sent together with what follows it, and
// only that.
func TestLinkJoinsHeaders(t *testing.T) {
	client, server := net.Pipe()
	l := newLink(client)
	type packet struct {
		data string
		err  error
	}
	got := make(chan packet, 8)
	go func() {
		buf := make([]byte, 100)
		for {
			n, err := server.Read(buf)
			got <- packet{string(buf[:n]), err}
			if err != nil {
				return
			}
		}
	}()
	write := func(s string) {
		t.Helper()
		if n, err := l.Write([]byte(s)); n != len(s) || err != nil {
			t.Errorf("write %q: %d, %v", s, n, err)
		}
	}
	want := func(data string) {
		t.Helper()
		if p := <-got; p.data != data || p.err != nil {
			t.Errorf("got %q, %v, want %q", p.data, p.err, data)
		}
	}
	write("\x00\x00\x00\x05")
	select {
	case p := <-got:
		t.Errorf("the length was sent alone: %q", p.data)
	case <-time.After(20 * time.Millisecond):
	}
	write("hello")
	want("\x00\x00\x00\x05") // a pipe passes the two buffers one by one
	want("hello")
	write("\x00\x00\x00\x04")
	write("four") // of the size of a length
	want("\x00\x00\x00\x04")
	want("four")
	write("a whole message")
	want("a whole message")

	l.kill(errHungUp)
	if _, err := l.Write([]byte("\x00\x00\x00\x05")); err == nil {
		t.Error("a dead link takes a length")
	}
	if _, err := l.Write([]byte("hello")); err == nil {
		t.Error("a dead link takes a message")
	}
}
