package activities_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.temporal.io/api/common/v1"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/history/v1"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/worker"

	"imageport/activities"
	"imageport/engine/convert"
	"imageport/job"
	"imageport/job/durable"
	"imageport/job/seed"
	"imageport/platforms"
	"imageport/starter"
	"imageport/testkit/devserver"
	"imageport/workflows"
)

// shareless are the activities of a resource location whose images pass
// preflight, and need no share.
type shareless struct {
	*activities.Controller
	held *sync.RWMutex // while it is locked, preflight takes its time
}

func (s shareless) Preflight(context.Context, activities.PreflightInput) (convert.Admitted, error) {
	s.held.RLock()
	defer s.held.RUnlock()
	return convert.Admitted{Approval: convert.Approval{Output: "out.avhdx"}}, nil
}

func (shareless) Finish(context.Context, activities.FinishInput) error { return nil }

const ceLifetime = 24 * time.Hour

// location is a resource location whose worker runs the product's workflows.
// Its CEs never enrol, so that a job goes on until it is ended.
type location struct {
	*starter.Client
	t        *testing.T
	temporal client.Client
	id       string
	local    *plant
	vcenters map[string]*plant // by vCenterHost
	held     sync.RWMutex
}

func newLocation(t *testing.T) *location {
	t.Helper()
	t.Parallel()
	c := devserver.Start(t)
	l := &location{Client: starter.New(c), t: t, temporal: c, id: "o'hare-" + uuid.NewString()[:8], local: newPlant(),
		vcenters: map[string]*plant{"vc1": newPlant(), "vc2": newPlant()}}
	w := worker.New(c, l.id, worker.Options{Interceptors: []interceptor.WorkerInterceptor{&durable.Interceptor{}}})
	workflows.Register(w)
	w.RegisterActivity(&shareless{held: &l.held, Controller: &activities.Controller{
		Owner: l.id,
		Platforms: platforms.Registry{"local": platforms.Always(l.local), "vsphere": func(_ context.Context, where job.Target) (platforms.Driver, error) {
			if d, ok := l.vcenters[where.VCenterHost]; ok {
				return d, nil
			}
			return nil, platforms.Errorf(platforms.Busy, "no route to %s", where.VCenterHost)
		}},
		Invite: func(platforms.Driver, string, string, time.Duration) (seed.Gateway, error) {
			return seed.Gateway{}, nil
		},
		EnrolWithin: time.Hour,
		CELifetime:  ceLifetime,
	}})
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
	return l
}

// start starts a job on an image, with more fields for its request, and waits
// until it has its CE on the platform.
func (l *location) start(image, fields string, on *plant) job.Status {
	l.t.Helper()
	started, err := l.Start(l.t.Context(), job.OpConvertToUEFI, fmt.Appendf(nil, `{%s,"resourceLocationId":%q,"inputStorageLocation":{"credentialId":"files","host":%q,"sharePath":"pvs"},
		"inputImageFilename":%q,"outputImageFilename":%q}`, fields, l.id, l.id[len(l.id)-8:], image, image+"-uefi"))
	if err != nil {
		l.t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		s, err := l.Get(l.t.Context(), started.RunID)
		if err == nil && s.CE != "" && on.has(s.CE) {
			return s
		}
		if time.Now().After(deadline) {
			l.t.Fatalf("no CE: %+v, %v", s, err)
		}
	}
}

func (l *location) terminate(s job.Status) {
	l.t.Helper()
	if err := l.temporal.TerminateWorkflow(l.t.Context(), s.JobID, s.RunID, "test"); err != nil {
		l.t.Fatal(err)
	}
}

// sweep sweeps, without regard to age unless the request has one.
func (l *location) sweep(req job.SweepRequest) job.SweepResult {
	l.t.Helper()
	if req.MinAge == nil {
		req.MinAge = new(job.Period)
	}
	req.Settle = new(job.Period(10 * time.Millisecond))
	r, err := l.Sweep(l.t.Context(), l.id, req)
	if err != nil {
		l.t.Fatal(err)
	}
	return r
}

// why gives what the list says of a CE, "" if it is not there.
func why(list []job.SweptCE, name string) string {
	for _, ce := range list {
		if ce.CE == name {
			return ce.Why
		}
	}
	return ""
}

const onLocal = `"platform":"local"`

func TestSweepOfATerminatedJob(t *testing.T) {
	l := newLocation(t)
	dead, alive := l.start("dead", onLocal, l.local), l.start("alive", onLocal, l.local)
	l.terminate(dead)
	foreign := l.local.put(platforms.Instance{Name: "ce-00000000000f", Job: dead.JobID, Owner: "another-location", Created: time.Unix(0, 0)}).Name

	r := l.sweep(job.SweepRequest{MinAge: new(job.Period(time.Hour))})
	if len(r.Removed)+len(r.Failed) != 0 || why(r.Kept, dead.CE) != "it is younger than 1h" {
		t.Errorf("too young: %+v", r)
	}
	r = l.sweep(job.SweepRequest{DryRun: true})
	if !strings.HasPrefix(why(r.Removed, dead.CE), "its job was terminated at 20") || !l.local.has(dead.CE) || !r.DryRun {
		t.Errorf("dry run: %+v", r)
	}
	r = l.sweep(job.SweepRequest{})
	if len(r.Removed) != 1 || r.Removed[0].CE != dead.CE || r.Removed[0].Job != dead.JobID || r.Removed[0].Platform != "local" || why(r.Kept, alive.CE) != "its job runs" {
		t.Errorf("%+v", r)
	}
	if l.local.has(dead.CE) || !l.local.has(alive.CE, foreign) {
		t.Errorf("left: %v", l.local.ces)
	}
	if len(r.Targets) != 1 || r.Targets[0].CEs != 1 || r.Targets[0].Others != 1 {
		t.Errorf("targets: %+v", r.Targets)
	}
	l.replay(durable.SweepNow(l.id))
	if r = l.sweep(job.SweepRequest{}); len(r.Removed)+len(r.Failed) != 0 {
		t.Errorf("again: %+v", r)
	}
}

// replay runs the workflow again from what its last run has recorded.
func (l *location) replay(id string) {
	l.t.Helper()
	var recorded history.History
	for events := l.temporal.GetWorkflowHistory(l.t.Context(), id, "", false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT); events.HasNext(); {
		e, err := events.Next()
		if err != nil {
			l.t.Fatal(err)
		}
		recorded.Events = append(recorded.Events, e)
	}
	r := worker.NewWorkflowReplayer()
	workflows.Register(r)
	if err := r.ReplayWorkflowHistory(log.NewStructuredLogger(slog.New(slog.DiscardHandler)), &recorded); err != nil {
		l.t.Error(err)
	}
}

// A job of the same id that was started anew keeps its CE, and only that.
func TestSweepOfAJobStartedAnew(t *testing.T) {
	l := newLocation(t)
	before := l.start("win10", onLocal, l.local)
	l.terminate(before)
	now := l.start("win10", onLocal, l.local)
	if before.JobID != now.JobID || before.CE == now.CE {
		t.Fatalf("before %+v, now %+v", before, now)
	}
	// One that the job itself has lost.
	lost := l.local.put(platforms.Instance{Name: "ce-0123456789ab", Job: now.JobID, RunID: now.RunID, Owner: l.id, Created: time.Now()}).Name
	r := l.sweep(job.SweepRequest{})
	if l.local.has(before.CE) || l.local.has(lost) || !l.local.has(now.CE) || why(r.Removed, lost) != "its job runs on "+now.CE {
		t.Errorf("%+v, left: %v", r, l.local.ces)
	}
}

// A job that was reset comes back to the CE that it has.
func TestSweepOfAResetJob(t *testing.T) {
	l := newLocation(t)
	s := l.start("win10", onLocal, l.local)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	l.held.Lock()
	reset, err := l.temporal.ResetWorkflowExecution(ctx, &workflowservice.ResetWorkflowExecutionRequest{
		Namespace:                 devserver.Namespace,
		WorkflowExecution:         &common.WorkflowExecution{WorkflowId: s.JobID, RunId: s.RunID},
		WorkflowTaskFinishEventId: 4, // the first one, which found the preflight to do
		RequestId:                 uuid.NewString(),
	})
	if err != nil {
		t.Fatal(err)
	}
	const notYet = "its job runs, and has not come to its Compositing Engine yet"
	for deadline := time.Now().Add(20 * time.Second); ; {
		r := l.sweep(job.SweepRequest{})
		if got := why(r.Kept, s.CE); got == notYet {
			break
		}
		if !l.local.has(s.CE) || time.Now().After(deadline) { // the worker is busy with another test
			t.Fatalf("%+v", r)
		}
	}
	l.held.Unlock()
	for deadline := time.Now().Add(20 * time.Second); ; {
		now, err := l.Get(ctx, s.JobID)
		if err == nil && now.RunID == reset.GetRunId() && now.CE == s.CE {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v, %v", now, err)
		}
	}
	if r := l.sweep(job.SweepRequest{}); why(r.Kept, s.CE) != "its job runs" || !l.local.has(s.CE) {
		t.Errorf("%+v", r)
	}
}

// Of what nobody here knows, only what is of use to nobody any more goes.
func TestSweepOfStrangers(t *testing.T) {
	l := newLocation(t)
	ended := l.start("win10", onLocal, l.local)
	l.terminate(ended)
	young, old := time.Now().Add(-ceLifetime+time.Hour), time.Now().Add(-ceLifetime-time.Hour)
	mute := "mute-" + l.id
	if _, err := l.temporal.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: mute, TaskQueue: mute}, string(job.OpConvertToUEFI)); err != nil {
		t.Fatal(err)
	}
	other := uuid.NewString()
	for i, tc := range []struct {
		ce   platforms.Instance
		why  string
		gone bool
	}{
		{platforms.Instance{Job: "ips/unknown", RunID: other, Owner: l.id, Created: young}, "Temporal knows no such job: it stays until it is older than 24h", false},
		{platforms.Instance{Job: "ips/unknown", RunID: other, Owner: l.id, Created: old}, "Temporal knows no such job, and it is older than 24h", true},
		{platforms.Instance{Job: ended.JobID, RunID: other, Owner: l.id, Created: young}, "Temporal knows no such run of its job: it stays until it is older than 24h", false},
		{platforms.Instance{Job: ended.JobID, RunID: "none", Owner: l.id, Created: young}, "Temporal knows no such run of its job: it stays until it is older than 24h", false},
		{platforms.Instance{Job: ended.JobID, RunID: other, Owner: l.id, Created: old}, "Temporal knows no such run of its job, and it is older than 24h", true},
		{platforms.Instance{Created: young}, "nobody has put its job on it: it stays until it is older than 24h", false},
		{platforms.Instance{Created: old}, "nobody has put its job on it, and it is older than 24h", true},
		{platforms.Instance{Job: ended.JobID, Owner: l.id}, "the platform does not say how old it is", false},
		{platforms.Instance{Job: mute, Owner: l.id, Created: old}, "its job runs, and does not say which one it has: ", false},
		{platforms.Instance{Name: "build-server", Job: ended.JobID, Owner: l.id, Created: old}, "its name is not that of a Compositing Engine", false},
	} {
		if tc.ce.Name == "" {
			tc.ce.Name = fmt.Sprintf("ce-%012x", i)
		}
		l.local.put(tc.ce)
		r := l.sweep(job.SweepRequest{})
		list := r.Kept
		if tc.gone {
			list = r.Removed
		}
		if got := why(list, tc.ce.Name); got == "" || !strings.HasPrefix(got, tc.why) || l.local.has(tc.ce.Name) == tc.gone {
			t.Errorf("%+v: %+v; want %q", tc.ce, r, tc.why)
		}
		_ = l.local.Destroy(t.Context(), tc.ce.Name) // it never fails here
	}
}

func onVCenter(host string) string {
	return fmt.Sprintf(`"platform":"vmware","platformCredentialId":"v","vCenterHost":%q,"datacenter":"DC0","datastore":"LocalDS_0","cluster":"C0","network":"VM Network"`, host)
}

// Where vCenters are is in the requests of jobs, and is not forgotten.
func TestSweepFindsTargets(t *testing.T) {
	l := newLocation(t)
	dead := l.start("dead", onVCenter("vc1"), l.vcenters["vc1"])
	l.terminate(dead)
	again := l.start("again", onVCenter("vc1"), l.vcenters["vc1"])
	alive := l.start("alive", onVCenter("vc2"), l.vcenters["vc2"])
	l.vcenters["vc1"].mu.Lock()
	l.vcenters["vc1"].refuse = platforms.Errorf(platforms.Denied, "no permission VirtualMachine.Inventory.Delete")
	l.vcenters["vc1"].mu.Unlock()

	var r job.SweepResult
	for deadline := time.Now().Add(20 * time.Second); len(r.Targets) < 3; r = l.sweep(job.SweepRequest{}) { // visibility takes its time
		if time.Now().After(deadline) {
			t.Fatalf("targets: %+v", r.Targets)
		}
	}
	labels := func() (list []string) {
		for _, t := range r.Targets {
			list = append(list, t.Label())
		}
		return list
	}
	if got := labels(); !slices.Equal(got, []string{"local", "vSphere vc1", "vSphere vc2"}) {
		t.Errorf("targets %q", got)
	}
	if !strings.Contains(why(r.Failed, dead.CE), "no permission") || why(r.Kept, again.CE) != "its job runs" || why(r.Kept, alive.CE) != "its job runs" {
		t.Errorf("%+v", r)
	}

	// A vCenter that does not answer stays in mind, and keeps no other.
	l.vcenters["vc1"].mu.Lock()
	l.vcenters["vc1"].refuse = nil
	l.vcenters["vc1"].mu.Unlock()
	l.vcenters["vc2"].mu.Lock()
	l.vcenters["vc2"].list = platforms.Errorf(platforms.Busy, "no route\nto host")
	l.vcenters["vc2"].mu.Unlock()
	r = l.sweep(job.SweepRequest{})
	if l.vcenters["vc1"].has(dead.CE) || !l.vcenters["vc1"].has(again.CE) || len(r.Targets) != 3 || r.Targets[2].Error != "platform vSphere: no route to host" {
		t.Errorf("%+v", r)
	}
	if last := r.Targets[1].LastUsed; time.Since(last) > time.Minute {
		t.Errorf("last used %v", last)
	}
	l.vcenters["vc2"].mu.Lock()
	l.vcenters["vc2"].list = errDefect
	l.vcenters["vc2"].mu.Unlock()
	if r = l.sweep(job.SweepRequest{}); !strings.Contains(r.Targets[2].Error, "the driver has a defect: list of nothing") || r.Targets[1].Error != "" {
		t.Errorf("%+v", r)
	}
}
