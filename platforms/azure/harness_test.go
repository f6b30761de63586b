package azure_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"imageport/job"
	"imageport/job/seed"
	lab "imageport/lab/azure"
	"imageport/platforms"
	"imageport/platforms/azure"
	"imageport/platforms/platformtest"
)

// world is a subscription as one sees it who is not the driver.
type world interface {
	// Resources gives all VMs, disks and network interfaces of the groups of the
	// CEs and of output disks, by the names of the lab's groups.
	Resources() []lab.Resource
	// GuestEnded ends what runs in a VM.
	GuestEnded(vm string)
	AddMachine(group, name string)
	AddDisk(group, name string, sizeBytes int64) error
	Remove(group, disk string)
	// Wait waits until nothing is going on.
	Wait()
}

// anyHarness is what can be done with any subscription.
type anyHarness struct {
	world
	where   job.Target
	config  func() azure.Config
	planted platformtest.Names // of VMs and of disks
}

// harness is a simulated subscription of its own, with which more can be done.
type harness struct {
	*anyHarness
	cloud *lab.Cloud
	seen  atomic.Pointer[func(call string)] // is told of each call
}

func newHarness(t testing.TB) *harness { return newHarnessWith(t, lab.Config{}) }

func newHarnessWith(t testing.TB, cfg lab.Config) *harness {
	h := &harness{}
	before := cfg.Before
	cfg.Before = func(call string) error {
		if see := h.seen.Load(); see != nil && call != "login" && call != "operation" {
			(*see)(call)
		}
		if before != nil {
			return before(call)
		}
		return nil
	}
	cfg.Dir = t.TempDir()
	cloud, err := lab.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cloud.Close)
	vhd := testVHD(t)
	config := func() azure.Config {
		return azure.Config{
			Credential: func(_ context.Context, id string) (azure.Credential, error) {
				if id != "azure" {
					return azure.Credential{}, errors.New("no such credential")
				}
				return azure.Credential{TenantID: lab.TenantID, ClientID: lab.ClientID, Secret: cloud.Secret()}, nil
			},
			Appliance: vhd, Gallery: lab.GalleryID(), PollInterval: 8 * time.Millisecond, Transport: cloud,
		}
	}
	h.anyHarness, h.cloud = &anyHarness{world: cloud, where: cloud.Target("azure"), config: config}, cloud
	return h
}

// testVHD makes a fixed VHD of 9 MiB with something at its begin and its end.
func testVHD(t testing.TB) string {
	b := make([]byte, 9<<20+512)
	copy(b, "begin")
	copy(b[9<<20-5:], "end")
	footer := b[9<<20:]
	copy(footer, "conectix")
	footer[63] = 2
	path := filepath.Join(t.TempDir(), "ce.vhd")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (h *anyHarness) open(t testing.TB, cfg azure.Config) *azure.Driver {
	t.Helper()
	return open(t, cfg, h.where)
}

func open(t testing.TB, cfg azure.Config, where job.Target) *azure.Driver {
	t.Helper()
	p, err := azure.New(cfg)
	return platformtest.Opened[*azure.Driver](t, p, err, where)
}

func (h *anyHarness) Open(t testing.TB) platforms.Driver { return h.open(t, h.config()) }

func (h *anyHarness) Cut(t testing.TB, call platformtest.Call, n int) bool {
	t.Helper()
	return platformtest.CutBy(t, call, n, func(c *platformtest.Cutter) platforms.Driver {
		cfg := h.config()
		inner := cfg.Transport
		if inner == nil {
			inner = http.DefaultClient
		}
		cfg.Transport = transport(func(req *http.Request) (*http.Response, error) {
			if err := c.Call(req.Method != http.MethodGet && req.URL.Hostname() != "login.microsoftonline.com"); err != nil {
				return nil, err
			}
			return inner.Do(req)
		})
		return h.open(t, cfg)
	}, h.world.Wait)
}

// resource gives what is there of that kind and name, in whatever group.
func (h *anyHarness) resource(kind, name string) (lab.Resource, bool) {
	for _, r := range h.world.Resources() {
		if r.Kind == kind && strings.EqualFold(r.Name, name) {
			return r, true
		}
	}
	return lab.Resource{}, false
}

func (h *anyHarness) Kill(t testing.TB, name string) {
	t.Helper()
	if _, ok := h.resource("virtualMachine", name); !ok {
		t.Fatalf("kill: there is no %s", name)
	}
	h.world.GuestEnded(name)
}

func (h *anyHarness) Plant(_ testing.TB, name string) func() bool {
	h.planted.Add(name)
	h.world.AddMachine(lab.Group, name)
	return h.intact("virtualMachine", name)
}

// intact gives a function that tells whether a resource is as it is now.
func (h *anyHarness) intact(kind, name string) func() bool {
	describe := func() string {
		r, ok := h.resource(kind, name)
		return fmt.Sprintf("%v %+v", ok, r)
	}
	before := describe()
	return func() bool { return describe() == before }
}

func (h *anyHarness) Agents(_ testing.TB, name string) int {
	n := 0
	for _, r := range h.world.Resources() {
		if r.Kind == "virtualMachine" && r.Name == name && r.Power == "running" {
			n++
		}
	}
	return n
}

func (h *anyHarness) Leftovers(testing.TB) []string {
	h.world.Wait() // what is being removed is not left behind
	var left []string
	for _, r := range h.world.Resources() {
		if r.Kind == "imageVersion" && r.State == "Succeeded" || h.planted.Has(r.Name) || h.isOutput(r) {
			continue
		}
		left = append(left, r.Kind+" "+r.Group+"/"+r.Name+" "+r.State)
	}
	return left
}

func (h *harness) Seed(t testing.TB, name string) seed.Seed {
	t.Helper()
	r, _ := h.resource("virtualMachine", name)
	s, err := seed.Decode(r.Seed)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (h *harness) EndSessions(testing.TB) { h.cloud.EndSessions() }

// critical are the calls without which the verbs cannot succeed.
var critical = map[platformtest.Verb]string{
	platformtest.Check: "permissions.list", platformtest.Create: "VirtualMachinesClient.BeginCreateOrUpdate",
	platformtest.Stop: "VirtualMachinesClient.BeginPowerOff", platformtest.Destroy: "VirtualMachinesClient.BeginDelete",
	platformtest.Find: "VirtualMachinesClient.Get", platformtest.List: "VirtualMachinesClient.NewListPager",
	platformtest.CheckDisk: "DisksClient.Get", platformtest.AddDisk: "VirtualMachinesClient.BeginAttachDetachDataDisks",
	platformtest.KeepDisk: "DisksClient.BeginCreateOrUpdate",
}

var (
	throttled  = lab.Fault{Status: 429, Code: "TooManyRequests", Message: "The request is being throttled.", RetryAfter: 17 * time.Second}
	exhausted  = lab.Fault{Status: 409, Code: "AllocationFailed", Message: "We do not have sufficient capacity for the requested VM size in this region."}
	overQuota  = lab.Fault{Status: 409, Code: "OperationNotAllowed", Message: "Operation could not be completed as it results in exceeding approved Total Regional Cores quota."}
	forbidden  = lab.Fault{Status: 403, Code: "AuthorizationFailed", Message: "The client does not have authorization to perform action 'X/y/write' over scope 'z'."}
	unexpected = lab.Fault{Status: 200, Code: "SomethingNew", Message: "Nobody knows."}
)

func (h *harness) Fail(_ testing.TB, call platformtest.Call, kind platforms.Kind) func() {
	making := []platformtest.Verb{platformtest.Create, platformtest.AddDisk, platformtest.KeepDisk}
	switch {
	case kind == platforms.Full && !slices.Contains(making, call.Verb):
		return nil
	case kind == platforms.Full && call.Verb == platformtest.Create:
		h.cloud.FailLater(critical[call.Verb], exhausted, 0) // it leaves a VM that is Failed
	case kind == platforms.Full:
		h.cloud.Fail(critical[call.Verb], overQuota, 0)
	case kind == platforms.Denied:
		h.cloud.Fail(critical[call.Verb], forbidden, 0)
	default:
		h.cloud.Fail(critical[call.Verb], throttled, 0)
	}
	return h.cloud.Heal
}

func (h *harness) Open(t testing.TB) platforms.Driver {
	h.seen.Store(nil)
	return h.anyHarness.Open(t)
}

func (h *harness) Watch(t testing.TB, see func(method string)) platforms.Driver {
	d := h.Open(t)
	h.seen.Store(&see)
	return d
}

func (h *harness) Breaks(_ testing.TB, _ platformtest.Verb, call string, _ int) []platformtest.Break {
	var all []platformtest.Break
	for _, f := range []struct {
		fault lab.Fault
		later bool // it strikes operations only
		kinds []platforms.Kind
	}{
		{throttled, false, []platforms.Kind{platforms.Busy}},
		{forbidden, false, []platforms.Kind{platforms.Denied}},
		{overQuota, false, []platforms.Kind{platforms.Full}},
		{lab.Fault{Status: 409, Code: "Conflict", Message: "busy"}, false, []platforms.Kind{"", platforms.Busy}},
		{lab.Fault{Status: 500, Code: "InternalServerError", Message: "x"}, false, []platforms.Kind{"", platforms.Busy}},
		{exhausted, true, []platforms.Kind{"", platforms.Full}},
		{unexpected, true, []platforms.Kind{"", platforms.Internal}},
	} {
		if call == "blob" && !f.later && f.fault.Status != 500 {
			continue // that is another service, with errors of its own
		}
		if f.fault.Status == 403 && (strings.HasPrefix(call, "VirtualMachineSizes") || strings.HasPrefix(call, "Usage")) {
			f.kinds = append(f.kinds, "") // without the right to see sizes and quotas, they are not checked
		}
		all = append(all, platformtest.Break{Name: f.fault.Code, Kinds: f.kinds, RetryAfter: f.fault.RetryAfter, Once: func() func() {
			if f.later {
				h.cloud.FailLater(call, f.fault, 1)
			} else {
				h.cloud.Fail(call, f.fault, 1)
			}
			return h.cloud.Heal
		}})
	}
	return all
}

func (h *harness) Forget(testing.TB) { h.cloud.RemoveImages() }

func (h *harness) Shared(testing.TB) []string {
	var images []string
	for _, r := range h.cloud.Resources() {
		if r.Kind == "imageVersion" {
			images = append(images, r.Name)
		}
	}
	return images
}

func (h *harness) Boots(t testing.TB, ce string) {
	t.Helper()
	for _, r := range h.cloud.Resources() {
		if r.Kind != "disk" || r.AttachedTo != ce {
			continue
		}
		if b := h.ReadOutput(t, r.Name, 9<<20-5, 5); string(b) != "end\x00\x00" {
			t.Errorf("%s ends with %q", r.Name, b)
		}
		return
	}
	t.Errorf("%s has no disk", ce)
}

func (h *harness) Delay(_ testing.TB, d time.Duration) {
	h.cloud.Hold("VirtualMachinesClient.BeginCreateOrUpdate", d)
}

var (
	_ platformtest.OutputHarness = (*anyHarness)(nil)
	_ platformtest.Writing       = (*harness)(nil)
	_ platformtest.Telling       = (*harness)(nil)
	_ platformtest.Faulty        = (*harness)(nil)
	_ platformtest.Sessions      = (*harness)(nil)
	_ platformtest.Slow          = (*harness)(nil)
	_ platformtest.Breaking      = (*harness)(nil)
	_ platformtest.Booting       = (*harness)(nil)
)
