package sharetest

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"imageport/engine/share"
	"imageport/job"
	"imageport/testkit/proxy"
)

func runNetwork(t *testing.T, h Harness) {
	tests := []struct {
		name string
		run  func(*testing.T, Harness)
	}{
		{"WrongPassword", testWrongPassword},
		{"UnknownShare", testUnknownShare},
		{"UnknownFolder", testUnknownFolder},
		{"Unreachable", testUnreachable},
		{"DialTimeout", testDialTimeout},
		{"CancelStalled", testCancelStalled},
		{"CancelOperation", testCancelOperation},
		{"CloseStalled", testCloseStalled},
		{"StallTimeout", testStallTimeout},
		{"DroppedWhileReading", testDroppedWhileReading},
		{"DroppedWhileIdle", testDroppedWhileIdle},
		{"DroppedWhileWriting", testDroppedWhileWriting},
		{"ChangedWhileDropped", testChangedWhileDropped},
		{"CutUnderCopy", testCutUnderCopy},
		{"ReplacedUnderCopy", testReplacedUnderCopy},
		{"OneConnectionLost", testOneConnectionLost},
		{"Connections", testConnections},
		{"Outstanding", testOutstanding},
		{"ClientVanished", testClientVanished},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, h) })
	}
}

func testWrongPassword(t *testing.T, h Harness) {
	n := *h.Network
	n.Credential.Password = "not it, 54321"
	_, err := n.dial(t.Context())
	wantError(t, "dial", err, job.ShareAuthFailed, nil)
	if err != nil && (strings.Contains(err.Error(), "54321") || !strings.Contains(err.Error(), n.Credential.Username)) {
		t.Errorf("the message names the password, or not the user: %v", err)
	}
	n.Credential.Username, n.Credential.Password = "nobody-of-that-name", h.Network.Credential.Password
	_, err = n.dial(t.Context())
	wantError(t, "dial as an unknown user", err, job.ShareAuthFailed, nil)
	if err != nil && strings.Contains(err.Error(), n.Credential.Password) {
		t.Errorf("the message names the password: %v", err)
	}
}

func testUnknownShare(t *testing.T, h Harness) {
	n := *h.Network
	n.Location.Share = "no-such-share"
	_, err := n.dial(t.Context())
	wantError(t, "dial", err, job.ShareNotFound, nil)
	if err != nil && !strings.Contains(err.Error(), "no-such-share") {
		t.Errorf("the message does not name the share: %v", err)
	}
}

func testUnknownFolder(t *testing.T, h Harness) {
	h.empty(t)
	h.put(t, "file", nil)
	sub := "no/such/folder"
	n := *h.Network
	for _, folder := range []string{sub, "file"} {
		n.Location.Folder = strings.TrimPrefix(h.Network.Location.Folder+"/"+folder, "/")
		_, err := n.dial(t.Context())
		wantError(t, "dial", err, job.ShareNotFound, nil)
		if err != nil && !strings.Contains(err.Error(), folder) {
			t.Errorf("the message does not name the folder: %v", err)
		}
	}
}

func testUnreachable(t *testing.T, h Harness) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := *h.Network
	n.Location.Port = l.Addr().(*net.TCPAddr).Port
	l.Close()
	_, err = n.dial(t.Context())
	wantError(t, "dial", err, job.ShareUnreachable, nil)
	if err != nil && !strings.Contains(err.Error(), "127.0.0.1:"+strconv.Itoa(n.Location.Port)) {
		t.Errorf("the message does not name host and port: %v", err)
	}
	n.Location.Host = "no-such-host.invalid"
	_, err = n.dial(t.Context())
	wantError(t, "dial", err, job.ShareUnreachable, nil)
}

// through gives the network behind a new proxy.
func (h Harness) through(t *testing.T) (*proxy.Proxy, *Network) {
	t.Helper()
	n := *h.Network
	p := proxy.New(t, net.JoinHostPort(n.Location.Host, strconv.Itoa(n.Location.Port)))
	n.Location.Host, n.Location.Port = "127.0.0.1", p.Port()
	return p, &n
}

// openThrough opens a file of noise behind a new proxy.
func (h Harness) openThrough(ctx context.Context, t *testing.T, size int, opt share.Options) (*proxy.Proxy, share.Store, share.File, []byte) {
	t.Helper()
	h.empty(t)
	data := noise(size)
	h.put(t, "f", data)
	p, n := h.through(t)
	opt.Driver = n.Options.Driver
	n.Options = opt
	s, err := n.dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	f, err := s.Open(ctx, "f")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return p, s, f, data
}

// promptly runs what must return within a second of the trigger.
func promptly(t *testing.T, op string, trigger func(), run func() error) error {
	t.Helper()
	result := make(chan error, 1)
	go func() { result <- run() }()
	select {
	case err := <-result:
		t.Errorf("%s returned before its time: %v", op, err)
		return err
	case <-time.After(50 * time.Millisecond):
	}
	trigger()
	select {
	case err := <-result:
		return err
	case <-time.After(time.Second):
		t.Fatalf("%s hangs", op)
		return nil
	}
}

func testDialTimeout(t *testing.T, h Harness) {
	p, n := h.through(t)
	p.Stall()
	n.Options.DialTimeout = 200 * time.Millisecond
	start := time.Now()
	_, err := n.dial(t.Context())
	wantError(t, "dial a server that says nothing", err, job.ShareUnreachable, nil)
	if took := time.Since(start); took > time.Second {
		t.Errorf("it took %v", took)
	}
	n.Options.DialTimeout = 0
	ctx, cancel := context.WithCancel(t.Context())
	err = promptly(t, "dial", cancel, func() error { _, err := n.dial(ctx); return err })
	wantCanceled(t, "dial", err)
}

func testCancelStalled(t *testing.T, h Harness) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p, s, f, _ := h.openThrough(ctx, t, 4<<20, share.Options{})
	w := create(t, s, "out")
	h.put(t, "old", nil)
	p.StallAfter(proxy.Down, 1<<20) // in the middle of an answer
	other := make(chan error, 3)
	go func() { _, err := s.Stat(t.Context(), "f"); other <- err }()
	go func() { _, err := w.WriteAt(make([]byte, 8<<20), 0); other <- err }()
	go func() { other <- s.Rename(t.Context(), "old", "new") }()
	err := promptly(t, "read", cancel, func() error { _, err := f.ReadAt(make([]byte, 4<<20), 0); return err })
	wantCanceled(t, "read", err)
	for range 3 {
		select {
		case err := <-other:
			if err != nil { // it may have come through before the stall
				wantCanceled(t, "another operation", err)
			}
		case <-time.After(time.Second):
			t.Fatal("another operation hangs")
		}
	}
	wantCanceled(t, "sync", w.Sync())
	if err := f.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func wantCanceled(t *testing.T, op string, err error) {
	t.Helper()
	if !errors.Is(err, context.Canceled) || job.CodeOf(err) != "" {
		t.Errorf("%s: %v, want a plain error that is context.Canceled", op, err)
	}
}

// testCancelOperation: the end of one operation's context is not the end of the
// store.
func testCancelOperation(t *testing.T, h Harness) {
	p, s, f, data := h.openThrough(t.Context(), t, 1<<20, share.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	p.Stall()
	err := promptly(t, "stat", cancel, func() error { _, err := s.Stat(ctx, "f"); return err })
	wantCanceled(t, "stat", err)
	late, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = s.List(late)
	wantError(t, "list", err, job.ShareUnreachable, context.DeadlineExceeded)
	p.Resume()
	if got := readAll(t, f); !bytes.Equal(got, data) {
		t.Error("wrong bytes after the cancel")
	}
	if names := list(t, s); len(names) != 1 {
		t.Errorf("the folder has %q", names)
	}
}

func testCloseStalled(t *testing.T, h Harness) {
	p, s, f, _ := h.openThrough(t.Context(), t, 1<<20, share.Options{})
	p.Stall()
	err := promptly(t, "read", func() { _ = s.Close() }, func() error { _, err := f.ReadAt(make([]byte, 100), 0); return err })
	if !errors.Is(err, fs.ErrClosed) {
		t.Errorf("read: %v", err)
	}
	if _, err := s.Stat(t.Context(), "f"); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("stat after close: %v", err)
	}
}

// testStallTimeout: what can be repeated gives a stalled connection up and
// succeeds over a new one; what cannot fails.
func testStallTimeout(t *testing.T, h Harness) {
	p, s, f, data := h.openThrough(t.Context(), t, 1000, share.Options{StallTimeout: time.Second / 2})
	p.Stall()
	created := make(chan error, 1)
	go func() { _, err := s.CreateExcl(t.Context(), "new"); created <- err }()
	go func() {
		for before := p.Connections(); p.Connections() == before && t.Context().Err() == nil; {
			time.Sleep(time.Millisecond)
		}
		p.Resume()
	}()
	if got := readAll(t, f); !bytes.Equal(got, data) {
		t.Error("wrong bytes after a stall")
	}
	wantError(t, "create", <-created, job.ShareIO, nil)
}
