package gcp

import (
	"errors"
	"net/http"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	"imageport/job/seed"
	"imageport/lab/gce"
	"imageport/platforms"
	"imageport/platforms/platformtest"
)

const testID = "b00000000001"

var fixedTime = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

func testSpec() platforms.Spec {
	return platforms.Spec{
		Name: seed.Name(testID), Job: "ips/files/PVS/win 11", RunID: "run", Owner: "Location of the müllers", Seed: platformtest.Seed(testID, fixedTime),
	}
}

func testCall(h *simHarness, verb platformtest.Verb) platformtest.Call {
	return platformtest.Call{Verb: verb, Disk: h.OutputDisk(0), CE: testSpec()}
}

// restart is Create of a CE that is off.
const restart platformtest.Verb = "Create again"

// before are the verbs without which others have nothing to do.
var before = map[platformtest.Verb][]platformtest.Verb{
	restart:               {platformtest.Create, platformtest.AddDisk, platformtest.Stop},
	platformtest.Stop:     {platformtest.Create},
	platformtest.Destroy:  {platformtest.Create, platformtest.AddDisk},
	platformtest.Find:     {platformtest.Create},
	platformtest.List:     {platformtest.Create},
	platformtest.AddDisk:  {platformtest.Create},
	platformtest.KeepDisk: {platformtest.Create, platformtest.AddDisk},
}

// call is the call of a verb, also of restart.
func call(h *simHarness, verb platformtest.Verb) platformtest.Call {
	c := testCall(h, verb)
	if verb == restart {
		c.Verb, c.CE.Seed.Gateway.Token = platformtest.Create, "another token"
	}
	return c
}

func do(t *testing.T, h *simHarness, verb platformtest.Verb) {
	t.Helper()
	if err := call(h, verb).Do(t.Context(), h.Open(t)); err != nil {
		t.Fatalf("%s: %v", verb, err)
	}
}

// clean destroys the CE, and checks that nothing is left but what was kept.
func clean(t *testing.T, h *simHarness) {
	t.Helper()
	do(t, h, platformtest.Destroy)
	if left := h.Leftovers(t); len(left) > 0 {
		t.Errorf("Destroy leaves %q", left)
	}
	for _, name := range h.Outputs(t) {
		if name != h.OutputDisk(0).Name {
			t.Errorf("there is %s", name)
		}
		h.RemoveOutput(t, name)
	}
}

// recorder notes the methods that are called, each once, in their order.
type recorder struct {
	mu      sync.Mutex
	on      bool
	methods []string
	then    func(gce.Call) error
}

func (r *recorder) before(c gce.Call) error {
	r.mu.Lock()
	if r.on && !slices.Contains(r.methods, c.Method) {
		r.methods = append(r.methods, c.Method)
	}
	then := r.then
	r.mu.Unlock()
	if then != nil {
		return then(c)
	}
	return nil
}

func (r *recorder) set(on bool, then func(gce.Call) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.on, r.then = on, then
}

// forget removes what CEs share, so that the next one needs it.
func (h *simHarness) forget() {
	for _, name := range h.cloud.Images() {
		h.cloud.RemoveImage(name)
	}
}

// Each method that a verb calls fails once, in each way: the verb says how, or
// hides that its token was refused; the next call succeeds, and Destroy leaves
// nothing.
func TestEveryMethodFails(t *testing.T) {
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
	for _, verb := range []platformtest.Verb{
		platformtest.Check, platformtest.Create, restart, platformtest.Stop, platformtest.Destroy, platformtest.Find, platformtest.List,
		platformtest.CheckDisk, platformtest.AddDisk, platformtest.KeepDisk,
	} {
		t.Run(string(verb), func(t *testing.T) {
			t.Parallel()
			r := &recorder{}
			h := harnessOf(t, startCloud(t, gce.Config{Before: r.before}))
			prepare := func() {
				t.Helper()
				if verb == platformtest.Create {
					h.forget()
				}
				for _, first := range before[verb] {
					do(t, h, first)
				}
			}
			prepare()
			r.set(true, nil)
			do(t, h, verb)
			r.set(false, nil)
			t.Logf("it calls %q", r.methods)
			clean(t, h)
			for i, method := range r.methods {
				for _, n := range []int{i, i + 1, i + 4} {
					next := failures[n%len(failures)]
					prepare()
					h.cloud.Inject(method, next.fault, 1)
					err := call(h, verb).Do(t.Context(), h.Open(t))
					h.cloud.ClearFaults()
					// The next zone has room.
					full := next.kind == platforms.Full && verb == platformtest.Create && (method == "compute.instances.insert" || method == "compute.zoneOperations.wait")
					if platforms.KindOf(err) != next.kind && !(full && err == nil) {
						t.Errorf("%s fails by %d %s: %s, %v; want %s", method, next.fault.Status, next.fault.Reason, platforms.KindOf(err), err, next.kind)
					}
					if e, ok := errors.AsType[*platforms.Error](err); next.fault.RetryAfter > 0 && (!ok || e.RetryAfter != next.fault.RetryAfter) {
						t.Errorf("%s is to be called again after %v: %v", method, next.fault.RetryAfter, e)
					}
					do(t, h, verb)
					clean(t, h)
				}
			}
		})
	}
}

// starts matches the methods that start an operation.
var starts = regexp.MustCompile(`^compute\..*\.(insert|delete|start|stop|setMetadata|attachDisk|detachDisk)$`)

// Each operation that a verb starts fails once, as the cloud's operations do.
func TestEveryOperationFails(t *testing.T) {
	for _, verb := range []platformtest.Verb{platformtest.Create, restart, platformtest.Stop, platformtest.Destroy, platformtest.AddDisk, platformtest.KeepDisk} {
		t.Run(string(verb), func(t *testing.T) {
			t.Parallel()
			r := &recorder{}
			h := harnessOf(t, startCloud(t, gce.Config{Before: r.before}))
			for _, first := range before[verb] {
				do(t, h, first)
			}
			r.set(true, nil)
			do(t, h, verb)
			r.set(false, nil)
			clean(t, h)
			for _, method := range r.methods {
				if !starts.MatchString(method) {
					continue
				}
				for code, kind := range map[string]platforms.Kind{
					"QUOTA_EXCEEDED": platforms.Full, "INTERNAL_ERROR": platforms.Busy, "RESOURCE_IN_USE_BY_ANOTHER_RESOURCE": "", "PERMISSIONS_ERROR": platforms.Denied,
				} {
					if verb == platformtest.Create {
						h.forget()
					}
					for _, first := range before[verb] {
						do(t, h, first)
					}
					h.cloud.Inject(method, gce.Fault{Status: http.StatusInternalServerError, Code: code, Message: "x"}, 1)
					err := call(h, verb).Do(t.Context(), h.Open(t))
					h.cloud.ClearFaults()
					full := kind == platforms.Full && method == "compute.instances.insert"
					if platforms.KindOf(err) != kind && !(full && err == nil) {
						t.Errorf("the operation of %s fails by %s: %s, %v; want %s", method, code, platforms.KindOf(err), err, kind)
					}
					do(t, h, verb)
					clean(t, h)
				}
			}
		})
	}
}

// A worker dies after each step of the import of the appliance, and of a restart.
// Whatever it left goes with its CE or serves the next, and is in nobody's way.
func TestCuts(t *testing.T) {
	for _, verb := range []platformtest.Verb{platformtest.Create, restart} {
		for _, second := range []platformtest.Verb{verb, platformtest.Destroy} {
			t.Run(string(verb+", "+second), func(t *testing.T) {
				t.Parallel()
				h := newHarness(t)
				for n, finished := 0, false; !finished; n++ {
					if verb == platformtest.Create {
						h.forget()
					}
					for _, first := range before[verb] {
						do(t, h, first)
					}
					finished = h.Cut(t, call(h, verb), n)
					do(t, h, second)
					if second == verb && h.Agents(t, testSpec().Name) != 1 {
						t.Errorf("after step %d: the CE does not run", n)
					}
					clean(t, h)
					if finished && n < 2 {
						t.Errorf("only %d steps", n)
					}
				}
				do(t, h, platformtest.Create)
				if left := h.cloud.Objects(); len(left) > 0 {
					t.Errorf("objects %q are left", left)
				}
				clean(t, h)
			})
		}
	}
}
