package vcenter_test

import (
	"context"
	"crypto/sha256"
	"encoding/pem"
	"fmt"
	"net"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"imageport/lab/vcenter"
)

func TestLogin(t *testing.T) {
	s := start(t, vcenter.Config{})
	for name, c := range map[string]struct{ user, password string }{
		"another password": {s.Username(), "guess"},
		"another user":     {"root", s.Password()},
		"no password":      {s.Username(), ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := connect(t, s.VCenter, c.user, c.password)
			refused(t, err, &types.InvalidLogin{})
		})
	}
	if other := start(t, vcenter.Config{}); other.Password() == s.Password() {
		t.Error("two have the same generated password")
	}
}

func TestCertificate(t *testing.T) {
	s := start(t, vcenter.Config{})
	block, _ := pem.Decode([]byte(s.CertificatePEM()))
	if block == nil {
		t.Fatal("no PEM")
	}
	want := strings.ToUpper(fmt.Sprintf("%x", sha256.Sum256(block.Bytes)))
	if got := strings.ReplaceAll(s.Fingerprint(), ":", ""); got != want || len(s.Fingerprint()) != 95 {
		t.Errorf("fingerprint %s, want %s", s.Fingerprint(), want)
	}
	u, err := url.Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	if u.Host != net.JoinHostPort(s.Host(), fmt.Sprint(s.Port())) || u.User != nil || u.Scheme != "https" {
		t.Errorf("URL %s for %s port %d", u, s.Host(), s.Port())
	}
	by := func(print string) error {
		c := soap.NewClient(u, false)
		c.SetThumbprint(u.Host, print)
		_, err := vim25.NewClient(t.Context(), c)
		return err
	}
	if err := by(s.Fingerprint()); err != nil {
		t.Errorf("by its fingerprint: %v", err)
	}
	if by(start(t, vcenter.Config{}).Fingerprint()) == nil {
		t.Error("another's fingerprint does")
	}
	if by("") == nil {
		t.Error("it is trusted for nothing")
	}
}

func TestListenAddressThatIsTaken(t *testing.T) {
	s := start(t, vcenter.Config{})
	v, err := vcenter.Start(vcenter.Config{Listen: net.JoinHostPort(s.Host(), fmt.Sprint(s.Port()))})
	if err == nil {
		v.Close()
		t.Fatal("two listen at the same address")
	}
	if !strings.Contains(err.Error(), fmt.Sprint(s.Port())) {
		t.Errorf("%v does not say where", err)
	}
	if _, err := vcenter.Start(vcenter.Config{Listen: "localhost"}); err == nil {
		t.Error("an address without a port")
	}
}

// Plain vcsim lets anybody read.
func TestNothingIsReadWithoutSession(t *testing.T) {
	s := start(t, vcenter.Config{})
	stranger, err := connect(t, s.VCenter, "nobody", "nothing")
	refused(t, err, &types.InvalidLogin{})
	var e mo.Datacenter
	err = object.NewCommon(stranger.Client, s.dc.Reference()).Properties(t.Context(), s.dc.Reference(), []string{"name"}, &e)
	refused(t, err, &types.NotAuthenticated{})
}

func TestEndSessions(t *testing.T) {
	s := start(t, vcenter.Config{})
	other, err := connect(t, s.VCenter, s.Username(), s.Password())
	if err != nil {
		t.Fatal(err)
	}
	read := func(c *vim25.Client) error {
		_, err := find.NewFinder(c).DatacenterList(t.Context(), "*")
		return err
	}
	s.EndSessions()
	refused(t, read(s.client.Client), &types.NotAuthenticated{})
	refused(t, read(other.Client), &types.NotAuthenticated{})
	_, err = s.folder.CreateFolder(t.Context(), "x")
	refused(t, err, &types.NotAuthenticated{})
	if err := s.client.SessionManager.Login(t.Context(), url.UserPassword(s.Username(), s.Password())); err != nil {
		t.Fatal(err)
	}
	if err := read(s.client.Client); err != nil {
		t.Errorf("after a new login: %v", err)
	}
}

func TestPrivileges(t *testing.T) {
	s := start(t, vcenter.Config{})
	ctx := t.Context()
	m := object.NewAuthorizationManager(s.client.Client)
	const create, power = "VirtualMachine.Inventory.Create", "VirtualMachine.Interact.PowerOn"
	granted := func() []bool {
		res, err := methods.HasPrivilegeOnEntities(ctx, s.client.Client, &types.HasPrivilegeOnEntities{
			This: m.Reference(), Entity: []types.ManagedObjectReference{s.folder.Reference()}, PrivId: []string{create, power},
		})
		if err != nil {
			t.Fatal(err)
		}
		var got []bool
		for _, a := range res.Returnval[0].PrivAvailability {
			got = append(got, a.IsGranted)
		}
		users, err := m.HasUserPrivilegeOnEntities(ctx, []types.ManagedObjectReference{s.folder.Reference()}, s.Username(), []string{create, power})
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(users, res.Returnval) {
			t.Errorf("of the user %v, of the session %v", users, res.Returnval)
		}
		fetched, err := m.FetchUserPrivilegeOnEntities(ctx, []types.ManagedObjectReference{s.folder.Reference()}, s.Username())
		if err != nil {
			t.Fatal(err)
		}
		for i, id := range []string{create, power} {
			if slices.Contains(fetched[0].Privileges, id) != got[i] {
				t.Errorf("%s: fetched %v, has %v", id, !got[i], got[i])
			}
		}
		return got
	}
	if got := granted(); !got[0] || !got[1] {
		t.Errorf("before: %v", got)
	}
	s.Revoke(create)
	if got := granted(); got[0] || !got[1] {
		t.Errorf("revoked: %v", got)
	}
	_, err := await(s.folder.CreateVM(ctx, s.vmSpec("x"), s.pool, nil))
	refused(t, err, &types.NoPermission{})
	s.Grant(create)
	if got := granted(); !got[0] || !got[1] {
		t.Errorf("granted: %v", got)
	}
	vm := s.createVM("x")
	s.Revoke("VirtualMachine.Config.AddNewDisk", power)
	_, err = await(vm.Reconfigure(ctx, change(add, "create", s.diskSpec(vm, "[LocalDS_0] x/d.vmdk", mib))))
	refused(t, err, &types.NoPermission{})
	_, err = await(vm.PowerOn(ctx))
	refused(t, err, &types.NoPermission{})

	gone := types.ManagedObjectReference{Type: "Folder", Value: "group-999"}
	_, err = m.HasUserPrivilegeOnEntities(ctx, []types.ManagedObjectReference{gone}, s.Username(), []string{create})
	refused(t, err, &types.ManagedObjectNotFound{})
}

func TestInjectedFaults(t *testing.T) {
	s := start(t, vcenter.Config{})
	s.Inject(&simulator.FaultInjectionRule{MethodName: "CreateFolder", FaultType: simulator.FaultTypeCustom, Fault: &types.TaskInProgress{}, MaxCount: 1})
	_, err := s.folder.CreateFolder(t.Context(), "x")
	refused(t, err, &types.TaskInProgress{})
	if _, err := s.folder.CreateFolder(t.Context(), "x"); err != nil {
		t.Errorf("after its count: %v", err)
	}
	s.Inject(&simulator.FaultInjectionRule{MethodName: "PowerOnVM_Task", FaultType: simulator.FaultTypeInsufficientResourcesFault})
	vm := s.createVM("vm")
	_, err = await(vm.PowerOn(t.Context()))
	refused(t, err, &types.InsufficientResourcesFault{})
	s.ClearFaults()
	s.must(vm.PowerOn(t.Context()))
}

func TestInventory(t *testing.T) {
	dir := t.TempDir()
	s := start(t, vcenter.Config{Dir: dir, Datastores: 2, Hosts: 1})
	f := find.NewFinder(s.client.Client).SetDatacenter(s.dc)
	stores, err := f.DatastoreList(t.Context(), "*")
	if err != nil || len(stores) != 2 {
		t.Fatalf("%v, %v", stores, err)
	}
	for _, path := range []string{"DC0_C0/DC0_C0_H0", "DC0_H0/DC0_H0"} {
		h, err := f.HostSystem(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		var m mo.HostSystem
		if err := h.Properties(t.Context(), h.Reference(), []string{"datastore"}, &m); err != nil || len(m.Datastore) != 2 {
			t.Errorf("%s sees %v, %v", path, m.Datastore, err)
		}
	}
	if got, want := s.path("[LocalDS_1] a/b.vmdk"), dir+"/LocalDS_1/a/b.vmdk"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for _, name := range []string{"", "x.vmdk", "[Other] x", "[LocalDS_0] ../x", "[LocalDS_0] /etc/passwd"} {
		if p, err := s.File(name); err == nil {
			t.Errorf("%q is %s", name, p)
		}
	}
}

// Plain vcsim waits for it for ever.
func TestCloseWithClientThatWaits(t *testing.T) {
	s := start(t, vcenter.Config{})
	ctx, leave := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := methods.WaitForUpdatesEx(ctx, s.client.Client, &types.WaitForUpdatesEx{
			This: s.client.ServiceContent.PropertyCollector, Version: "-",
		})
		done <- err
	}()
	time.Sleep(200 * time.Millisecond) // it waits now, or else there is nothing to see
	leave()
	if err := <-done; err == nil {
		t.Error("there was an update")
	}
	closed := make(chan struct{})
	go func() {
		s.Close()
		s.Close()
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(30 * time.Second):
		t.Error("it does not close")
	}
}
