package starter_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.temporal.io/sdk/client"

	"imageport/job"
	"imageport/starter"
	"imageport/starter/startertest"
	"imageport/testkit/devserver"
)

// site is a resource location of one test.
type site struct {
	*starter.Client
	temporal client.Client
	queue    string
	image    string
}

func newSite(t *testing.T) site {
	t.Helper()
	c := devserver.Start(t)
	unique := uuid.NewString()[:8]
	return site{starter.New(c), c, "location-" + unique, "win10-" + unique}
}

func (s site) start(t *testing.T, ends string, opts ...starter.StartOption) starter.Started {
	t.Helper()
	started, err := s.Start(t.Context(), job.OpConvertToUEFI, startertest.Body(s.queue, s.image, ends), opts...)
	if err != nil {
		t.Fatal(err)
	}
	return started
}

// until polls a job until its status is what the test waits for.
func (s site) until(t *testing.T, id, what string, ok func(job.Status) bool) job.Status {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		got, err := s.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if ok(got) {
			return got
		}
		if time.Now().After(deadline) {
			t.Fatalf("not %s: %+v", what, got)
		}
	}
}

func TestJobThatCompletes(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	startertest.Serve(t, s.temporal, s.queue)
	started := s.start(t, startertest.Completes)
	want := "ips/files.example.com/pvs/store/" + s.image + ".vhdx"
	if started.JobID != want || started.RunID == "" || started.Again {
		t.Fatalf("started %+v; want job %s", started, want)
	}
	res, err := s.Result(t.Context(), started.JobID)
	if err != nil {
		t.Fatal(err)
	}
	if res.OutputFile != "completes.avhdx" || res.CompositingEngines != 1 {
		t.Errorf("result %+v", res)
	}
	for _, id := range []string{started.JobID, started.RunID} {
		got := s.until(t, id, "found", func(got job.Status) bool { return true })
		if got.State != job.StateCompleted || got.Phase != job.PhaseDone || got.Ended == nil || got.Result == nil || got.Error != nil ||
			got.Output != `\\Files.example.com\PVS\Store\completes.avhdx` || got.Image != `\\Files.example.com\PVS\Store\`+s.image+".vhdx" ||
			got.Platform != "local" || got.CE == "" || got.Progress != nil {
			t.Errorf("status of %s: %+v", id, got)
		}
	}
	described, err := s.temporal.DescribeWorkflow(t.Context(), started.JobID, "")
	if err != nil {
		t.Fatal(err)
	}
	summary, err := described.GetStaticSummary()
	if err != nil || summary != "convertToUefi "+s.image+".vhdx -> completes.avhdx" {
		t.Errorf("summary %q, %v", summary, err)
	}
	if err := s.Cancel(t.Context(), started.JobID, "too late"); job.CodeOf(err) != job.JobEnded {
		t.Errorf("cancel of an ended job: %v", err)
	}
}

func TestJobThatFails(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	startertest.Serve(t, s.temporal, s.queue)
	started := s.start(t, startertest.Fails)
	_, err := s.Result(t.Context(), started.JobID)
	e, ok := errors.AsType[*job.Error](err)
	if !ok || e.Code != job.AlreadyGPT || e.Remedy != "Use the image as it is" {
		t.Fatalf("result: %v", err)
	}
	got, err := s.Get(t.Context(), started.JobID)
	if err != nil || got.State != job.StateFailed || got.Error == nil || got.Error.Code != job.AlreadyGPT || got.Phase != job.PhaseCompose {
		t.Errorf("status %+v, %v", got, err)
	}
}

func TestRunningJobAndCancel(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	startertest.Serve(t, s.temporal, s.queue)
	started := s.start(t, startertest.CleansUp)
	got := s.until(t, started.JobID, "heartbeating", func(got job.Status) bool { return got.Progress != nil && got.Progress.Step == "write" })
	if got.State != job.StateRunning || got.Phase != job.PhaseCompose || got.Progress.DoneBytes != startertest.Size/2 || got.Progress.TotalBytes != startertest.Size || got.Ended != nil || len(got.Warnings) != 0 {
		t.Errorf("running: %+v", got)
	}
	if err := s.Cancel(t.Context(), started.RunID, "by a test"); err != nil {
		t.Fatal(err)
	}
	s.until(t, started.JobID, "cleaning up", func(got job.Status) bool {
		return got.State == job.StateRunning && slices.ContainsFunc(got.Warnings, func(w string) bool { return strings.Contains(w, "cleaning up") })
	})
	if _, err := s.Result(t.Context(), started.JobID); job.CodeOf(err) != job.JobCanceled {
		t.Errorf("result: %v", err)
	}
	got = s.until(t, started.JobID, "canceled", func(got job.Status) bool { return got.State == job.StateCanceled })
	if got.Error != nil || got.Ended == nil {
		t.Errorf("canceled: %+v", got)
	}
	if err := s.Cancel(t.Context(), started.JobID, "again"); err != nil {
		t.Errorf("second cancel: %v", err)
	}
}

func TestTerminatedJob(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	startertest.Serve(t, s.temporal, s.queue)
	started := s.start(t, startertest.Works)
	if err := s.temporal.TerminateWorkflow(t.Context(), started.JobID, "", "by a test"); err != nil {
		t.Fatal(err)
	}
	got, err := s.Get(t.Context(), started.JobID)
	if err != nil || got.State != job.StateTerminated || got.Error == nil || got.Error.Code != job.JobTerminated {
		t.Errorf("got %+v, %v", got, err)
	}
	if err := s.Cancel(t.Context(), started.JobID, ""); job.CodeOf(err) != job.JobEnded {
		t.Errorf("cancel: %v", err)
	}
}

func TestRetriedActivityIsAWarning(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	startertest.Serve(t, s.temporal, s.queue)
	started := s.start(t, startertest.Flaky)
	s.until(t, started.JobID, "retrying", func(got job.Status) bool {
		return slices.ContainsFunc(got.Warnings, func(w string) bool {
			return strings.HasPrefix(w, "Compose is on attempt ") && strings.HasSuffix(w, "SHARE_UNREACHABLE: files.example.com does not answer")
		})
	})
	if err := s.Cancel(t.Context(), started.JobID, "done"); err != nil {
		t.Fatal(err)
	}
}

func TestOneRunningJobPerImage(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	startertest.Serve(t, s.temporal, s.queue)
	first := s.start(t, startertest.Works, starter.RequestID("r1"))
	// Another spelling of the same image, and another output.
	body := strings.ReplaceAll(string(startertest.Body(s.queue, strings.ToUpper(s.image), "other")), "PVS/Store", `\\pvs\\STORE\\`)
	for _, opts := range [][]starter.StartOption{nil, {starter.RequestID("r2")}} {
		_, err := s.Start(t.Context(), job.OpConvertToUEFI, []byte(body), opts...)
		if job.CodeOf(err) != job.AlreadyRunning || !strings.Contains(err.Error(), first.JobID) || !strings.Contains(err.Error(), first.RunID) {
			t.Errorf("second start: %v", err)
		}
	}
	second := s.start(t, startertest.Works, starter.RequestID("r1"))
	if !second.Again || second.RunID != first.RunID || second.JobID != first.JobID {
		t.Errorf("same request: %+v; want %+v", second, first)
	}
	// The same body in another order is the same request; another one is refused.
	var same map[string]any
	if err := json.Unmarshal(startertest.Body(s.queue, s.image, startertest.Works), &same); err != nil {
		t.Fatal(err)
	}
	sorted, err := json.Marshal(same)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := s.Start(t.Context(), job.OpConvertToUEFI, sorted, starter.RequestID("r1")); err != nil || again.RunID != first.RunID {
		t.Errorf("same request, other bytes: %+v, %v", again, err)
	}
	reverse := strings.Replace(string(startertest.Body(s.queue, s.image, startertest.Works)), "outputImageFilename", "outputDiskName", 1)
	for op, other := range map[job.Operation]string{job.OpConvertToUEFI: body, job.OpReverseImage: reverse} {
		if _, err := s.Start(t.Context(), op, []byte(other), starter.RequestID("r1")); job.CodeOf(err) != job.BadRequest || !strings.Contains(err.Error(), first.RunID) {
			t.Errorf("the request id with another request: %v", err)
		}
	}
	if err := s.Cancel(t.Context(), first.JobID, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Result(t.Context(), first.JobID); job.CodeOf(err) != job.JobCanceled {
		t.Fatal(err)
	}
	if third := s.start(t, startertest.Works, starter.RequestID("r1")); !third.Again || third.RunID != first.RunID {
		t.Errorf("same request after the end: %+v; want %+v", third, first)
	}
	if fourth := s.start(t, startertest.Completes, starter.RequestID("r3")); fourth.Again || fourth.RunID == first.RunID {
		t.Errorf("new request after the end: %+v", fourth)
	}
	// The id of the run still names the earlier one.
	s.until(t, first.RunID, "the first run", func(got job.Status) bool { return got.RunID == first.RunID && got.State == job.StateCanceled })
}

func TestRefusedBeforeStart(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, tc := range []struct {
		name string
		op   job.Operation
		body string
		code job.Code
		says string
	}{
		{"empty", job.OpConvertToUEFI, "", job.BadRequest, "empty"},
		{"not JSON", job.OpConvertToUEFI, "{\n nope", job.BadRequest, "line 2"},
		{"two things missing", job.OpConvertToUEFI, `{"platform":"local","resourceLocationId":"q","inputStorageLocation":{"host":"h","sharePath":"s"},"inputImageFilename":"a"}`,
			job.BadRequest, "inputStorageLocation.credentialId is missing; outputImageFilename is missing"},
		{"reverse image", job.OpReverseImage, string(startertest.Body(s.queue, s.image, "x")), job.BadRequest, "outputDiskName is missing"},
		{"upgrade", job.OpUpgradePVS, string(startertest.Body(s.queue, s.image, "x")), job.BadRequest, "upgradeOptions.installPvs is missing"},
		{"unknown operation", "export", "{}", job.UnsupportedOperation, "convertToUefi, reverseImage, upgradePvs"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := s.Start(t.Context(), tc.op, json.RawMessage(tc.body))
			if job.CodeOf(err) != tc.code || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("got %v; want %s with %q", err, tc.code, tc.says)
			}
		})
	}
	jobs, err := s.List(t.Context(), starter.Filter{Image: s.image})
	if err != nil || len(jobs) != 0 {
		t.Errorf("something was started: %v, %v", jobs, err)
	}
}

func TestTypedStartAndWarnings(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	startertest.Serve(t, s.temporal, s.queue)
	req, _, err := job.Parse[job.ConvertToUEFI](startertest.Body(s.queue, s.image, startertest.Completes))
	if err != nil {
		t.Fatal(err)
	}
	started, err := s.StartConvertToUEFI(t.Context(), req)
	if err != nil || len(started.Warnings) != 0 {
		t.Fatalf("%+v, %v", started, err)
	}
	if _, err := s.Result(t.Context(), started.JobID); err != nil {
		t.Fatal(err)
	}
	body := strings.Replace(string(startertest.Body(s.queue, s.image, startertest.Completes)), `"platform"`, `"colour": "blue", "platform"`, 1)
	again, err := s.Start(t.Context(), job.OpConvertToUEFI, json.RawMessage(body))
	if err != nil || !slices.Equal(again.Warnings, []string{`unknown key "colour" was ignored`}) {
		t.Errorf("%+v, %v", again, err)
	}
}

func TestLongNamesFitTheSummary(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	startertest.Serve(t, s.temporal, s.queue)
	long := strings.Repeat("x", 180)
	started, err := s.Start(t.Context(), job.OpConvertToUEFI, startertest.Body(s.queue, s.image+long, "converted"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Cancel(t.Context(), started.JobID, ""); err != nil {
		t.Fatal(err)
	}
}

func TestWithoutWorker(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	started := s.start(t, startertest.Works)
	if len(started.Warnings) != 1 || !strings.Contains(started.Warnings[0], "no worker serves") {
		t.Errorf("started: %v", started.Warnings)
	}
	begin := time.Now()
	got, err := s.Get(t.Context(), started.JobID)
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took > 4*time.Second {
		t.Errorf("took %v", took)
	}
	if got.State != job.StateRunning || len(got.Warnings) != 1 || !strings.Contains(got.Warnings[0], "no worker of resource location") ||
		got.Image != `\\files.example.com\pvs\store\`+s.image+".vhdx" {
		t.Errorf("got %+v", got)
	}
	// A worker that came and went leaves what the search attributes tell.
	stop := startertest.Serve(t, s.temporal, s.queue)
	s.until(t, started.JobID, "composing", func(got job.Status) bool { return got.Phase == job.PhaseCompose && got.Progress != nil })
	stop()
	got, err = s.Get(t.Context(), started.JobID)
	if err != nil || got.Phase != job.PhaseCompose || got.Platform != "local" || got.Output != `\\files.example.com\pvs\store\works.avhdx` || len(got.Warnings) == 0 {
		t.Errorf("got %+v, %v", got, err)
	}
	if err := s.temporal.TerminateWorkflow(t.Context(), started.JobID, "", ""); err != nil {
		t.Fatal(err)
	}
}

func TestNotFound(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	run, err := s.temporal.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: "other-" + s.queue, TaskQueue: s.queue}, "somethingElse")
	if err != nil {
		t.Fatal(err)
	}
	for id, code := range map[string]job.Code{
		"ips/no/such": job.JobNotFound, uuid.NewString(): job.JobNotFound, "x' OR '1'='1": job.JobNotFound,
		run.GetID(): job.JobNotFound, "": job.BadRequest,
	} {
		if _, err := s.Get(t.Context(), id); job.CodeOf(err) != code {
			t.Errorf("Get(%q): %v", id, err)
		}
		if err := s.Cancel(t.Context(), id, ""); job.CodeOf(err) != code {
			t.Errorf("Cancel(%q): %v", id, err)
		}
		if _, err := s.Result(t.Context(), id); job.CodeOf(err) != code {
			t.Errorf("Result(%q): %v", id, err)
		}
		for _, err := range s.Watch(t.Context(), id) {
			if job.CodeOf(err) != code {
				t.Errorf("Watch(%q): %v", id, err)
			}
		}
	}
	if err := s.temporal.TerminateWorkflow(t.Context(), run.GetID(), "", ""); err != nil {
		t.Fatal(err)
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	startertest.Serve(t, s.temporal, s.queue)
	base := s.image
	for i, ends := range []string{startertest.Completes, startertest.Fails, startertest.Works} {
		s.image = fmt.Sprintf("%s-%d", base, i)
		started := s.start(t, ends)
		if ends != startertest.Works {
			_, _ = s.Result(t.Context(), started.JobID) // until it has ended
			continue
		}
		s.until(t, started.JobID, "heartbeating", func(got job.Status) bool { return got.Progress != nil })
		defer func() { _ = s.Cancel(context.WithoutCancel(t.Context()), started.JobID, "") }()
	}
	states := func(f starter.Filter) string {
		f.ResourceLocation = s.queue
		jobs, err := s.List(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, j := range jobs {
			all = append(all, fmt.Sprintf("%s:%s", j.State, j.Phase))
		}
		slices.Sort(all)
		return strings.Join(all, " ")
	}
	const all = "completed:done failed:compose running:compose"
	for deadline := time.Now().Add(10 * time.Second); states(starter.Filter{}) != all && time.Now().Before(deadline); {
		time.Sleep(50 * time.Millisecond) // visibility follows behind
	}
	for _, tc := range []struct {
		filter starter.Filter
		want   string
	}{
		{starter.Filter{}, all},
		{starter.Filter{State: job.StateRunning}, "running:compose"},
		{starter.Filter{State: job.StateFailed}, "failed:compose"},
		{starter.Filter{State: job.StateCanceled}, ""},
		{starter.Filter{Operation: job.OpConvertToUEFI, Platform: "LOCAL"}, all},
		{starter.Filter{Operation: job.OpUpgradePVS}, ""},
		{starter.Filter{Platform: "azure"}, ""},
		{starter.Filter{Image: "pvs/Store/" + base}, all},
		{starter.Filter{Image: base + "-0"}, "completed:done"},
		{starter.Filter{Image: "it's not there"}, ""},
		{starter.Filter{Limit: 1}, "running:compose"},
	} {
		if got := states(tc.filter); got != tc.want {
			t.Errorf("%+v: got %q; want %q", tc.filter, got, tc.want)
		}
	}
	for _, bad := range []starter.Filter{{State: "sleeping"}, {Operation: "export"}} {
		if _, err := s.List(t.Context(), bad); job.CodeOf(err) != job.BadRequest {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

func TestWatch(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	startertest.Serve(t, s.temporal, s.queue)
	started := s.start(t, startertest.Works)
	var seen []string
	var last job.Status
	cancelled := time.Time{}
	for got, err := range s.Watch(t.Context(), started.JobID) {
		if err != nil {
			t.Fatal(err)
		}
		seen, last = append(seen, fmt.Sprint(got)), got
		if got.Progress != nil && got.Progress.Step == "write" && cancelled.IsZero() {
			cancelled = time.Now()
			if err := s.Cancel(t.Context(), started.JobID, "by a test"); err != nil {
				t.Fatal(err)
			}
		}
	}
	if last.State != job.StateCanceled || last.Ended == nil {
		t.Errorf("last: %+v", last)
	}
	for i := 1; i < len(seen); i++ {
		if seen[i] == seen[i-1] && i < len(seen)-1 {
			t.Errorf("status %d was given twice: %s", i, seen[i])
		}
	}
	t.Logf("%d statuses; canceled %v after the request", len(seen), time.Since(cancelled).Round(time.Millisecond))

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	second := s.start(t, startertest.Works)
	for got, err := range s.Watch(ctx, second.JobID) {
		cancel()
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("watching ended with %v, after %+v", err, got)
		}
	}
	if err := s.Cancel(t.Context(), second.JobID, ""); err != nil {
		t.Fatal(err)
	}
}

func TestUnreachableServer(t *testing.T) {
	t.Parallel()
	c, err := client.NewLazyClient(client.Options{HostPort: "127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if _, err := starter.New(c).Get(ctx, "x"); job.CodeOf(err) != job.TemporalUnreachable && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}
