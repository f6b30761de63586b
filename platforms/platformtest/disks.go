package platformtest

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"

	"imageport/platforms"
)

func outputs(t *testing.T, h Harness) (platforms.OutputDisks, OutputHarness) {
	t.Helper()
	return h.Open(t).(platforms.OutputDisks), h.(OutputHarness)
}

func addDisk(t *testing.T, d platforms.OutputDisks, ce string, disk platforms.OutputDisk) platforms.OutputDiskRef {
	t.Helper()
	ref, err := d.AddOutputDisk(t.Context(), ce, disk)
	if err != nil {
		t.Fatalf("AddOutputDisk: %v", err)
	}
	if ref.Selector == "" || ref.Ref == "" {
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

// write has the CE write to the disk, as far as the harness can do that, and
// gives what checks that it is there, in the disk that is attached, or in the
// complete one if ref is nil.
func write(t *testing.T, h Harness, ce string, ref platforms.OutputDiskRef) (check func(ref *platforms.OutputDiskRef, name string)) {
	t.Helper()
	w, ok := h.(Writing)
	if !ok {
		return func(*platforms.OutputDiskRef, string) {}
	}
	const at = 5<<20 + 512
	want := bytes.Repeat([]byte("imageport"), 512)
	w.WriteDisk(t, ce, ref, at, want)
	return func(ref *platforms.OutputDiskRef, name string) {
		t.Helper()
		var got []byte
		if ref != nil {
			got = w.ReadDisk(t, ce, *ref, at, len(want))
		} else {
			got = w.ReadOutput(t, name, at, len(want))
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("at byte %d of the disk is %.20q…, the CE wrote %.20q…", at, got, want)
		}
	}
}

func testDiskKept(t *testing.T, h Harness) {
	d, oh := outputs(t, h)
	ce, disk := spec(1), oh.OutputDisk(0)
	if err := d.CheckOutputDisk(t.Context(), disk); err != nil {
		t.Fatalf("CheckOutputDisk: %v", err)
	}
	wantOutputs(t, oh) // it made nothing
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
	written := write(t, h, ce.Name, ref)
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
	written(nil, disk.Name)
}

func testDiskDropped(t *testing.T, h Harness) {
	d, oh := outputs(t, h)
	ce, one, two := spec(1), oh.OutputDisk(0), oh.OutputDisk(1)
	create(t, h.Open(t), ce)
	if a, b := addDisk(t, d, ce.Name, one), addDisk(t, d, ce.Name, two); a.Selector == b.Selector {
		t.Fatalf("two disks that %s selects", a.Selector)
	}
	wantAttached(t, oh, ce.Name, 2)
	keepDisk(t, d, ce.Name, two.Name)
	destroy(t, h.Open(t), ce.Name)
	wantNothing(t, h, ce.Name)
	wantOutputs(t, oh, two.Name)
	oh.RemoveOutput(t, two.Name)
	create(t, h.Open(t), ce)
	addDisk(t, d, ce.Name, one)
	destroy(t, h.Open(t), ce.Name)
	wantOutputs(t, oh)
}

func testDiskFormats(t *testing.T, h Harness) {
	d, oh := outputs(t, h)
	ce := spec(1)
	create(t, h.Open(t), ce)
	var want []string
	for _, disk := range append([]platforms.OutputDisk{oh.OutputDisk(0)}, oh.OtherDisks()...) {
		if err := d.CheckOutputDisk(t.Context(), disk); err != nil {
			_, addErr := d.AddOutputDisk(t.Context(), ce.Name, disk)
			if platforms.KindOf(err) != platforms.BadRequest || platforms.KindOf(addErr) != platforms.BadRequest {
				t.Errorf("%+v: CheckOutputDisk: %v; AddOutputDisk: %v; want %s", disk, err, addErr, platforms.BadRequest)
			}
			t.Logf("not offered: %v", err)
			continue
		}
		written := write(t, h, ce.Name, addDisk(t, d, ce.Name, disk))
		keepDisk(t, d, ce.Name, disk.Name)
		written(nil, disk.Name)
		want = append(want, disk.Name)
	}
	slices.Sort(want)
	wantOutputs(t, oh, want...)
	if !slices.Contains(want, oh.OutputDisk(0).Name) {
		t.Errorf("the platform's own format is not among %q", want)
	}
}

func testDiskTaken(t *testing.T, h Harness) {
	d, oh := outputs(t, h)
	ce, disk, late := spec(1), oh.OutputDisk(0), oh.OutputDisk(1)
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
	wantNothing(t, h, ce.Name)
	wantOutputs(t, oh)
	if !intact() || !lateIntact() {
		t.Error("what somebody else made was touched")
	}
}

// A CE that died finds its disk again when it has been started again, and a
// complete disk can be kept although the CE has ended.
func testDiskRestart(t *testing.T, h Harness) {
	d, oh := outputs(t, h)
	ce, disk := spec(1), oh.OutputDisk(0)
	create(t, h.Open(t), ce)
	ref := addDisk(t, d, ce.Name, disk)
	written := write(t, h, ce.Name, ref)
	h.Kill(t, ce.Name)
	eventually(t, "dead", func() bool { return h.Agents(t, ce.Name) == 0 })
	if _, err := d.AddOutputDisk(t.Context(), ce.Name, disk); platforms.KindOf(err) != platforms.Busy {
		t.Errorf("to a CE that has stopped: %v; want %s", err, platforms.Busy)
	}
	create(t, h.Open(t), restarted(ce))
	again := addDisk(t, d, ce.Name, disk)
	if again != ref {
		t.Errorf("after a restart it is %+v; it was %+v", again, ref)
	}
	wantAttached(t, oh, ce.Name, 1)
	written(&again, "")
	h.Kill(t, ce.Name)
	eventually(t, "dead", func() bool { return h.Agents(t, ce.Name) == 0 })
	keepDisk(t, d, ce.Name, disk.Name)
	destroy(t, h.Open(t), ce.Name)
	wantOutputs(t, oh, disk.Name)
	written(nil, disk.Name)
}

// A CE that is switched off keeps its disk and what it wrote, and gets it again
// with its new seed. It is removed with both, also when it is off.
func testDiskStop(t *testing.T, h Harness) {
	d, oh := outputs(t, h)
	ce, disk := spec(1), oh.OutputDisk(0)
	create(t, h.Open(t), ce)
	ref := addDisk(t, d, ce.Name, disk)
	written := write(t, h, ce.Name, ref)
	for range 2 {
		stop(t, h.Open(t), ce.Name)
		wantStopped(t, h, ce)
		if len(oh.Outputs(t)) == 0 {
			t.Fatal("the disk is gone")
		}
		ce = restarted(ce)
		create(t, h.Open(t), ce)
		wantTold(t, h, ce)
		d, _ := outputs(t, h)
		again := addDisk(t, d, ce.Name, disk)
		if again != ref {
			t.Errorf("started again, it is %+v; it was %+v", again, ref)
		}
		wantAttached(t, oh, ce.Name, 1)
		written(&again, "")
	}
	stop(t, h.Open(t), ce.Name)
	destroy(t, h.Open(t), ce.Name)
	wantNothing(t, h, ce.Name)
	wantOutputs(t, oh)
}

// A CE that is made anew gets another disk: nobody can take it for the one
// that an earlier CE of the name had begun to fill.
func testDiskAgain(t *testing.T, h Harness) {
	d, oh := outputs(t, h)
	ce, disk := spec(1), oh.OutputDisk(0)
	create(t, h.Open(t), ce)
	first := addDisk(t, d, ce.Name, disk)
	write(t, h, ce.Name, first)
	destroy(t, h.Open(t), ce.Name)
	wantOutputs(t, oh)
	create(t, h.Open(t), ce)
	second := addDisk(t, d, ce.Name, disk)
	// A selector may be a place, which is the same in every CE.
	if second == first {
		t.Errorf("two disks, one after the other, are %+v", first)
	}
	if w, ok := h.(Writing); ok {
		if b := w.ReadDisk(t, ce.Name, second, 0, 8<<20); !bytes.Equal(b, make([]byte, 8<<20)) {
			t.Error("the new disk is not empty")
		}
	}
}

func testDiskAtOnce(t *testing.T, h Harness) {
	d, oh := outputs(t, h)
	d2, _ := outputs(t, h)
	ce, disk := spec(1), oh.OutputDisk(0)
	create(t, h.Open(t), ce)
	refs, errs := [4]platforms.OutputDiskRef{}, [4]error{}
	atOnce(len(refs), func(i int) {
		refs[i], errs[i] = []platforms.OutputDisks{d, d2}[i%2].AddOutputDisk(t.Context(), ce.Name, disk)
	})
	for i := range refs {
		if errs[i] != nil || refs[i] != refs[0] {
			t.Errorf("caller %d got %+v, %v; caller 0 got %+v", i, refs[i], errs[i], refs[0])
		}
	}
	wantAttached(t, oh, ce.Name, 1)
	atOnce(len(errs), func(i int) {
		errs[i] = []platforms.OutputDisks{d, d2}[i%2].KeepOutputDisk(t.Context(), ce.Name, disk.Name)
	})
	for i, err := range errs {
		if err != nil {
			t.Errorf("KeepOutputDisk, caller %d: %v", i, err)
		}
	}
	wantOutputs(t, oh, disk.Name)
}

func testDiskRefused(t *testing.T, h Harness) {
	d, oh := outputs(t, h)
	ce, disk := spec(1), oh.OutputDisk(0)
	if _, err := d.AddOutputDisk(t.Context(), ce.Name, disk); !errors.Is(err, platforms.ErrNotFound) {
		t.Errorf("AddOutputDisk to no CE: %v", err)
	}
	if err := d.KeepOutputDisk(t.Context(), ce.Name, disk.Name); !errors.Is(err, platforms.ErrNotFound) {
		t.Errorf("KeepOutputDisk of no CE: %v", err)
	}
	create(t, h.Open(t), ce)
	if err := d.KeepOutputDisk(t.Context(), ce.Name, disk.Name); platforms.KindOf(err) != platforms.NotFound {
		t.Errorf("KeepOutputDisk of no disk: %v", err)
	}
	bad := map[string]platforms.OutputDisk{}
	for what, change := range map[string]func(*platforms.OutputDisk){
		"no name":      func(o *platforms.OutputDisk) { o.Name = "" },
		"no size":      func(o *platforms.OutputDisk) { o.SizeBytes = 0 },
		"less":         func(o *platforms.OutputDisk) { o.SizeBytes = -1 << 20 },
		"odd size":     func(o *platforms.OutputDisk) { o.SizeBytes++ },
		"too big":      func(o *platforms.OutputDisk) { o.SizeBytes = 1 << 60 },
		"no format":    func(o *platforms.OutputDisk) { o.Format = "qed" },
		"no provision": func(o *platforms.OutputDisk) { o.Provision = "Fat" },
	} {
		o := disk
		change(&o)
		bad[what] = o
	}
	for _, name := range oh.BadDiskNames() {
		o := disk
		o.Name = name
		bad["name "+name] = o
	}
	for what, o := range bad {
		_, addErr := d.AddOutputDisk(t.Context(), ce.Name, o)
		for verb, err := range map[string]error{"Check": d.CheckOutputDisk(t.Context(), o), "Add": addErr} {
			if platforms.KindOf(err) != platforms.BadRequest {
				t.Errorf("%s, %s: %v; want %s", verb, what, err, platforms.BadRequest)
			}
		}
	}
	wantOutputs(t, oh)
	addDisk(t, d, ce.Name, disk)
	bigger := disk
	bigger.SizeBytes *= 2
	if _, err := d.AddOutputDisk(t.Context(), ce.Name, bigger); platforms.KindOf(err) != platforms.BadRequest {
		t.Errorf("another size of the same disk: %v", err)
	}
	wantAttached(t, oh, ce.Name, 1)
}

func testDiskCancelled(t *testing.T, h Harness) {
	d, oh := outputs(t, h)
	ce, disk := spec(1), oh.OutputDisk(0)
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
