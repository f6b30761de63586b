package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"imageport/job"
	"imageport/job/durable"
	"imageport/starter"
	"imageport/testkit/devserver"
)

// batchSite is a resource location whose batches have the reports of a test: the
// last one when they have ended, the first one until then.
func batchSite(t *testing.T, running, ended job.BatchReport) site {
	t.Helper()
	s := site{t: t, address: devserver.Shared(t).Address, queue: "location-" + uuid.NewString()[:8]}
	w := worker.New(devserver.Start(t), s.queue, worker.Options{})
	w.RegisterWorkflowWithOptions(func(ctx workflow.Context, _ converter.RawValue) (*job.BatchReport, error) {
		info := workflow.GetInfo(ctx).WorkflowExecution
		for _, r := range []*job.BatchReport{&running, &ended} {
			r.BatchID, r.RunID, r.Started = info.ID, info.RunID, workflow.Now(ctx)
			r.Count()
		}
		if err := workflow.SetQueryHandler(ctx, durable.QueryBatch, func() (job.BatchReport, error) { return running, nil }); err != nil {
			return nil, err
		}
		if err := workflow.Sleep(ctx, 2*time.Second); err != nil {
			return nil, temporal.NewCanceledError(ended)
		}
		return &ended, nil
	}, workflow.RegisterOptions{Name: durable.WorkflowBatch})
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
	return s
}

func (s site) batchFile() string {
	s.t.Helper()
	path := filepath.Join(s.t.TempDir(), "batch.json")
	body := `{"name":"floor-3","operation":"convertToUefi","images":["win10","win11"],"output":"{name}-uefi","colour":"blue","template":
		{"platform":"local","resourceLocationId":"` + s.queue + `","inputStorageLocation":{"credentialId":"files","host":"h","sharePath":"pvs"}}}`
	if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

func batchItem(name string, state job.ItemState) job.BatchItem {
	return job.BatchItem{Image: `\\h\pvs\` + name + ".vhdx", Output: `\\h\pvs\` + name + "-uefi.avhdx", JobID: "ips/h/pvs/" + name + ".vhdx", State: state}
}

func TestBatch(t *testing.T) {
	done, failed := batchItem("win10", job.ItemCompleted), batchItem("win11\x1b", job.ItemFailed)
	done.Result = &job.BatchResult{SizeBytes: 7 << 20}
	failed.Error = &job.Error{Code: job.Hibernated, Message: "Windows is\nhibernated", Remedy: "Shut it down"}
	s := batchSite(t,
		job.BatchReport{Operation: job.OpConvertToUEFI, Items: []job.BatchItem{batchItem("win10", job.ItemRunning), batchItem("win11", job.ItemPending)}},
		job.BatchReport{Operation: job.OpConvertToUEFI, Items: []job.BatchItem{done, failed}})
	file := s.batchFile()
	r := s.call("batch", "start", "-f", file, "--wait")
	for _, part := range []string{
		"batch convertToUefi completed after", "batch/" + s.queue + "/floor-3", "images    2: 1 failed, 1 completed\n",
		"completed  -     win10.vhdx   win10-uefi.avhdx   7.0 MiB\n",
		"failed     -     win11\uFFFD.vhdx  win11\uFFFD-uefi.avhdx  HIBERNATED: Windows is hibernated. Shut it down\n",
	} {
		if !strings.Contains(r.out, part) {
			t.Errorf("%q is missing in\n%s", part, r.out)
		}
	}
	for _, part := range []string{
		"imageport: warning: unknown key \"colour\" was ignored\n", "running    win10.vhdx\n", "completed  win10.vhdx: 7.0 MiB\n",
		"imageport: HIBERNATED: 1 of 2 images failed, first win11",
	} {
		if !strings.Contains(r.err, part) {
			t.Errorf("%q is missing in\n%s", part, r.err)
		}
	}
	if r.code != exitFailed || strings.Contains(r.out+r.err, "\x1b") {
		t.Errorf("code %d, %q", r.code, r.err)
	}
	id := "batch/" + s.queue + "/floor-3"
	if got := decode[job.BatchReport](t, s.call("batch", "show", id, "-o", "json")); got.Counts.Failed != 1 || len(got.Items) != 2 {
		t.Errorf("%+v", got)
	}
	if got := decode[job.BatchReport](t, s.call("batch", "report", id)); got.State != job.StateCompleted {
		t.Errorf("%+v", got)
	}
	page := filepath.Join(t.TempDir(), "report.html")
	for range 2 { // the second one replaces
		if r := s.call("batch", "report", id, "--html", page); r.code != exitOK || r.out != "" {
			t.Errorf("%+v", r)
		}
	}
	written, err := os.ReadFile(page)
	if err != nil || !bytes.Contains(written, []byte("HIBERNATED")) {
		t.Errorf("page %s, %v", written, err)
	}
	if r := s.call("batch", "report", id, "--html", "-"); r.out != string(written) {
		t.Errorf("on the standard output: %+v", r)
	}
	r = s.call("batch", "list", "--resource-location", s.queue)
	if r.code != exitOK || !strings.HasPrefix(r.out, "STATE") || strings.Count(r.out, id) > 1 {
		t.Errorf("%+v", r)
	}
	if r := s.call("batch", "list", "--resource-location", "none-"+s.queue, "-o", "json"); r.out != "[]\n" {
		t.Errorf("%+v", r)
	}
}

func TestBatchCancel(t *testing.T) {
	s := batchSite(t,
		job.BatchReport{Items: []job.BatchItem{batchItem("win10", job.ItemRunning)}},
		job.BatchReport{Items: []job.BatchItem{batchItem("win10", job.ItemCanceled)}})
	started := decode[starter.Started](t, s.call("batch", "start", "-f", s.batchFile(), "-o", "json"))
	if r := s.call("batch", "start", "-f", s.batchFile()); r.code != exitFailed || !strings.Contains(r.err, "ALREADY_RUNNING") {
		t.Errorf("%+v", r)
	}
	if r := s.call("batch", "cancel", started.JobID, "--reason", "a test", "--wait"); r.code != exitOK || !strings.Contains(r.out, "images    1: 1 canceled\n") {
		t.Errorf("%+v", r)
	}
	if r := s.call("batch", "watch", started.JobID, "-o", "json"); r.code != exitCanceled || strings.Count(r.out, "\n") != 1 {
		t.Errorf("%+v", r)
	}
}

// That a job was terminated or canceled is a failure of the batch, which itself
// was not.
func TestBatchOutcome(t *testing.T) {
	for _, code := range []job.Code{job.Hibernated, job.JobTerminated, job.JobCanceled} {
		item := batchItem("win10", job.ItemFailed)
		item.Error = &job.Error{Code: code, Message: "it was not to be"}
		r := job.BatchReport{State: job.StateCompleted, Items: []job.BatchItem{item}}
		r.Count()
		var out strings.Builder
		a := &app{err: &out, running: true, output: outputText}
		if got := a.report(a.root(), batchOutcome(r)); got != exitFailed || !strings.Contains(out.String(), "1 of 1 images failed, first win10.vhdx") {
			t.Errorf("%s: %d, %s", code, got, &out)
		}
	}
}

func TestBatchUsage(t *testing.T) {
	for says, args := range map[string][]string{
		"required flag":        {"batch", "start"},
		"the batch is missing": {"batch", "show"},
		`unknown command "go"`: {"batch", "go"},
	} {
		if r := call(t.Context(), "", args...); r.code == exitOK || !strings.Contains(r.err, says) {
			t.Errorf("%v: %+v; want %q", args, r, says)
		}
	}
	for _, name := range []string{"start", "list", "show", "watch", "report", "cancel"} {
		if r := call(t.Context(), "", "batch", name, "--help"); r.code != exitOK || !strings.Contains(r.out, "imageport batch "+name) || !strings.Contains(r.out, "Examples:") {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestBatchProgressRows(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	p := newBatchProgress(new(bytes.Buffer), func() time.Time { return now })
	began := now.Add(-90 * time.Second)
	r := job.BatchReport{Started: now.Add(-time.Hour)}
	for _, name := range []string{"a", "b", "c"} {
		item := batchItem(name, job.ItemRunning)
		item.Started, item.Phase, item.Progress = &began, job.PhaseCompose, &job.Progress{Step: "write", DoneBytes: 1 << 29, TotalBytes: 1 << 30}
		r.Items = append(r.Items, item)
	}
	r.Items = append(r.Items, batchItem("d", job.ItemThere))
	r.Count()
	want := []string{
		"1h0m0s  1 of 4 done: 4: 3 running, 1 there already",
		" 1m30s  a.vhdx                   compose: write 512.0 MiB of 1.0 GiB (50 %)",
		" 1m30s  b.vhdx                   compose: write 512.0 MiB of 1.0 GiB (50 %)",
		"        and 1 more",
	}
	if got := p.rows(r, 2); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
