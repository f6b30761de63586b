package platformtest

import (
	"context"
	"slices"
	"testing"

	"imageport/platforms"
)

// testCase is one case of the suite. Its name is group/case.
type testCase struct {
	name string
	run  func(*testing.T, Harness)
}

var driverCases = []testCase{
	{"Life", testLife},
	{"BadSpecs", testBadSpecs},
	{"Secrets", testSecrets},
	{"WorkerDeath", testWorkerDeath},
	{"Create/Twice", testCreateTwice},
	{"Create/AtOnce", testCreateAtOnce},
	{"Create/ForeignJob", testCreateForeignJob},
	{"Create/Planted", testCreatePlanted},
	{"Create/Cut", testCreateCut},
	{"Create/Cancelled", testCreateCancelled},
	{"Create/AfterDeath", testCreateAfterDeath},
	{"Stop/Twice", testStopTwice},
	{"Stop/Cut", testStopCut},
	{"Stop/AtOnce", testStopAtOnce},
	{"Stop/Planted", testStopPlanted},
	{"Destroy/Twice", testDestroyTwice},
	{"Destroy/AtOnce", testDestroyAtOnce},
	{"Destroy/CutCreate", testDestroyCutCreate},
	{"Destroy/AtOnceCreate", testCreateAndDestroy},
	{"List", testList},
	{"Sweep/CreateCut", testSweepCreateCut},
	{"Sweep/DestroyCut", testSweepDestroyCut},
	{"Sweep/Age", testSweepAge},
}

var diskCases = []testCase{
	{"OutputDisk/Kept", testDiskKept},
	{"OutputDisk/Dropped", testDiskDropped},
	{"OutputDisk/Formats", testDiskFormats},
	{"OutputDisk/Taken", testDiskTaken},
	{"OutputDisk/AddCut", testDiskAddCut},
	{"OutputDisk/KeepCut", testDiskKeepCut},
	{"OutputDisk/KeepCutDestroy", testDiskKeepCutDestroy},
	{"OutputDisk/Restart", testDiskRestart},
	{"OutputDisk/Stop", testDiskStop},
	{"OutputDisk/Again", testDiskAgain},
	{"OutputDisk/AtOnce", testDiskAtOnce},
	{"OutputDisk/Refused", testDiskRefused},
	{"OutputDisk/Cancelled", testDiskCancelled},
}

var vmCases = []testCase{
	{"OutputVM/Made", testVMMade},
	{"OutputVM/AtOnce", testVMAtOnce},
	{"OutputVM/Cut", testVMCut},
	{"OutputVM/Taken", testVMTaken},
	{"OutputVM/Refused", testVMRefused},
	{"OutputVM/Cancelled", testVMCancelled},
}

var guestCases = []testCase{
	{"Guest/Life", testGuestLife},
	{"Guest/WorkingDisk", testGuestWorkingDisk},
	{"Guest/EndsItself", testGuestEndsItself},
	{"Guest/Stopped", testGuestStopped},
	{"Guest/CERuns", testGuestCERuns},
	{"Guest/KeepsCEOff", testGuestKeepsCEOff},
	{"Guest/AtOnce", testGuestAtOnce},
	{"Guest/AtOnceRemove", testGuestAtOnceRemove},
	{"Guest/Refused", testGuestRefused},
	{"Guest/Cancelled", testGuestCancelled},
	{"Guest/Screen", testGuestScreen},
	{"Guest/WorkerDeath", testGuestWorkerDeath},
	{"Guest/Destroy", testGuestDestroy},
	{"Guest/StartCut", testGuestStartCut},
	{"Guest/StartCutRemove", testGuestStartCutRemove},
	{"Guest/StartCutDestroy", testGuestStartCutDestroy},
	{"Guest/StopCut", testGuestStopCut},
	{"Guest/RemoveCut", testGuestRemoveCut},
	{"Guest/RemoveCutDestroy", testGuestRemoveCutDestroy},
	{"Guest/DestroyCut", testGuestDestroyCut},
}

// Run checks that the drivers of the harnesses do what platforms.Driver asks
// for, and platforms.OutputDisks, platforms.OutputVMs and platforms.Guests, if
// they implement them. It calls newHarness once for each case.
func Run(t *testing.T, newHarness func(t *testing.T) Harness) {
	outcomes := newRecord(t)
	for _, c := range cases(t, newHarness(t)) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
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
		all = append(all, testCase{"GivesUp", testFault})
	}
	if _, ok := h.(Slow); ok {
		all = append(all, testCase{"LateArrival/Destroy", testLateArrival}, testCase{"LateArrival/Create", testLateCreate})
	}
	_, faulty := h.(Faulty)
	_, sessions := h.(Sessions)
	for _, verb := range verbs {
		if sessions {
			all = append(all, testCase{"SessionLoss/" + string(verb), func(t *testing.T, h Harness) { testSessionLoss(t, h, verb) }})
		}
		if !faulty {
			continue
		}
		for _, f := range faults {
			all = append(all, testCase{f.name + "/" + string(verb), func(t *testing.T, h Harness) { testFailure(t, h, verb, f.kind) }})
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
