package vcenter_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

	"imageport/lab/vcenter"
)

// Who looks for a name, or gives one, while VMs are made gets an answer. Plain vcsim
// panics now and then, and if it goes on, it answers nobody any more.
func TestNamesWhileVMsAreMade(t *testing.T) {
	s := start(t, vcenter.Config{})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	looking, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for looking.Err() == nil {
				if _, err := object.NewSearchIndex(s.client.Client).FindChild(ctx, s.folder, "there is none"); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	other := s.createVM("one name")
	wg.Go(func() {
		for n := 0; looking.Err() == nil; n++ {
			if _, err := await(other.Rename(ctx, []string{"another name", "one name"}[n%2])); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 40 {
		vm := object.NewVirtualMachine(s.client.Client, s.must(s.folder.CreateVM(ctx, s.vmSpec("vm"), s.pool, nil)).(types.ManagedObjectReference))
		s.must(vm.Destroy(ctx))
	}
	stop()
	wg.Wait()
	s.createVM("taken")
	_, err := await(other.Rename(ctx, "taken"))
	refused(t, err, &types.DuplicateName{})
}
