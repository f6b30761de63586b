package httpapi_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"imageport/job"
	"imageport/starter/httpapi"
	"imageport/starter/startertest"
)

func TestWayOfAJob(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	startertest.Serve(t, s.temporal, s.queue)
	// As Citrix's PowerShell module sends it: an odd case of keys, and a query.
	body := strings.Replace(string(startertest.Body(s.queue, s.image, startertest.Completes)), `"platform"`, `"PLATFORM"`, 1)
	status, header, answer := s.call(t, s.operator, "POST", "/ips/images/$convertToUefi?async=true", body, "Idempotency-Key: one", "Citrix-CustomerId: acme")
	started := decode[httpapi.Started](t, http.StatusAccepted, status, answer)
	if started.ID == "" || started.ID != started.RunID || started.JobID != "ips/files.example.com/pvs/store/"+s.image+".vhdx" || header.Get("Location") != "/ips/jobs/"+started.ID {
		t.Fatalf("%v %+v", header, started)
	}
	done := s.until(t, started.ID, func(j httpapi.Job) bool { return j.State != job.StateRunning })
	if done.State != job.StateCompleted || done.Result == nil || done.ID != started.ID || done.CitrixStatus != "Complete" || done.Type != "convertToUefi" ||
		done.IsCancellable || done.ResourceLocation != s.queue {
		t.Errorf("%+v", done)
	}
	for _, id := range []string{started.ID, url.PathEscape(started.JobID)} {
		for _, base := range []string{"", "/ips"} {
			status, _, answer = s.call(t, s.operator, "GET", base+"/jobs/"+id, nil)
			if j := decode[httpapi.Job](t, http.StatusOK, status, answer); j.RunID != started.RunID {
				t.Errorf("%s: %+v", id, j)
			}
		}
	}
	status, _, answer = s.call(t, s.viewer, "GET", header.Get("Location")+"/result", nil)
	if r := decode[job.Result](t, http.StatusOK, status, answer); r.OutputFile != "completes.avhdx" {
		t.Errorf("%+v", r)
	}
	// The same request again is the same job; another one is another.
	status, _, answer = s.call(t, s.operator, "POST", "/images/$convertToUefi", body, "Idempotency-Key: one")
	if again := decode[httpapi.Started](t, http.StatusAccepted, status, answer); !again.Again || again.ID != started.ID {
		t.Errorf("%+v", again)
	}
	status, header, answer = s.call(t, s.operator, "POST", "/jobs/"+started.ID+"/cancel", nil)
	isProblem(t, "cancel", status, header, answer, http.StatusConflict, job.JobEnded)
}

func TestFailedAndCanceledJobs(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	startertest.Serve(t, s.temporal, s.queue)
	failed := s.start(t, startertest.Fails)
	s.until(t, failed.ID, func(j httpapi.Job) bool {
		return j.State == job.StateFailed && j.CitrixStatus == "Failed" && j.Error.Code == job.AlreadyGPT
	})
	status, header, body := s.call(t, s.operator, "GET", "/jobs/"+failed.ID+"/result", nil)
	if p := isProblem(t, "failed", status, header, body, http.StatusConflict, job.AlreadyGPT); p.Remedy != "Use the image as it is" || p.Type != "urn:imageport:already-gpt" {
		t.Errorf("%+v", p)
	}
	for _, end := range []struct{ method, suffix string }{{"POST", "/cancel?reason=wrong+image"}, {"DELETE", ""}} {
		started := s.start(t, startertest.Works)
		s.until(t, started.ID, working)
		status, header, body = s.call(t, s.operator, "GET", "/jobs/"+started.ID+"/result", nil)
		isProblem(t, "running", status, header, body, http.StatusConflict, job.JobRunning)
		status, _, body = s.call(t, s.operator, end.method, "/jobs/"+url.PathEscape(started.JobID)+end.suffix, nil)
		decode[httpapi.Job](t, http.StatusAccepted, status, body)
		s.until(t, started.ID, func(j httpapi.Job) bool { return j.State == job.StateCanceled })
		status, header, body = s.call(t, s.operator, "GET", "/jobs/"+started.ID+"/result", nil)
		isProblem(t, "canceled", status, header, body, http.StatusConflict, job.JobCanceled)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, tc := range []struct {
		method, path, body string
		status             int
		code               job.Code
	}{
		{"POST", "/images/$convertToUefi", `{`, 400, job.BadRequest},
		{"POST", "/images/$convertToUefi", ``, 400, job.BadRequest},
		{"POST", "/images/$convertToUefi", `[]`, 400, job.BadRequest},
		{"POST", "/images/$convertToUefi", string(startertest.Body(s.queue, "../win10", "out")), 400, job.BadRequest},
		{"POST", "/images/$convertToUefi", string(startertest.Body(s.queue, `\\other\share\win10`, "out")), 400, job.BadRequest},
		{"POST", "/images/$convertToUefi", string(startertest.Body(s.queue, "win10", "NUL.avhdx")), 400, job.BadRequest},
		{"POST", "/images/$convertToUefi", string(startertest.Body(s.queue, "win10", "out.avhdx:hidden")), 400, job.BadRequest},
		{"POST", "/images/$convertToUefi", string(startertest.Body("elsewhere", "win10", "out")), 403, job.Forbidden},
		{"POST", "/images/$convertToUefi?async=perhaps", string(startertest.Body(s.queue, "win10", "out")), 422, job.BadRequest},
		{"POST", "/images/$export", `{}`, 404, job.NoSuchRoute},
		{"POST", "/images/convertToUefi", `{}`, 404, job.NoSuchRoute},
		{"GET", "/images/$convertToUefi", ``, 405, job.NoSuchRoute},
		{"PATCH", "/jobs/x", ``, 405, job.NoSuchRoute},
		{"GET", "/", ``, 404, job.NoSuchRoute},
		{"GET", "/ips/ips/jobs", ``, 404, job.NoSuchRoute},
		{"GET", "/jobs/ips/files/x", ``, 404, job.NoSuchRoute},
		{"GET", "/jobs/nothing", ``, 404, job.JobNotFound},
		{"GET", "/jobs/x' OR '1'='1", ``, 404, job.JobNotFound},
		{"GET", "/jobs/6f1f6c3e-6d2d-4b5e-9c3b-0a4a3f4f2b10", ``, 404, job.JobNotFound},
		{"GET", "/jobs?state=sleeping", ``, 422, job.BadRequest},
		{"GET", "/jobs?operation=export", ``, 422, job.BadRequest},
		{"GET", "/jobs?since=yesterday", ``, 422, job.BadRequest},
		{"GET", "/jobs?pageSize=1000", ``, 422, job.BadRequest},
		{"GET", "/jobs?continuationToken=abc", ``, 400, job.BadRequest},
		{"GET", "/jobs/nothing?wait=soon", ``, 400, job.BadRequest},
		{"GET", "/jobs/%ff", ``, 400, job.BadRequest},
		{"GET", "/jobs/a%00b", ``, 400, job.BadRequest},
		{"GET", "/jobs?platform=%ff", ``, 400, job.BadRequest},
		{"GET", "/jobs?resourceLocation=a%0ab", ``, 400, job.BadRequest},
		{"GET", "/jobs?%ff=a", ``, 400, job.BadRequest},
		{"GET", "/jobs?image=%zz", ``, 400, job.BadRequest},
		{"GET", "/batches?state=sleeping", ``, 422, job.BadRequest},
		{"GET", "/batches?continuationToken=abc", ``, 400, job.BadRequest},
	} {
		var in any
		if tc.body != "" || tc.method == "POST" {
			in = tc.body
		}
		path := strings.ReplaceAll(tc.path, " ", "%20")
		status, header, body := s.call(t, s.operator, tc.method, path, in)
		isProblem(t, tc.method+" "+tc.path+" "+tc.body, status, header, body, tc.status, tc.code)
	}
}

func TestListByPages(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const jobs = 7
	for i := range jobs {
		body := startertest.Body(s.queue, fmt.Sprintf("%s-%d", s.image, i), "out")
		status, _, answer := s.call(t, s.operator, "POST", "/images/$convertToUefi", body)
		decode[httpapi.Started](t, http.StatusAccepted, status, answer)
	}
	all := func(query string) (images []string, pages int) {
		next := ""
		for {
			status, _, body := s.call(t, s.operator, "GET", "/jobs/?"+query+"&continuationToken="+next, nil)
			page := decode[httpapi.Page](t, http.StatusOK, status, body)
			pages++
			for _, j := range page.Items {
				images = append(images, j.Image)
			}
			if next = page.ContinuationToken; next == "" {
				slices.Sort(images)
				return images, pages
			}
		}
	}
	var want []string
	for deadline := time.Now().Add(10 * time.Second); len(want) < jobs && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		want, _ = all("pageSize=200") // visibility follows behind
	}
	if len(want) != jobs {
		t.Fatalf("%q", want)
	}
	since := time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
	for query, least := range map[string]int{
		"pageSize=1": jobs, "pageSize=2": 4, "pageSize=3&image=" + s.image: 3, "pageSize=2&image=PVS/store/" + s.image: 4,
		"resourceLocation=" + s.queue: 1, "state=running&operation=convertToUefi&since=" + since: 1,
	} {
		if got, pages := all(query); !slices.Equal(got, want) || pages < least {
			t.Errorf("%s: %d pages with %q", query, pages, got)
		}
	}
	for _, query := range []string{"image=no-such", "state=completed", "operation=upgradePvs", "platform=azure", "resourceLocation=elsewhere",
		"since=" + time.Now().Add(time.Hour).UTC().Format(time.RFC3339), "image=it's"} {
		if got, _ := all(query); len(got) != 0 {
			t.Errorf("%s: %q", query, got)
		}
	}
	for i := range jobs {
		if err := s.temporal.TerminateWorkflow(t.Context(), fmt.Sprintf("ips/files.example.com/pvs/store/%s-%d.vhdx", s.image, i), "", ""); err != nil {
			t.Error(err)
		}
	}
}
