package xenserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"imageport/job/seed"
	"imageport/platforms"
	"imageport/platforms/platformtest"
	"imageport/platforms/xenserver/xapi"
)

var fixedTime = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

// testCall gives the call of a verb, for a CE and a disk of the test.
func testCall(h *simHarness, verb platformtest.Verb) platformtest.Call {
	const id = "b00000000001"
	return platformtest.Call{
		Verb: verb, Disk: h.OutputDisk(0), Guest: h.Guest(0),
		CE: platforms.Spec{
			Name: seed.Name(id), Job: "ips/files/pvs/win", RunID: "run", Owner: "location", Seed: platformtest.Seed(id, fixedTime),
		},
	}
}

// before are the verbs without which others have nothing to do.
var before = map[platformtest.Verb][]platformtest.Verb{
	platformtest.Stop:     {platformtest.Create},
	platformtest.Destroy:  {platformtest.Create, platformtest.AddDisk, platformtest.Stop, platformtest.StartGuest},
	platformtest.Find:     {platformtest.Create},
	platformtest.List:     {platformtest.Create},
	platformtest.AddDisk:  {platformtest.Create},
	platformtest.KeepDisk: {platformtest.Create, platformtest.AddDisk},

	platformtest.StartGuest:  {platformtest.Create, platformtest.AddDisk, platformtest.Stop},
	platformtest.FindGuest:   {platformtest.Create, platformtest.AddDisk, platformtest.Stop, platformtest.StartGuest},
	platformtest.GuestScreen: {platformtest.Create, platformtest.AddDisk, platformtest.Stop, platformtest.StartGuest},
	platformtest.StopGuest:   {platformtest.Create, platformtest.AddDisk, platformtest.Stop, platformtest.StartGuest},
	platformtest.RemoveGuest: {platformtest.Create, platformtest.AddDisk, platformtest.Stop, platformtest.StartGuest},
}

func do(t *testing.T, h *simHarness, verb platformtest.Verb) {
	t.Helper()
	if err := testCall(h, verb).Do(t.Context(), h.Open(t)); err != nil {
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
	kept := testCall(h, platformtest.Find).Disk.Name
	for _, name := range h.Outputs(t) {
		if name != kept {
			t.Errorf("there is %s", name)
		}
		h.RemoveOutput(t, name)
	}
}

// watched opens a driver all of whose calls are seen first.
func (h *harness) watched(t *testing.T, see func(method string)) *Driver {
	t.Helper()
	cfg := h.config()
	cfg.Wrap = func(inner http.RoundTripper) http.RoundTripper {
		return way(func(req *http.Request) (*http.Response, error) {
			see(methodOf(req))
			return inner.RoundTrip(req)
		})
	}
	return h.open(t, cfg, h.where)
}

// Each method that a verb calls fails once, in each way: the verb says how, or
// gets over it; or the session is lost before it, which nobody learns. The next
// call succeeds, and Destroy leaves nothing.
func TestEveryMethodFails(t *testing.T) {
	failures := []struct {
		code string
		kind platforms.Kind
	}{
		{"HOST_STILL_BOOTING", platforms.Busy}, {"RBAC_PERMISSION_DENIED", platforms.Denied}, {"SR_FULL", platforms.Full},
		{"INTERNAL_ERROR", platforms.Internal}, {"OTHER_OPERATION_IN_PROGRESS", ""},
	}
	for verb := range critical {
		t.Run(string(verb), func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			h.lab.SetRole("vm-admin") // whose permissions are read
			prepare := func() {
				t.Helper()
				if verb == platformtest.Create {
					h.removeBase(t)
				}
				for _, first := range before[verb] {
					do(t, h, first)
				}
			}
			prepare()
			var methods []string
			d := h.watched(t, func(method string) {
				method = strings.TrimPrefix(method, "Async.")
				tidying := method == "task.destroy" || strings.HasPrefix(method, "session.l")
				if !slices.Contains(methods, method) && !tidying {
					methods = append(methods, method)
				}
			})
			if err := testCall(h, verb).Do(t.Context(), d); err != nil {
				t.Fatal(err)
			}
			t.Logf("it calls %q", methods)
			clean(t, h)
			for i, method := range methods {
				next := failures[i%len(failures)]
				prepare()
				h.lab.Inject(method, 1, next.code, "x", "y")
				err := testCall(h, verb).Do(t.Context(), h.Open(t))
				h.lab.ClearFaults()
				if got := platforms.KindOf(err); got != next.kind && !(next.kind == "" && got == platforms.Busy) {
					t.Errorf("%s fails by %s: %s, %v; want %s", method, next.code, got, err, next.kind)
				}
				do(t, h, verb)
				if ce := testCall(h, verb).CE.Name; verb == platformtest.StartGuest && h.GuestsOn(t, ce) != 1 {
					t.Errorf("after %s failed, the guest is not on", method)
				}
				clean(t, h)

				prepare()
				lost := false
				forgetful := h.watched(t, func(m string) {
					if !lost && strings.TrimPrefix(m, "Async.") == method {
						lost = true
						h.lab.EndSessions()
					}
				})
				if err := testCall(h, verb).Do(t.Context(), forgetful); err != nil || !lost {
					t.Errorf("the session is lost before %s (%v): %v", method, lost, err)
				}
				clean(t, h)
			}
		})
	}
}

// A worker dies in the middle of the import of the appliance. Whatever it left
// goes with its CE, and is in nobody's way.
func TestImportCut(t *testing.T) {
	for _, second := range []platformtest.Verb{platformtest.Create, platformtest.Destroy, platformtest.List} {
		t.Run(string(second), func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			for n := 0; ; n++ {
				h.removeBase(t)
				finished := h.Cut(t, testCall(h, platformtest.Create), n)
				if second == platformtest.List {
					d := h.Open(t)
					ces, err := d.List(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					for _, ce := range ces {
						if err := d.Destroy(t.Context(), ce.Name); err != nil {
							t.Fatal(err)
						}
					}
					if left := h.Leftovers(t); len(left) > 0 {
						t.Errorf("after step %d: a sweep leaves %q", n, left)
					}
				} else {
					do(t, h, second)
				}
				if second == platformtest.Create && h.Agents(t, testCall(h, second).CE.Name) != 1 {
					t.Errorf("after step %d: the CE does not run", n)
				}
				clean(t, h)
				if finished {
					if n < 12 {
						t.Errorf("only %d steps", n)
					}
					return
				}
			}
		})
	}
}

// Workers that know nothing of each other import at once: in the end there is one
// VDI with the appliance, which holds it to the bit, and nothing else is left.
func TestImportAtOnce(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	drivers := []platforms.Driver{h.Open(t), h.Open(t), h.Open(t)}
	create := func(i int) error {
		ce := testCall(h, platformtest.Create).CE
		ce.Name = fmt.Sprintf("ce-%012x", i)
		ce.Seed.Name = ce.Name
		_, err := drivers[i%len(drivers)].Create(t.Context(), ce)
		return err
	}
	errs := make([]error, len(drivers))
	var wg sync.WaitGroup
	for i := range drivers {
		wg.Go(func() { errs[i] = create(i) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	// A double that was just being copied goes with the next look.
	if err := create(len(drivers)); err != nil {
		t.Fatal(err)
	}
	want := readFile(t, h.appliance, 0, applianceBytes)
	for i := range len(drivers) + 1 {
		name := fmt.Sprintf("ce-%012x", i)
		for _, b := range h.disks(t, name) {
			if got := readFile(t, h.file(t, b.VDI), 0, applianceBytes); !slices.Equal(got, want) {
				t.Errorf("%s does not start from the appliance", name)
			}
		}
		if err := drivers[0].Destroy(t.Context(), name); err != nil {
			t.Error(err)
		}
	}
	if left := h.Leftovers(t); len(left) > 0 {
		t.Errorf("left are %q", left)
	}
}

// A VDI lands when the worker that asked for it is dead and its CE is destroyed. It
// is listed by its own marks, and goes with the next sweep.
func TestVDILandsLate(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	do(t, h, platformtest.Create)
	clean(t, h)
	h.lab.Delay("VDI.create", time.Second)
	ctx, cancel := context.WithCancel(t.Context())
	var dead sync.Mutex
	cfg := h.config()
	cfg.Wrap = func(inner http.RoundTripper) http.RoundTripper {
		return way(func(req *http.Request) (*http.Response, error) {
			if ctx.Err() != nil {
				return nil, errDead
			}
			if methodOf(req) == "Async.VDI.create" {
				dead.Lock()
				defer dead.Unlock()
				defer cancel()
			}
			return inner.RoundTrip(req)
		})
	}
	call := testCall(h, platformtest.Create)
	if err := call.Do(t.Context(), h.open(t, cfg, h.where)); !errors.Is(err, errDead) {
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
	clean(t, h)
}

// A CE is created again while the VDI of an earlier one is still on its way.
func TestCancelledLandsLate(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"VDI.create", "VDI.copy", "VM.start"} {
		h := newHarness(t)
		do(t, h, platformtest.Create)
		clean(t, h)
		h.lab.Delay(method, 300*time.Millisecond)
		h.lab.LandCancelled(method)
		call := testCall(h, platformtest.Create)
		ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
		began := time.Now()
		err := call.Do(ctx, h.Open(t))
		stop()
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 5*time.Second {
			t.Errorf("%s: %v after %v", method, err, time.Since(began))
		}
		do(t, h, platformtest.Create)
		if n := h.Agents(t, call.CE.Name); n != 1 {
			t.Errorf("%s: %d agents", method, n)
		}
		clean(t, h)
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
