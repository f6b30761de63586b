package httpapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"imageport/activities"
	"imageport/job"
	"imageport/job/durable"
	"imageport/starter/httpapi"
	"imageport/starter/startertest"
	"imageport/workflows"
)

// batches has a worker run real batches, on a share on which no output is there.
func batches(r worker.Registry) {
	r.RegisterWorkflowWithOptions(workflows.Batch, workflow.RegisterOptions{Name: durable.WorkflowBatch})
	r.RegisterActivityWithOptions(func(context.Context, []activities.OutputAt) ([]int, error) { return nil, nil }, activity.RegisterOptions{Name: "FindOutputs"})
}

// startBatch starts a batch of that name, on images each of which ends so.
func (s *site) startBatch(t *testing.T, name, ends string, images ...string) httpapi.StartedBatch {
	t.Helper()
	status, header, body := s.call(t, s.operator, "POST", "/batches", startertest.BatchBody(s.queue, name, ends, images...))
	started := decode[httpapi.StartedBatch](t, http.StatusAccepted, status, body)
	if want := "batch/" + s.queue + "/" + name; started.ID != want || started.BatchID != want || started.RunID == "" || header.Get("Location") != "/batches/"+url.PathEscape(want) {
		t.Errorf("%+v at %s", started, header.Get("Location"))
	}
	return started
}

// batchUntil polls a batch until it is so.
func (s *site) batchUntil(t *testing.T, id string, ok func(httpapi.Batch) bool) httpapi.Batch {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		status, _, body := s.call(t, s.viewer, "GET", "/batches/"+url.PathEscape(id), nil)
		b := decode[httpapi.Batch](t, http.StatusOK, status, body)
		if ok(b) {
			return b
		}
		if time.Now().After(deadline) {
			t.Fatalf("never so: %s", body)
		}
	}
}

func TestWayOfABatch(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	startertest.Serve(t, s.temporal, s.queue, batches)
	started := s.startBatch(t, "floor-3", startertest.Fails, s.image+"-a", s.image+"-b&c")
	for _, id := range []string{started.ID, started.RunID} {
		b := s.batchUntil(t, id, func(b httpapi.Batch) bool { return b.State == job.StateCompleted })
		if b.ID != started.ID || b.IsCancellable || b.Counts.Failed != 2 || len(b.Items) != 2 || b.Items[0].Error.Code != job.AlreadyGPT || b.ResourceLocation != s.queue {
			t.Errorf("%+v", b)
		}
	}
	path := "/batches/" + url.PathEscape(started.ID)
	for accept, want := range map[string]string{
		"": "application/json", "*/*": "application/json", "application/json": "application/json", "text/html;q=0.5, application/json": "application/json",
		"text/html": "text/html; charset=utf-8", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8": "text/html; charset=utf-8",
	} {
		status, header, body := s.call(t, s.viewer, "GET", path+"/report", nil, "Accept: "+accept)
		if status != http.StatusOK || header.Get("Content-Type") != want || header.Get("Vary") != "Accept" {
			t.Errorf("%q: %d %v", accept, status, header)
		}
		isPage := strings.HasPrefix(want, "text/html")
		if isPage != (header.Get("Content-Security-Policy") != "") || isPage != strings.HasPrefix(string(body), "<!DOCTYPE html>") ||
			!strings.Contains(string(body), "ALREADY_GPT") || isPage && strings.Contains(string(body), "-b&c") {
			t.Errorf("%q: %v %s", accept, header, body)
		}
		var report httpapi.Batch
		if err := json.Unmarshal(body, &report); !isPage && (err != nil || report.RunID != started.RunID) {
			t.Errorf("%q: %v: %s", accept, err, body)
		}
	}
	status, header, body := s.call(t, s.operator, "POST", path+"/cancel", nil)
	isProblem(t, "cancel", status, header, body, http.StatusConflict, job.JobEnded)
	// It can be started again, and each has its run.
	again := s.startBatch(t, "floor-3", startertest.Fails, s.image+"-a")
	if again.RunID == started.RunID {
		t.Errorf("%+v", again)
	}
	s.batchUntil(t, again.ID, func(b httpapi.Batch) bool { return b.RunID == again.RunID && b.State == job.StateCompleted })
	if b := s.batchUntil(t, started.RunID, func(httpapi.Batch) bool { return true }); len(b.Items) != 2 {
		t.Errorf("the first: %+v", b)
	}
	s.listedBatches(t, started.RunID, again.RunID)
}

// listedBatches looks for the ended batches, in pages of one.
func (s *site) listedBatches(t *testing.T, want ...string) {
	t.Helper()
	slices.Sort(want)
	var got []string
	for deadline := time.Now().Add(10 * time.Second); !slices.Equal(got, want) && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		got = nil
		for next, more := "", true; more; {
			status, _, body := s.call(t, s.viewer, "GET", "/batches?pageSize=1&state=completed&continuationToken="+next, nil)
			page := decode[httpapi.BatchPage](t, http.StatusOK, status, body)
			for _, b := range page.Items {
				got = append(got, b.RunID)
			}
			next = page.ContinuationToken
			more = next != ""
		}
		slices.Sort(got)
	}
	if !slices.Equal(got, want) {
		t.Errorf("listed %q, want %q", got, want)
	}
}

func TestBatchIsStartedOnceAndCanceled(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	startertest.Serve(t, s.temporal, s.queue, batches)
	request := startertest.BatchBody(s.queue, "one", startertest.Works, s.image)
	status, header, body := s.call(t, s.operator, "POST", "/ips/batches", request, "Idempotency-Key: k")
	started := decode[httpapi.StartedBatch](t, http.StatusAccepted, status, body)
	if !strings.HasPrefix(header.Get("Location"), "/ips/batches/batch%2F") {
		t.Errorf("%v", header)
	}
	status, _, body = s.call(t, s.operator, "POST", "/batches", request, "Idempotency-Key: k")
	if again := decode[httpapi.StartedBatch](t, http.StatusAccepted, status, body); !again.Again || again.RunID != started.RunID {
		t.Errorf("%+v", again)
	}
	status, header, body = s.call(t, s.operator, "POST", "/batches", startertest.BatchBody(s.queue, "one", startertest.Works, "other"), "Idempotency-Key: k")
	isProblem(t, "another request", status, header, body, http.StatusBadRequest, job.BadRequest)
	status, header, body = s.call(t, s.operator, "POST", "/batches", request)
	isProblem(t, "a second one", status, header, body, http.StatusConflict, job.AlreadyRunning)
	s.batchUntil(t, started.ID, func(b httpapi.Batch) bool {
		return b.IsCancellable && b.Counts.Running == 1 && b.Items[0].Progress != nil
	})
	status, _, body = s.call(t, s.operator, "POST", "/batches/"+url.PathEscape(started.ID)+"/cancel?reason=wrong+floor", nil)
	decode[httpapi.ListedBatch](t, http.StatusAccepted, status, body)
	b := s.batchUntil(t, started.ID, func(b httpapi.Batch) bool { return b.State == job.StateCanceled })
	if b.Counts.Canceled != 1 {
		t.Errorf("%+v", b)
	}
	if status, _, body = s.call(t, s.operator, "POST", "/batches/"+started.RunID+"/cancel", nil); status != http.StatusAccepted {
		t.Errorf("a second cancel: %d %s", status, body)
	}
}

func TestBatchRefusals(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	good := string(startertest.BatchBody(s.queue, "floor", "out", "win10", "win11"))
	inOther := strings.Replace(good, `"inputImageFilename": "win11"`, `"inputImageFilename": "win11", "RESOURCELOCATIONID": "elsewhere"`, 1)
	var many []string
	for i := range job.MaxBatchImages + 1 {
		many = append(many, fmt.Sprintf("win-%d", i))
	}
	for name, tc := range map[string]struct {
		body   string
		status int
		code   job.Code
	}{
		"nothing":                         {"", 400, job.BadRequest},
		"no object":                       {"[]", 400, job.BadRequest},
		"no images":                       {string(startertest.BatchBody(s.queue, "floor", "out")), 400, job.BadRequest},
		"another location":                {string(startertest.BatchBody("elsewhere", "floor", "out", "win10")), 403, job.Forbidden},
		"an image of another location":    {inOther, 400, job.BadRequest},
		"a path":                          {strings.Replace(good, `"win11"`, `"..\\win11"`, 1), 400, job.BadRequest},
		"a name with a path":              {strings.Replace(good, `"floor"`, `"../floor"`, 1), 400, job.BadRequest},
		"more images than there may be":   {string(startertest.BatchBody(s.queue, "floor", "out", many...)), 400, job.BadRequest},
		"more bytes than there may be":    {strings.Replace(good, `"floor"`, `"floor", "x": "`+strings.Repeat("x", 600<<10)+`"`, 1), 400, job.BadRequest},
		"more bytes than a body may have": {strings.Replace(good, `"floor"`, `"floor", "x": "`+strings.Repeat("x", 2<<20)+`"`, 1), 413, job.BadRequest},
	} {
		status, header, body := s.call(t, s.operator, "POST", "/batches", tc.body)
		isProblem(t, name, status, header, body, tc.status, tc.code)
	}
	for _, path := range []string{
		"/batches/none", "/batches/none/report", "/batches/batch%2F" + s.queue + "%2Fnone", "/batches/x'%20OR%20'1'='1",
	} {
		status, header, body := s.call(t, s.operator, "GET", path, nil)
		isProblem(t, path, status, header, body, http.StatusNotFound, job.JobNotFound)
	}
	status, header, body := s.call(t, s.viewer, "GET", "/batches", nil)
	if page := decode[httpapi.BatchPage](t, http.StatusOK, status, body); len(page.Items) != 0 {
		t.Errorf("something was started: %v %s", header, body)
	}
}
