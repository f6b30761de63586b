package xapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestCall(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.handle("VM.get_record", func(params []any) (any, *Error) {
		if !reflect.DeepEqual(params[1:], []any{"OpaqueRef:1", params[0], 7.0, nil}) {
			t.Errorf("called with %v", params)
		}
		return map[string]any{"name_label": "x"}, nil
	})
	s.handle("VM.start", func([]any) (any, *Error) {
		return nil, &Error{Code: "VM_BAD_POWER_STATE", Params: []string{"OpaqueRef:1", "halted", "running"}}
	})
	s.handle("VM.destroy", func([]any) (any, *Error) { return "", nil })
	c := s.client(t, nil)
	var record struct {
		Name string `json:"name_label"`
	}
	if err := c.Call(t.Context(), "VM.get_record", &record, Ref("OpaqueRef:1"), OwnSession, 7, nil); err != nil || record.Name != "x" {
		t.Errorf("%+v, %v", record, err)
	}
	if err := c.Call(t.Context(), "VM.destroy", nil, Ref("x")); err != nil {
		t.Error(err)
	}
	err := c.Call(t.Context(), "VM.start", nil, Ref("x"))
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Param(2) != "running" || e.Param(3) != "" || CodeOf(err) != "VM_BAD_POWER_STATE" ||
		err.Error() != "VM.start: VM_BAD_POWER_STATE (OpaqueRef:1, halted, running)" {
		t.Errorf("%v", err)
	}
	if n := s.called("session.login_with_password"); n != 1 {
		t.Errorf("logged in %d times", n)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Call(ended, "VM.destroy", nil, Ref("x")); !errors.Is(err, context.Canceled) || s.called("VM.destroy") != 1 {
		t.Errorf("when the context has ended: %v", err)
	}
	if err := c.Close(t.Context()); err != nil || len(s.valid) != 0 {
		t.Errorf("Close: %v, sessions %v", err, s.valid)
	}
	if err := c.Call(t.Context(), "VM.destroy", nil, Ref("x")); !errors.Is(err, ErrClosed) {
		t.Errorf("of a closed client: %v", err)
	}
	if err := c.Close(t.Context()); err != nil {
		t.Errorf("Close again: %v", err)
	}
}

// A session that is lost is made anew, once for all who call meanwhile; what is lost
// again at once is said.
func TestSessionLost(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	s.handle("VM.get_all", func([]any) (any, *Error) { return []string{}, nil })
	c := s.client(t, nil)
	for range 3 {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if err := c.Call(t.Context(), "VM.get_all", nil); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		s.forget()
	}
	if n := s.called("session.login_with_password"); n != 3 {
		t.Errorf("logged in %d times, want 3", n)
	}
	s.handle("VM.get_all", func([]any) (any, *Error) { return nil, &Error{Code: codeSessionInvalid} })
	if err := c.Call(t.Context(), "VM.get_all", nil); CodeOf(err) != codeSessionInvalid {
		t.Errorf("lost for ever: %v", err)
	}
	if err := s.client(t, func(c *Config) { c.Password = "wrong" }).Call(t.Context(), "VM.get_all", nil); CodeOf(err) != "SESSION_AUTHENTICATION_FAILED" ||
		strings.Contains(err.Error(), "wrong") {
		t.Errorf("wrong password: %v", err)
	}
}

// A host that is not the coordinator names it, at first and when the role moves.
func TestCoordinator(t *testing.T) {
	t.Parallel()
	coordinator, member := newServer(t), newServer(t)
	member.handle("session.login_with_password", func([]any) (any, *Error) {
		return nil, &Error{Code: codeHostIsSlave, Params: []string{"192.0.2.7"}}
	})
	coordinator.handle("VM.get_all", func([]any) (any, *Error) { return []string{}, nil })
	real := coordinator.Listener.Addr().String()
	var dialled []string
	c := member.client(t, func(cfg *Config) {
		dial := cfg.DialTLS
		cfg.DialTLS = func(ctx context.Context, network, address string) (net.Conn, error) {
			dialled = append(dialled, address)
			if strings.HasPrefix(address, "192.0.2.7:") {
				address = real
			}
			return dial(ctx, network, address)
		}
	})
	if err := c.Call(t.Context(), "VM.get_all", nil); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(member.Listener.Addr().String())
	if p, err := c.connect(t.Context(), 0); err != nil || p.address != "192.0.2.7:"+port || !slices.Contains(dialled, p.address) {
		t.Errorf("it is at %+v, %v", p, err)
	}
	if c.sibling("2001:db8::1") != "[2001:db8::1]:"+port {
		t.Errorf("IPv6: %s", c.sibling("2001:db8::1"))
	}
	coordinator.handle("session.login_with_password", func([]any) (any, *Error) {
		return nil, &Error{Code: codeHostIsSlave, Params: []string{"192.0.2.7"}}
	})
	coordinator.forget()
	if err := c.Call(t.Context(), "VM.get_all", nil); CodeOf(err) != codeHostIsSlave || !strings.Contains(err.Error(), "refers as the pool's coordinator") {
		t.Errorf("two that send each to the other: %v", err)
	}
}

func TestReplies(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		``:                            "not an answer of XAPI",
		`<html>`:                      "not an answer of XAPI",
		`{}`:                          "neither a result nor an error",
		`{"result":null}`:             "",
		`{"result":7}`:                "not an answer of XAPI",
		`{"result":"x"}`:              "",
		`{"error":{"message":""}}`:    "an error without a name",
		`{"error":{"message":"X_Y"}}`: "X_Y",
		`{"error":{"message":"X_Y","data":["a","b"]},"result":null}`: "X_Y (a, b)",
		`{"error":{"message":"X_Y","data":{"a":1}}}`:                 `X_Y ({"a":1})`,
	} {
		var out string
		err := decode(strings.NewReader(body), &out)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", body, err, want)
		}
		if err != nil && CodeOf(err) == "" && !errors.Is(err, ErrReply) {
			t.Errorf("%s: %v is no ErrReply", body, err)
		}
	}
	c := newServer(t).client(t, func(cfg *Config) {
		cfg.Wrap = func(http.RoundTripper) http.RoundTripper {
			return roundTripper(func(req *http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: 500, Request: req, Body: io.NopCloser(strings.NewReader("<html>\n out of <b>\xff " + strings.Repeat("x", 1000)))}, nil
			})
		}
	})
	err := c.Call(t.Context(), "VM.get_all", nil)
	if e, ok := errors.AsType[*StatusError](err); !ok || e.Status != 500 || len(err.Error()) > 500 {
		t.Errorf("%v", err)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

func TestTasks(t *testing.T) {
	t.Parallel()
	for what, tc := range map[string]struct {
		record func(looks int) map[string]any
		ref    Ref
		in     string
	}{
		"at once": {func(int) map[string]any {
			return map[string]any{"status": "success", "result": "<value>OpaqueRef:9</value>"}
		}, "OpaqueRef:9", ""},
		"later": {func(n int) map[string]any {
			return map[string]any{"status": []string{"pending", "success"}[min(n/4, 1)], "result": "OpaqueRef:9"}
		}, "OpaqueRef:9", ""},
		"no result": {func(int) map[string]any { return map[string]any{"status": "success", "result": ""} }, "", "want a reference"},
		"failed": {func(int) map[string]any {
			return map[string]any{"status": "failure", "error_info": []string{"SR_FULL", "1", "2"}}
		}, "", "VDI.create: SR_FULL (1, 2)"},
		"no reason": {func(int) map[string]any { return map[string]any{"status": "failure"} }, "", "does not say why"},
		"cancelled": {func(int) map[string]any { return map[string]any{"status": "cancelled"} }, "", "was cancelled"},
		"odd":       {func(int) map[string]any { return map[string]any{"status": "asleep"} }, "", `"asleep"`},
	} {
		s := newServer(t)
		s.task("VDI.create", tc.record)
		ref, err := s.client(t, nil).RunRef(t.Context(), "VDI.create", 1)
		if ref != tc.ref || (err == nil) != (tc.in == "") || err != nil && !strings.Contains(err.Error(), tc.in) {
			t.Errorf("%s: %s, %v; want %s, %q", what, ref, err, tc.ref, tc.in)
		}
		if n := s.called("task.destroy"); n != 1 && what != "odd" {
			t.Errorf("%s: the task was removed %d times", what, n)
		}
	}
	s := newServer(t)
	s.handle("Async.VM.start", func([]any) (any, *Error) { return "OpaqueRef:1", nil })
	s.handle("task.get_record", func([]any) (any, *Error) { return nil, &Error{Code: codeHandleInvalid, Params: []string{"task", "x"}} })
	if err := s.client(t, nil).Run(t.Context(), "VM.start"); !errors.Is(err, ErrTaskLost) || CodeOf(err) != "" {
		t.Errorf("a task that is no more: %v", err)
	}
}

// When the context ends, a task has a moment to end, is cancelled then, and waited
// for; the error is the context's, and it takes no longer than it may.
func TestTaskCancelled(t *testing.T) {
	t.Parallel()
	for what, tc := range map[string]struct {
		ends    time.Duration // by itself
		obeys   bool
		cancels int
	}{
		"ends in time":  {20 * time.Millisecond, true, 0},
		"is cancelled":  {time.Hour, true, 1},
		"cannot":        {time.Hour, false, 1},
		"lands somehow": {500 * time.Millisecond, false, 1},
	} {
		s := newServer(t)
		began, cancelled := time.Now(), false
		s.task("VM.start", func(int) map[string]any {
			switch {
			case time.Since(began) > 30*time.Millisecond+tc.ends:
				return map[string]any{"status": "success"}
			case cancelled && tc.obeys:
				return map[string]any{"status": "cancelled"}
			}
			return map[string]any{"status": "pending"}
		})
		s.handle("task.cancel", func([]any) (any, *Error) {
			cancelled = true
			if !tc.obeys {
				return nil, &Error{Code: "OPERATION_NOT_ALLOWED"}
			}
			return "", nil
		})
		ctx, stop := context.WithTimeout(t.Context(), 30*time.Millisecond)
		err := s.client(t, func(c *Config) { c.Settle = 800 * time.Millisecond }).Run(ctx, "VM.start")
		stop()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", what, err)
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("%s: it took %v", what, took)
		}
		if n := s.called("task.cancel"); n != tc.cancels {
			t.Errorf("%s: cancelled %d times, want %d", what, n, tc.cancels)
		}
	}
}

// A call that changes something is finished although its context has ended.
func TestNotTorn(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	slow := func([]any) (any, *Error) {
		time.Sleep(80 * time.Millisecond)
		return "", nil
	}
	s.handle("VM.create", slow)
	s.handle("VM.get_all", slow)
	c := s.client(t, nil)
	if _, err := c.connect(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer stop()
	if err := c.Call(ctx, "VM.create", nil); err != nil {
		t.Errorf("a change: %v", err)
	}
	ctx, stop = context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer stop()
	if err := c.Call(ctx, "VM.get_all", nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a look: %v", err)
	}
	for method, want := range map[string]bool{
		"VM.get_record": false, "Async.VM.start": true, "VM.start": true, "host.compute_free_memory": false, "task.create": true,
		"session.login_with_password": false, "session.logout": false, "VDI.set_name_label": true, "VM.add_to_other_config": true,
	} {
		if Changes(method) != want {
			t.Errorf("%s changes something: %v", method, !want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"jsonrpc":"2.0","id":1,"result":{"OpaqueRef:1":{"uuid":"x"}}}`))
	f.Add([]byte(`{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"SR_FULL","data":["1"]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var out any
		err := decode(bytes.NewReader(b), &out)
		if err == nil && !json.Valid(b) {
			t.Errorf("%q is an answer", b)
		}
		if err != nil && CodeOf(err) == "" && !errors.Is(err, ErrReply) {
			t.Errorf("%v", err)
		}
	})
}

func FuzzResultRef(f *testing.F) {
	f.Add("<value>OpaqueRef:0123</value>")
	f.Add(`"OpaqueRef:0123"`)
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := resultRef(s)
		if err == nil && (!strings.HasPrefix(string(ref), "OpaqueRef:") || strings.ContainsAny(string(ref), "<> \"")) {
			t.Errorf("%q gives %q", s, ref)
		}
	})
}
