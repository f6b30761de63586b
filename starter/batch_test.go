package starter_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/interceptor"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"imageport/activities"
	"imageport/job"
	"imageport/job/durable"
	"imageport/starter"
	"imageport/workflows"
)

// batchActivities are those that a batch itself needs.
type batchActivities struct {
	mu   sync.Mutex
	made map[string]bool // outputs
}

func (a *batchActivities) FindOutputs(_ context.Context, in []activities.OutputAt) ([]int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var there []int
	for i, o := range in {
		if a.made[o.File] {
			there = append(there, i)
		}
	}
	return there, nil
}

func (*batchActivities) ListImages(context.Context, activities.ListImagesInput) ([]string, error) {
	return nil, job.Errorf(job.ShareUnreachable, "", "files.example.com does not answer")
}

func (a *batchActivities) make(_ context.Context, file string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.made[file] = true
	return nil
}

// imageJob stands in for an operation: it ends as the name of its image says.
func imageJob(ctx workflow.Context, body converter.RawValue) (*job.Result, error) {
	req, _, err := job.Parse[job.ConvertToUEFI](body.Payload().GetData())
	if err != nil {
		return nil, durable.Failure(err)
	}
	if err := workflow.UpsertTypedSearchAttributes(ctx, durable.AttrPhase.ValueSet(string(job.PhaseCompose))); err != nil {
		return nil, err
	}
	switch name := req.InputImageFilename; {
	case strings.HasPrefix(name, "fails"):
		return nil, durable.Failure(job.Errorf(job.Hibernated, "Shut it down <first>", "Windows of <%s> is hibernated", name))
	case strings.HasPrefix(name, "works"):
		return nil, workflow.Await(ctx, func() bool { return false })
	}
	actx := workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute})
	if err := workflow.ExecuteActivity(actx, "make", req.OutputFile()).Get(ctx, nil); err != nil {
		return nil, err
	}
	return &job.Result{Output: req.OutputPath(), SizeBytes: 7 << 20, VirtualSizeBytes: 40 << 30, WindowsProduct: "Windows 10 Pro"}, nil
}

// batchSite is a site whose worker runs real batches of such jobs.
func batchSite(t *testing.T) site {
	t.Helper()
	s := newSite(t)
	a := &batchActivities{made: map[string]bool{}}
	w := worker.New(s.temporal, s.queue, worker.Options{Interceptors: []interceptor.WorkerInterceptor{&durable.Interceptor{}}, WorkflowPanicPolicy: worker.FailWorkflow})
	w.RegisterWorkflowWithOptions(workflows.Batch, workflow.RegisterOptions{Name: durable.WorkflowBatch})
	w.RegisterWorkflowWithOptions(imageJob, workflow.RegisterOptions{Name: string(job.OpConvertToUEFI)})
	w.RegisterActivity(a)
	w.RegisterActivityWithOptions(a.make, activity.RegisterOptions{Name: "make"})
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
	return s
}

// batch gives a request for a batch of images of this site, with more fields.
func (s site) batch(fields string, images ...string) json.RawMessage {
	list, _ := json.Marshal(images)
	return fmt.Appendf(nil, `{"name":"test","operation":"convertToUefi","output":"{name}-uefi",%s"images":%s,"template":
		{"platform":"local","resourceLocationId":%q,"inputStorageLocation":{"credentialId":"files","host":%q,"sharePath":"pvs"}}}`, fields, list, s.queue, s.image)
}

func (s site) startBatch(t *testing.T, body json.RawMessage) starter.Started {
	t.Helper()
	started, err := s.StartBatch(t.Context(), body)
	if err != nil {
		t.Fatal(err)
	}
	return started
}

// batchUntil watches a batch until its report is what the test waits for.
func (s site) batchUntil(t *testing.T, id, what string, ok func(job.BatchReport) bool) job.BatchReport {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var last job.BatchReport
	for r, err := range s.WatchBatch(ctx, id) {
		if err != nil {
			t.Fatalf("not %s: %v; last %+v", what, err, last)
		}
		if last = r; ok(r) {
			return r
		}
	}
	t.Fatalf("not %s: %+v", what, last)
	return last
}

func hasEnded(r job.BatchReport) bool { return r.State != job.StateRunning }

func itemStates(r job.BatchReport) string {
	var list []string
	for _, item := range r.Items {
		list = append(list, string(item.State))
	}
	return strings.Join(list, " ")
}

func TestBatchAndItsRerun(t *testing.T) {
	t.Parallel()
	s := batchSite(t)
	body := s.batch("", "a", "fails", "b")
	started := s.startBatch(t, body)
	if want := "batch/" + s.queue + "/test"; started.JobID != want {
		t.Errorf("id %q; want %q", started.JobID, want)
	}
	r := s.batchUntil(t, started.JobID, "ended", hasEnded)
	if itemStates(r) != "completed failed completed" || r.State != job.StateCompleted || r.Counts.Failed != 1 || r.Ended == nil || r.RunID != started.RunID {
		t.Fatalf("report %+v", r)
	}
	if e := r.Items[1].Error; e == nil || e.Code != job.Hibernated || e.Remedy != "Shut it down <first>" {
		t.Errorf("failure %+v", e)
	}
	// Each job is one as if it was started alone.
	alone, err := s.Get(t.Context(), r.Items[0].JobID)
	if err != nil || alone.State != job.StateCompleted || alone.RunID != r.Items[0].RunID {
		t.Errorf("job %+v, %v", alone, err)
	}
	again := s.startBatch(t, body)
	r = s.batchUntil(t, again.RunID, "ended", hasEnded)
	if itemStates(r) != "there failed there" || r.Items[0].RunID != "" {
		t.Errorf("second report %+v", r)
	}
	var page, same bytes.Buffer
	if err := starter.WriteBatchReport(&page, r); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"<b>1</b>failed", "<b>2</b>there already", "HIBERNATED", "Windows of &lt;fails&gt; is hibernated", "What to do: Shut it down &lt;first&gt;", r.BatchID} {
		if !strings.Contains(page.String(), part) {
			t.Errorf("%q is not in the page", part)
		}
	}
	if strings.Contains(page.String(), "<script") || strings.Contains(page.String(), "<fails>") || strings.Index(page.String(), "HIBERNATED") > strings.Index(page.String(), `a.vhdx`) {
		t.Errorf("page\n%s", page.String())
	}
	if err := starter.WriteBatchReport(&same, r); err != nil || !bytes.Equal(page.Bytes(), same.Bytes()) {
		t.Error("the page is another one the second time")
	}
	var list []job.BatchReport
	for deadline := time.Now().Add(20 * time.Second); len(list) != 2 && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		list, err = s.ListBatches(t.Context(), starter.BatchFilter{ResourceLocation: s.queue, State: job.StateCompleted})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(list) != 2 || list[0].BatchID != started.JobID {
		t.Errorf("list %+v", list)
	}
	if list, err := s.ListBatches(t.Context(), starter.BatchFilter{ResourceLocation: s.queue, State: job.StateFailed}); err != nil || len(list) != 0 {
		t.Errorf("failed ones %+v, %v", list, err)
	}
}

// An image that has a job is not started a second time, and a batch that is
// canceled cancels only its own.
func TestBatchWaitsAndIsCanceled(t *testing.T) {
	t.Parallel()
	s := batchSite(t)
	alone := fmt.Appendf(nil, `{"platform":"local","resourceLocationId":%q,"inputStorageLocation":{"credentialId":"files","host":%q,"sharePath":"pvs"},"inputImageFilename":"works-1","outputImageFilename":"x"}`, s.queue, s.image)
	theirs, err := s.Start(t.Context(), job.OpConvertToUEFI, alone)
	if err != nil {
		t.Fatal(err)
	}
	body := s.batch(`"concurrency":{"total":2},`, "works-1", "works-2", "a", "works-3", "b")
	started, err := s.StartBatch(t.Context(), body, starter.RequestID("r1"))
	if err != nil {
		t.Fatal(err)
	}
	r := s.batchUntil(t, started.JobID, "waiting", func(r job.BatchReport) bool {
		return itemStates(r) == "waiting running completed running pending" && r.Items[1].Phase == job.PhaseCompose
	})
	if r.Items[0].NextTry == nil || r.Items[0].Tries < 1 || r.Items[0].Note == "" || r.Counts != (job.BatchCounts{Total: 5, Pending: 1, Waiting: 1, Running: 2, Completed: 1}) {
		t.Errorf("report %+v", r)
	}
	if _, err := s.StartBatch(t.Context(), body, starter.RequestID("r2")); job.CodeOf(err) != job.AlreadyRunning {
		t.Errorf("second start: %v", err)
	}
	if again, err := s.StartBatch(t.Context(), body, starter.RequestID("r1")); err != nil || !again.Again || again.RunID != started.RunID {
		t.Errorf("the same start: %+v, %v", again, err)
	}
	if err := s.CancelBatch(t.Context(), started.RunID, "a test"); err != nil {
		t.Fatal(err)
	}
	r = s.batchUntil(t, started.JobID, "canceled", hasEnded)
	if itemStates(r) != "left canceled completed canceled left" || r.State != job.StateCanceled || r.Error != nil {
		t.Errorf("report %+v", r)
	}
	if err := s.CancelBatch(t.Context(), started.JobID, "again"); err != nil {
		t.Errorf("second cancel: %v", err)
	}
	if got, err := s.Get(t.Context(), theirs.RunID); err != nil || got.State != job.StateRunning {
		t.Errorf("the other job: %+v, %v", got, err)
	}
	if err := s.Cancel(t.Context(), theirs.RunID, ""); err != nil {
		t.Fatal(err)
	}
}

// What runs when a batch is terminated cleans up.
func TestTerminatedBatch(t *testing.T) {
	t.Parallel()
	s := batchSite(t)
	started := s.startBatch(t, s.batch("", "works"))
	r := s.batchUntil(t, started.JobID, "running", func(r job.BatchReport) bool { return r.Counts.Running == 1 && r.Items[0].RunID != "" })
	if err := s.temporal.TerminateWorkflow(t.Context(), started.JobID, "", "a test"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Result(t.Context(), r.Items[0].RunID); job.CodeOf(err) != job.JobCanceled {
		t.Errorf("its job: %v", err)
	}
	r, err := s.Batch(t.Context(), started.JobID)
	if err != nil || r.State != job.StateTerminated || r.Error == nil || r.Error.Code != job.JobTerminated || len(r.Items) != 1 {
		t.Errorf("report %+v, %v", r, err)
	}
	if err := s.CancelBatch(t.Context(), started.JobID, ""); job.CodeOf(err) != job.JobEnded {
		t.Errorf("cancel: %v", err)
	}
}

// A long batch goes on in another run, under the same id.
func TestBatchOfSeveralRuns(t *testing.T) {
	t.Parallel()
	s := batchSite(t)
	var images []string
	for i := range 120 {
		images = append(images, fmt.Sprintf("fails-%d", i))
	}
	started := s.startBatch(t, s.batch(`"concurrency":{"perShare":20,"perHost":20,"total":20},`, images...))
	r := s.batchUntil(t, started.JobID, "ended", hasEnded)
	if r.Counts != (job.BatchCounts{Total: 120, Failed: 120}) || r.RunID == started.RunID || len(r.Items) != 120 {
		t.Errorf("report %+v", r.Counts)
	}
	if byRun, err := s.Batch(t.Context(), started.RunID); err != nil || byRun.RunID != r.RunID {
		t.Errorf("by its first run: %+v, %v", byRun.Counts, err)
	}
}

func TestBatchRefusedOrFailed(t *testing.T) {
	t.Parallel()
	s := batchSite(t)
	if _, err := s.StartBatch(t.Context(), s.batch("")); job.CodeOf(err) != job.BadRequest {
		t.Errorf("without images: %v", err)
	}
	body := strings.Replace(string(s.batch("")), `"images":null`, `"pattern":"*"`, 1)
	started := s.startBatch(t, json.RawMessage(body))
	r := s.batchUntil(t, started.JobID, "ended", hasEnded)
	if r.State != job.StateFailed || r.Error == nil || r.Error.Code != job.ShareUnreachable {
		t.Errorf("report %+v", r)
	}
	alone := s.start(t, "x")
	for id, code := range map[string]job.Code{
		"batch/none": job.JobNotFound, "": job.BadRequest, alone.JobID: job.JobNotFound,
		"x' OR WorkflowId = '" + started.JobID: job.JobNotFound,
	} {
		if _, err := s.Batch(t.Context(), id); job.CodeOf(err) != code {
			t.Errorf("batch %q: %v", id, err)
		}
		if err := s.CancelBatch(t.Context(), id, ""); job.CodeOf(err) != code {
			t.Errorf("cancel %q: %v", id, err)
		}
	}
	if _, err := s.ListBatches(t.Context(), starter.BatchFilter{State: "asleep"}); job.CodeOf(err) != job.BadRequest {
		t.Errorf("list: %v", err)
	}
}

func TestBatchWithoutWorker(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	started := s.startBatch(t, s.batch("", "a"))
	if !slices.ContainsFunc(started.Warnings, func(w string) bool { return strings.Contains(w, "no worker serves") }) {
		t.Errorf("warnings %q", started.Warnings)
	}
	r, err := s.Batch(t.Context(), started.JobID)
	if err != nil || r.State != job.StateRunning || !slices.ContainsFunc(r.Warnings, func(w string) bool { return strings.Contains(w, "no worker") }) {
		t.Errorf("report %+v, %v", r, err)
	}
	if err := s.temporal.TerminateWorkflow(t.Context(), started.JobID, "", ""); err != nil {
		t.Fatal(err)
	}
}
