package gcp

import (
	"fmt"
	"net/http"
	"regexp"
	"testing"

	"imageport/lab/gce"
	"imageport/platforms"
	"imageport/platforms/platformtest"
)

// asked has each call asked for first, until it is called with nil.
func (h *simHarness) asked(first func(gce.Call) error) {
	if first == nil {
		h.hook.Store(nil)
		return
	}
	h.hook.Store(&first)
}

func (h *simHarness) Watch(t testing.TB, see func(method string)) platforms.Driver {
	d := h.Open(t)
	h.asked(func(c gce.Call) error {
		see(c.Method)
		return nil
	})
	return d
}

// starts matches the methods that start an operation.
var starts = regexp.MustCompile(`^compute\..*\.(insert|delete|start|stop|setMetadata|attachDisk|detachDisk)$`)

func (h *simHarness) Breaks(_ testing.TB, verb platformtest.Verb, method string, n int) []platformtest.Break {
	h.asked(nil)
	var all []platformtest.Break
	add := func(fault gce.Fault, kind platforms.Kind, full bool) {
		kinds := []platforms.Kind{kind}
		if full && kind == platforms.Full {
			kinds = append(kinds, "") // the next zone has room
		}
		all = append(all, platformtest.Break{
			Name: fmt.Sprint(fault.Status, fault.Reason, fault.Code), Kinds: kinds, RetryAfter: fault.RetryAfter,
			Once: func() func() {
				h.cloud.Inject(method, fault, 1)
				return h.cloud.ClearFaults
			},
		})
	}
	inserts := method == "compute.instances.insert"
	failures := []struct {
		fault gce.Fault
		kind  platforms.Kind
	}{
		{throttled, platforms.Busy},
		{denied, platforms.Denied},
		{gce.Fault{Status: http.StatusForbidden, Reason: "quotaExceeded", Message: "Quota exceeded"}, platforms.Full},
		{gce.Fault{Status: http.StatusServiceUnavailable, Reason: "backendError", Message: "x"}, platforms.Busy},
		{gce.Fault{Status: http.StatusUnauthorized, Reason: "authError", Message: "x"}, ""}, // once: the next token is taken
	}
	for _, i := range []int{n, n + 1, n + 4} {
		f := failures[i%len(failures)]
		add(f.fault, f.kind, verb == platformtest.Create && (inserts || method == "compute.zoneOperations.wait"))
	}
	if !starts.MatchString(method) {
		return all
	}
	for code, kind := range map[string]platforms.Kind{
		"QUOTA_EXCEEDED": platforms.Full, "INTERNAL_ERROR": platforms.Busy, "RESOURCE_IN_USE_BY_ANOTHER_RESOURCE": "", "PERMISSIONS_ERROR": platforms.Denied,
	} {
		add(gce.Fault{Status: http.StatusInternalServerError, Code: code, Message: "x"}, kind, inserts)
	}
	return all
}

// Forget removes the images.
func (h *simHarness) Forget(testing.TB) {
	for _, name := range h.cloud.Images() {
		h.cloud.RemoveImage(name)
	}
}

// Shared also gives what images were made from: it should be gone.
func (h *simHarness) Shared(testing.TB) []string {
	return append(h.cloud.Images(), h.cloud.Objects()...)
}
