// Package e2e tests the whole: the program, a real Temporal server, a real
// Samba, and firmware that boots what comes out.
package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.temporal.io/sdk/client"

	"imageport/engine/convert"
	"imageport/engine/share"
	"imageport/job"
	"imageport/testkit/devserver"
	"imageport/testkit/site"
	"imageport/testkit/winimage"
)

// program is imageport, and simulator the machine of guests, built from the sources
// that are tested.
var program, simulator string

// full adds what takes long and shows little that is not shown without.
var full = flag.Bool("full", false, "run every failure of upgradePvs, instead of one of each kind")

// atOnce is how many tests run at the same time, if nobody says it: what they do
// most is to wait.
const atOnce = "4"

func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", atOnce); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	flag.Parse() // what is said on the command line counts
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "imageport-e2e")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		program, simulator = filepath.Join(dir, "imageport"), filepath.Join(dir, "guestsim")
		if out, err := exec.Command("go", "build", "-o", dir, "imageport/cmd/imageport", "imageport/testkit/guestsim/cmd/guestsim").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "%v: %s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// rig is a site for one test.
type rig struct {
	*site.Site
	t *testing.T
}

func newRig(t *testing.T, image winimage.Spec) rig {
	t.Helper()
	return newRigWith(t, site.Options{Image: image})
}

func newRigWith(t *testing.T, o site.Options) rig {
	t.Helper()
	dir, err := os.MkdirTemp("", "ip") // short, for Samba's sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if o.Temporal == nil {
		o.Temporal = devserver.Shared(t)
	}
	o.Dir, o.Program, o.ResourceLocation = dir, program, uuid.NewString()
	s, err := site.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	// One server for all tests: a queue of one's own keeps them apart.
	return rig{s, t}
}

// startWorker runs a worker process until the test ends.
func (r rig) startWorker() *site.Worker {
	r.t.Helper()
	w, err := r.StartWorker(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(w.Stop)
	return w
}

// body is the specification's request on this site.
func (r rig) body(change func(map[string]any)) []byte {
	r.t.Helper()
	printed, err := os.ReadFile("../../job/testdata/convertToUefi.json")
	if err != nil {
		r.t.Fatal(err)
	}
	b, err := r.Body(printed, change)
	if err != nil {
		r.t.Fatal(err)
	}
	return b
}

// start starts a job through our client.
func (r rig) start(body []byte) string {
	r.t.Helper()
	return r.startOp(job.OpConvertToUEFI, body)
}

// startOp starts a job of any operation through our client.
func (r rig) startOp(op job.Operation, body []byte) string {
	r.t.Helper()
	started, err := r.Jobs.Start(r.t.Context(), op, body)
	if err != nil {
		r.t.Fatal(err)
	}
	return started.JobID
}

// startAs starts a job under any workflow id and on any queue, as people do
// with the Temporal CLI.
func (r rig) startAs(id, queue string, body []byte) client.WorkflowRun {
	r.t.Helper()
	return r.startAny(job.OpConvertToUEFI, id, queue, body)
}

// startOpAs starts a job of any operation under any workflow id.
func (r rig) startOpAs(op job.Operation, id string, body []byte) client.WorkflowRun {
	r.t.Helper()
	return r.startAny(op, id, r.ResourceLocation, body)
}

func (r rig) startAny(op job.Operation, id, queue string, body []byte) client.WorkflowRun {
	r.t.Helper()
	run, err := r.Temporal.Client().ExecuteWorkflow(r.t.Context(), client.StartWorkflowOptions{ID: id, TaskQueue: queue}, string(op), json.RawMessage(body))
	if err != nil {
		r.t.Fatal(err)
	}
	return run
}

// wait waits for the end of a job.
func (r rig) wait(id string, within time.Duration) job.Status {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), within)
	defer cancel()
	var last job.Status
	for s, err := range r.Jobs.Watch(ctx, id) {
		if err != nil {
			r.t.Fatalf("%s: %v; last seen in phase %s, %+v", id, err, last.Phase, last.Progress)
		}
		last = s
	}
	if last.State == job.StateRunning {
		r.t.Fatalf("%s still runs: %+v", id, last)
	}
	return last
}

// completed waits for a job that has to succeed.
func (r rig) completed(id string, within time.Duration) job.Result {
	r.t.Helper()
	s := r.wait(id, within)
	if s.State != job.StateCompleted || s.Result == nil {
		r.t.Fatalf("%s ended as %s in phase %s: %+v", id, s.State, s.Phase, s.Error)
	}
	return *s.Result
}

// files is the names, sizes, hashes and modification times on the share.
func (r rig) files() map[string]string {
	r.t.Helper()
	entries, err := os.ReadDir(r.Store)
	if err != nil {
		r.t.Fatal(err)
	}
	files := make(map[string]string)
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			r.t.Fatal(err)
		}
		if info.IsDir() { // the catalogue
			continue
		}
		files[e.Name()] = fmt.Sprintf("%d bytes, %s, %s", info.Size(), info.ModTime().Format(time.RFC3339Nano), r.sha256(e.Name()))
	}
	return files
}

func (r rig) sha256(name string) string {
	r.t.Helper()
	f, err := os.Open(filepath.Join(r.Store, name))
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		r.t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func same(a, b map[string]string) bool { return fmt.Sprint(a) == fmt.Sprint(b) }

// agents lists the processes of Compositing Engines of this site.
func (r rig) agents() []int {
	r.t.Helper()
	var pids []int
	entries, err := os.ReadDir("/proc")
	if err != nil {
		r.t.Fatal(err)
	}
	for _, e := range entries {
		var pid int
		if _, err := fmt.Sscan(e.Name(), &pid); err != nil {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err == nil && strings.Contains(string(line), r.State()+"/") {
			pids = append(pids, pid)
		}
	}
	return pids
}

// noCE fails the test if there is anything of a Compositing Engine left.
func (r rig) noCE() {
	r.t.Helper()
	if pids := r.agents(); len(pids) > 0 {
		r.t.Errorf("agents are left: %v", pids)
	}
	left, err := filepath.Glob(filepath.Join(r.State(), "ce-*"))
	if err != nil {
		r.t.Fatal(err)
	}
	if len(left) > 0 {
		r.t.Errorf("Compositing Engines are left: %v", left)
	}
}

// earlierOutput puts the output of another job under the name that the
// specification's request gives.
func (r rig) earlierOutput() {
	r.t.Helper()
	store, err := share.Dir(r.Store)
	if err != nil {
		r.t.Fatal(err)
	}
	defer store.Close()
	ctx := r.t.Context()
	task := convert.Task{
		Job: "another day", Key: "eeeeeeeeeeee", Storage: job.StorageLocation{Host: "h", SharePath: "disks"},
		Input: site.Image, Output: "win10-converted.avhdx", Format: job.FormatVHDX,
	}
	admitted, err := convert.Preflight(ctx, store, task)
	if err != nil {
		r.t.Fatal(err)
	}
	approval := admitted.Approval
	composed, err := convert.Compose(ctx, store, task, approval, "try", func(job.Progress) {})
	if err != nil {
		r.t.Fatal(err)
	}
	if err := convert.Publish(ctx, store, task, approval, composed); err != nil {
		r.t.Fatal(err)
	}
	if err := convert.Finish(ctx, store, task, approval, &composed, true); err != nil {
		r.t.Fatal(err)
	}
}
