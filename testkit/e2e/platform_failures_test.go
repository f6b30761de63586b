package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"

	"go.temporal.io/api/enums/v1"
	failurepb "go.temporal.io/api/failure/v1"

	"imageport/job"
	labazure "imageport/lab/azure"
	"imageport/testkit/site"
	"imageport/testkit/winimage"
	"imageport/worker"
)

// What goes wrong on a platform is in the job's history: how, and when the
// platform is asked again. Whether the job then succeeds, fails or is cancelled,
// nothing is left.
func TestPlatformFailures(t *testing.T) {
	t.Parallel()
	r := newRigWith(t, site.Options{Image: winimage.Small()})
	inAzure, azure := r.azure()
	inGCP, gce := r.gcp()
	r.serve([]place{inAzure, inGCP}, func(*worker.Config) {})
	convert := func(p place) string {
		return r.start(r.body(p.put(func(b map[string]any) { b["overwriteOutput"] = true })))
	}
	nothing := func() {
		t.Helper()
		for _, x := range azure.Resources() {
			if x.Kind != "imageVersion" {
				t.Errorf("Azure has %s %s (%s)", x.Kind, x.Name, x.State)
			}
		}
		if vms, disks := gce.Instances(), gce.Disks(); len(vms)+len(disks) > 0 {
			t.Errorf("the Google Cloud has %v, %v", vms, disks)
		}
		r.noCE()
	}
	const create = "VirtualMachinesClient.BeginCreateOrUpdate"

	// Throttled: Azure says when.
	azure.Fail(create, labazure.Fault{Status: 429, Code: "OperationNotAllowed", Message: "too many requests", RetryAfter: 3 * time.Second}, 2)
	id := convert(inAzure)
	r.completed(id, time.Minute)
	if f := r.earlierFailure(id, "CreateCE"); f == nil || f.GetApplicationFailureInfo().GetType() != string(job.PlatformError) ||
		f.GetApplicationFailureInfo().GetNextRetryDelay().AsDuration() != 3*time.Second || !strings.Contains(f.GetMessage(), "too many requests") {
		t.Errorf("throttled: the history has %v", f)
	}
	nothing()

	// Provisioning fails and leaves a VM in state Failed.
	azure.FailLater(create, labazure.Fault{Code: "ZonalAllocationFailed", Message: "no room"}, 1)
	id = convert(inAzure)
	warned := r.warnedOf(id, string(job.PlatformFull))
	if f := r.pendingFailure(id); !strings.Contains(warned, "no room") || f.GetApplicationFailureInfo().GetNextRetryDelay().AsDuration() < time.Minute {
		t.Errorf("no room: %q; the failure is %v", warned, f)
	}
	if err := r.Jobs.Cancel(t.Context(), id, "there is no room"); err != nil {
		t.Fatal(err)
	}
	if s := r.wait(id, time.Minute); s.State != job.StateCanceled {
		t.Errorf("no room: it ended as %s with %v", s.State, s.Error)
	}
	nothing()

	// The quota is used up. Somebody frees some, and the job goes on by itself; this
	// one is not waited for.
	azure.SetCores(1)
	id = convert(inAzure)
	if warned := r.warnedOf(id, string(job.PlatformFull)); !strings.Contains(strings.ToLower(warned), "core") {
		t.Errorf("no quota: %q", warned)
	}
	if err := r.Jobs.Cancel(t.Context(), id, "there is no quota"); err != nil {
		t.Fatal(err)
	}
	if s := r.wait(id, time.Minute); s.State != job.StateCanceled {
		t.Errorf("no quota: it ended as %s with %v", s.State, s.Error)
	}
	azure.SetCores(100)
	nothing()

	// A right is missing: that ends the job, and names it.
	azure.Revoke("Microsoft.Compute/virtualMachines/write")
	if s := r.wait(convert(inAzure), time.Minute); s.Error == nil || s.Error.Code != job.PlatformRefused || !strings.Contains(s.Error.Error(), "Microsoft.Compute/virtualMachines/write") {
		t.Errorf("no right: it ended as %s with %v", s.State, s.Error)
	}
	azure.Heal()
	nothing()

	// Tokens are over in the middle: nobody notices.
	azure.EndSessions()
	r.completed(convert(inAzure), time.Minute)
	nothing()

	// A zone without capacity: the next one has some.
	zones := gce.Zones()
	gce.StockOut(zones[0], "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS")
	r.completed(convert(inGCP), time.Minute)
	// None has.
	for _, zone := range zones {
		gce.StockOut(zone, "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS")
	}
	id = convert(inGCP)
	if warned := r.warnedOf(id, string(job.PlatformFull)); !strings.Contains(warned, zones[0]) {
		t.Errorf("no zone has room: %q", warned)
	}
	if err := r.Jobs.Cancel(t.Context(), id, "there is no room"); err != nil {
		t.Fatal(err)
	}
	if s := r.wait(id, time.Minute); s.State != job.StateCanceled {
		t.Errorf("no zone has room: it ended as %s with %v", s.State, s.Error)
	}
	nothing()
}

// warnedOf waits until the job warns of something, and gives the warning.
func (r rig) warnedOf(id, of string) (warning string) {
	r.t.Helper()
	r.until("the job warns of "+of, func() bool {
		s, err := r.Jobs.Get(r.t.Context(), id)
		if err != nil {
			r.t.Fatal(err)
		}
		if s.State != job.StateRunning {
			r.t.Fatalf("it ended as %s with %v", s.State, s.Error)
		}
		i := slices.IndexFunc(s.Warnings, func(w string) bool { return strings.Contains(w, of) })
		if i >= 0 {
			warning = s.Warnings[i]
		}
		return i >= 0
	})
	return warning
}

// pendingFailure is how the last attempt of the activity that is under way failed.
func (r rig) pendingFailure(id string) *failurepb.Failure {
	r.t.Helper()
	d, err := r.Temporal.Client().DescribeWorkflowExecution(r.t.Context(), id, "")
	if err != nil {
		r.t.Fatal(err)
	}
	for _, a := range d.GetPendingActivities() {
		if a.GetLastFailure() != nil {
			return a.GetLastFailure()
		}
	}
	return nil
}

// earlierFailure is how the attempt before the last one of an activity failed, as
// the history has it.
func (r rig) earlierFailure(id, activity string) *failurepb.Failure {
	r.t.Helper()
	scheduled := make(map[int64]string)
	events := r.Temporal.Client().GetWorkflowHistory(r.t.Context(), id, "", false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		e, err := events.Next()
		if err != nil {
			r.t.Fatal(err)
		}
		if a := e.GetActivityTaskScheduledEventAttributes(); a != nil {
			scheduled[e.GetEventId()] = a.GetActivityType().GetName()
		}
		if a := e.GetActivityTaskStartedEventAttributes(); a.GetLastFailure() != nil && scheduled[a.GetScheduledEventId()] == activity {
			return a.GetLastFailure()
		}
	}
	return nil
}
