package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"imageport/job"
	"imageport/testkit/winimage"
)

// batchBody is a batch over the site's folder.
func (r rig) batchBody(fields map[string]any) []byte {
	r.t.Helper()
	template := r.body(func(m map[string]any) {
		delete(m, "inputImageFilename")
		delete(m, "outputImageFilename")
	})
	batch := map[string]any{
		"name": "all", "operation": "convertToUefi", "template": json.RawMessage(template),
		"pattern": "win*", "output": "{name}-uefi", "concurrency": map[string]any{"total": 2},
	}
	for key, value := range fields {
		batch[key] = value
	}
	b, err := json.Marshal(batch)
	if err != nil {
		r.t.Fatal(err)
	}
	return b
}

// batch runs a batch to its end.
func (r rig) batch(body []byte, within time.Duration) job.BatchReport {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), within)
	defer cancel()
	started, err := r.Jobs.StartBatch(ctx, body)
	if err != nil {
		r.t.Fatal(err)
	}
	var last job.BatchReport
	for report, err := range r.Jobs.WatchBatch(ctx, started.JobID) {
		if err != nil {
			r.t.Fatalf("%v; last seen %+v", err, last)
		}
		last = report
	}
	return last
}

func outcomes(r job.BatchReport) map[string]job.ItemState {
	found := map[string]job.ItemState{}
	for _, item := range r.Items {
		found[item.Image[strings.LastIndexByte(item.Image, '\\')+1:]] = item.State
	}
	return found
}

func (r rig) wantOutcomes(report job.BatchReport, want map[string]job.ItemState) {
	r.t.Helper()
	got := outcomes(report)
	for name, state := range want {
		if got[name] != state {
			r.t.Errorf("%s is %q, want %q: %+v", name, got[name], state, report)
		}
	}
	if len(got) != len(want) {
		r.t.Errorf("images %v, want %v", got, want)
	}
}

// A batch converts what it can of a folder, says what is wrong with the rest, and
// does only that when it is started again.
func TestBatch(t *testing.T) {
	t.Parallel()
	r := newRig(t, winimage.Small())
	for _, name := range []string{"win11.vhdx", "win12.vhdx"} {
		spec := winimage.Small()
		spec.Hibernated = name == "win11.vhdx"
		img, err := winimage.Cached(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		if err := img.VHDX(t.Context(), filepath.Join(r.Store, name), winimage.Dynamic); err != nil {
			t.Fatal(err)
		}
	}
	worker := r.startWorker()
	before := r.files()

	plan := r.batch(r.batchBody(map[string]any{"name": "plan", "dryRun": true}), 2*time.Minute)
	r.wantOutcomes(plan, map[string]job.ItemState{"win10.vhdx": job.ItemCompleted, "win11.vhdx": job.ItemFailed, "win12.vhdx": job.ItemCompleted})
	if after := r.files(); !same(before, after) {
		t.Errorf("a dry run changed the share\nbefore %v\nafter  %v", before, after)
	}
	r.record("batchPlanned", plan.BatchID)

	first := r.batch(r.batchBody(nil), 3*time.Minute)
	r.wantOutcomes(first, map[string]job.ItemState{"win10.vhdx": job.ItemCompleted, "win11.vhdx": job.ItemFailed, "win12.vhdx": job.ItemCompleted})
	for _, item := range first.Items {
		file := filepath.Join(r.Store, item.Output[strings.LastIndexByte(item.Output, '\\')+1:])
		_, err := os.Stat(file)
		if made := err == nil; made != (item.State == job.ItemCompleted) {
			t.Errorf("%s of %s: %v", file, item.State, err)
		}
		if item.State == job.ItemFailed && (item.Error == nil || item.Error.Code != job.Hibernated || item.Error.Remedy == "") {
			t.Errorf("failure %+v", item.Error)
		}
	}
	r.record("batch", first.BatchID)

	// What it has made is no image of the next one, which has one left to do.
	made := r.files()
	again := r.batch(r.batchBody(nil), 2*time.Minute)
	r.wantOutcomes(again, map[string]job.ItemState{"win10.vhdx": job.ItemThere, "win11.vhdx": job.ItemFailed, "win12.vhdx": job.ItemThere})
	if after := r.files(); !same(made, after) {
		t.Errorf("the share changed\nbefore %v\nafter  %v", made, after)
	}
	r.record("batchAgain", again.BatchID)

	// The command line gives the report as a page.
	out, err := r.Command(t.Context(), "batch", "report", first.BatchID, "--html", "-").Output()
	if err != nil || !bytes.Contains(out, []byte("HIBERNATED")) {
		t.Errorf("%v: %s", err, out)
	}
	r.canceledBatch()
	worker.Stop()
	r.noCE()
}

// canceledBatch cancels a batch by the command line while its first image has a
// Compositing Engine.
func (r rig) canceledBatch() {
	t := r.t
	outputs := func() []string {
		found, err := filepath.Glob(filepath.Join(r.Store, "*-other*"))
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	body := r.batchBody(map[string]any{"name": "other", "pattern": "", "images": []string{"win10", "win12"}, "output": "{name}-other", "concurrency": map[string]any{"total": 1}})
	started, err := r.Jobs.StartBatch(t.Context(), body)
	if err != nil {
		t.Fatal(err)
	}
	r.until("a job of the batch has a Compositing Engine", func() bool {
		report, err := r.Jobs.Batch(t.Context(), started.JobID)
		return err == nil && slices.ContainsFunc(report.Items, func(i job.BatchItem) bool {
			return i.State == job.ItemRunning && (i.Phase == job.PhaseCreateCE || i.Phase == job.PhaseEnrol || i.Phase == job.PhaseCompose)
		})
	})
	out, err := r.Command(t.Context(), "batch", "cancel", started.JobID, "--wait", "-o", "json").Output()
	if err != nil {
		if exit, ok := err.(*exec.ExitError); ok {
			t.Fatalf("%v: %s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	var report job.BatchReport
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatal(err)
	}
	r.wantOutcomes(report, map[string]job.ItemState{"win10.vhdx": job.ItemCanceled, "win12.vhdx": job.ItemLeft})
	if left := outputs(); len(left) > 0 {
		t.Errorf("left on the share: %v", left)
	}
	r.record("batchCanceled", started.JobID)
}
