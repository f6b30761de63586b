package platformtest

import (
	"context"
	"errors"
	"slices"
	"testing"

	"imageport/platforms"
)

func vmOutputs(t *testing.T, h Harness) (platforms.OutputVMs, VMHarness) {
	t.Helper()
	return h.Open(t).(platforms.OutputVMs), h.(VMHarness)
}

// keptDisk makes a complete disk, and gives the CE that made it, which is still there.
func keptDisk(t *testing.T, h Harness, n int) (ce platforms.Spec) {
	t.Helper()
	ce = spec(n)
	d := h.Open(t)
	disk := h.(OutputHarness).OutputDisk(0)
	create(t, d, ce)
	addDisk(t, d.(platforms.OutputDisks), ce.Name, disk)
	keepDisk(t, d.(platforms.OutputDisks), ce.Name, disk.Name)
	return ce
}

func makeVM(t *testing.T, d platforms.OutputVMs, vm platforms.OutputVM) (ref string) {
	t.Helper()
	ref, err := d.MakeOutputVM(t.Context(), vm)
	if err != nil {
		t.Fatalf("MakeOutputVM: %v", err)
	}
	if ref == "" {
		t.Fatal("MakeOutputVM gives no reference")
	}
	return ref
}

func wantVMs(t *testing.T, h VMHarness, want ...string) {
	t.Helper()
	if got := h.VMs(t); !slices.Equal(got, want) {
		t.Fatalf("there are the VMs %q, want %q", got, want)
	}
	for _, name := range want {
		on, disks := h.VMState(t, name)
		if on || len(disks) != 1 {
			t.Fatalf("VM %s: switched on: %v, disks %q; want it off, with one disk", name, on, disks)
		}
	}
}

func testVMMade(t *testing.T, h Harness) {
	d, vh := vmOutputs(t, h)
	vm := vh.OutputVM(0)
	if err := d.CheckOutputVM(t.Context(), vm); err != nil {
		t.Fatalf("CheckOutputVM: %v", err)
	}
	wantVMs(t, vh)
	ce := keptDisk(t, h, 1)
	ref := makeVM(t, d, vm)
	again, _ := vmOutputs(t, h)
	if ref2 := makeVM(t, again, vm); ref2 != ref {
		t.Errorf("the second MakeOutputVM gives %s, the first gave %s", ref2, ref)
	}
	wantVMs(t, vh, vm.Name)
	if _, disks := vh.VMState(t, vm.Name); !slices.Equal(disks, []string{vm.Disk}) {
		t.Errorf("it has the disks %q, want %s", disks, vm.Disk)
	}
	wantList(t, h.Open(t), ce.Name) // it is no CE
	destroy(t, h.Open(t), ce.Name)
	wantNothing(t, h, ce.Name)
	wantVMs(t, vh, vm.Name)
	wantOutputs(t, vh, vm.Disk)
	if ref2 := makeVM(t, again, vm); ref2 != ref {
		t.Errorf("without the CE, MakeOutputVM gives %s, it gave %s", ref2, ref)
	}
}

func testVMAtOnce(t *testing.T, h Harness) {
	keptDisk(t, h, 1)
	d, vh := vmOutputs(t, h)
	d2, _ := vmOutputs(t, h)
	vm := vh.OutputVM(0)
	refs, errs := [4]string{}, [4]error{}
	atOnce(len(refs), func(i int) { refs[i], errs[i] = []platforms.OutputVMs{d, d2}[i%2].MakeOutputVM(t.Context(), vm) })
	for i := range refs {
		if errs[i] != nil || refs[i] != refs[0] {
			t.Errorf("caller %d got %q, %v; caller 0 got %q", i, refs[i], errs[i], refs[0])
		}
	}
	wantVMs(t, vh, vm.Name)
}

func testVMCut(t *testing.T, h Harness) {
	cuts(t, func(t *testing.T, n int) bool {
		ce := keptDisk(t, h, n)
		destroy(t, h.Open(t), ce.Name)
		_, vh := vmOutputs(t, h)
		vm := vh.OutputVM(0)
		finished := h.Cut(t, Call{Verb: MakeVM, VM: vm}, n)
		d, _ := vmOutputs(t, h)
		makeVM(t, d, vm)
		wantVMs(t, vh, vm.Name)
		wantOutputs(t, vh, vm.Disk)
		wantList(t, h.Open(t))
		vh.RemoveVM(t, vm.Name)
		wantVMs(t, vh)
		return finished
	})
}

func testVMTaken(t *testing.T, h Harness) {
	keptDisk(t, h, 1)
	d, vh := vmOutputs(t, h)
	planted, mine := vh.OutputVM(0), vh.OutputVM(0)
	planted.Name = vh.OutputVM(1).Name
	intact := vh.PlantVM(t, planted.Name)
	makeVM(t, d, mine)
	otherJob, otherOwner := mine, mine
	otherJob.Job += "x"
	otherOwner.Owner += "x"
	for what, vm := range map[string]platforms.OutputVM{"somebody": planted, "another job": otherJob, "another owner": otherOwner} {
		_, makeErr := d.MakeOutputVM(t.Context(), vm)
		for verb, err := range map[string]error{"CheckOutputVM": d.CheckOutputVM(t.Context(), vm), "MakeOutputVM": makeErr} {
			if platforms.KindOf(err) != platforms.Foreign {
				t.Errorf("%s of a name that %s has: %v; want %s", verb, what, err, platforms.Foreign)
			}
		}
	}
	if !intact() {
		t.Error("what somebody else made was touched")
	}
	wantVMs(t, vh, mine.Name)
}

func testVMRefused(t *testing.T, h Harness) {
	d, vh := vmOutputs(t, h)
	if _, err := d.MakeOutputVM(t.Context(), vh.OutputVM(0)); platforms.KindOf(err) != platforms.NotFound {
		t.Errorf("around no disk: %v; want %s", err, platforms.NotFound)
	}
	keptDisk(t, h, 1)
	for what, change := range map[string]func(*platforms.OutputVM){
		"no name":    func(vm *platforms.OutputVM) { vm.Name = "" },
		"no job":     func(vm *platforms.OutputVM) { vm.Job = "" },
		"no owner":   func(vm *platforms.OutputVM) { vm.Owner = "" },
		"no disk":    func(vm *platforms.OutputVM) { vm.Disk = vh.BadDiskNames()[0] },
		"firmware":   func(vm *platforms.OutputVM) { vm.Firmware = "coreboot" },
		"controller": func(vm *platforms.OutputVM) { vm.Controller = "mfm" },
	} {
		vm := vh.OutputVM(0)
		change(&vm)
		_, makeErr := d.MakeOutputVM(t.Context(), vm)
		for verb, err := range map[string]error{"CheckOutputVM": d.CheckOutputVM(t.Context(), vm), "MakeOutputVM": makeErr} {
			if platforms.KindOf(err) != platforms.BadRequest {
				t.Errorf("%s, %s: %v; want %s", verb, what, err, platforms.BadRequest)
			}
		}
	}
	wantVMs(t, vh)
}

func testVMCancelled(t *testing.T, h Harness) {
	keptDisk(t, h, 1)
	d, vh := vmOutputs(t, h)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.MakeOutputVM(gone, vh.OutputVM(0)); !errors.Is(err, context.Canceled) {
		t.Errorf("MakeOutputVM in a cancelled context: %v", err)
	}
	makeVM(t, d, vh.OutputVM(0))
	wantVMs(t, vh, vh.OutputVM(0).Name)
}
