package qmp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
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

func TestRun(t *testing.T) {
	for name, tc := range map[string]struct {
		first   string
		answers []string
		status  string
		in      string // of the error
		ended   bool
	}{
		"plain":             {greeting, []string{ready, `{"return": {"status": "running", "running": true}, "id": 2}` + "\n"}, "running", "", false},
		"events in between": {deleted + greeting, []string{deleted + ready + deleted, deleted + `{"return": {"status": "paused"}, "id": 2}` + "\n" + deleted}, "paused", "", false},
		"a late answer":     {greeting, []string{ready, `{"return": {"status": "old"}, "id": 1}` + "\n" + `{"error": {"class": "GenericError", "desc": "old"}, "id": 1}` + "\n" + `{"return": {"status": "new"}, "id": 2}` + "\n"}, "new", "", false},
		"refused":           {greeting, []string{ready, `{"id": 2, "error": {"class": "GenericError", "desc": "no way"}}` + "\n"}, "", "query-status: no way", false},
		"not understood":    {greeting, []string{ready, `{"error": {"class": "GenericError", "desc": "JSON parse error"}}` + "\n"}, "", "JSON parse error", false},
		"other type":        {greeting, []string{ready, `{"return": [1], "id": 2}` + "\n"}, "", "cannot unmarshal", false},
		"no JSON":           {greeting, []string{ready, "hello\n"}, "", "a message of 5 bytes", true},
		"hangs up":          {greeting, []string{ready, ""}, "", "unexpected EOF", true},
		"a flood":           {greeting, []string{ready, strings.Repeat("x", maxMessage+1)}, "", "token too long", true},
	} {
		t.Run(name, func(t *testing.T) {
			var reply struct{ Status string }
			c, err := Open(t.Context(), says(t, tc.first, true, tc.answers...))
			if err == nil {
				err = c.Run(t.Context(), "query-status", nil, &reply)
			}
			if tc.in == "" && err != nil || tc.in != "" && (err == nil || !strings.HasPrefix(err.Error(), "QEMU's monitor: query-status: ") || !strings.Contains(err.Error(), tc.in)) {
				t.Fatalf("%v; want %q", err, tc.in)
			}
			if errors.Is(err, ErrEnded) != tc.ended {
				t.Errorf("%v; it has ended: %v", err, tc.ended)
			}
			if refusal, ok := errors.AsType[*Refusal](err); ok != strings.Contains(name, "refused") && ok != (name == "not understood") || ok && refusal.Class != "GenericError" {
				t.Errorf("%v; refused: %v", err, ok)
			}
			if reply.Status != tc.status {
				t.Errorf("status %q, want %q", reply.Status, tc.status)
			}
		})
	}
}

func TestWaitDeleted(t *testing.T) {
	other := strings.ReplaceAll(deleted, "scsi-a", "scsi-b")
	nameless := `{"event": "DEVICE_DELETED", "data": {"path": "/machine/x"}}` + "\n" + `{"event": "DEVICE_DELETED"}` + "\n"
	for name, answer := range map[string]string{
		"before the answer": other + deleted + `{"return": {}, "id": 2}` + "\n",
		"after the answer":  nameless + `{"return": {}, "id": 2}` + "\n" + other + deleted,
	} {
		c, err := Open(t.Context(), says(t, greeting, false, ready, answer))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Run(t.Context(), "device_del", map[string]any{"id": "scsi-a"}, nil); err != nil {
			t.Fatal(err)
		}
		if err := c.WaitDeleted(t.Context(), "scsi-a"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A QEMU that says nothing keeps nobody beyond the end of the context.
func TestCancelled(t *testing.T) {
	for name, try := range map[string]func(ctx context.Context) error{
		"greeting": func(ctx context.Context) error {
			_, err := Open(ctx, says(t, "", false))
			return err
		},
		"answer": func(ctx context.Context) error {
			c, err := Open(context.Background(), says(t, greeting, false, ready))
			if err != nil {
				return err
			}
			return c.Run(ctx, "query-status", nil, nil)
		},
		"removal": func(ctx context.Context) error {
			c, err := Open(context.Background(), says(t, greeting, false, ready))
			if err != nil {
				return err
			}
			return c.WaitDeleted(ctx, "scsi-a")
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

// Commands may be run at the same time, and answered in any order; what QEMU said
// last is why the machine ended.
func TestAtOnce(t *testing.T) {
	ours, theirs := net.Pipe()
	go func() {
		lines := bufio.NewScanner(theirs)
		lines.Scan()
		io.WriteString(theirs, greeting+ready)
		var asked []string
		for len(asked) < 3 && lines.Scan() {
			asked = append(asked, lines.Text())
		}
		for _, line := range slices.Backward(asked) {
			var q struct {
				Execute string
				ID      int
			}
			if json.Unmarshal([]byte(line), &q) == nil {
				fmt.Fprintf(theirs, `{"return": {"of": %q}, "id": %d}`+"\n", q.Execute, q.ID)
			}
		}
		io.WriteString(theirs, `{"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}}`+"\n")
		io.WriteString(theirs, `{"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-shutdown"}}`+"\n")
		theirs.Close()
	}()
	c, err := Open(t.Context(), ours)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for _, command := range []string{"query-a", "query-b", "query-c"} {
		wg.Go(func() {
			var answer struct{ Of string }
			if err := c.Run(t.Context(), command, nil, &answer); err != nil || answer.Of != command {
				t.Errorf("%s: %+v, %v", command, answer, err)
			}
		})
	}
	wg.Wait()
	if why := c.Reason(); why != "guest-shutdown" {
		t.Errorf("it ended by %q", why)
	}
	if err := c.Run(t.Context(), "query-d", nil, nil); !errors.Is(err, ErrEnded) {
		t.Errorf("afterwards: %v", err)
	}
}

// replay is a connection on which somebody says what the fuzzer likes, when the
// first command has been sent.
type replay struct {
	io.Reader
	asked chan struct{}
	once  *sync.Once
}

func (r replay) Read(p []byte) (int, error) {
	<-r.asked
	return r.Reader.Read(p)
}

func (r replay) Write(p []byte) (int, error) {
	r.once.Do(func() { close(r.asked) })
	return len(p), nil
}

func (replay) Close() error { return nil }

func FuzzClient(f *testing.F) {
	f.Add(greeting + ready + `{"return": [{"name": "b"}], "id": 2}` + "\n" + deleted)
	f.Add(greeting + deleted + ready + `{"id": 2, "error": {"class": "GenericError", "desc": "no way"}}` + "\n")
	f.Add(`{"QMP":null}{"QMP":1}` + "\n\n" + `null` + "\n" + `{"event":"DEVICE_DELETED","data":7}`)
	f.Add(`{"error":null,"id":1}` + "\n" + `{"event":"SHUTDOWN","data":{"reason":"guest-reset"}}` + "\n")
	f.Fuzz(func(t *testing.T, said string) {
		c, err := Open(t.Context(), replay{strings.NewReader(said), make(chan struct{}), new(sync.Once)})
		if err != nil {
			return
		}
		// The end of what was said ends it, at the latest.
		var list []struct{ Name string }
		_ = c.Run(t.Context(), "qom-list", nil, &list)
		if err := c.WaitDeleted(t.Context(), "scsi-a"); err != nil && !errors.Is(err, ErrEnded) {
			t.Fatal(err)
		}
		_ = c.Reason()
	})
}
