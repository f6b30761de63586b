package platformtest

import (
	"context"
	"slices"
	"testing"

	"imageport/platforms"
)

// testCase is one case of the suite. Its name is group/case.
type testCase struct {
	name  string
	run   func(*testing.T, Harness)
	alone bool // nothing else runs then
}

var driverCases = []testCase{
	{name: "Life", run: testLife},
	{name: "BadSpecs", run: testBadSpecs},
	{name: "Secrets", run: testSecrets},
	{name: "WorkerDeath", run: testWorkerDeath},
	{name: "Create/Twice", run: testCreateTwice},
	{name: "Create/AtOnce", run: testCreateAtOnce},
	{name: "Create/ForeignJob", run: testCreateForeignJob},
	{name: "Create/Planted", run: testCreatePlanted},
	{name: "Create/Cut", run: testCreateCut},
	{name: "Create/Cancelled", run: testCreateCancelled},
	{name: "Create/AfterDeath", run: testCreateAfterDeath},
	{name: "Stop/Twice", run: testStopTwice},
	{name: "Stop/Cut", run: testStopCut},
	{name: "Stop/AtOnce", run: testStopAtOnce},
	{name: "Stop/Planted", run: testStopPlanted},
	{name: "Destroy/Twice", run: testDestroyTwice},
	{name: "Destroy/AtOnce", run: testDestroyAtOnce},
	{name: "Destroy/CutCreate", run: testDestroyCutCreate},
	{name: "Destroy/AtOnceCreate", run: testCreateAndDestroy},
	{name: "List", run: testList},
	{name: "Sweep/CreateCut", run: testSweepCreateCut},
	{name: "Sweep/DestroyCut", run: testSweepDestroyCut},
	{name: "Sweep/Age", run: testSweepAge},
}

var diskCases = []testCase{
	{name: "OutputDisk/Kept", run: testDiskKept},
	{name: "OutputDisk/Dropped", run: testDiskDropped},
	{name: "OutputDisk/Formats", run: testDiskFormats},
	{name: "OutputDisk/Taken", run: testDiskTaken},
	{name: "OutputDisk/AddCut", run: testDiskAddCut},
	{name: "OutputDisk/KeepCut", run: testDiskKeepCut},
	{name: "OutputDisk/KeepCutDestroy", run: testDiskKeepCutDestroy},
	{name: "OutputDisk/Restart", run: testDiskRestart},
	{name: "OutputDisk/Stop", run: testDiskStop},
	{name: "OutputDisk/Again", run: testDiskAgain},
	{name: "OutputDisk/AtOnce", run: testDiskAtOnce},
	{name: "OutputDisk/Refused", run: testDiskRefused},
	{name: "OutputDisk/Cancelled", run: testDiskCancelled},
}

var vmCases = []testCase{
	{name: "OutputVM/Made", run: testVMMade},
	{name: "OutputVM/AtOnce", run: testVMAtOnce},
	{name: "OutputVM/Cut", run: testVMCut},
	{name: "OutputVM/Taken", run: testVMTaken},
	{name: "OutputVM/Refused", run: testVMRefused},
	{name: "OutputVM/Cancelled", run: testVMCancelled},
}

var guestCases = []testCase{
	{name: "Guest/Life", run: testGuestLife},
	{name: "Guest/WorkingDisk", run: testGuestWorkingDisk},
	{name: "Guest/EndsItself", run: testGuestEndsItself},
	{name: "Guest/Stopped", run: testGuestStopped},
	{name: "Guest/CERuns", run: testGuestCERuns},
	{name: "Guest/KeepsCEOff", run: testGuestKeepsCEOff},
	{name: "Guest/AtOnce", run: testGuestAtOnce},
	{name: "Guest/AtOnceRemove", run: testGuestAtOnceRemove},
	{name: "Guest/Refused", run: testGuestRefused},
	{name: "Guest/Cancelled", run: testGuestCancelled},
	{name: "Guest/Screen", run: testGuestScreen},
	{name: "Guest/WorkerDeath", run: testGuestWorkerDeath},
	{name: "Guest/Destroy", run: testGuestDestroy},
	{name: "Guest/StartCut", run: testGuestStartCut},
	{name: "Guest/StartCutRemove", run: testGuestStartCutRemove},
	{name: "Guest/StartCutDestroy", run: testGuestStartCutDestroy},
	{name: "Guest/StopCut", run: testGuestStopCut},
	{name: "Guest/RemoveCut", run: testGuestRemoveCut},
	{name: "Guest/RemoveCutDestroy", run: testGuestRemoveCutDestroy},
	{name: "Guest/DestroyCut", run: testGuestDestroyCut},
}

// Run checks that the drivers of the harnesses do what platforms.Driver asks
// for, and platforms.OutputDisks, platforms.OutputVMs and platforms.Guests, if
// they implement them. It calls newHarness once for each case.
func Run(t *testing.T, newHarness func(t *testing.T) Harness) {
	outcomes := newRecord(t)
	for _, c := range cases(t, newHarness(t)) {
		t.Run(c.name, func(t *testing.T) {
			if !c.alone {
				t.Parallel()
			}
			outcomes.watch(t, c.name)
			h := newHarness(t)
			t.Cleanup(func() { tidy(t, h) })
			c.run(t, h)
		})
	}
}

// cases gives what applies to the harness and its driver.
func cases(t *testing.T, h Harness) []testCase {
	t.Helper()
	all, verbs := slices.Clone(driverCases), []Verb{Check, Create, Stop, Destroy, Find, List}
	d := h.Open(t)
	if _, ok := d.(platforms.OutputDisks); ok {
		if _, ok := h.(OutputHarness); !ok {
			t.Fatal("the driver implements OutputDisks, and the harness is no OutputHarness")
		}
		all, verbs = append(all, diskCases...), append(verbs, CheckDisk, AddDisk, KeepDisk)
	}
	if _, ok := d.(platforms.OutputVMs); ok {
		if _, ok := h.(VMHarness); !ok {
			t.Fatal("the driver implements OutputVMs, and the harness is no VMHarness")
		}
		all, verbs = append(all, vmCases...), append(verbs, CheckVM, MakeVM)
	}
	if _, ok := d.(platforms.Guests); ok {
		if _, ok := h.(GuestHarness); !ok {
			t.Fatal("the driver implements Guests, and the harness is no GuestHarness")
		}
		all, verbs = append(all, guestCases...), append(verbs, CheckGuest, StartGuest, FindGuest, GuestScreen, StopGuest, RemoveGuest)
	}
	if _, ok := h.(Failing); ok {
		all = append(all, testCase{name: "GivesUp", run: testFault})
	}
	if _, ok := h.(Slow); ok {
		all = append(all, testCase{name: "LateArrival/Destroy", run: testLateArrival}, testCase{name: "LateArrival/Create", run: testLateCreate})
	}
	if _, ok := h.(Losing); ok {
		all = append(all, testCase{name: "Guest/Alone", run: testGuestAlone})
	}
	if _, ok := h.(Server); ok {
		all = append(all, testCase{name: "Server/Trust", run: testTrust}, testCase{name: "Server/Login", run: testLogin},
			testCase{name: "Server/SharedSession", run: testSharedSession, alone: true})
	}
	// of gives the case of a verb.
	of := func(name string, verb Verb, run func(*testing.T, Harness, Verb)) testCase {
		return testCase{name: name + "/" + string(verb), run: func(t *testing.T, h Harness) { run(t, h, verb) }}
	}
	if _, ok := h.(Breaking); ok {
		all = append(all, testCase{name: "Import/AtOnce", run: testImportAtOnce}, of("ImportCut", Create, testImportCut),
			of("ImportCut", Destroy, testImportCut), of("ImportCut", List, testImportCut),
			of("RestartCut", Restart, testRestartCut), of("RestartCut", Destroy, testRestartCut))
		for _, verb := range append(slices.Clone(verbs), Restart) {
			all = append(all, of("EachCall", verb, testEachCall))
		}
	}
	_, faulty := h.(Faulty)
	_, sessions := h.(Sessions)
	for _, verb := range verbs {
		if sessions {
			all = append(all, of("SessionLoss", verb, testSessionLoss))
		}
		if !faulty {
			continue
		}
		for _, f := range faults {
			all = append(all, of(f.name, verb, func(t *testing.T, h Harness, verb Verb) { testFailure(t, h, verb, f.kind) }))
		}
	}
	return all
}

// tidy removes what a test left, and checks that this can be done.
func tidy(t *testing.T, h Harness) {
	ctx := context.Background()
	d := h.Open(t)
	ces, err := d.List(ctx)
	if err != nil {
		t.Errorf("List at the end: %v", err)
	}
	for _, ce := range ces {
		if err := d.Destroy(ctx, ce.Name); err != nil {
			t.Errorf("Destroy at the end: %v", err)
		}
	}
	if left := h.Leftovers(t); len(left) > 0 {
		t.Errorf("List and Destroy leave %q", left)
	}
	// What is its owner's is not in the way of the next case, should that have
	// the same platform.
	if vh, ok := h.(VMHarness); ok {
		for _, vm := range vh.VMs(t) {
			vh.RemoveVM(t, vm)
		}
	}
	if oh, ok := h.(OutputHarness); ok {
		for _, disk := range oh.Outputs(t) {
			oh.RemoveOutput(t, disk)
		}
	}
}
