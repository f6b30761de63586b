package xenserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"imageport/platforms"
	"imageport/platforms/platformtest"
	"imageport/platforms/xenserver/xapi"
)

// A VDI lands when the worker that asked for it is dead and its CE is destroyed. It
// is listed by its own marks, and goes with the next sweep.
func TestVDILandsLate(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	platformtest.Do(t, h, platformtest.Create)
	platformtest.Clean(t, h)
	h.lab.Delay("VDI.create", time.Second)
	ctx, cancel := context.WithCancel(t.Context())
	var dead sync.Mutex
	cfg := h.config()
	cfg.Wrap = func(inner http.RoundTripper) http.RoundTripper {
		return way(func(req *http.Request) (*http.Response, error) {
			if ctx.Err() != nil {
				return nil, platformtest.ErrDead
			}
			if methodOf(req) == "Async.VDI.create" {
				dead.Lock()
				defer dead.Unlock()
				defer cancel()
			}
			return inner.RoundTrip(req)
		})
	}
	call := platformtest.NewCall(h, platformtest.Create)
	if err := call.Do(t.Context(), h.open(t, cfg, h.where)); !errors.Is(err, platformtest.ErrDead) {
		t.Fatal(err)
	}
	d := h.Open(t)
	if err := d.Destroy(t.Context(), call.CE.Name); err != nil {
		t.Fatal(err)
	}
	if list, err := d.List(t.Context()); err != nil || len(list) != 0 {
		t.Fatalf("before it lands there is %+v, %v", list, err)
	}
	h.quiet(t)
	list, err := d.List(t.Context())
	if err != nil || len(list) != 1 || list[0].Name != call.CE.Name || list[0].State != platforms.Stopped || list[0].Job != call.CE.Job ||
		list[0].Owner != call.CE.Owner || time.Since(list[0].Created) > time.Minute {
		t.Fatalf("when it has landed there is %+v, %v", list, err)
	}
	platformtest.Clean(t, h)
}

// A CE is created again while the VDI of an earlier one is still on its way.
func TestCancelledLandsLate(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"VDI.create", "VDI.copy", "VM.start"} {
		h := newHarness(t)
		platformtest.Do(t, h, platformtest.Create)
		platformtest.Clean(t, h)
		h.lab.Delay(method, 300*time.Millisecond)
		h.lab.LandCancelled(method)
		call := platformtest.NewCall(h, platformtest.Create)
		ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
		began := time.Now()
		err := call.Do(ctx, h.Open(t))
		stop()
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 5*time.Second {
			t.Errorf("%s: %v after %v", method, err, time.Since(began))
		}
		platformtest.Do(t, h, platformtest.Create)
		if n := h.Agents(t, call.CE.Name); n != 1 {
			t.Errorf("%s: %d agents", method, n)
		}
		platformtest.Clean(t, h)
	}
}

func TestKinds(t *testing.T) {
	for _, tc := range []struct {
		code string
		kind platforms.Kind
	}{
		{"OTHER_OPERATION_IN_PROGRESS", platforms.Busy}, {"HANDLE_INVALID", platforms.Busy}, {"HOST_IS_SLAVE", platforms.Busy},
		{"TOO_MANY_STORAGE_MIGRATES", platforms.Busy}, {"VM_BAD_POWER_STATE", platforms.Busy}, {"VM_MISSING_PV_DRIVERS", platforms.Busy},
		{"SR_FULL", platforms.Full}, {"SR_BACKEND_FAILURE_44", platforms.Full}, {"NO_HOSTS_AVAILABLE", platforms.Full}, {"HOST_NOT_ENOUGH_FREE_MEMORY", platforms.Full},
		{"RBAC_PERMISSION_DENIED", platforms.Denied}, {"SESSION_AUTHENTICATION_FAILED", platforms.Denied},
		{"MESSAGE_METHOD_UNKNOWN", platforms.BadRequest}, {"VDI_TOO_SMALL", platforms.BadRequest}, {"VM_REQUIRES_SR", platforms.BadRequest},
		{"INTERNAL_ERROR", platforms.Internal}, {"SR_BACKEND_FAILURE_1", platforms.Internal},
	} {
		err := fail("pool:443", "do", fmt.Errorf("step: %w", &xapi.Error{Code: tc.code, Params: []string{"x"}}))
		if got := platforms.KindOf(err); got != tc.kind {
			t.Errorf("%s is %s, want %s", tc.code, got, tc.kind)
		}
	}
	for _, tc := range []struct {
		err  error
		kind platforms.Kind
	}{
		{context.Canceled, platforms.Busy}, {xapi.ErrTaskLost, platforms.Busy}, {xapi.ErrTaskCancelled, platforms.Busy}, {xapi.ErrClosed, platforms.Busy},
		{xapi.ErrReply, platforms.BadRequest}, {&xapi.StatusError{Status: 401}, platforms.Denied}, {&xapi.StatusError{Status: 404}, platforms.BadRequest},
		{&xapi.StatusError{Status: 503}, platforms.Busy}, {errors.New("x"), platforms.Internal},
		{platforms.Errorf(platforms.Foreign, "x"), platforms.Foreign},
	} {
		err := fail("pool:443", "do", fmt.Errorf("step: %w", tc.err))
		if got := platforms.KindOf(err); got != tc.kind || !errors.Is(err, tc.err) {
			t.Errorf("%v is %s, want %s", tc.err, got, tc.kind)
		}
	}
	err := fail("pool:443", "create x", fmt.Errorf("make the VM: %w", &xapi.Error{Code: "RBAC_PERMISSION_DENIED", Params: []string{"vm.create", "No permission\nin user session."}}))
	if want := "XenServer pool:443: create x: make the VM: RBAC_PERMISSION_DENIED (vm.create, No permission in user session.)"; err.Error() != want {
		t.Errorf("%v; want %s", err, want)
	}
}
