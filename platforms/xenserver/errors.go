package xenserver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"imageport/platforms"
	"imageport/platforms/patience"
	"imageport/platforms/trust"
	"imageport/platforms/xenserver/xapi"
)

// maxText is how much of a pool's words goes into a message, in bytes.
const maxText = 600

// fail makes the error that leaves the package: which pool, doing what, which error.
func fail(address, what string, err error) error {
	if err == nil {
		return nil
	}
	return &platforms.Error{Kind: kindOf(err), Err: fmt.Errorf("XenServer %s: %s: %w", address, what, &failure{err})}
}

// failure is an error in one line of bounded length.
type failure struct{ error }

func (f *failure) Unwrap() error { return f.error }

func (f *failure) Error() string {
	text := strings.Join(strings.Fields(f.error.Error()), " ")
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "…"
	}
	return text + hints[xapi.CodeOf(f.error)]
}

// hints say more of errors whose names say too little.
var hints = map[string]string{
	"VM_MISSING_PV_DRIVERS": ": the pool adds disks only to a VM whose guest has said that it can do with that (feature/hotplug/vbd in xenstore)",
	"NO_HOSTS_AVAILABLE":    ": no host that has the SR and the network has room for the CE",
}

// kindsOfCodes sorts the errors of XAPI ("XenAPI error codes"). What is not here is Internal.
var kindsOfCodes = byCode(map[platforms.Kind]string{
	// Others are at it, or something is not up yet.
	platforms.Busy: `OTHER_OPERATION_IN_PROGRESS OPERATION_NOT_ALLOWED OPERATION_BLOCKED TOO_BUSY TOO_MANY_PENDING_TASKS TOO_MANY_STORAGE_MIGRATES
		HOST_STILL_BOOTING HOST_IS_SLAVE HOST_OFFLINE HOST_NOT_LIVE HOST_DISABLED CANNOT_CONTACT_HOST SESSION_INVALID
		HANDLE_INVALID UUID_INVALID MAP_DUPLICATE_KEY TASK_CANCELLED
		VM_BAD_POWER_STATE VM_MISSING_PV_DRIVERS VDI_IN_USE VDI_NOT_AVAILABLE VDI_COPY_FAILED
		DEVICE_ALREADY_EXISTS DEVICE_ALREADY_ATTACHED DEVICE_ALREADY_DETACHED DEVICE_NOT_ATTACHED
		DEVICE_DETACH_REJECTED DEVICE_DETACH_TIMEOUT DEVICE_ATTACH_TIMEOUT
		SR_HAS_NO_PBDS SR_NOT_ATTACHED SR_BACKEND_FAILURE_46 SM_PLUGIN_COMMUNICATION_FAILURE`,
	platforms.Full: `SR_FULL SR_BACKEND_FAILURE_44 NO_HOSTS_AVAILABLE HOST_NOT_ENOUGH_FREE_MEMORY HOST_NOT_ENOUGH_PCPUS NOT_ENOUGH_FREE_MEMORY
		VM_NO_VCPUS OUT_OF_SPACE`,
	platforms.Denied: `RBAC_PERMISSION_DENIED SESSION_AUTHENTICATION_FAILED SESSION_AUTHORIZATION_FAILED AUTH_ALREADY_DISABLED
		USER_IS_NOT_LOCAL_SUPERUSER PERMISSION_DENIED`,
	platforms.BadRequest: `MESSAGE_METHOD_UNKNOWN MESSAGE_PARAMETER_COUNT_MISMATCH FIELD_TYPE_ERROR INVALID_VALUE INVALID_DEVICE
		VDI_TOO_LARGE VDI_TOO_SMALL VDI_READONLY SR_OPERATION_NOT_SUPPORTED SR_REQUIRES_UPGRADE UNIMPLEMENTED_IN_SM_BACKEND
		VM_REQUIRES_SR VM_REQUIRES_NETWORK VM_HVM_REQUIRED VM_IS_TEMPLATE MEMORY_CONSTRAINT_VIOLATION
		LICENCE_RESTRICTION FEATURE_RESTRICTED FEATURE_REQUIRES_HVM`,
})

func byCode(kinds map[platforms.Kind]string) map[string]platforms.Kind {
	all := make(map[string]platforms.Kind)
	for kind, codes := range kinds {
		for code := range strings.FieldsSeq(codes) {
			all[code] = kind
		}
	}
	return all
}

// kindOf sorts errors. This is the only place that does it.
func kindOf(err error) platforms.Kind {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return platforms.Busy
	}
	if e, ok := errors.AsType[*platforms.Error](err); ok {
		return e.Kind
	}
	if code := xapi.CodeOf(err); code != "" {
		if kind, ok := kindsOfCodes[code]; ok {
			return kind
		}
		return platforms.Internal
	}
	if e, ok := errors.AsType[*xapi.StatusError](err); ok {
		switch {
		case e.Status == 401 || e.Status == 403:
			return platforms.Denied
		case e.Status == 404:
			return platforms.BadRequest // there is no XAPI
		}
		return platforms.Busy
	}
	for _, busy := range []error{patience.ErrContended, xapi.ErrTaskLost, xapi.ErrTaskCancelled, xapi.ErrClosed} {
		if errors.Is(err, busy) {
			return platforms.Busy
		}
	}
	if errors.Is(err, xapi.ErrReply) {
		return platforms.BadRequest // something else listens there
	}
	return trust.KindOf(err)
}

// is reports whether err is one of these errors of XAPI.
func is(err error, codes ...string) bool { return slices.Contains(codes, xapi.CodeOf(err)) }

// gone reports whether err says that an object is no more.
func gone(err error) bool { return is(err, "HANDLE_INVALID", "UUID_INVALID") }

// attempts is how often something is tried that others are in the way of: with
// the default pauses, for some 12 seconds.
const attempts = 11

// tries is how often something is tried that fails with err: 0, unless that comes
// of others who are at work on the same object, on this side or the other, so that
// the next attempt sees something different.
func tries(err error) int {
	if errors.Is(err, patience.ErrContended) || errors.Is(err, xapi.ErrTaskLost) || is(err,
		"HANDLE_INVALID", "UUID_INVALID", "MAP_DUPLICATE_KEY", "OTHER_OPERATION_IN_PROGRESS", "OPERATION_NOT_ALLOWED",
		"VM_BAD_POWER_STATE", "VM_MISSING_PV_DRIVERS", "VDI_IN_USE", "VDI_NOT_AVAILABLE",
		"DEVICE_ALREADY_EXISTS", "DEVICE_ALREADY_ATTACHED", "DEVICE_ALREADY_DETACHED", "DEVICE_NOT_ATTACHED", "DEVICE_DETACH_REJECTED") {
		return attempts
	}
	return 0
}

// patiently calls step until it is done, or fails for good, or others have been
// in the way too often without any progress in between.
func (d *Driver) patiently(ctx context.Context, step func() (done bool, err error)) error {
	return patience.Do(ctx, d.client.Pauses(), tries, step)
}
