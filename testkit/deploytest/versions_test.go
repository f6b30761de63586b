package deploytest

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.temporal.io/sdk/client"

	"imageport/job"
	"imageport/testkit/devserver"
	"imageport/testkit/proxy"
	"imageport/testkit/site"
	"imageport/testkit/winimage"
)

// A new release of the worker comes while a job is in the middle of composing. With
// behavior auto-upgrade the job moves to it, and the old one can stop at once; with
// pinned the job stays, and only new ones are the new release's. The Compositing
// Engine is the same throughout.
func TestVersions(t *testing.T) {
	for _, behavior := range []string{"auto-upgrade", "pinned"} {
		t.Run(behavior, func(t *testing.T) {
			t.Parallel()
			dir, err := os.MkdirTemp("", "ipv") // short, for Samba's sockets
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(dir) })
			server := devserver.Shared(t)
			s, err := site.Start(t.Context(), site.Options{Dir: dir, Program: program, Temporal: server, Image: winimage.Small(), ResourceLocation: uuid.NewString()})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := s.Stop(); err != nil {
					t.Error(err)
				}
			})
			r := releases{t: t, site: s, c: server.Client(), behavior: behavior, deployment: "imageport-" + s.ResourceLocation}
			old := r.start("1")
			slow := proxy.New(t, s.Samba.Addr())
			slow.StallAfter(proxy.Up, 3<<20) // in the middle of the output
			first := r.startJob("win10-first", slow.Port())
			for deadline := time.Now().Add(time.Minute); !slow.Stalled(); time.Sleep(10 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("the job does not come to its output")
				}
			}

			r.start("2")
			if behavior == "auto-upgrade" {
				began := time.Now()
				old.Stop() // while the CE composes
				if took := time.Since(began); took > 15*time.Second {
					t.Errorf("the old release took %v to stop", took)
				}
			}
			slow.Resume()
			r.ends(first, map[string]string{"auto-upgrade": "2", "pinned": "1"}[behavior])
			r.ends(r.startJob("win10-second", s.Samba.Port), "2")
		})
	}
}

// releases are workers of one site, one version each.
type releases struct {
	t                    *testing.T
	site                 *site.Site
	c                    client.Client
	behavior, deployment string
}

// start starts a worker of a release, and makes that the current one.
func (r releases) start(build string) *site.Worker {
	r.t.Helper()
	text, err := os.ReadFile(r.site.Config())
	if err != nil {
		r.t.Fatal(err)
	}
	common, _, _ := strings.Cut(string(text), "\n[versioning]")
	text = fmt.Appendf(nil, "%s\n[versioning]\ndeployment = %q\nbuild_id = %q\nbehavior = %q\n", common, r.deployment, build, r.behavior)
	if err := os.WriteFile(r.site.Config(), text, 0o600); err != nil {
		r.t.Fatal(err)
	}
	w, err := r.site.StartWorker(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(w.Stop)
	// The server knows the version when the worker has polled.
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		_, err = r.c.WorkerDeploymentClient().GetHandle(r.deployment).SetCurrentVersion(r.t.Context(), client.WorkerDeploymentSetCurrentVersionOptions{BuildID: build})
		if err == nil {
			return w
		}
		if time.Now().After(deadline) {
			r.t.Fatal(err)
		}
	}
}

// startJob starts a job that reaches the share at that port.
func (r releases) startJob(output string, port int) string {
	r.t.Helper()
	printed, err := os.ReadFile("../../job/testdata/convertToUefi.json")
	if err != nil {
		r.t.Fatal(err)
	}
	body, err := r.site.Body(printed, func(b map[string]any) {
		b["inputStorageLocation"].(map[string]any)["port"] = port
		b["outputImageFilename"] = output
	})
	if err != nil {
		r.t.Fatal(err)
	}
	started, err := r.site.Jobs.Start(r.t.Context(), job.OpConvertToUEFI, body)
	if err != nil {
		r.t.Fatal(err)
	}
	return started.JobID
}

// ends waits until a job has completed, on its first Compositing Engine, as the
// work of that release.
func (r releases) ends(id, build string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	var last job.Status
	for s, err := range r.site.Jobs.Watch(ctx, id) {
		if err != nil {
			r.t.Fatalf("%v; last seen %+v", err, last)
		}
		last = s
	}
	if last.State != job.StateCompleted || last.Result == nil || last.Result.CompositingEngines != 1 {
		r.t.Errorf("the job ended as %s: %+v, %+v", last.State, last.Error, last.Result)
	}
	d, err := r.c.DescribeWorkflowExecution(ctx, id, "")
	if err != nil {
		r.t.Fatal(err)
	}
	if got := d.GetWorkflowExecutionInfo().GetVersioningInfo().GetDeploymentVersion(); got.GetBuildId() != build || got.GetDeploymentName() != r.deployment {
		r.t.Errorf("the job ended with version %v, want build %s", got, build)
	}
}
