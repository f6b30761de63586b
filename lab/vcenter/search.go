package vcenter

import (
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// searchIndex is a SearchIndex that waits for the VM that is being made in the
// folder. The simulator puts a VM into its folder before it gives it a name, with
// the folder locked, and panics where it looks for a name and finds none; what it
// had locked then stays so, and the vCenter answers nobody any more.
type searchIndex struct{ *simulator.SearchIndex }

// FindChild implements the method of that name.
func (s *searchIndex) FindChild(ctx *simulator.Context, req *types.FindChild) (res soap.HasFault) {
	find := func() { res = s.SearchIndex.FindChild(ctx, req) }
	if f, ok := ctx.Map.Get(req.Entity).(*simulator.Folder); ok {
		ctx.WithLock(f, find)
	} else {
		find()
	}
	return res
}
