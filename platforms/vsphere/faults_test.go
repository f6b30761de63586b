package vsphere

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"imageport/job/seed"
	"imageport/platforms"
	"imageport/platforms/platformtest"
)

// testCall gives the call of a verb, for a CE, a disk and a VM of the test.
func testCall(h *simHarness, verb platformtest.Verb) platformtest.Call {
	const id = "b00000000001"
	return platformtest.Call{
		Verb: verb, Disk: h.OutputDisk(0), VM: h.OutputVM(0), Guest: h.Guest(0),
		CE: platforms.Spec{
			Name: seed.Name(id), Job: "ips/files/pvs/win", RunID: "run", Owner: "location",
			Seed: platformtest.Seed(id, fixedTime),
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
	platformtest.MakeVM:   {platformtest.Create, platformtest.AddDisk, platformtest.KeepDisk},

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
	for _, name := range h.VMs(t) {
		h.RemoveVM(t, name)
	}
	kept := testCall(h, platformtest.Find).Disk.Name
	for _, name := range h.Outputs(t) {
		if name != kept {
			t.Errorf("there is %s", name)
		}
		h.RemoveOutput(t, name)
	}
	_ = os.Remove(h.file(t, fmt.Sprintf("[%s] %s", h.where.Datastore, h.images))) // it is there only if something was in it
}

// recorder notes the methods that are called, each once, in their order.
type recorder struct {
	soap.RoundTripper
	mu      sync.Mutex
	methods []string
}

func (r *recorder) RoundTrip(ctx context.Context, req, res soap.HasFault) error {
	r.mu.Lock()
	if m := method(req); !slices.Contains(r.methods, m) {
		r.methods = append(r.methods, m)
	}
	r.mu.Unlock()
	return r.RoundTripper.RoundTrip(ctx, req, res)
}

// forgetter has the sessions ended before the first call of a method.
type forgetter struct {
	soap.RoundTripper
	method string
	forget func()
	once   sync.Once
}

func (f *forgetter) RoundTrip(ctx context.Context, req, res soap.HasFault) error {
	if method(req) == f.method {
		f.once.Do(f.forget)
	}
	return f.RoundTripper.RoundTrip(ctx, req, res)
}

// Each method that a verb calls fails once, in each way: the verb says how, or
// hides that the session was lost; the next call succeeds, and Destroy leaves
// nothing.
func TestEveryMethodFails(t *testing.T) {
	failures := []struct {
		fault types.BaseMethodFault
		kind  platforms.Kind
	}{
		{&types.HostNotConnected{}, platforms.Busy},
		{&types.NoPermission{PrivilegeId: "X.Y"}, platforms.Denied},
		{&types.InsufficientMemoryResourcesFault{}, platforms.Full},
		{&types.SystemErrorFault{Reason: "x"}, platforms.Internal},
	}
	for verb := range critical {
		t.Run(string(verb), func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			prepare := func() {
				t.Helper()
				if verb == platformtest.Create {
					h.removeFolder(t) // it makes that, and imports the appliance
				}
				for _, first := range before[verb] {
					do(t, h, first)
				}
			}
			prepare()
			r := &recorder{}
			cfg := h.config()
			cfg.Wrap = func(inner soap.RoundTripper) soap.RoundTripper {
				r.RoundTripper = inner
				return r
			}
			if err := testCall(h, verb).Do(t.Context(), h.open(t, cfg, h.where)); err != nil {
				t.Fatal(err)
			}
			t.Logf("it calls %q", r.methods)
			clean(t, h)
			for i, method := range r.methods {
				next := failures[i%len(failures)]
				prepare()
				h.inject(method, next.fault, 1)
				err := testCall(h, verb).Do(t.Context(), h.Open(t))
				h.lab.ClearFaults()
				if platforms.KindOf(err) != next.kind {
					t.Errorf("%s fails by %T: %s, %v; want %s", method, next.fault, platforms.KindOf(err), err, next.kind)
				}
				do(t, h, verb)
				if ce := testCall(h, verb).CE.Name; verb == platformtest.StartGuest && h.GuestsOn(t, ce) != 1 {
					t.Errorf("after %s failed, the guest is not on", method)
				}
				clean(t, h)

				prepare()
				cfg := h.config()
				cfg.Wrap = func(inner soap.RoundTripper) soap.RoundTripper {
					return &forgetter{RoundTripper: inner, method: method, forget: h.lab.EndSessions}
				}
				if err := testCall(h, verb).Do(t.Context(), h.open(t, cfg, h.where)); err != nil {
					t.Errorf("the session is lost before %s: %v", method, err)
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
				h.removeFolder(t)
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
					if n < 7 {
						t.Errorf("only %d steps", n)
					}
					return
				}
			}
		})
	}
}

// Two workers import at once: there is one template, and nothing else is left.
func TestImportAtOnce(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	drivers := []platforms.Driver{h.Open(t), h.Open(t), h.Open(t)}
	errs := make([]error, len(drivers))
	var wg sync.WaitGroup
	for i, d := range drivers {
		wg.Go(func() {
			ce := testCall(h, platformtest.Create).CE
			ce.Name = fmt.Sprintf("ce-%012x", i)
			ce.Seed.Name = ce.Name
			_, errs[i] = d.Create(t.Context(), ce)
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	for i := range drivers {
		if err := drivers[0].Destroy(t.Context(), fmt.Sprintf("ce-%012x", i)); err != nil {
			t.Error(err)
		}
	}
	var templates []string
	for _, v := range h.allVMs(t) {
		templates = append(templates, v.name)
	}
	if left := h.Leftovers(t); len(left) > 0 || len(templates) != 1 {
		t.Errorf("left are %q, templates %q", left, templates)
	}
}

func TestKinds(t *testing.T) {
	for _, tc := range []struct {
		fault types.BaseMethodFault
		kind  platforms.Kind
	}{
		{&types.TaskInProgress{}, platforms.Busy}, {&types.VAppTaskInProgress{}, platforms.Busy}, {&types.ConcurrentAccess{}, platforms.Busy},
		{&types.HostNotReachable{}, platforms.Busy}, {&types.InvalidPowerState{}, platforms.Busy}, {&types.FileLocked{}, platforms.Busy},
		{&types.InvalidHostState{}, platforms.Busy}, {&types.ResourceInUse{}, platforms.Busy}, {&types.InaccessibleDatastore{}, platforms.Busy},
		{&types.RequestCanceled{}, platforms.Busy}, {&types.NotAuthenticated{}, platforms.Busy}, {&types.ManagedObjectNotFound{}, platforms.Busy},
		{&types.NoPermission{}, platforms.Denied}, {&types.InvalidLogin{}, platforms.Denied}, {&types.PasswordExpired{}, platforms.Denied},
		{&types.NoDiskSpace{}, platforms.Full}, {&types.InsufficientCpuResourcesFault{}, platforms.Full},
		{&types.InsufficientFailoverResourcesFault{}, platforms.Full}, {&types.NotEnoughLicenses{}, platforms.Full},
		{&types.DuplicateName{}, platforms.Foreign}, {&types.FileAlreadyExists{}, platforms.Foreign},
		{&types.FileNotFound{}, platforms.NotFound},
		{&types.InvalidDatastorePath{}, platforms.BadRequest}, {&types.InvalidArgument{}, platforms.BadRequest},
		{&types.InvalidDeviceSpec{}, platforms.BadRequest}, {&types.NotSupported{}, platforms.BadRequest}, {&types.FileTooLarge{}, platforms.BadRequest},
		{&types.OvfUnsupportedType{}, platforms.BadRequest},
		{&types.GenericVmConfigFault{}, platforms.Internal}, {&types.SystemErrorFault{}, platforms.Internal},
	} {
		err := fail("vc:443", "do", fmt.Errorf("step: %w", soap.WrapVimFault(tc.fault)))
		if got := platforms.KindOf(err); got != tc.kind {
			t.Errorf("%T is %s, want %s", tc.fault, got, tc.kind)
		}
	}
	if err := fail("vc:443", "do", fmt.Errorf("step: %w", context.Canceled)); platforms.KindOf(err) != platforms.Busy || !errors.Is(err, context.Canceled) {
		t.Errorf("a context that ended: %v", err)
	}
	err := fail("vc:443", "create x", fmt.Errorf("clone: %w", soap.WrapVimFault(&types.NoPermission{
		PrivilegeId: "Resource.AssignVMToPool", Object: &types.ManagedObjectReference{Type: "ResourcePool", Value: "resgroup-1"},
	})))
	if want := "vCenter vc:443: create x: clone: NoPermission (NoPermission, privilege Resource.AssignVMToPool on ResourcePool:resgroup-1)"; err.Error() != want {
		t.Errorf("%v; want %s", err, want)
	}
}
