package vsphere

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"

	"imageport/job"
	"imageport/lab/vcenter"
)

// center is the vCenter of a test: a simulated one of its own, or a real one.
type center struct {
	where              job.Target
	username, password string
	eye                func() *Driver // a driver of the test's own
	// images is the directory of the output disks.
	images string
	// lab is the simulated one, or nil.
	lab *vcenter.VCenter
}

// starting is held by who starts a simulator: it sets variables of its package.
var starting sync.Mutex

func startVCenter(t testing.TB) *center {
	t.Helper()
	starting.Lock()
	defer starting.Unlock()
	lab, err := vcenter.Start(vcenter.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(lab.Close)
	c := &center{username: lab.Username(), password: lab.Password(), images: "images", lab: lab}
	c.where = job.Target{Platform: job.PlatformVSphere, PlatformCredentialID: "vcenter"}
	c.where.VCenterHost, c.where.VCenterPort, c.where.VCenterSSLFingerprint = lab.Host(), lab.Port(), lab.Fingerprint()
	c.where.Datacenter, c.where.Datastore, c.where.Cluster, c.where.Network = "DC0", "LocalDS_0", "DC0_C0", "VM Network"
	return c
}

// inject makes a method fail, a number of times or always (0).
func (v *center) inject(method string, fault types.BaseMethodFault, times int) {
	v.lab.Inject(&simulator.FaultInjectionRule{MethodName: method, MaxCount: times, FaultType: simulator.FaultTypeCustom, Fault: fault})
}

func (v *center) file(t testing.TB, name string) string {
	t.Helper()
	path, err := v.lab.File(name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// files gives the files of the datastore: of a real one only those in the place
// of output disks.
func (v *center) files(t testing.TB) []string {
	t.Helper()
	if v.lab == nil {
		return v.realFiles(t)
	}
	all, err := v.lab.Files()
	if err != nil {
		t.Fatal(err)
	}
	for i := range all {
		all[i] = strings.TrimPrefix(all[i], "[LocalDS_0] ")
	}
	return all
}

func (v *center) realFiles(t testing.TB) []string {
	t.Helper()
	d := v.eye()
	s := d.known.Load()
	p, err := d.read(context.Background(), s.datastore.ref, "browser")
	if err != nil {
		t.Fatal(err)
	}
	browser := object.NewHostDatastoreBrowser(d.client, get[types.ManagedObjectReference](p, "browser"))
	info, err := d.run(context.Background(), func(ctx context.Context) (*object.Task, error) {
		return browser.SearchDatastore(ctx, datastorePath(s.datastore, v.images), &types.HostDatastoreBrowserSearchSpec{MatchPattern: []string{"*"}})
	})
	if _, ok := faultOf(err).(*types.FileNotFound); ok {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, f := range info.Result.(types.HostDatastoreBrowserSearchResults).File {
		all = append(all, v.images+"/"+f.GetFileInfo().Path)
	}
	return all
}

// allVMs reads all VMs of the datacenter.
func (v *center) allVMs(t testing.TB) []*vm {
	t.Helper()
	d := v.eye()
	found, err := d.retrieve(context.Background(), types.PropertyFilterSpec{
		ObjectSet: []types.ObjectSpec{{Obj: d.known.Load().vmFolder.ref, SelectSet: []types.BaseSelectionSpec{
			traverse("children", "Folder", "childEntity", "children"),
		}}},
		PropSet: []types.PropertySpec{{Type: "VirtualMachine", PathSet: vmProperties}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var all []*vm
	for ref, p := range found {
		if ref.Type == "VirtualMachine" {
			all = append(all, parseVM(ref, p))
		}
	}
	slices.SortFunc(all, func(a, b *vm) int { return len(a.name) - len(b.name) })
	return all
}

// admin runs a task past the driver under test.
func (v *center) admin(t testing.TB, start func(context.Context, *Driver) (*object.Task, error)) types.TaskInfo {
	t.Helper()
	d := v.eye()
	info, err := d.run(context.Background(), func(ctx context.Context) (*object.Task, error) { return start(ctx, d) })
	if err != nil {
		t.Fatalf("past the driver: %v", &failure{err})
	}
	return info
}

// quiet waits until no task runs.
func (v *center) quiet(t testing.TB) {
	t.Helper()
	if v.lab == nil {
		time.Sleep(2 * time.Second)
		return
	}
	for end := time.Now().Add(10 * time.Second); v.lab.Busy(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a task does not end")
		}
	}
}
