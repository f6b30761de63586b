package platformtest

import (
	"context"
	"errors"
	"slices"
	"testing"

	"imageport/platforms"
)

// OutputDisk is the disk that the suite asks for.
func OutputDisk() platforms.OutputDisk {
	return platforms.OutputDisk{Name: "win11.vmdk", Format: platforms.VMDK, SizeBytes: 64 << 20}
}

var outputTests = map[string]func(*testing.T, Harness){
	"OutputDisk/Kept":      testDiskKept,
	"OutputDisk/Dropped":   testDiskDropped,
	"OutputDisk/Formats":   testDiskFormats,
	"OutputDisk/Taken":     testDiskTaken,
	"OutputDisk/AddCut":    testDiskAddCut,
	"OutputDisk/KeepCut":   testDiskKeepCut,
	"OutputDisk/Restart":   testDiskRestart,
	"OutputDisk/Refused":   testDiskRefused,
	"OutputDisk/Cancelled": testDiskCancelled,
}

func outputs(t *testing.T, h Harness) (platforms.OutputDisks, OutputHarness) {
	t.Helper()
	oh, ok := h.(OutputHarness)
	if !ok {
		t.Fatal("the driver implements OutputDisks, and the harness is no OutputHarness")
	}
	return h.Open(t).(platforms.OutputDisks), oh
}

func addDisk(t *testing.T, d platforms.OutputDisks, ce string, disk platforms.OutputDisk) platforms.OutputDiskRef {
	t.Helper()
	ref, err := d.AddOutputDisk(t.Context(), ce, disk)
	if err != nil {
		t.Fatalf("AddOutputDisk: %v", err)
	}
	if ref.Serial == "" || ref.Ref == "" {
		t.Fatalf("AddOutputDisk gives %+v", ref)
	}
	return ref
}

func keepDisk(t *testing.T, d platforms.OutputDisks, ce, name string) {
	t.Helper()
	if err := d.KeepOutputDisk(t.Context(), ce, name); err != nil {
		t.Fatalf("KeepOutputDisk: %v", err)
	}
}

func wantOutputs(t *testing.T, h OutputHarness, want ...string) {
	t.Helper()
	if got := h.Outputs(t); !slices.Equal(got, want) {
		t.Fatalf("in the place of output disks is %q, want %q", got, want)
	}
}

func wantAttached(t *testing.T, h OutputHarness, ce string, want int) {
	t.Helper()
	if got := h.Attached(t, ce); got != want {
		t.Fatalf("the CE has %d output disks, want %d", got, want)
	}
}

func testDiskKept(t *testing.T, h Harness) {
	d, oh := outputs(t, h)
	ce, disk := spec(1), OutputDisk()
	if err := d.CheckOutputDisk(t.Context(), disk); err != nil {
		t.Fatalf("CheckOutputDisk: %v", err)
	}
	create(t, h.Open(t), ce)
	ref := addDisk(t, d, ce.Name, disk)
	again, _ := outputs(t, h)
	if ref2 := addDisk(t, again, ce.Name, disk); ref2 != ref {
		t.Fatalf("the second AddOutputDisk gives %+v, the first gave %+v", ref2, ref)
	}
	wantAttached(t, oh, ce.Name, 1)
	if slices.Contains(oh.Outputs(t), disk.Name) {
		t.Fatal("the disk has its name before it is complete")
	}
	for range 2 {
		keepDisk(t, d, ce.Name, disk.Name)
		wantOutputs(t, oh, disk.Name)
	}
	wantAttached(t, oh, ce.Name, 0)
	wantOne(t, h, ce.Name) // it runs on
	if _, err := d.AddOutputDisk(t.Context(), ce.Name, disk); err == nil {
		t.Error("a kept disk was added again")
	}
	destroy(t, h.Open(t), ce.Name)
	wantNothing(t, h, ce.Name)
	wantOutputs(t, oh, disk.Name)
}

func testDiskDropped(t *testing.T, h Harness) {
	d, oh := outputs(t, h)
	ce, one, two := spec(1), OutputDisk(), OutputDisk()
	two.Name = "second.vmdk"
	create(t, h.Open(t), ce)
	if a, b := addDisk(t, d, ce.Name, one), addDisk(t, d, ce.Name, two); a.Serial == b.Serial {
		t.Fatalf("two disks of the serial number %s", a.Serial)
	}
	wantAttached(t, oh, ce.Name, 2)
	keepDisk(t, d, ce.Name, two.Name)
	destroy(t, h.Open(t), ce.Name)
	wantNothing(t, h, ce.Name)
	wantOutputs(t, oh, two.Name)
}

func testDiskFormats(t *testing.T, h Harness) {
	d, oh := outputs(t, h)
	ce := spec(1)
	create(t, h.Open(t), ce)
	var want []string
	for _, format := range []platforms.DiskFormat{platforms.Raw, platforms.VHDX, platforms.VMDK} {
		disk := platforms.OutputDisk{Name: "disk." + string(format), Format: format, SizeBytes: 8 << 20}
		if err := d.CheckOutputDisk(t.Context(), disk); err != nil {
			t.Logf("not offered: %v", err)
			continue
		}
		addDisk(t, d, ce.Name, disk)
		keepDisk(t, d, ce.Name, disk.Name)
		want = append(want, disk.Name)
	}
	wantOutputs(t, oh, want...)
	if len(want) == 0 {
		t.Error("no format at all")
	}
}

func testDiskTaken(t *testing.T, h Harness) {
	d, oh := outputs(t, h)
	ce, late, disk := spec(1), OutputDisk(), OutputDisk()
	late.Name = "late.vmdk"
	create(t, h.Open(t), ce)
	addDisk(t, d, ce.Name, late)
	intact := oh.PlantOutput(t, disk.Name)
	lateIntact := oh.PlantOutput(t, late.Name)
	_, addErr := d.AddOutputDisk(t.Context(), ce.Name, disk)
	for verb, err := range map[string]error{
		"CheckOutputDisk": d.CheckOutputDisk(t.Context(), disk),
		"AddOutputDisk":   addErr,
		"KeepOutputDisk":  d.KeepOutputDisk(t.Context(), ce.Name, late.Name),
	} {
		if platforms.KindOf(err) != platforms.Foreign {
			t.Errorf("%s of a name that is taken: %v; want %s", verb, err, platforms.Foreign)
		}
	}
	destroy(t, h.Open(t), ce.Name)
	wantOutputs(t, oh)
	if !intact() || !lateIntact() {
		t.Error("what somebody else made was touched")
	}
}

func testDiskAddCut(t *testing.T, h Harness) {
	_, oh := outputs(t, h)
	for n := range maxSteps {
		ce, disk := spec(n), OutputDisk()
		create(t, h.Open(t), ce)
		finished := h.Cut(t, AddDisk, ce, n)
		if n%2 == 0 { // or else the leftovers are for Destroy
			d, _ := outputs(t, h)
			addDisk(t, d, ce.Name, disk)
			wantAttached(t, oh, ce.Name, 1)
		}
		destroy(t, h.Open(t), ce.Name)
		wantNothing(t, h, ce.Name)
		wantOutputs(t, oh)
		if finished {
			wantSteps(t, n)
			return
		}
	}
	t.Fatalf("AddOutputDisk has more than %d steps", maxSteps)
}

func testDiskKeepCut(t *testing.T, h Harness) {
	for n := range maxSteps {
		ce, disk := spec(n), OutputDisk()
		create(t, h.Open(t), ce)
		d, oh := outputs(t, h)
		addDisk(t, d, ce.Name, disk)
		finished := h.Cut(t, KeepDisk, ce, n)
		d, _ = outputs(t, h)
		keepDisk(t, d, ce.Name, disk.Name)
		destroy(t, h.Open(t), ce.Name)
		wantNothing(t, h, ce.Name)
		wantOutputs(t, oh, disk.Name)
		if finished {
			wantSteps(t, n)
			return
		}
		oh.RemoveOutput(t, disk.Name)
	}
	t.Fatalf("KeepOutputDisk has more than %d steps", maxSteps)
}

// A CE that died finds its disk again when it has been started again, and a
// complete disk can be kept although the CE has ended.
func testDiskRestart(t *testing.T, h Harness) {
	d, oh := outputs(t, h)
	ce, disk := spec(1), OutputDisk()
	create(t, h.Open(t), ce)
	ref := addDisk(t, d, ce.Name, disk)
	h.Kill(t, ce.Name)
	eventually(t, "dead", func() bool { return h.Agents(t, ce.Name) == 0 })
	if _, err := d.AddOutputDisk(t.Context(), ce.Name, disk); platforms.KindOf(err) != platforms.Busy {
		t.Errorf("to a CE that has stopped: %v; want %s", err, platforms.Busy)
	}
	create(t, h.Open(t), ce)
	if again := addDisk(t, d, ce.Name, disk); again != ref {
		t.Errorf("after a restart it is %+v; it was %+v", again, ref)
	}
	wantAttached(t, oh, ce.Name, 1)
	h.Kill(t, ce.Name)
	eventually(t, "dead", func() bool { return h.Agents(t, ce.Name) == 0 })
	keepDisk(t, d, ce.Name, disk.Name)
	destroy(t, h.Open(t), ce.Name)
	wantOutputs(t, oh, disk.Name)
}

func testDiskRefused(t *testing.T, h Harness) {
	d, oh := outputs(t, h)
	ce := spec(1)
	if _, err := d.AddOutputDisk(t.Context(), ce.Name, OutputDisk()); !errors.Is(err, platforms.ErrNotFound) {
		t.Errorf("AddOutputDisk to no CE: %v", err)
	}
	if err := d.KeepOutputDisk(t.Context(), ce.Name, OutputDisk().Name); !errors.Is(err, platforms.ErrNotFound) {
		t.Errorf("KeepOutputDisk of no CE: %v", err)
	}
	create(t, h.Open(t), ce)
	if err := d.KeepOutputDisk(t.Context(), ce.Name, OutputDisk().Name); platforms.KindOf(err) != platforms.NotFound {
		t.Errorf("KeepOutputDisk of no disk: %v", err)
	}
	for what, change := range map[string]func(*platforms.OutputDisk){
		"no name":   func(o *platforms.OutputDisk) { o.Name = "" },
		"outside":   func(o *platforms.OutputDisk) { o.Name = "../win11.vmdk" },
		"no size":   func(o *platforms.OutputDisk) { o.SizeBytes = 0 },
		"odd size":  func(o *platforms.OutputDisk) { o.SizeBytes++ },
		"no format": func(o *platforms.OutputDisk) { o.Format = "qed" },
	} {
		disk := OutputDisk()
		change(&disk)
		_, addErr := d.AddOutputDisk(t.Context(), ce.Name, disk)
		for verb, err := range map[string]error{"Check": d.CheckOutputDisk(t.Context(), disk), "Add": addErr} {
			if platforms.KindOf(err) != platforms.BadRequest {
				t.Errorf("%s, %s: %v; want %s", verb, what, err, platforms.BadRequest)
			}
		}
	}
	addDisk(t, d, ce.Name, OutputDisk())
	bigger := OutputDisk()
	bigger.SizeBytes *= 2
	if _, err := d.AddOutputDisk(t.Context(), ce.Name, bigger); platforms.KindOf(err) != platforms.BadRequest {
		t.Errorf("another size of the same disk: %v", err)
	}
	wantAttached(t, oh, ce.Name, 1)
}

func testDiskCancelled(t *testing.T, h Harness) {
	d, oh := outputs(t, h)
	ce, disk := spec(1), OutputDisk()
	create(t, h.Open(t), ce)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.AddOutputDisk(gone, ce.Name, disk); !errors.Is(err, context.Canceled) {
		t.Errorf("AddOutputDisk in a cancelled context: %v", err)
	}
	addDisk(t, d, ce.Name, disk)
	if err := d.KeepOutputDisk(gone, ce.Name, disk.Name); !errors.Is(err, context.Canceled) {
		t.Errorf("KeepOutputDisk in a cancelled context: %v", err)
	}
	destroy(t, h.Open(t), ce.Name)
	wantOutputs(t, oh)
}
