package platformtest

import (
	"slices"
	"testing"
)

func testDiskAddCut(t *testing.T, h Harness) {
	oh := h.(OutputHarness)
	cuts(t, func(t *testing.T, n int) bool {
		ce, disk := spec(n), oh.OutputDisk(0)
		create(t, h.Open(t), ce)
		finished := h.Cut(t, Call{Verb: AddDisk, CE: ce, Disk: disk}, n)
		if n%2 == 0 { // or else the leftovers are for Destroy
			d, _ := outputs(t, h)
			written := write(t, h, ce.Name, addDisk(t, d, ce.Name, disk))
			wantAttached(t, oh, ce.Name, 1)
			keepDisk(t, d, ce.Name, disk.Name)
			wantOutputs(t, oh, disk.Name)
			written(nil, disk.Name)
			oh.RemoveOutput(t, disk.Name)
		}
		destroy(t, h.Open(t), ce.Name)
		wantNothing(t, h, ce.Name)
		wantOutputs(t, oh)
		return finished
	})
}

func testDiskKeepCut(t *testing.T, h Harness) {
	cuts(t, func(t *testing.T, n int) bool {
		d, oh := outputs(t, h)
		ce, disk := spec(n), oh.OutputDisk(0)
		create(t, h.Open(t), ce)
		written := write(t, h, ce.Name, addDisk(t, d, ce.Name, disk))
		finished := h.Cut(t, Call{Verb: KeepDisk, CE: ce, Disk: disk}, n)
		d, _ = outputs(t, h)
		keepDisk(t, d, ce.Name, disk.Name)
		destroy(t, h.Open(t), ce.Name)
		wantNothing(t, h, ce.Name)
		wantOutputs(t, oh, disk.Name)
		written(nil, disk.Name)
		oh.RemoveOutput(t, disk.Name)
		return finished
	})
}

// A disk that was about to be kept is complete under its name, or gone.
func testDiskKeepCutDestroy(t *testing.T, h Harness) {
	cuts(t, func(t *testing.T, n int) bool {
		d, oh := outputs(t, h)
		ce, disk := spec(n), oh.OutputDisk(0)
		create(t, h.Open(t), ce)
		written := write(t, h, ce.Name, addDisk(t, d, ce.Name, disk))
		finished := h.Cut(t, Call{Verb: KeepDisk, CE: ce, Disk: disk}, n)
		destroy(t, h.Open(t), ce.Name)
		wantNothing(t, h, ce.Name)
		if finished || slices.Contains(oh.Outputs(t), disk.Name) {
			wantOutputs(t, oh, disk.Name)
			written(nil, disk.Name)
			oh.RemoveOutput(t, disk.Name)
		}
		wantOutputs(t, oh)
		return finished
	})
}
