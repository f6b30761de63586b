package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"go.temporal.io/sdk/interceptor"
	sdklog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"

	"imageport/job"
	"imageport/job/durable"
)

// What is logged goes where it went before, and into the journal; a secret only
// becomes known later.
func TestJournal(t *testing.T) {
	var console strings.Builder
	j := NewJournal()
	log := j.Beside(slog.New(slog.NewTextHandler(&console, &slog.HandlerOptions{Level: slog.LevelWarn}))).With("ce", "ce-1")
	log.Debug("not this")
	log.Info("enrolled", "gateway", "g:1")
	log.Warn("logged on as", "user", "svc", "with", `tops"ecret`, "clientSecret", "abcdef")
	j.Conceal(`tops"ecret`)
	if c := console.String(); strings.Contains(c, "enrolled") || !strings.Contains(c, "logged on") {
		t.Errorf("console: %s", c)
	}
	e := &Engine{Journal: j}
	got, err := e.HandOverLog(t.Context())
	if err != nil || strings.Count(got.Text, "\n") != 2 || !strings.Contains(got.Text, "msg=enrolled ce=ce-1 gateway=g:1\n") || strings.Contains(got.Text, "not this") {
		t.Errorf("%v, %s", err, got.Text)
	}
	if strings.Contains(got.Text, "ecret") && strings.Contains(got.Text, "tops") || strings.Contains(got.Text, "abcdef") || !strings.Contains(got.Text, "user=svc") {
		t.Errorf("%s", got.Text)
	}
	if got, err := new(Engine).HandOverLog(t.Context()); err != nil || got.Text != "" {
		t.Errorf("without a journal: %+v, %v", got, err)
	}
}

// However much is logged, and whatever it is, the gateway lets it pass.
func TestJournalIsBounded(t *testing.T) {
	j := NewJournal()
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := range 500 {
				fmt.Fprintf(j, "%d %d %s\n", i, n, strings.Repeat("<\x01>&", 100))
			}
		})
	}
	all.Wait()
	log, err := (&Engine{Journal: j}).HandOverLog(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(log)
	if err != nil || len(b) > maxLogJSON+200 || len(log.Text) < 8<<10 || log.OmittedBytes == 0 {
		t.Errorf("%d bytes of text, %d of JSON, %v", len(log.Text), len(b), err)
	}
}

// The journal tells what the agent did for its job.
func TestActivitiesAreNoted(t *testing.T) {
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(sdklog.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	env := suite.NewTestActivityEnvironment()
	j := NewJournal()
	env.SetWorkerOptions(worker.Options{Interceptors: []interceptor.WorkerInterceptor{&durable.Interceptor{}, &noting{journal: j}}})
	work := func(_ context.Context, fails bool) error {
		if fails {
			return job.Errorf(job.ShareFull, "make room", "no space")
		}
		return nil
	}
	env.RegisterActivity(work)
	for _, fails := range []bool{false, true} {
		if _, err := env.ExecuteActivity(work, fails); (err != nil) != fails {
			t.Fatal(err)
		}
	}
	text := j.log().Text
	for _, part := range []string{"msg=begins activity=", "attempt=1", `msg="is done"`, "took=", `msg="has failed"`, "code=SHARE_FULL", `error="no space. make room"`} {
		if !strings.Contains(text, part) {
			t.Errorf("%q is missing in %s", part, text)
		}
	}
}
