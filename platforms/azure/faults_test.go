package azure_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"imageport/job/seed"
	lab "imageport/lab/azure"
	"imageport/platforms"
	"imageport/platforms/platformtest"
)

var deadline = time.Date(2031, 5, 4, 3, 2, 1, 0, time.UTC)

// testCall gives the call of a verb, for a CE and a disk of the test.
func testCall(h *harness, verb platformtest.Verb) platformtest.Call {
	const id = "b00000000001"
	return platformtest.Call{
		Verb: verb, Disk: h.OutputDisk(0),
		CE: platforms.Spec{
			Name: seed.Name(id), Job: "ips/files/pvs/win", RunID: "run", Owner: "location", Seed: platformtest.Seed(id, deadline),
		},
	}
}

// before are the verbs without which others have nothing to do.
var before = map[platformtest.Verb][]platformtest.Verb{
	platformtest.Stop:     {platformtest.Create},
	platformtest.Destroy:  {platformtest.Create, platformtest.AddDisk},
	platformtest.Find:     {platformtest.Create},
	platformtest.List:     {platformtest.Create},
	platformtest.AddDisk:  {platformtest.Create},
	platformtest.KeepDisk: {platformtest.Create, platformtest.AddDisk},
}

func do(t *testing.T, h *harness, verb platformtest.Verb) {
	t.Helper()
	if err := testCall(h, verb).Do(t.Context(), h.Open(t)); err != nil {
		t.Fatalf("%s: %v", verb, err)
	}
}

// clean destroys the CE, and checks that nothing is left but what was kept.
func clean(t *testing.T, h *harness) {
	t.Helper()
	do(t, h, platformtest.Destroy)
	if left := h.Leftovers(t); len(left) > 0 {
		t.Errorf("Destroy leaves %q", left)
	}
	kept := testCall(h, platformtest.Find).Disk.Name
	for _, name := range h.Outputs(t) {
		if name != kept {
			t.Errorf("there is %s", name)
		}
		h.RemoveOutput(t, name)
	}
}

// recorder notes the calls that a verb makes, each once, in their order.
type recorder struct {
	mu    sync.Mutex
	calls []string
}

func (r *recorder) note(call string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if call != "login" && call != "operation" && !slices.Contains(r.calls, call) {
		r.calls = append(r.calls, call)
	}
	return nil
}

func (r *recorder) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = nil
}

// Each call that a verb makes fails once, in each way: the verb says how, or gets
// over it; the next call succeeds, and Destroy leaves nothing.
func TestEveryCallFails(t *testing.T) {
	failures := []struct {
		fault lab.Fault
		later bool
		kinds []platforms.Kind
	}{
		{throttled, false, []platforms.Kind{platforms.Busy}},
		{forbidden, false, []platforms.Kind{platforms.Denied}},
		{overQuota, false, []platforms.Kind{platforms.Full}},
		{lab.Fault{Status: 409, Code: "Conflict", Message: "busy"}, false, []platforms.Kind{"", platforms.Busy}},
		{lab.Fault{Status: 500, Code: "InternalServerError", Message: "x"}, false, []platforms.Kind{"", platforms.Busy}},
		{exhausted, true, []platforms.Kind{"", platforms.Full}}, // it strikes operations only
		{unexpected, true, []platforms.Kind{"", platforms.Internal}},
	}
	for _, verb := range verbs() {
		t.Run(string(verb), func(t *testing.T) {
			t.Parallel()
			r := &recorder{}
			h := newHarnessWith(t, lab.Config{Before: r.note})
			prepare := func() {
				t.Helper()
				if verb == platformtest.Create {
					h.cloud.RemoveImages()
				}
				for _, first := range before[verb] {
					do(t, h, first)
				}
			}
			prepare()
			r.reset()
			do(t, h, verb)
			calls := slices.Clone(r.calls)
			t.Logf("it calls %q", calls)
			clean(t, h)
			for _, call := range calls {
				for _, f := range failures {
					if call == "blob" && !f.later && f.fault.Status != 500 {
						continue // that is another service, with errors of its own
					}
					prepare()
					if f.later {
						h.cloud.FailLater(call, f.fault, 1)
					} else {
						h.cloud.Fail(call, f.fault, 1)
					}
					err := testCall(h, verb).Do(t.Context(), h.Open(t))
					h.cloud.Heal()
					// Without the right to see sizes and quotas, they are not checked.
					left := f.fault.Status == 403 && (strings.HasPrefix(call, "VirtualMachineSizes") || strings.HasPrefix(call, "Usage"))
					if kind := platforms.KindOf(err); !slices.Contains(f.kinds, kind) && !left {
						t.Errorf("%s fails by %s: %s, %v; want one of %q", call, f.fault.Code, kind, err, f.kinds)
					}
					do(t, h, verb)
					clean(t, h)
				}
			}
		})
	}
}

// A connection that breaks is tried again once; one that stays broken is Busy.
func TestConnectionBreaks(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for n, kind := range map[int]platforms.Kind{1: "", 2: platforms.Busy} {
		cfg := h.config()
		left := n
		cfg.Transport = transport(func(req *http.Request) (*http.Response, error) {
			if left > 0 && req.Method == http.MethodGet && strings.Contains(req.URL.Path, "/virtualMachines/") {
				left--
				return nil, fmt.Errorf("read: %w", errBroken)
			}
			return h.cloud.Do(req)
		})
		_, err := h.open(t, cfg).Find(t.Context(), "ce-0123456789ab")
		if kind == "" {
			kind = platforms.NotFound
		}
		if platforms.KindOf(err) != kind {
			t.Errorf("broken %d times: %v; want %q", n, err, kind)
		}
	}
}

var errBroken = &brokenError{}

// brokenError is what net gives for a connection that was reset.
type brokenError struct{}

func (*brokenError) Error() string   { return "connection reset by peer" }
func (*brokenError) Timeout() bool   { return false }
func (*brokenError) Temporary() bool { return true }

// transport makes a policy.Transporter of a function.
type transport func(*http.Request) (*http.Response, error)

func (t transport) Do(req *http.Request) (*http.Response, error) { return t(req) }

var _ policy.Transporter = transport(nil)

// What Azure forgets when it deletes a VM is found, and removed.
func TestLeftBehind(t *testing.T) {
	for _, bare := range []bool{false, true} {
		t.Run(fmt.Sprintf("bare=%v", bare), func(t *testing.T) {
			t.Parallel()
			testLeftBehind(t, newHarnessWith(t, lab.Config{Bare: bare}))
		})
	}
}

func addDisk(t *testing.T, h *harness) platforms.OutputDiskRef {
	t.Helper()
	call := testCall(h, platformtest.AddDisk)
	ref, err := h.Open(t).(platforms.OutputDisks).AddOutputDisk(t.Context(), call.CE.Name, call.Disk)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func testLeftBehind(t *testing.T, h *harness) {
	call := testCall(h, platformtest.Create)
	for _, way := range []string{"Destroy", "somebody deletes the VM", "somebody deletes the VM, Create"} {
		do(t, h, platformtest.Create)
		h.WriteDisk(t, call.CE.Name, addDisk(t, h), 4096, []byte("of another attempt"))
		h.cloud.LeaveBehind()
		if way != "Destroy" {
			h.cloud.DeleteMachine(lab.Group, call.CE.Name)
			if left := h.Leftovers(t); len(left) != 3 { // disk, network interface, output disk
				t.Fatalf("left are %q", left)
			}
			listed, err := h.Open(t).List(t.Context())
			if err != nil || len(listed) != 1 || listed[0].Name != call.CE.Name || listed[0].Job != call.CE.Job || listed[0].State != platforms.Stopped || listed[0].Created.IsZero() {
				t.Errorf("%s: listed are %+v, %v", way, listed, err)
			}
		}
		if way == "somebody deletes the VM, Create" {
			do(t, h, platformtest.Create)
			if b := h.ReadDisk(t, call.CE.Name, addDisk(t, h), 4096, 2); string(b) != "\x00\x00" {
				t.Errorf("the disk has %q of the one before", b)
			}
			h.cloud.Heal()
		}
		clean(t, h)
		h.cloud.Heal()
	}
}

// A VM whose creation failed is Failed until the next Create, which makes it
// anew, or Destroy, which asks nobody how that went.
func TestFailedMachine(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	call := testCall(h, platformtest.Create)
	for _, next := range []platformtest.Verb{platformtest.Create, platformtest.Destroy} {
		h.cloud.FailLater("VirtualMachinesClient.BeginCreateOrUpdate", exhausted, 1)
		err := call.Do(t.Context(), h.Open(t))
		if platforms.KindOf(err) != platforms.Full || !strings.Contains(err.Error(), "sufficient capacity") || !strings.Contains(err.Error(), "(AllocationFailed)") || strings.Contains(err.Error(), "\n") {
			t.Fatalf("it fails by %v", err)
		}
		found, err := h.Open(t).Find(t.Context(), call.CE.Name)
		if err != nil || found.State != platforms.Stopped || !strings.Contains(found.Fault, "AllocationFailed") {
			t.Errorf("found %+v, %v", found, err)
		}
		do(t, h, next)
		clean(t, h)
	}
}

// A VM that fails later, when it has its output disk, is not made anew.
func TestFailedUpdate(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for _, verb := range []platformtest.Verb{platformtest.Create, platformtest.AddDisk, platformtest.Stop} {
		do(t, h, verb)
	}
	first, _ := h.resource("virtualMachine", testCall(h, platformtest.Find).CE.Name)
	h.cloud.FailLater("VirtualMachinesClient.BeginStart", exhausted, 1)
	if err := testCall(h, platformtest.Create).Do(t.Context(), h.Open(t)); platforms.KindOf(err) != platforms.Full {
		t.Errorf("no capacity to start it again: %v", err)
	}
	do(t, h, platformtest.Create)
	if h.Attached(t, first.Name) != 1 {
		t.Error("it has lost its disk")
	}
	clean(t, h)
}

// The creation is preempted by a deletion, or lands after Destroy has found
// nothing: List shows it, Create takes it, Destroy removes it.
func TestLateArrival(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	do(t, h, platformtest.Create)
	do(t, h, platformtest.Destroy)
	call := testCall(h, platformtest.Create)
	for _, next := range []platformtest.Verb{platformtest.Create, platformtest.Destroy} {
		h.cloud.Hold("VirtualMachinesClient.BeginCreateOrUpdate", time.Second)
		d := h.open(t, h.config())
		d.SetSettle(20 * time.Millisecond)
		ctx, cancel := deadlineContext(t, 200*time.Millisecond)
		err := call.Do(ctx, d)
		cancel()
		if platforms.KindOf(err) != platforms.Busy {
			t.Fatalf("cancelled: %v", err)
		}
		do(t, h, platformtest.Destroy)
		for _, r := range h.cloud.Resources() {
			if r.Kind == "virtualMachine" {
				t.Fatal("it does not come late")
			}
		}
		h.cloud.Wait()
		h.cloud.Heal()
		listed, err := h.Open(t).List(t.Context())
		if err != nil || len(listed) != 1 || listed[0].Name != call.CE.Name || listed[0].Job != call.CE.Job {
			t.Fatalf("after it has landed: %+v, %v", listed, err)
		}
		do(t, h, next)
		if next == platformtest.Create && h.Agents(t, call.CE.Name) != 1 {
			t.Error("it does not run")
		}
		clean(t, h)
	}
	h.cloud.Delay("VirtualMachinesClient.BeginCreateOrUpdate", time.Second)
	ctx, cancel := deadlineContext(t, 200*time.Millisecond)
	defer cancel()
	if err := call.Do(ctx, h.Open(t)); platforms.KindOf(err) != platforms.Busy {
		t.Fatalf("cancelled while Azure is at it: %v", err)
	}
	began := time.Now()
	clean(t, h)
	if took := time.Since(began); took > time.Second/2 {
		t.Errorf("Destroy waits %v for what it removes", took)
	}
}
