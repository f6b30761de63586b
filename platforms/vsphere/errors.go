package vsphere

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/vmware/govmomi/fault"
	"github.com/vmware/govmomi/vim25/types"

	"imageport/platforms"
	"imageport/platforms/patience"
	"imageport/platforms/trust"
)

// maxText is how much of a vCenter's words goes into a message, in bytes.
const maxText = 600

// fail makes the error that leaves the package: which vCenter, doing what, which
// fault.
func fail(address, what string, err error) error {
	if err == nil {
		return nil
	}
	return &platforms.Error{Kind: kindOf(err), Err: fmt.Errorf("vCenter %s: %s: %w", address, what, &failure{err})}
}

// failure is an error with the name of the fault in it: the words of a vCenter
// are often the same for different ones.
type failure struct{ error }

func (f *failure) Unwrap() error { return f.error }

func (f *failure) Error() string {
	text := oneLine(strings.ReplaceAll(f.error.Error(), "ServerFaultCode: ", ""))
	of := faultOf(f.error)
	if of == nil {
		return text
	}
	name := reflect.Indirect(reflect.ValueOf(of)).Type().Name()
	switch of := of.(type) {
	case *types.NoPermission:
		name += ", privilege " + of.PrivilegeId
		if of.Object != nil {
			name += " on " + of.Object.String()
		}
	case types.BaseInvalidArgument:
		name += ", " + of.GetInvalidArgument().InvalidProperty
	case types.BaseFileFault:
		name += ", " + of.GetFileFault().File
	}
	return fmt.Sprintf("%s (%s)", text, name)
}

// oneLine gives words of a vCenter on one line, of a bounded length.
func oneLine(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "…"
	}
	return text
}

// faultOf gives the fault of the API in err's chain, or nil.
func faultOf(err error) types.BaseMethodFault {
	if err == nil {
		return nil
	}
	var f types.BaseMethodFault
	if _, ok := fault.As(err, &f); !ok {
		return nil
	}
	return f
}

// kindOf sorts errors. This is the only place that does it.
func kindOf(err error) platforms.Kind {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return platforms.Busy
	}
	if e, ok := errors.AsType[*platforms.Error](err); ok {
		return e.Kind
	}
	if f := faultOf(err); f != nil {
		return kindOfFault(f)
	}
	if errors.Is(err, patience.ErrContended) || errors.Is(err, errClosed) {
		return platforms.Busy
	}
	return trust.KindOf(err)
}

// kindOfFault sorts the faults of the API. The order counts: some are special
// cases of later ones.
func kindOfFault(f types.BaseMethodFault) platforms.Kind {
	switch f.(type) {
	case *types.NotAuthenticated, // although it has logged in again
		*types.ManagedObjectNotFound, // it was there a moment ago
		*types.RequestCanceled, *types.ConcurrentAccess, *types.FileLocked, *types.Timedout, *types.InaccessibleDatastore,
		types.BaseTaskInProgress, types.BaseHostCommunication, types.BaseHostConnectFault, types.BaseResourceInUse:
		return platforms.Busy
	case types.BaseNoPermission, types.BaseInvalidLogin, *types.InvalidClientCertificate:
		return platforms.Denied
	case types.BaseInsufficientResourcesFault, types.BaseNotEnoughLicenses, *types.NoDiskSpace:
		return platforms.Full
	case *types.DuplicateName, *types.AlreadyExists, *types.FileAlreadyExists:
		return platforms.Foreign
	case *types.FileNotFound, *types.NotFound:
		return platforms.NotFound
	case *types.GenericVmConfigFault: // all that can befall a VM that starts
		return platforms.Internal
	case types.BaseInvalidState: // of a VM, host or datastore, which others change
		return platforms.Busy
	case types.BaseInvalidDatastore, types.BaseInvalidArgument, types.BaseVmConfigFault, types.BaseNotSupported, types.BaseOvfFault,
		*types.InvalidName, *types.FileTooLarge, *types.NoCompatibleHost:
		return platforms.BadRequest
	}
	return platforms.Internal
}
