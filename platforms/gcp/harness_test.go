package gcp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/compute/apiv1/computepb"
	"google.golang.org/api/iterator"
	"google.golang.org/protobuf/proto"

	"imageport/job"
	"imageport/job/seed"
	"imageport/lab/gce"
	"imageport/platforms"
	"imageport/platforms/platformtest"
)

// harness is a project, with what can be done to any.
type harness struct {
	cfg     Config // without what differs from driver to driver
	where   job.Target
	eye     *Driver // the test's own
	cloud   *gce.Cloud
	place   string             // what the names of output disks begin with
	planted platformtest.Names // of instances and disks
}

// simHarness is a simulated project, with which more can be done.
type simHarness struct {
	*harness
	hook atomic.Pointer[func(gce.Call) error] // is asked before each call
}

// startCloud starts a cloud for the test.
func startCloud(t testing.TB, cfg gce.Config) *gce.Cloud {
	t.Helper()
	cfg.Dir = t.TempDir()
	c, err := gce.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func newHarness(t testing.TB) *simHarness { return newHarnessWith(t, gce.Config{}) }

func newHarnessWith(t testing.TB, cfg gce.Config) *simHarness {
	t.Helper()
	sim := &simHarness{}
	cfg.Before = func(c gce.Call) error {
		if hook := sim.hook.Load(); hook != nil {
			return (*hook)(c)
		}
		return nil
	}
	cloud := startCloud(t, cfg)
	zones := cloud.Zones()
	where := job.Target{Platform: job.PlatformGCP, PlatformCredentialID: "gcp"}
	where.GCP = job.GCP{
		GCPZone: zones[0], GCPZones: job.Names(strings.Join(zones[1:], ",")), VPCNetworkName: "default", VPCNetworkSubnetName: "default",
		GCPNetworkTags: "imageport",
	}
	h := &harness{
		cfg: Config{
			Credential:   credential(Credential{KeyJSON: cloud.KeyJSON()}),
			Appliance:    testTarball(t),
			Bucket:       cloud.Bucket(),
			PollInterval: 4 * time.Millisecond, Endpoint: cloud.URL(),
		},
		where: where, cloud: cloud, place: "output",
	}
	h.eye = h.open(t, h.cfg, where)
	sim.harness = h
	return sim
}

func credential(c Credential) func(context.Context, string) (Credential, error) {
	return func(_ context.Context, id string) (Credential, error) {
		if id != "gcp" {
			return Credential{}, errors.New("no such credential")
		}
		return c, nil
	}
}

// testTarball gives an appliance that is a disk of 1 GiB with next to nothing on it.
func testTarball(t testing.TB) string {
	t.Helper()
	path, err := tarball()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var tarballDir string // removed by TestMain

var tarball = sync.OnceValues(func() (string, error) { return makeTarball(tarballDir, []byte("the appliance")) })

// makeTarball makes an appliance in the directory, with that at the beginning of its
// disk of 1 GiB.
func makeTarball(dir string, content []byte) (string, error) {
	disk, path := filepath.Join(dir, "disk.raw"), filepath.Join(dir, "imageport-ce-gcp.tar.gz")
	if err := os.WriteFile(disk, content, 0o600); err != nil {
		return "", err
	}
	if err := os.Truncate(disk, gib); err != nil {
		return "", err
	}
	out, err := exec.Command("tar", "--format=oldgnu", "-Sczf", path, "-C", dir, "disk.raw").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("tar: %w: %s", err, out)
	}
	return path, nil
}

func TestMain(m *testing.M) {
	var err error
	if tarballDir, err = os.MkdirTemp("", "imageport-gcp-test-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(tarballDir)
	os.Exit(code)
}

// open gives the driver of a new platform.
func (h *harness) open(t testing.TB, cfg Config, where job.Target) *Driver {
	t.Helper()
	p, err := New(cfg)
	return platformtest.Opened[*Driver](t, p, err, where)
}

func (h *harness) Open(t testing.TB) platforms.Driver { return h.open(t, h.cfg, h.where) }

// tripper makes a function a http.RoundTripper.
type tripper func(*http.Request) (*http.Response, error)

func (f tripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// changes reports whether a call may change something.
func changes(r *http.Request) bool {
	for _, end := range []string{"/wait", "estIamPermissions", "/token"} {
		if strings.HasSuffix(r.URL.Path, end) {
			return false
		}
	}
	return r.Method != http.MethodGet
}

func (h *harness) Cut(t testing.TB, call platformtest.Call, n int) bool {
	t.Helper()
	return platformtest.CutBy(t, call, n, func(c *platformtest.Cutter) platforms.Driver {
		cfg := h.cfg
		cfg.Wrap = func(inner http.RoundTripper) http.RoundTripper {
			return tripper(func(r *http.Request) (*http.Response, error) {
				if err := c.Call(changes(r)); err != nil {
					return nil, err
				}
				return inner.RoundTrip(r)
			})
		}
		return h.open(t, cfg, h.where)
	}, func() { h.quiet(t) })
}

// quiet waits until nothing that was started is under way.
func (h *harness) quiet(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if h.cloud != nil {
		if err := h.cloud.Settle(ctx); err != nil {
			t.Fatal(err)
		}
		return
	}
	pause := h.eye.pauses
	for {
		busy := slices.ContainsFunc(h.vms(t), func(v *vm) bool {
			return v.GetStatus() != statusRunning && v.GetStatus() != statusTerminated
		}) || slices.ContainsFunc(h.disks(t), func(d *computepb.Disk) bool { return d.GetStatus() != diskReady })
		if !busy {
			return
		}
		if err := pause.Wait(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

// vms gives all instances of the zones.
func (h *harness) vms(t testing.TB) []*vm {
	t.Helper()
	var all []*vm
	for _, zone := range h.eye.place.zones {
		next := h.eye.instances.List(context.Background(), &computepb.ListInstancesRequest{Project: h.eye.place.project, Zone: zone})
		for {
			in, err := next.Next()
			if err == iterator.Done {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, &vm{in, zone})
		}
	}
	return all
}

// disks gives all disks of the zones.
func (h *harness) disks(t testing.TB) []*computepb.Disk {
	t.Helper()
	var all []*computepb.Disk
	for _, zone := range h.eye.place.zones {
		next := h.eye.disks.List(context.Background(), &computepb.ListDisksRequest{Project: h.eye.place.project, Zone: zone})
		for {
			d, err := next.Next()
			if err == iterator.Done {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, d)
		}
	}
	return all
}

func (h *harness) vm(t testing.TB, name string) *vm {
	t.Helper()
	for _, v := range h.vms(t) {
		if v.GetName() == name {
			return v
		}
	}
	t.Fatalf("there is no instance %s", name)
	return nil
}

func (h *harness) Kill(t testing.TB, name string) {
	t.Helper()
	if err := h.eye.powerOff(context.Background(), h.vm(t, name)); err != nil {
		t.Fatal(err)
	}
}

func (h *harness) Plant(t testing.TB, name string) func() bool {
	t.Helper()
	h.planted.Add(name)
	zone := h.eye.place.zones[len(h.eye.place.zones)-1] // not where one looks first
	if h.cloud != nil {
		if err := h.cloud.MakeInstance(zone, name); err != nil {
			t.Fatal(err)
		}
	} else {
		image, err := h.eye.image(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		in := h.eye.template(zone, platforms.Spec{Name: name}, "", image)
		in.Labels, in.Metadata, in.Disks[0].InitializeParams.Labels, in.Disks[0].InitializeParams.Description = nil, nil, nil, nil
		op, err := h.eye.instances.Insert(t.Context(), &computepb.InsertInstanceRequest{Project: h.eye.place.project, Zone: zone, InstanceResource: in})
		if err := h.eye.inZone(t.Context(), zone, op, err); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := h.eye.deleteVM(context.Background(), &vm{in, zone}); err != nil {
				t.Error(err)
			}
		})
	}
	before := proto.Clone(h.vm(t, name).Instance)
	return func() bool {
		return slices.ContainsFunc(h.vms(t), func(v *vm) bool { return proto.Equal(v.Instance, before) })
	}
}

func (h *harness) Agents(t testing.TB, name string) int {
	t.Helper()
	n := 0
	for _, v := range h.vms(t) {
		if v.GetName() == name && v.GetStatus() == statusRunning {
			n++
		}
	}
	return n
}

func (h *harness) Seed(t testing.TB, name string) seed.Seed {
	t.Helper()
	s, err := seed.Decode([]byte(item(h.vm(t, name).Metadata, "imageport-ce")))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (h *harness) Leftovers(t testing.TB) []string {
	t.Helper()
	h.quiet(t) // what is being removed is not left behind
	var left []string
	for _, v := range h.vms(t) {
		if !h.planted.Has(v.GetName()) {
			left = append(left, "instance "+v.GetName())
		}
	}
	for _, d := range h.disks(t) {
		if seed.ValidName(d.GetName()) && !h.planted.Has(d.GetName()) {
			left = append(left, "disk "+d.GetName())
		}
	}
	return left
}

func (h *simHarness) EndSessions(testing.TB) { h.cloud.EndSessions() }

// critical are the methods without which the verbs cannot succeed.
var critical = map[platformtest.Verb]string{
	platformtest.Check: "compute.machineTypes.get", platformtest.Create: "compute.instances.insert", platformtest.Stop: "compute.instances.stop",
	platformtest.Destroy: "compute.instances.delete", platformtest.Find: "compute.instances.get", platformtest.List: "compute.instances.list",
	platformtest.CheckDisk: "compute.disks.get", platformtest.AddDisk: "compute.disks.insert", platformtest.KeepDisk: "compute.disks.insert",
}

var (
	throttled = gce.Fault{Status: http.StatusTooManyRequests, Reason: "rateLimitExceeded", Message: "Rate Limit Exceeded", RetryAfter: 7 * time.Second}
	denied    = gce.Fault{Status: http.StatusForbidden, Reason: "forbidden", Message: "Required 'x.y.z' permission for 'it'"}
	full      = gce.Fault{Status: http.StatusForbidden, Code: "QUOTA_EXCEEDED", Message: "Quota 'SSD_TOTAL_GB' exceeded."}
)

func (h *simHarness) Fail(t testing.TB, call platformtest.Call, kind platforms.Kind) func() {
	t.Helper()
	making := []platformtest.Verb{platformtest.Create, platformtest.AddDisk, platformtest.KeepDisk}
	if kind == platforms.Full && !slices.Contains(making, call.Verb) {
		return nil
	}
	h.cloud.Inject(critical[call.Verb], map[platforms.Kind]gce.Fault{platforms.Busy: throttled, platforms.Full: full, platforms.Denied: denied}[kind], 0)
	return h.cloud.ClearFaults
}

func (h *simHarness) Delay(_ testing.TB, d time.Duration) {
	h.cloud.Delay("compute.instances.insert", d)
}

var (
	_ platformtest.OutputHarness = (*harness)(nil)
	_ platformtest.Telling       = (*harness)(nil)
	_ platformtest.Writing       = (*simHarness)(nil)
	_ platformtest.Faulty        = (*simHarness)(nil)
	_ platformtest.Sessions      = (*simHarness)(nil)
	_ platformtest.Slow          = (*simHarness)(nil)
	_ platformtest.Breaking      = (*simHarness)(nil)
)
