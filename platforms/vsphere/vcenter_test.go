package vsphere

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"imageport/job"
)

// vcenter is the vCenter of a test: a simulated one of its own, or a real one.
type vcenter struct {
	where              job.Target
	username, password string
	eye                func() *Driver // a driver of the test's own
	// images is the directory of the output disks.
	images string

	// The rest is that of a simulated one.
	model       *simulator.Model
	dir         string // of its datastore
	certificate *x509.Certificate

	mu      sync.Mutex
	named   map[string]time.Time // when VMs of these names began to be made
	faulty  bool
	delay   time.Duration // of a clone
	revoked string        // a privilege that the user does not have
}

func startVCenter(t testing.TB) *vcenter {
	t.Helper()
	m := simulator.VPX()
	m.Machine, m.Datastore, m.Pool, m.Folder = 0, 1, 1, 0
	if err := m.Create(); err != nil {
		t.Fatal(err)
	}
	certificate := selfSigned(t)
	v := &vcenter{
		username: "administrator@vsphere.local", password: "secret", images: "images",
		model: m, certificate: certificate.Leaf, named: make(map[string]time.Time),
	}
	m.Map().Handler = v.handle
	m.Map().Put(&authorization{m.Map().Get(*m.ServiceContent.AuthorizationManager).(*simulator.AuthorizationManager), v})
	m.Service.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	m.Service.Listen = &url.URL{User: url.UserPassword(v.username, v.password)}
	server := m.Service.NewServer()
	t.Cleanup(func() { server.CloseClientConnections(); server.Close(); m.Remove() })
	for _, e := range m.Map().All("Datastore") {
		v.dir = e.(*simulator.Datastore).Info.GetDatastoreInfo().Url
	}
	v.where = job.Target{Platform: job.PlatformVSphere, PlatformCredentialID: "vcenter"}
	v.where.VCenterHost = server.URL.Hostname()
	v.where.VCenterPort, _ = strconv.Atoi(server.URL.Port())
	v.where.VCenterSSLFingerprint = fmt.Sprintf("%X", sha256.Sum256(certificate.Leaf.Raw))
	v.where.Datacenter, v.where.Datastore, v.where.Cluster, v.where.Network = "DC0", "LocalDS_0", "DC0_C0", "VM Network"
	return v
}

// selfSigned makes a certificate for 127.0.0.1.
func selfSigned(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		Subject: pkix.Name{CommonName: "vcenter"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// handle sees each call before the simulator does, and has it do what a vCenter
// does: a VM that is being made cannot be changed, a clone that has begun cannot
// be cancelled, and no two disks have the same UUID.
func (v *vcenter) handle(ctx *simulator.Context, m *simulator.Method) (mo.Reference, types.BaseMethodFault) {
	switch body := m.Body.(type) {
	case *types.CloneVM_Task:
		v.mu.Lock()
		delay := v.delay
		v.mu.Unlock()
		time.Sleep(delay)
	case *types.CancelTask:
		return nil, new(types.NotSupported)
	case *types.Destroy_Task, *types.PowerOnVM_Task, *types.MarkAsTemplate:
		if m.This.Type == "VirtualMachine" && v.making(ctx) {
			return nil, new(types.TaskInProgress)
		}
	case *types.CreateVM_Task:
		// The simulator looks for the name first, and takes it later.
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.faulty || ctx.Session == nil {
			break
		}
		now := time.Now()
		if now.Sub(v.named[body.Config.Name]) < time.Second {
			return nil, &types.DuplicateName{Name: body.Config.Name, Object: m.This}
		}
		v.named[body.Config.Name] = now
	case *types.ReconfigVM_Task:
		if v.making(ctx) {
			return nil, new(types.TaskInProgress)
		}
		for _, c := range body.Spec.DeviceChange {
			if b, ok := c.GetVirtualDeviceConfigSpec().Device.GetVirtualDevice().Backing.(*types.VirtualDiskFlatVer2BackingInfo); ok && b.Uuid == "" {
				b.Uuid = uuid.NewString()
			}
		}
	}
	return nil, nil
}

// authorization is the simulator's, without one of the privileges.
type authorization struct {
	*simulator.AuthorizationManager
	v *vcenter
}

func (a *authorization) HasPrivilegeOnEntities(req *types.HasPrivilegeOnEntities) soap.HasFault {
	a.v.mu.Lock()
	defer a.v.mu.Unlock()
	res := a.AuthorizationManager.HasPrivilegeOnEntities(req)
	for _, e := range res.(*methods.HasPrivilegeOnEntitiesBody).Res.Returnval {
		for i := range e.PrivAvailability {
			p := &e.PrivAvailability[i]
			p.IsGranted = p.PrivId != a.v.revoked
		}
	}
	return res
}

func isRunning(ctx *simulator.Context, t *simulator.Task) (running bool) {
	ctx.Map.WithLock(&simulator.Context{Map: ctx.Map}, t, func() {
		running = t.Info.State != types.TaskInfoStateSuccess && t.Info.State != types.TaskInfoStateError
	})
	return running
}

// making reports whether a VM is being made.
func (v *vcenter) making(ctx *simulator.Context) bool {
	making := false
	for _, e := range ctx.Map.AllReference("Task") {
		t := e.(*simulator.Task)
		making = making || (t.Info.Name == "CloneVm" || t.Info.Name == "CreateVm") && isRunning(ctx, t)
	}
	return making
}

func (v *vcenter) inject(method string, fault types.BaseMethodFault, times int) {
	v.setFaulty(true)
	v.model.Service.AddFaultRule(&simulator.FaultInjectionRule{
		MethodName: method, ObjectType: "*", ObjectName: "*", Probability: 1, Enabled: true, MaxCount: times,
		FaultType: simulator.FaultTypeCustom, Fault: fault,
	})
}

func (v *vcenter) heal() {
	v.model.Service.ClearFaultRules()
	v.setFaulty(false)
}

func (v *vcenter) setFaulty(yes bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.faulty = yes
	clear(v.named)
}

func (v *vcenter) file(t testing.TB, name string) string {
	t.Helper()
	var p object.DatastorePath
	if !p.FromString(name) {
		t.Fatalf("no datastore path: %q", name)
	}
	return filepath.Join(v.dir, p.Path)
}

// files gives the files of the datastore: of a real one only those in the place
// of output disks.
func (v *vcenter) files(t testing.TB) []string {
	t.Helper()
	if v.dir == "" {
		return v.realFiles(t)
	}
	var all []string
	err := filepath.WalkDir(v.dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil // it may go meanwhile
		}
		rel, err := filepath.Rel(v.dir, p)
		all = append(all, rel)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func (v *vcenter) realFiles(t testing.TB) []string {
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
func (v *vcenter) allVMs(t testing.TB) []*vm {
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
func (v *vcenter) admin(t testing.TB, start func(context.Context, *Driver) (*object.Task, error)) types.TaskInfo {
	t.Helper()
	d := v.eye()
	info, err := d.run(context.Background(), func(ctx context.Context) (*object.Task, error) { return start(ctx, d) })
	if err != nil {
		t.Fatalf("past the driver: %v", &failure{err})
	}
	return info
}

// quiet waits until no task runs.
func (v *vcenter) quiet(t testing.TB) {
	t.Helper()
	if v.model == nil {
		time.Sleep(2 * time.Second)
		return
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		running := false
		for _, e := range v.model.Map().AllReference("Task") {
			p, err := v.eye().read(context.Background(), e.Reference(), "info.state")
			s := get[types.TaskInfoState](p, "info.state")
			running = running || err == nil && (s == types.TaskInfoStateQueued || s == types.TaskInfoStateRunning)
		}
		if !running {
			return
		}
		if time.Now().After(end) {
			t.Fatal("a task does not end")
		}
	}
}

func (v *vcenter) endSessions(t testing.TB) {
	t.Helper()
	d := v.eye()
	manager := *d.client.ServiceContent.SessionManager
	p, err := d.read(context.Background(), manager, "sessionList")
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, s := range get[types.ArrayOfUserSession](p, "sessionList").UserSession {
		if s.Key != *d.key.Load() {
			keys = append(keys, s.Key)
		}
	}
	if _, err := methods.TerminateSession(context.Background(), d.client, &types.TerminateSession{This: manager, SessionId: keys}); err != nil {
		t.Fatal(err)
	}
}
