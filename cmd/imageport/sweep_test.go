package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"imageport/job"
	"imageport/job/durable"
	"imageport/testkit/devserver"
)

// sweepSite is a resource location whose sweeps find what the test says.
func sweepSite(t *testing.T, found func(req job.SweepRequest) job.SweepResult) site {
	t.Helper()
	s := site{t: t, address: devserver.Shared(t).Address, queue: "location-" + uuid.NewString()[:8]}
	c := devserver.Start(t)
	w := worker.New(c, s.queue, worker.Options{})
	w.RegisterWorkflowWithOptions(func(_ workflow.Context, req job.SweepRequest) (job.SweepResult, error) { return found(req), nil },
		workflow.RegisterOptions{Name: durable.WorkflowSweep})
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		d, err := c.DescribeTaskQueue(t.Context(), s.queue, enums.TASK_QUEUE_TYPE_WORKFLOW)
		if err == nil && len(d.GetPollers()) > 0 {
			return s
		}
		if time.Now().After(deadline) {
			t.Fatalf("the worker does not poll: %v", err)
		}
	}
}

func TestSweep(t *testing.T) {
	removed := job.SweptCE{Platform: "vSphere vc1", CE: "ce-00000000000a", Job: "ips/files/win10", Age: job.Period(90 * time.Minute), Why: "its job was terminated"}
	kept := job.SweptCE{Platform: "local", CE: "ce-00000000000b", Age: job.Period(time.Minute), Why: "it says\t\x1b[2Jso\nmuch"}
	s := sweepSite(t, func(req job.SweepRequest) job.SweepResult {
		r := job.SweepResult{DryRun: req.DryRun}
		switch *req.MinAge {
		case 0:
			r.Failed = []job.SweptCE{removed}
		case job.Period(job.DefaultSweepMinAge):
			r.Removed, r.Kept = []job.SweptCE{removed}, []job.SweptCE{kept}
			t := job.SweepTarget{Error: "no route\x07 to host"}
			t.Platform, t.VCenterHost = job.PlatformVSphere, "vc2"
			r.Targets = []job.SweepTarget{t}
		}
		return r
	})
	r := s.call("sweep", "--resource-location", s.queue)
	want := `removed 1 Compositing Engine, kept 1
SWEEP    PLATFORM     CE               AGE    JOB              WHY
removed  vSphere vc1  ce-00000000000a  1h30m  ips/files/win10  its job was terminated
kept     local        ce-00000000000b  1m     -                it says ` + "\uFFFD" + `[2Jso much
`
	if r.code != exitOK || r.out != want || r.err != "imageport: warning: vSphere vc2 was not looked at: no route\uFFFD to host\n" {
		t.Errorf("%+v; want\n%s", r, want)
	}
	r = s.call("sweep", "--resource-location", s.queue, "--dry-run")
	if r.code != exitOK || !strings.HasPrefix(r.out, "would remove 1 Compositing Engine, kept 1\n") || !strings.Contains(r.out, "\nwould remove  vSphere vc1") {
		t.Errorf("%+v", r)
	}
	if got := decode[job.SweepResult](t, s.call("sweep", "--resource-location", s.queue, "--dry-run", "-o", "json")); !got.DryRun || len(got.Removed) != 1 || got.Removed[0] != removed {
		t.Errorf("%+v", got)
	}
	if r = s.call("sweep", "--resource-location", s.queue, "--min-age", "0s"); r.code != exitFailed || !strings.Contains(r.out, "failed  vSphere vc1") ||
		!strings.Contains(r.err, "imageport: CLEANUP_FAILED: 1 Compositing Engine could not be removed") {
		t.Errorf("%+v", r)
	}

	// The resource location of the configuration is the default.
	file := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(file, []byte("resource_location = '"+s.queue+"'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r = s.call("sweep", "--config", file, "--min-age", "1m"); r.code != exitOK || r.out != "no Compositing Engines\n" {
		t.Errorf("%+v", r)
	}
	t.Setenv("HOME", t.TempDir())
	for says, args := range map[string][]string{
		"the resource location is empty":    {"sweep"},
		"no worker serves resource":         {"sweep", "--resource-location", "nobody-" + s.queue},
		"must not be less than nothing":     {"sweep", "--min-age", "-1m"},
		`invalid argument "soon" for "--se`: {"sweep", "--settle", "soon"},
	} {
		if r := s.call(args...); r.code == exitOK || !strings.Contains(r.err, says) || r.out != "" {
			t.Errorf("%v: %+v; want %q", args, r, says)
		}
	}
}
