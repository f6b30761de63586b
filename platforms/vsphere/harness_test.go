package vsphere

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"imageport/job"
	"imageport/job/seed"
	"imageport/platforms"
	"imageport/platforms/platformtest"
)

// harness is a vCenter of its own, with what can be done to any.
type harness struct {
	*center
	ova string

	mu      sync.Mutex
	planted map[string]bool // names of VMs, and of output disks
}

// simHarness is a simulated vCenter, with which more can be done.
type simHarness struct{ *harness }

func newHarness(t testing.TB) *simHarness {
	h := &harness{center: startVCenter(t), ova: testOVA(t), planted: make(map[string]bool)}
	h.setEye(t)
	return &simHarness{h}
}

// setEye opens the driver of the test's own.
func (h *harness) setEye(t testing.TB) {
	d := h.open(t, h.config(), h.where)
	h.eye = func() *Driver {
		if _, err := d.site(context.Background()); err != nil {
			t.Fatal(err)
		}
		return d
	}
}

func (h *harness) config() Config {
	return Config{
		Credential: func(_ context.Context, id string) (string, string, error) {
			if id != "vcenter" {
				return "", "", errors.New("no such credential")
			}
			return h.username, h.password, nil
		},
		Appliance: h.ova, MemoryMB: 256, CPUs: 1, PollInterval: 4 * time.Millisecond,
	}
}

// open gives the driver of a new platform.
func (h *harness) open(t testing.TB, cfg Config, where job.Target) *Driver {
	t.Helper()
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(context.Background()); err != nil && !errors.Is(err, errDead) {
			t.Errorf("Close: %v", err)
		}
	})
	d, err := p.Open(t.Context(), where)
	if err != nil {
		t.Fatal(err)
	}
	return d.(*Driver)
}

func (h *harness) Open(t testing.TB) platforms.Driver { return h.open(t, h.config(), h.where) }

// errDead is what a dead worker's calls give.
var errDead = errors.New("the worker is dead")

// cutter lets some calls through that change something, and then none at all,
// as a process that has died makes none.
type cutter struct {
	soap.RoundTripper
	mu   sync.Mutex
	left int
	dead bool
}

func (c *cutter) RoundTrip(ctx context.Context, req, res soap.HasFault) error {
	c.mu.Lock()
	if changes(method(req)) {
		if c.left == 0 {
			c.dead = true
		}
		c.left--
	} else if c.left == 0 {
		// The last one let through is a step; what it started goes on without us.
		c.dead = true
	}
	dead := c.dead
	c.mu.Unlock()
	if dead {
		return errDead
	}
	return c.RoundTripper.RoundTrip(ctx, req, res)
}

func (h *harness) Cut(t testing.TB, call platformtest.Call, n int) bool {
	t.Helper()
	cfg := h.config()
	var c *cutter
	cfg.Wrap = func(r soap.RoundTripper) soap.RoundTripper {
		c = &cutter{RoundTripper: r, left: n + 1}
		return c
	}
	err := call.Do(t.Context(), h.open(t, cfg, h.where))
	if c.dead {
		if !errors.Is(err, errDead) {
			t.Fatalf("%s of a worker that died: %v", call.Verb, err)
		}
		h.quiet(t)
		return false
	}
	if err != nil {
		t.Fatalf("%s: %v", call.Verb, err)
	}
	return true
}

func (h *harness) ceVM(t testing.TB, name string) *vm {
	t.Helper()
	for _, v := range h.allVMs(t) {
		if v.name == name {
			return v
		}
	}
	return nil
}

func (h *harness) Kill(t testing.TB, name string) {
	t.Helper()
	v := h.ceVM(t, name)
	if v == nil {
		t.Fatalf("kill: there is no %s", name)
	}
	h.admin(t, func(ctx context.Context, d *Driver) (*object.Task, error) { return v.object(d).PowerOff(ctx) })
}

func (h *harness) plant(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.planted[name] = true
}

// isPlanted reports it of a VM, or of a file.
func (h *harness) isPlanted(name string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.planted[name]
}

func (h *harness) Plant(t testing.TB, name string) func() bool {
	t.Helper()
	d := h.Open(t).(*Driver)
	s, err := d.site(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	folder, err := d.makeFolder(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return h.plantVM(t, folder, name)
}

func (h *harness) plantVM(t testing.TB, folder types.ManagedObjectReference, name string) func() bool {
	t.Helper()
	h.plant(name)
	info := h.admin(t, func(ctx context.Context, d *Driver) (*object.Task, error) {
		s, err := d.site(ctx)
		if err != nil {
			return nil, err
		}
		return object.NewFolder(d.client, folder).CreateVM(ctx, types.VirtualMachineConfigSpec{
			Name: name, GuestId: "otherGuest", NumCPUs: 1, MemoryMB: 32, Files: &types.VirtualMachineFileInfo{VmPathName: "[" + h.where.Datastore + "]"},
		}, object.NewResourcePool(d.client, s.pool.ref), nil)
	})
	ref := info.Result.(types.ManagedObjectReference)
	before := fmt.Sprint(h.ceVM(t, name).extra)
	return func() bool {
		v := h.ceVM(t, name)
		return v != nil && v.ref == ref && fmt.Sprint(v.extra) == before
	}
}

func (h *harness) Agents(t testing.TB, name string) int {
	t.Helper()
	n := 0
	for _, v := range h.allVMs(t) {
		if v.name == name && v.power == types.VirtualMachinePowerStatePoweredOn {
			n++
		}
	}
	return n
}

func (h *simHarness) Seed(t testing.TB, name string) seed.Seed {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(h.ceVM(t, name).extra["guestinfo.imageport-ce"])
	if err != nil {
		t.Fatal(err)
	}
	s, err := seed.Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// removeFolder removes the folder of the CEs with the template that is in it, so
// that the next CE needs both.
func (h *harness) removeFolder(t testing.TB) {
	t.Helper()
	for _, v := range h.allVMs(t) {
		if v.template {
			h.admin(t, func(ctx context.Context, d *Driver) (*object.Task, error) { return v.object(d).Destroy(ctx) })
		}
	}
	d := h.eye()
	folder, err := d.child(t.Context(), d.known.Load().vmFolder.ref, ownFolder)
	if err != nil {
		t.Fatal(err)
	}
	if folder != nil {
		h.admin(t, func(ctx context.Context, d *Driver) (*object.Task, error) {
			return object.NewFolder(d.client, *folder).Destroy(ctx)
		})
	}
}

// isOutputVM reports whether it is one of the suite's.
func isOutputVM(name string) bool { return strings.HasPrefix(name, "output-") }

func (h *harness) Leftovers(t testing.TB) []string {
	t.Helper()
	h.quiet(t) // what is being removed is not left behind
	var left []string
	homes := make(map[string]bool)
	for _, v := range h.allVMs(t) {
		shared := v.template && strings.HasPrefix(v.name, templatePrefix) && !strings.Contains(v.name, ".")
		if shared || h.isPlanted(v.name) || isOutputVM(v.name) {
			var home object.DatastorePath
			home.FromString(v.home)
			homes[path.Dir(home.Path)] = true
			continue
		}
		left = append(left, "VM "+v.name)
	}
	for _, f := range h.files(t) {
		if top, _, ok := strings.Cut(f, "/"); ok && top != h.images && !homes[top] {
			left = append(left, "file "+f)
		}
	}
	return left
}

func (h *simHarness) EndSessions(testing.TB) { h.lab.EndSessions() }

// critical are the methods without which the verbs cannot succeed.
var critical = map[platformtest.Verb]string{
	platformtest.Check: "HasPrivilegeOnEntities", platformtest.Create: "CloneVM_Task", platformtest.Stop: "PowerOffVM_Task",
	platformtest.Destroy: "Destroy_Task", platformtest.Find: "FindChild", platformtest.List: "RetrievePropertiesEx",
	platformtest.CheckDisk: "SearchDatastore_Task", platformtest.AddDisk: "ReconfigVM_Task", platformtest.KeepDisk: "MoveVirtualDisk_Task",
	platformtest.CheckVM: "FindChild", platformtest.MakeVM: "CreateVM_Task",
	platformtest.CheckGuest: "HasPrivilegeOnEntities", platformtest.StartGuest: "CreateVM_Task", platformtest.FindGuest: "FindChild",
	platformtest.GuestScreen: "CreateScreenshot_Task", platformtest.StopGuest: "PowerOffVM_Task", platformtest.RemoveGuest: "Destroy_Task",
}

func (h *simHarness) Fail(t testing.TB, call platformtest.Call, kind platforms.Kind) func() {
	t.Helper()
	fault := map[platforms.Kind]types.BaseMethodFault{
		platforms.Busy: &types.HostNotConnected{}, platforms.Full: &types.InsufficientMemoryResourcesFault{}, platforms.Denied: &types.NoPermission{PrivilegeId: "X.Y"},
	}[kind]
	making := []platformtest.Verb{platformtest.Create, platformtest.AddDisk, platformtest.MakeVM, platformtest.StartGuest}
	if kind == platforms.Full && !slices.Contains(making, call.Verb) {
		return nil
	}
	h.inject(critical[call.Verb], fault, 0)
	return h.lab.ClearFaults
}

func (h *simHarness) Delay(_ testing.TB, d time.Duration) { h.lab.Delay("CloneVM_Task", d) }

var (
	_ platformtest.VMHarness    = (*harness)(nil)
	_ platformtest.GuestHarness = (*harness)(nil)
	_ platformtest.Writing      = (*simHarness)(nil)
	_ platformtest.GuestWriting = (*simHarness)(nil)
	_ platformtest.Telling      = (*simHarness)(nil)
	_ platformtest.Faulty       = (*simHarness)(nil)
	_ platformtest.Sessions     = (*simHarness)(nil)
	_ platformtest.Slow         = (*simHarness)(nil)
)
