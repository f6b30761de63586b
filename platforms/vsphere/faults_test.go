package vsphere

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"imageport/platforms"
)

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
