package vcenter

import (
	"strconv"
	"sync"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// recentTasks is how many of its last tasks a managed object shows.
const recentTasks = 20

// work is what a task does. Its context is the task's own: the simulator takes
// two that share one for a single holder of its locks.
type work func(ctx *simulator.Context) (types.AnyType, types.BaseMethodFault)

// task starts do as a task of an object. Its description is the name, its name
// the method, "PowerOnVM_Task".
//
// The simulator holds the lock of a task's object while the task runs, and so
// nothing of a VM can be read while it is switched on. A vCenter answers: this
// task runs under a lock that is nobody's. What do changes, it locks itself.
func (v *VCenter) task(ctx *simulator.Context, entity mo.Reference, name, method string, do work) types.ManagedObjectReference {
	own := ownContext(ctx)
	ref := entity.Reference()
	aside := ref
	aside.ServerGUID = "task-" + strconv.FormatInt(v.taskCount.Add(1), 10)

	v.tasks.Add(1)
	t := simulator.CreateTask(aside, name, func(*simulator.Task) (types.AnyType, types.BaseMethodFault) {
		defer v.tasks.Done()
		v.pause(method)
		return do(own)
	})
	t.Info.Name, t.Info.EntityName = method, entityName(entity)
	self := t.Run(own)
	outside := ownContext(ctx)
	outside.Map.AtomicUpdate(outside, t, []types.PropertyChange{
		{Name: "info.entity", Val: ref},
	})
	outside.Map.Remove(outside, aside) // the lock
	if e, ok := entity.(mo.Entity); ok {
		ctx.WithLock(entity, func() {
			recent := append([]types.ManagedObjectReference{}, e.Entity().RecentTask...)
			recent = append(recent, self)
			ctx.Update(entity, []types.PropertyChange{{Name: "recentTask", Val: recent[max(0, len(recent)-recentTasks):]}})
		})
	}
	return self
}

func entityName(r mo.Reference) string {
	if e, ok := r.(mo.Entity); ok {
		return e.Entity().Name
	}
	return r.Reference().Value
}

// ownContext gives a context that is another holder of locks.
func ownContext(ctx *simulator.Context) *simulator.Context {
	return &simulator.Context{Context: ctx.Context, Session: ctx.Session, Map: ctx.Map}
}

// wait waits for a task of the simulator's.
func wait(ctx *simulator.Context, ref types.ManagedObjectReference) (types.AnyType, types.BaseMethodFault) {
	t, ok := ctx.Map.Get(ref).(*simulator.Task)
	if !ok {
		return nil, &types.ManagedObjectNotFound{Obj: ref}
	}
	t.Wait()
	if t.Info.Error != nil {
		return nil, t.Info.Error.Fault
	}
	return t.Info.Result, nil
}

// Delay makes every task of a method, such as "CloneVM_Task", wait before it
// does anything; 0 takes that back. A task that is cancelled meanwhile says so
// and is done all the same, as vCenters do it.
func (v *VCenter) Delay(method string, d time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.delays[method] = d
}

// Busy reports whether a task waits or runs.
func (v *VCenter) Busy() bool {
	registry := v.model.Map()
	for _, o := range registry.AllReference("Task") {
		t := o.(*simulator.Task)
		var state types.TaskInfoState
		registry.WithLock(new(simulator.Context), t, func() { state = t.Info.State })
		if state == types.TaskInfoStateQueued || state == types.TaskInfoStateRunning {
			return true
		}
	}
	return false
}

func (v *VCenter) pause(method string) {
	v.mu.Lock()
	d := v.delays[method]
	v.mu.Unlock()
	time.Sleep(d)
}

// gate gives the lock that puts the tasks of one VM into a sequence.
func (v *VCenter) gate(vm types.ManagedObjectReference) *sync.Mutex {
	v.mu.Lock()
	defer v.mu.Unlock()
	g, ok := v.gates[vm]
	if !ok {
		g = new(sync.Mutex)
		v.gates[vm] = g
	}
	return g
}
