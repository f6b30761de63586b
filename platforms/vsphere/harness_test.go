package vsphere

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
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
	ova     string
	planted platformtest.Names // of VMs, and of output disks
}

// simHarness is a simulated vCenter, with which more can be done.
type simHarness struct{ *harness }

func newHarness(t testing.TB) *simHarness {
	h := &harness{center: startVCenter(t), ova: testOVA(t)}
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
	return platformtest.Opened[*Driver](t, p, err, where)
}

func (h *harness) Open(t testing.TB) platforms.Driver { return h.open(t, h.config(), h.where) }

// tripper is a function as the way between a driver and its connection.
type tripper func(ctx context.Context, req, res soap.HasFault) error

func (f tripper) RoundTrip(ctx context.Context, req, res soap.HasFault) error {
	return f(ctx, req, res)
}

// before opens a driver of which each call is told of first, by its method. It is not
// made if there is an error.
func (h *harness) before(t testing.TB, see func(method string) error) *Driver {
	t.Helper()
	cfg := h.config()
	cfg.Wrap = func(inner soap.RoundTripper) soap.RoundTripper {
		return tripper(func(ctx context.Context, req, res soap.HasFault) error {
			if err := see(method(req)); err != nil {
				return err
			}
			return inner.RoundTrip(ctx, req, res)
		})
	}
	return h.open(t, cfg, h.where)
}

func (h *harness) Cut(t testing.TB, call platformtest.Call, n int) bool {
	t.Helper()
	return platformtest.CutBy(t, call, n, func(c *platformtest.Cutter) platforms.Driver {
		return h.before(t, func(method string) error { return c.Call(changes(method)) })
	}, func() { h.quiet(t) })
}

func (h *simHarness) Watch(t testing.TB, see func(method string)) platforms.Driver {
	t.Helper()
	h.removeImages(t)
	return h.before(t, func(method string) error {
		see(method)
		return nil
	})
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
	h.planted.Add(name)
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

// Forget removes the folder of the CEs with the template that is in it.
func (h *simHarness) Forget(t testing.TB) {
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

// removeImages removes the directory of output disks if it is empty, so that the next
// disk needs it.
func (h *simHarness) removeImages(t testing.TB) {
	t.Helper()
	_ = os.Remove(h.file(t, fmt.Sprintf("[%s] %s", h.where.Datastore, h.images))) // or there is something in it
}

func (h *simHarness) Shared(t testing.TB) []string {
	t.Helper()
	var templates []string
	for _, v := range h.allVMs(t) {
		if v.template {
			templates = append(templates, v.name)
		}
	}
	return templates
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
		if shared || h.planted.Has(v.name) || isOutputVM(v.name) {
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

func (h *simHarness) Platform(t testing.TB, credential platformtest.Passwords) platformtest.Platform {
	t.Helper()
	cfg := h.config()
	cfg.Credential = credential
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (h *simHarness) Login() (username, password string) { return h.username, h.password }
func (h *simHarness) Port() int                          { return h.lab.Port() }
func (h *simHarness) CertificatePEM() string             { return h.lab.CertificatePEM() }
func (h *simHarness) Fingerprint() string                { return h.lab.Fingerprint() }
func (h *simHarness) CountSessions() int                 { return h.lab.Sessions() }

func (h *simHarness) Target(by *platformtest.Proof) job.Target {
	where := h.where
	if by == nil {
		return where
	}
	where.VCenterSSLFingerprint, where.VCenterSSLCACertificate, where.VCenterSSLNoCheckHostname = by.Fingerprint, by.CA, by.AnyName
	if by.Host != "" {
		where.VCenterHost, where.VCenterPort = by.Host, by.Port
	}
	return where
}

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

func (h *simHarness) Breaks(t testing.TB, _ platformtest.Verb, method string, n int) []platformtest.Break {
	fault := []types.BaseMethodFault{
		&types.HostNotConnected{}, &types.NoPermission{PrivilegeId: "X.Y"}, &types.InsufficientMemoryResourcesFault{}, &types.SystemErrorFault{Reason: "x"},
	}[n%4]
	return []platformtest.Break{{
		Name:  fmt.Sprintf("%T", fault),
		Kinds: []platforms.Kind{[]platforms.Kind{platforms.Busy, platforms.Denied, platforms.Full, platforms.Internal}[n%4]},
		Once: func() func() {
			h.removeImages(t)
			h.inject(method, fault, 1)
			return h.lab.ClearFaults
		},
	}}
}

func (h *simHarness) Delay(_ testing.TB, d time.Duration) { h.lab.Delay("CloneVM_Task", d) }

var (
	_ platformtest.VMHarness    = (*harness)(nil)
	_ platformtest.GuestHarness = (*harness)(nil)
	_ platformtest.Losing       = (*harness)(nil)
	_ platformtest.Writing      = (*simHarness)(nil)
	_ platformtest.GuestWriting = (*simHarness)(nil)
	_ platformtest.Telling      = (*simHarness)(nil)
	_ platformtest.Faulty       = (*simHarness)(nil)
	_ platformtest.Server       = (*simHarness)(nil)
	_ platformtest.Breaking     = (*simHarness)(nil)
	_ platformtest.Slow         = (*simHarness)(nil)
)
