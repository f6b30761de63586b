package vsphere

import (
	"errors"
	"testing"

	"github.com/vmware/govmomi/vim25/types"

	"imageport/platforms"
	"imageport/platforms/platformtest"
)

func TestScreenFile(t *testing.T) {
	ds := &entity{name: "ds 1", properties: properties{"summary": types.DatastoreSummary{Url: "ds:///vmfs/volumes/1-2/"}}}
	s := &site{datastores: []*entity{ds}}
	for name, want := range map[string]string{
		"[ds 1] vm/vm-1.png": "vm/vm-1.png", "/vmfs/volumes/1-2/vm/vm-1.png": "vm/vm-1.png",
		"": "", "vm/vm-1.png": "", "[ds 2] vm/vm-1.png": "", "[ds 1] ../vm-1.png": "", "[ds 1] ": "", "/vmfs/volumes/3-4/vm-1.png": "", "/vmfs/volumes/1-2": "",
	} {
		got, ok := s.parseFile(name)
		if ok != (want != "") || ok && (got.path != want || got.datastore != ds) {
			t.Errorf("%q is %+v, %v", name, got, ok)
		}
	}
}

// A vSphere that makes no picture, or does not let go of it, has none.
func TestNoScreen(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	call := withOffCE(t, h)
	platformtest.Do(t, h, platformtest.StartGuest)
	screen := func() error {
		_, err := h.Open(t).(*Driver).GuestScreen(t.Context(), call.CE.Name)
		return err
	}
	h.inject("CreateScreenshot_Task", &types.NotSupported{}, 1)
	if err := screen(); !errors.Is(err, platforms.ErrNoScreen) {
		t.Errorf("it cannot: %v", err)
	}
	h.lab.ClearFaults()
	h.lab.Revoke("Datastore.Browse")
	if err := screen(); !errors.Is(err, platforms.ErrNoScreen) {
		t.Errorf("it may not: %v", err)
	}
	h.lab.Grant("Datastore.Browse")
	if err := screen(); err != nil {
		t.Error(err)
	}
	platformtest.Clean(t, h)
}
