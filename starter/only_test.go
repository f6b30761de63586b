package starter_test

import (
	"context"
	"testing"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"imageport/job"
	"imageport/starter"
	"imageport/starter/startertest"
)

// unasked is a Temporal client through which no worker may be asked.
type unasked struct {
	client.Client
	t *testing.T
}

func (u unasked) QueryWorkflow(ctx context.Context, id, runID, query string, args ...any) (converter.EncodedValue, error) {
	u.t.Errorf("a worker was asked for %s of %s", query, id)
	return u.Client.QueryWorkflow(ctx, id, runID, query, args...)
}

// Who may know nothing of a resource location gets the same answers as if there
// was nothing, and no worker is asked for them.
func TestOnly(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	started, batch := s.start(t, startertest.Works), s.startBatch(t, s.batch("", "a"))
	other, err := s.temporal.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: "other-" + s.queue, TaskQueue: s.queue}, "somethingElse")
	if err != nil {
		t.Fatal(err)
	}
	mine := s.Only(func(resourceLocation string) bool { return resourceLocation == s.queue })
	if got, err := mine.Summary(t.Context(), started.RunID); err != nil || got.RunID != started.RunID {
		t.Errorf("who may: %+v, %v", got, err)
	}
	stranger := starter.New(unasked{s.temporal, t}).Only(func(resourceLocation string) bool { return resourceLocation != s.queue })
	for _, id := range []string{started.JobID, started.RunID, batch.JobID, batch.RunID, other.GetID()} {
		want := `there is no job with the id "` + id + `"`
		_, get := stranger.Get(t.Context(), id)
		_, summary := stranger.Summary(t.Context(), id)
		_, result := stranger.Result(t.Context(), id)
		_, logs := stranger.Logs(t.Context(), id)
		cancel := stranger.Cancel(t.Context(), id, "")
		_, report := stranger.Batch(t.Context(), id)
		_, batchSummary := stranger.BatchSummary(t.Context(), id)
		cancelBatch := stranger.CancelBatch(t.Context(), id, "")
		for what, err := range map[string]error{"Get": get, "Summary": summary, "Result": result, "Logs": logs, "Cancel": cancel} {
			if e, ok := err.(*job.Error); !ok || e.Code != job.JobNotFound || e.Message != want {
				t.Errorf("%s %s: %v", what, id, err)
			}
		}
		for what, err := range map[string]error{"Batch": report, "BatchSummary": batchSummary, "CancelBatch": cancelBatch} {
			if e, ok := err.(*job.Error); !ok || e.Code != job.JobNotFound || e.Message != `there is no batch with the id "`+id+`"` {
				t.Errorf("%s %s: %v", what, id, err)
			}
		}
	}
	if _, err := stranger.Start(t.Context(), job.OpConvertToUEFI, startertest.Body(s.queue, s.image, "x")); job.CodeOf(err) != job.Forbidden {
		t.Errorf("Start: %v", err)
	}
	if _, err := stranger.StartBatch(t.Context(), s.batch("", "a")); job.CodeOf(err) != job.Forbidden {
		t.Errorf("StartBatch: %v", err)
	}
	if list, err := stranger.List(t.Context(), starter.Filter{ResourceLocation: s.queue}); err != nil || len(list) != 0 {
		t.Errorf("List: %v, %v", list, err)
	}
	if list, err := stranger.ListBatches(t.Context(), starter.BatchFilter{ResourceLocation: s.queue}); err != nil || len(list) != 0 {
		t.Errorf("ListBatches: %v, %v", list, err)
	}
	for _, id := range []string{started.JobID, batch.JobID, other.GetID()} {
		if err := s.temporal.TerminateWorkflow(t.Context(), id, "", ""); err != nil {
			t.Error(err)
		}
	}
}
