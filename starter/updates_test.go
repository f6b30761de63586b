package starter_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"imageport/job"
	"imageport/starter"
	"imageport/starter/startertest"
	"imageport/testkit/devserver"
)

func TestUpdates(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	startertest.Serve(t, s.temporal, s.queue)
	started := s.start(t, startertest.Works)
	updates, err := s.Updates(t.Context(), started.JobID)
	if err != nil {
		t.Fatal(err)
	}
	var last starter.Update
	canceled := false
	for last = range updates {
		if last.Status.Progress != nil && !canceled {
			canceled = true
			if err := s.Cancel(t.Context(), started.RunID, "by a test"); err != nil {
				t.Fatal(err)
			}
		}
	}
	if last.Err != nil || last.Status.State != job.StateCanceled || last.Status.ResourceLocation != s.queue {
		t.Errorf("last: %+v", last)
	}
	if _, err := s.Updates(t.Context(), "nothing"); job.CodeOf(err) != job.JobNotFound {
		t.Errorf("no such job: %v", err)
	}
	second := s.start(t, startertest.Works)
	ctx, cancel := context.WithCancel(t.Context())
	if updates, err = s.Updates(ctx, second.JobID); err != nil {
		t.Fatal(err)
	}
	<-updates
	cancel()
	for u := range updates {
		if u.Err != nil && !errors.Is(u.Err, context.Canceled) {
			t.Errorf("stopped: %v", u.Err)
		}
	}
	if err := s.Cancel(t.Context(), second.JobID, ""); err != nil {
		t.Fatal(err)
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const jobs = 5
	for i := range jobs {
		if _, err := s.Start(t.Context(), job.OpConvertToUEFI, startertest.Body(s.queue, fmt.Sprintf("%s-%d", s.image, i), "out")); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		all, err := s.List(t.Context(), starter.Filter{ResourceLocation: s.queue})
		if err != nil {
			t.Fatal(err)
		}
		if len(all) == jobs || time.Now().After(deadline) {
			break
		}
	}
	for _, f := range []starter.Filter{{Limit: 2, Within: []string{s.queue}}, {Limit: 2, Image: s.image}, {Limit: 1, ResourceLocation: s.queue, Since: time.Now().Add(-time.Hour)}} {
		seen := map[string]int{}
		for cursor := ""; ; {
			page, err := s.Page(t.Context(), f, cursor)
			if err != nil {
				t.Fatal(err)
			}
			if len(page.Jobs) > f.Limit {
				t.Errorf("%+v: a page of %d", f, len(page.Jobs))
			}
			for _, j := range page.Jobs {
				seen[j.JobID]++
			}
			if cursor = page.Next; cursor == "" {
				break
			}
		}
		if len(seen) != jobs {
			t.Errorf("%+v: %v", f, seen)
		}
		for id, n := range seen {
			if n != 1 {
				t.Errorf("%+v: %s %d times", f, id, n)
			}
		}
	}
	if page, err := s.Page(t.Context(), starter.Filter{Within: []string{}}, ""); err != nil || len(page.Jobs) != 0 {
		t.Errorf("within nothing: %+v, %v", page, err)
	}
	for _, bad := range []string{
		"x", "!", "e30x", "eyJzIjotMX0", strings.Repeat("A", 4000),
		cursorOf(`{}`), cursorOf(`null`), cursorOf(`{"t":"YWJj"}`), // as of earlier releases
		cursorOf(`{"r":"01a20a1c-e1c1-7050-b7a3-b43807f77edb"}`),
		cursorOf(`{"t":"1600-01-01T00:00:00Z","r":"01a20a1c-e1c1-7050-b7a3-b43807f77edb"}`),
		cursorOf(`{"t":"2026-01-01T00:00:00Z","r":"x' OR '1'='1"}`), cursorOf(`{"t":"2026-01-01T00:00:00Z"}`),
	} {
		if _, err := s.Page(t.Context(), starter.Filter{}, bad); job.CodeOf(err) != job.BadRequest {
			t.Errorf("%q: %v", bad, err)
		}
	}
	// A place that nothing is at is still one.
	for cursor, want := range map[string]int{
		cursorOf(`{"t":"2150-01-01T00:00:00Z","r":"01a20a1c-e1c1-7050-b7a3-b43807f77edb"}`): jobs,
		cursorOf(`{"t":"2001-01-01T00:00:00Z","r":"01a20a1c-e1c1-7050-b7a3-b43807f77edb"}`): 0,
		cursorOf(`{"e":true}`): 0,
	} {
		if page, err := s.Page(t.Context(), starter.Filter{ResourceLocation: s.queue}, cursor); err != nil || len(page.Jobs) != want {
			t.Errorf("%q: %+v, %v", cursor, page, err)
		}
	}
	s.pagesWhileJobsEnd(t, jobs)
}

func cursorOf(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// pagesWhileJobsEnd reads page by page while the jobs end, of which none may be
// missed, and others start.
func (s site) pagesWhileJobsEnd(t *testing.T, jobs int) {
	t.Helper()
	f := starter.Filter{Limit: 1, ResourceLocation: s.queue}
	page, err := s.Page(t.Context(), f, "")
	if err != nil || len(page.Jobs) != 1 || page.Next == "" {
		t.Fatalf("%+v, %v", page, err)
	}
	seen := map[string]bool{page.Jobs[0].JobID: true}
	for i := range jobs {
		if err := s.temporal.TerminateWorkflow(t.Context(), fmt.Sprintf("ips/files.example.com/pvs/store/%s-%d.vhdx", s.image, i), "", ""); err != nil {
			t.Error(err)
		}
	}
	late := s.start(t, "out")
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		ended, err := s.List(t.Context(), starter.Filter{ResourceLocation: s.queue, State: job.StateTerminated})
		running, err2 := s.List(t.Context(), starter.Filter{ResourceLocation: s.queue, State: job.StateRunning})
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		if len(ended) == jobs && len(running) == 1 {
			break
		}
	}
	for cursor := page.Next; cursor != ""; cursor = page.Next {
		if page, err = s.Page(t.Context(), f, cursor); err != nil {
			t.Fatal(err)
		}
		for _, j := range page.Jobs {
			seen[j.JobID] = true
		}
	}
	if len(seen) != jobs || seen[late.JobID] {
		t.Errorf("seen %v", seen)
	}
	if err := s.temporal.TerminateWorkflow(t.Context(), late.JobID, "", ""); err != nil {
		t.Error(err)
	}
}

// ExampleClient_Updates follows a job whose worker is the tests'.
func ExampleClient_Updates() {
	withJob(func(ctx context.Context, jobs *starter.Client, id string) {
		updates, err := jobs.Updates(ctx, id)
		if err != nil {
			fmt.Println(err)
			return
		}
		var last starter.Update
		for last = range updates {
			if last.Err != nil {
				fmt.Println(last.Err)
				return
			}
		}
		fmt.Println(last.Status.State, last.Status.Result.OutputFile)
	})
	// Output: completed completes.avhdx
}

// ExampleClient_Result tells the failure of a job by its code.
func ExampleClient_Result() {
	withJob(func(ctx context.Context, jobs *starter.Client, id string) {
		result, err := jobs.Result(ctx, id)
		switch job.CodeOf(err) {
		case "":
			fmt.Println(result.OutputFile)
		case job.AlreadyGPT:
			fmt.Println("nothing to do")
		default:
			fmt.Println(err)
		}
	})
	// Output: completes.avhdx
}

// withJob calls f with a job that completes.
func withJob(f func(ctx context.Context, jobs *starter.Client, id string)) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var failed exampleTB
	c := devserver.Start(&failed)
	queue := "location-" + uuid.NewString()[:8]
	defer startertest.Serve(&failed, c, queue)()
	jobs := starter.New(c)
	started, err := jobs.Start(ctx, job.OpConvertToUEFI, startertest.Body(queue, "win10-"+queue, startertest.Completes))
	if err != nil {
		fmt.Println(err)
		return
	}
	f(ctx, jobs, started.RunID)
}

// exampleTB is what an example has in place of a test.
type exampleTB struct{ testing.TB }

func (*exampleTB) Helper()                  {}
func (*exampleTB) Context() context.Context { return context.Background() }
func (*exampleTB) Cleanup(func())           {} // the caller stops what it starts
func (*exampleTB) Fatal(args ...any) {
	fmt.Fprintln(os.Stderr, args...)
	os.Exit(1)
}
func (e *exampleTB) Fatalf(format string, args ...any) { e.Fatal(fmt.Sprintf(format, args...)) }
