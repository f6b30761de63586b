package e2e

import (
	"compress/gzip"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.temporal.io/api/enums/v1"
	historypb "go.temporal.io/api/history/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"imageport/job"
	"imageport/testkit/proxy"
	"imageport/testkit/winimage"
)

// record says where to keep the histories of jobs and of a sweep, for the replay test of package workflows. Record a release, never the branch
// under test: that is what its workflows must still be able to replay.
//
//	go test ./testkit/e2e -run 'TestHistories|TestReverse|TestVSphere' -record ../../workflows/testdata/replay/<release>
var record = flag.String("record", "", "directory for the histories of jobs that complete, fail, are canceled and recover, of a dry run and a sweep")

// TestHistories runs the jobs whose histories tell a release's workflows apart.
func TestHistories(t *testing.T) {
	t.Parallel()
	r := newRig(t, winimage.Small())
	worker := r.startWorker()

	planned := r.start(r.body(func(m map[string]any) { m["dryRun"] = true }))
	r.completed(planned, time.Minute)
	r.record("planned", planned)

	booted := r.start(r.body(func(m map[string]any) {
		delete(m, "outputImageFilename")
		m["pvsVersion"], m["verify"] = "next", "boot"
	}))
	r.completed(booted, 10*time.Minute)
	r.record("booted", booted)

	completed := r.start(r.body(nil))
	r.completed(completed, time.Minute)
	r.record("completed", completed)

	failed := r.start(r.body(nil)) // its output is there now
	if s := r.wait(failed, time.Minute); s.State != job.StateFailed {
		t.Errorf("ended as %s", s.State)
	}
	r.record("failed", failed)

	p := proxy.New(t, r.Samba.Addr())
	p.StallAfter(proxy.Up, stallInOutput)
	canceled := "canceled " + r.ResourceLocation
	r.startAs(canceled, r.ResourceLocation, r.otherOutput(p, "canceled"))
	r.until("the output is half written", p.Stalled)
	if err := r.Jobs.Cancel(t.Context(), canceled, "a test"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second)
	p.Resume()
	if s := r.wait(canceled, time.Minute); s.State != job.StateCanceled {
		t.Errorf("ended as %s", s.State)
	}
	r.record("canceled", canceled)

	p = proxy.New(t, r.Samba.Addr())
	p.StallAfter(proxy.Up, stallInOutput)
	recovered := "recovered " + r.ResourceLocation
	r.startAs(recovered, r.ResourceLocation, r.otherOutput(p, "recovered"))
	r.until("the output is half written", p.Stalled)
	r.killAgents()
	p.Cut()
	p.Resume()
	if res := r.completed(recovered, 3*time.Minute); res.CompositingEngines != 2 {
		t.Errorf("it took %d Compositing Engines", res.CompositingEngines)
	}
	r.record("recovered", recovered)
	worker.Stop()
}

// record keeps a history, if asked to.
func (r rig) record(name, id string) {
	r.t.Helper()
	if *record == "" {
		return
	}
	h := new(historypb.History)
	events := r.Temporal.Client().GetWorkflowHistory(r.t.Context(), id, "", false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		e, err := events.Next()
		if err != nil {
			r.t.Fatal(err)
		}
		h.Events = append(h.Events, e)
	}
	b, err := protojson.Marshal(h)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := os.MkdirAll(*record, 0o755); err != nil {
		r.t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(*record, name+".json.gz"))
	if err != nil {
		r.t.Fatal(err)
	}
	z := gzip.NewWriter(f)
	if _, err := z.Write(b); err != nil {
		r.t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		r.t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		r.t.Fatal(err)
	}
}
