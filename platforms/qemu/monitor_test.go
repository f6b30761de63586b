package qemu

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

const greeting = `{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}}, "capabilities": ["oob"]}}` + "\n"

// says is a QEMU that answers the n-th line that it gets with the n-th of its
// answers, after the greeting, and then hangs up, or is silent.
func says(t testing.TB, first string, hangUp bool, answers ...string) net.Conn {
	t.Helper()
	ours, theirs := net.Pipe()
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	go func() {
		if _, err := io.WriteString(theirs, first); err != nil {
			return
		}
		lines := bufio.NewScanner(theirs)
		for _, answer := range answers {
			if !lines.Scan() {
				return
			}
			if _, err := io.WriteString(theirs, answer); err != nil {
				return
			}
		}
		if hangUp {
			theirs.Close()
			return
		}
		io.Copy(io.Discard, theirs)
	}()
	return ours
}

const (
	ready   = `{"return": {}, "id": 1}` + "\n"
	deleted = `{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "DEVICE_DELETED", "data": {"device": "scsi-a", "path": "/machine/peripheral/scsi-a"}}` + "\n"
)

func TestMonitor(t *testing.T) {
	for name, tc := range map[string]struct {
		first   string
		answers []string
		status  string
		in      string // of the error
	}{
		"plain":             {greeting, []string{ready, `{"return": {"status": "running", "running": true}, "id": 2}` + "\n"}, "running", ""},
		"events in between": {deleted + greeting, []string{deleted + ready + deleted, deleted + `{"return": {"status": "paused"}, "id": 2}` + "\n" + deleted}, "paused", ""},
		"a late answer":     {greeting, []string{ready, `{"return": {"status": "old"}, "id": 1}` + "\n" + `{"error": {"class": "GenericError", "desc": "old"}, "id": 1}` + "\n" + `{"return": {"status": "new"}, "id": 2}` + "\n"}, "new", ""},
		"refused":           {greeting, []string{ready, `{"id": 2, "error": {"class": "GenericError", "desc": "no way"}}` + "\n"}, "", "query-status: no way"},
		"not understood":    {greeting, []string{ready, `{"error": {"class": "GenericError", "desc": "JSON parse error"}}` + "\n"}, "", "JSON parse error"},
		"other type":        {greeting, []string{ready, `{"return": [1], "id": 2}` + "\n"}, "", "cannot unmarshal"},
		"no JSON":           {greeting, []string{ready, "hello\n"}, "", "a message of 5 bytes"},
		"hangs up":          {greeting, []string{ready, ""}, "", "unexpected EOF"},
		"no greeting":       {ready, nil, "", "unexpected EOF"},
		"a flood":           {greeting, []string{ready, strings.Repeat("x", maxMessage+1)}, "", "token too long"},
	} {
		t.Run(name, func(t *testing.T) {
			var reply struct{ Status string }
			m, err := greet(t.Context(), says(t, tc.first, true, tc.answers...))
			if err == nil {
				err = m.run(t.Context(), "query-status", nil, &reply)
			}
			if tc.in == "" && err != nil || tc.in != "" && (!errors.Is(err, errMonitor) || !strings.Contains(err.Error(), tc.in)) {
				t.Fatalf("%v; want %q", err, tc.in)
			}
			if reply.Status != tc.status {
				t.Errorf("status %q, want %q", reply.Status, tc.status)
			}
		})
	}
}

func TestMonitorWaitsForRemoval(t *testing.T) {
	other := strings.ReplaceAll(deleted, "scsi-a", "scsi-b")
	nameless := `{"event": "DEVICE_DELETED", "data": {"path": "/machine/x"}}` + "\n" + `{"event": "DEVICE_DELETED"}` + "\n"
	for name, answer := range map[string]string{
		"before the answer": other + deleted + `{"return": {}, "id": 2}` + "\n",
		"after the answer":  nameless + `{"return": {}, "id": 2}` + "\n" + other + deleted,
	} {
		m, err := greet(t.Context(), says(t, greeting, false, ready, answer))
		if err != nil {
			t.Fatal(err)
		}
		if err := m.run(t.Context(), "device_del", map[string]any{"id": "scsi-a"}, nil); err != nil {
			t.Fatal(err)
		}
		if err := m.waitDeleted(t.Context(), "scsi-a"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A QEMU that says nothing keeps nobody beyond the end of the context.
func TestMonitorIsCancelled(t *testing.T) {
	for name, try := range map[string]func(ctx context.Context) error{
		"greeting": func(ctx context.Context) error {
			_, err := greet(ctx, says(t, "", false))
			return err
		},
		"answer": func(ctx context.Context) error {
			m, err := greet(context.Background(), says(t, greeting, false, ready))
			if err != nil {
				return err
			}
			return m.run(ctx, "query-status", nil, nil)
		},
		"removal": func(ctx context.Context) error {
			m, err := greet(context.Background(), says(t, greeting, false, ready))
			if err != nil {
				return err
			}
			return m.waitDeleted(ctx, "scsi-a")
		},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		began := time.Now()
		if err := try(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 5*time.Second {
			t.Errorf("%s: %v after %v", name, err, time.Since(began))
		}
		cancel()
	}
}

// replay is a connection on which somebody says what the fuzzer likes.
type replay struct{ io.Reader }

func (replay) Write(p []byte) (int, error)      { return len(p), nil }
func (replay) Close() error                     { return nil }
func (replay) LocalAddr() net.Addr              { return nil }
func (replay) RemoteAddr() net.Addr             { return nil }
func (replay) SetDeadline(time.Time) error      { return nil }
func (replay) SetReadDeadline(time.Time) error  { return nil }
func (replay) SetWriteDeadline(time.Time) error { return nil }

func FuzzMonitor(f *testing.F) {
	f.Add(greeting + ready + `{"return": [{"node-name": "a"}], "id": 2}` + "\n" + `{"return": [{"name": "b"}], "id": 3}` + "\n" + deleted)
	f.Add(greeting + deleted + ready + `{"id": 2, "error": {"class": "GenericError", "desc": "no way"}}` + "\n")
	f.Add(`{"QMP":null}{"QMP":1}` + "\n\n" + `null` + "\n" + `{"event":"DEVICE_DELETED","data":7}`)
	f.Fuzz(func(t *testing.T, said string) {
		m, err := greet(t.Context(), replay{strings.NewReader(said)})
		if err != nil {
			if !errors.Is(err, errMonitor) {
				t.Fatalf("%v", err)
			}
			return
		}
		if has, err := m.hasNode(t.Context(), "a"); has && err != nil {
			t.Fatalf("has it, and %v", err)
		}
		if has, err := m.hasDevice(t.Context(), "b"); has && err != nil {
			t.Fatalf("has it, and %v", err)
		}
		// The end of what was said ends it, at the latest.
		if err := m.waitDeleted(t.Context(), "scsi-a"); err != nil && !errors.Is(err, errMonitor) {
			t.Fatalf("%v", err)
		}
	})
}
