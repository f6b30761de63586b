package vcenter

import (
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// dispatch is asked by the simulator about every call before it looks for the
// method. It refuses what this vCenter refuses, and puts our objects in the
// place of the simulator's. Those stay in the registry, because the simulator
// itself relies on their types.
func (v *VCenter) dispatch(ctx *simulator.Context, m *simulator.Method) (mo.Reference, types.BaseMethodFault) {
	m.This.ServerGUID = ""
	if ctx.Session == nil {
		if fault := refuseStranger(m); fault != nil {
			return nil, fault
		}
	} else if fault := v.refuse(ctx, m); fault != nil {
		return nil, fault
	}
	if wait, ok := m.Body.(*types.WaitForUpdatesEx); ok {
		bound(wait)
	}
	ours := v.wrap(lookUp(ctx, m.This), m.Name)
	if ours != nil {
		// With a session, the simulator prefers what it has registered under this
		// reference to what we give it. It has nothing under this one.
		m.This.ServerGUID = "lab"
	}
	return ours, nil
}

// longestWait is how long a call waits for updates that does not say how long.
// The simulator would wait for ever, also for a client that is gone, and Close
// would wait for it.
const longestWait = 2 // seconds

func bound(wait *types.WaitForUpdatesEx) {
	if wait.Options == nil {
		wait.Options = &types.WaitOptions{}
	}
	if wait.Options.MaxWaitSeconds == nil {
		wait.Options.MaxWaitSeconds = types.NewInt32(longestWait)
	}
}

func lookUp(ctx *simulator.Context, ref types.ManagedObjectReference) mo.Reference {
	if o := ctx.Map.Get(ref); o != nil {
		return o
	}
	if ctx.Session != nil {
		return ctx.Session.Registry.Get(ref)
	}
	return nil
}

// wrap gives our object for one of the simulator's, nil if there is none for
// that method.
func (v *VCenter) wrap(o mo.Reference, method string) mo.Reference {
	switch o := o.(type) {
	case *simulator.VirtualMachine:
		return &machine{VirtualMachine: o, v: v}
	case *simulator.Folder:
		return &folder{Folder: o, v: v}
	case *simulator.Datacenter:
		return &datacenter{Datacenter: o, v: v}
	case *simulator.ResourcePool:
		if method == "ImportVApp" {
			return &pool{ResourcePool: o, v: v}
		}
	case *simulator.HttpNfcLease:
		return &lease{HttpNfcLease: o, v: v}
	case *simulator.VirtualDiskManager:
		return &diskManager{VirtualDiskManager: o, v: v}
	case *simulator.FileManager:
		return &fileManager{FileManager: o, v: v}
	case *simulator.AuthorizationManager:
		return &authorization{AuthorizationManager: o, v: v}
	case *simulator.SearchIndex:
		return &searchIndex{SearchIndex: o}
	}
	return nil
}

// refuseStranger refuses what the simulator lets those do who have not logged
// in, and ways to log in that know no password.
func refuseStranger(m *simulator.Method) types.BaseMethodFault {
	switch m.Name {
	case "LoginByToken", "LoginExtensionByCertificate":
		return &types.InvalidLogin{}
	case "Fetch", "RetrieveProperties", "RetrievePropertiesEx":
		return &types.NotAuthenticated{NoPermission: types.NoPermission{Object: &m.This, PrivilegeId: "System.View"}}
	}
	return nil
}

// EndSessions ends all sessions, as a vCenter that is restarted does.
func (v *VCenter) EndSessions() {
	ctx, manager := v.sessionManager()
	for _, key := range v.sessions() {
		manager.TerminateSession(ctx, &types.TerminateSession{SessionId: []string{key}})
	}
}

// Sessions counts the sessions that there are.
func (v *VCenter) Sessions() int { return len(v.sessions()) }

// sessions gives the keys of the sessions that there are.
func (v *VCenter) sessions() []string {
	_, manager := v.sessionManager()
	var keys []string
	for _, s := range manager.SessionList {
		keys = append(keys, s.Key)
	}
	return keys
}

// sessionManager gives a copy of the simulator's, with the sessions of now.
func (v *VCenter) sessionManager() (*simulator.Context, *simulator.SessionManager) {
	ctx := ownContext(v.model.Service.Context)
	return ctx, ctx.Session.Get(ctx.Map.SessionManager().Self).(*simulator.SessionManager)
}
