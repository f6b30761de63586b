//go:build webui

package webui_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"imageport/job"
	"imageport/testkit/devserver"
	"imageport/testkit/proxy"
	"imageport/testkit/site"
	"imageport/testkit/webui"
	"imageport/testkit/winimage"
)

var shots = flag.String("shots", "", "directory that the pictures of docs/webui.md are written to")

// visit is somebody with a browser at a site with a worker.
type visit struct {
	*site.Site
	*webui.UI
	t *testing.T
}

func newVisit(t *testing.T) visit {
	t.Helper()
	dir, err := os.MkdirTemp("", "ip") // short, for Samba's sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	program := filepath.Join(t.TempDir(), "imageport")
	if out, err := exec.Command("go", "build", "-o", program, "imageport/cmd/imageport").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	temporal, err := devserver.Run(t.Context(), devserver.Options{UIPort: devserver.AnyPort})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := temporal.Stop(); err != nil {
			t.Error(err)
		}
	})
	s, err := site.Start(t.Context(), site.Options{Dir: dir, Program: program, Temporal: temporal, Image: winimage.Small()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	worker, err := s.StartWorker(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(worker.Stop)
	ui, err := webui.Open(context.Background(), temporal.UI, devserver.Namespace)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ui.Close(); err != nil {
			t.Error(err)
		}
	})
	return visit{s, ui, t}
}

// start starts the specification's convertToUefi with a change.
func (v visit) start(change func(body map[string]any)) string {
	v.t.Helper()
	printed, err := os.ReadFile("../../job/testdata/convertToUefi.json")
	if err != nil {
		v.t.Fatal(err)
	}
	body, err := v.Body(printed, change)
	if err != nil {
		v.t.Fatal(err)
	}
	started, err := v.Jobs.Start(v.t.Context(), job.OpConvertToUEFI, body)
	if err != nil {
		v.t.Fatal(err)
	}
	return started.JobID
}

// slow starts a job whose share becomes slow in the middle of composing.
func (v visit) slow() string {
	v.t.Helper()
	const enough, bytesPerSecond = 1 << 20, 80 << 10 // of an output of 14 MiB
	share := proxy.New(v.t, v.Samba.Addr())
	share.StallAfter(proxy.Up, enough)
	id := v.start(func(body map[string]any) {
		body["inputStorageLocation"].(map[string]any)["port"] = share.Port()
		body["outputImageFilename"] = "win10-slowly"
	})
	for deadline := time.Now().Add(time.Minute); !share.Stalled(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			v.t.Fatal("the job has not written enough in a minute")
		}
	}
	share.Rate(bytesPerSecond)
	share.Resume()
	return id
}

// ended waits for the end of a job.
func (v visit) ended(id string) job.Status {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(v.t.Context(), 2*time.Minute)
	defer cancel()
	var last job.Status
	for s, err := range v.Jobs.Watch(ctx, id) {
		if err != nil {
			v.t.Fatalf("%s: %v; last seen %+v", id, err, last)
		}
		last = s
	}
	return last
}

// must ends the test if a step failed.
func (v visit) must(err error) {
	v.t.Helper()
	if err != nil {
		v.t.Fatal(err)
	}
}

// shows fails the test unless the page comes to show all texts.
func (v visit) shows(texts ...string) string {
	v.t.Helper()
	page, err := v.Await(texts...)
	v.must(err)
	return page
}

// find searches the list by the image of a job, and opens the job.
func (v visit) find(id, status string) {
	v.t.Helper()
	v.must(v.List())
	rows, err := v.Search(fmt.Sprintf("ImageportImage = %q", id), id)
	v.must(err)
	row := rows[0]
	if row["Status"] != status || row["Workflow ID"] != id || row["Type"] != string(job.OpConvertToUEFI) {
		v.t.Fatalf("the list shows %v", row)
	}
	v.must(v.OpenJob(id))
	v.must(v.AwaitStatus(status))
}

// shot keeps a picture for the documentation.
func (v visit) shot(name string) {
	v.t.Helper()
	if *shots != "" {
		v.must(v.Shot(filepath.Join(*shots, name+".png")))
	}
}

// files are the names on the share.
func (v visit) files() string {
	v.t.Helper()
	entries, err := os.ReadDir(v.Store)
	v.must(err)
	return fmt.Sprint(entries)
}

// Somebody who knows only the Web UI finds jobs by their image, sees phase and
// progress, understands a failure, and cancels.
func TestWebUI(t *testing.T) {
	v := newVisit(t)
	failed := v.start(func(body map[string]any) { body["inputImageFilename"] = "win11" })
	if s := v.ended(failed); s.State != job.StateFailed {
		t.Fatalf("the first job ended as %s", s.State)
	}
	completed := v.start(nil)
	if s := v.ended(completed); s.State != job.StateCompleted {
		t.Fatalf("the second job ended as %s: %v", s.State, s.Error)
	}
	before := v.files()
	running := v.slow()

	t.Run("list", func(t *testing.T) { v.with(t).list(failed, completed, running) })
	t.Run("running", func(t *testing.T) { v.with(t).running(running) })
	t.Run("cancel", func(t *testing.T) { v.with(t).cancel(running, before) })
	t.Run("failed", func(t *testing.T) { v.with(t).failed(failed) })
	t.Run("completed", func(t *testing.T) { v.with(t).completed(completed) })
}

func (v visit) with(t *testing.T) visit { v.t = t; return v }

// list has all jobs, with the phase for who asks for it, and is searched.
func (v visit) list(failed, completed, running string) {
	v.must(v.List())
	_, err := v.Rows(failed, completed, running)
	v.must(err)
	for _, column := range []string{"ImageportPhase", "ImageportOutput"} {
		v.must(v.ShowColumn(column, true))
	}
	for _, column := range []string{"Run ID", "Start", "End"} {
		v.must(v.ShowColumn(column, false))
	}
	rows, err := v.Rows(failed, completed, running)
	v.must(err)
	phases := map[string]string{failed: "preflight", completed: "done", running: "compose"}
	for _, row := range rows {
		if want := phases[row["Workflow ID"]]; row["ImageportPhase"] != want || row["ImageportOutput"] == "" {
			v.t.Errorf("the list shows %v, want phase %s", row, want)
		}
	}
	v.shot("list")
	for query, want := range map[string]string{
		fmt.Sprintf("ImageportImage = %q", running):                         running,
		`ImageportPhase = "compose" AND ExecutionStatus = "Running"`:        running,
		`ImageportOutput STARTS_WITH "ips/" AND ExecutionStatus = "Failed"`: failed,
	} {
		_, err := v.Search(query, want)
		v.must(err)
	}
	for _, query := range []string{`ImageportImage STARTS_WITH "ips/127.0.0.1"`, `ImageportOperation = "convertToUefi"`, `ImageportPlatform = "local"`} {
		_, err := v.Search(query, failed, completed, running)
		v.must(err)
	}
	_, err = v.Search(fmt.Sprintf("ImageportImage = %q", running), running)
	v.must(err)
	v.shot("search")
}

var doneBytes = regexp.MustCompile(`"doneBytes": ([1-9]\d*)`)

// running shows what the job does, and how far it is.
func (v visit) running(id string) {
	v.find(id, "Running")
	v.must(v.Open(webui.UserMetadata))
	v.shows("convertToUefi win10.vhdx -> win10-slowly.avhdx", "convertToUefi running: compose, since 20", "How far it is: tab Pending Activities",
		" to report", // the timer's summary
		`image: \\127.0.0.1\disks\win10.vhdx`, `output: \\127.0.0.1\disks\win10-slowly.avhdx`, "Compositing Engine on local: ce-")
	v.shot("details")
	v.must(v.Open(webui.PendingActivities))
	page := v.shows("Compose", "Heartbeat Details", `"step":`, `"doneBytes":`)
	if !doneBytes.MatchString(page) {
		v.t.Errorf("there is no progress in %s", page)
	}
	v.shot("progress")
	v.must(v.Open(webui.SearchAttributes))
	v.shows("ImageportImage", id, "ImageportPhase", "compose")
}

// typed has no quotes: the UI makes typographic ones of them.
var typed = strings.NewReplacer("'", "", `"`, "", "‘", "", "’", "", "“", "", "”", "")

// cancel ends the job by the UI's button, and nothing is left.
func (v visit) cancel(id, before string) {
	v.find(id, "Running")
	v.must(v.Cancel(func() error { v.shot("cancel"); return nil }))
	v.must(v.AwaitStatus("Canceled"))
	v.must(v.Open(webui.UserMetadata))
	v.shows("convertToUefi canceled in phase compose")
	v.shot("canceled")
	if s, err := v.Jobs.Get(v.t.Context(), id); err != nil || s.State != job.StateCanceled {
		v.t.Errorf("the job is %s, %v", s.State, err)
	}
	if after := v.files(); after != before {
		v.t.Errorf("the share changed\nbefore %s\nafter  %s", before, after)
	}
	if left, err := filepath.Glob(filepath.Join(v.State(), "ce-*")); err != nil || len(left) > 0 {
		v.t.Errorf("Compositing Engines are left: %v, %v", left, err)
	}
}

// failed says what went wrong and what to do.
func (v visit) failed(id string) {
	s, err := v.Jobs.Get(v.t.Context(), id)
	v.must(err)
	v.find(id, "Failed")
	v.shows(`"type": "`+string(s.Error.Code)+`"`, s.Error.Message)
	v.must(v.Open(webui.UserMetadata))
	v.shows("convertToUefi failed in phase preflight", string(s.Error.Code)+": "+s.Error.Message, "What to do: "+s.Error.Remedy)
	v.shot("failed")
}

// completed gives the result, says what to do with it, and answers the query that all
// our clients ask.
func (v visit) completed(id string) {
	s, err := v.Jobs.Get(v.t.Context(), id)
	v.must(err)
	v.find(id, "Completed")
	v.shows(`"sha256": "`+s.Result.SHA256+`"`, `"outputFile": "win10-converted.avhdx"`)
	v.shot("result")
	v.must(v.Open(webui.UserMetadata))
	page := v.shows("convertToUefi completed", "sha256: "+s.Result.SHA256)
	next, result := strings.Index(page, "Next, in Citrix Provisioning:"), strings.Index(page, "sha256: ")
	if next < 0 || next > result {
		v.t.Errorf("the next steps do not lead in %s", page)
	}
	for _, line := range slices.Concat(s.Result.PVS.PowerShell, s.Result.PVS.Targets) {
		if line = strings.TrimPrefix(line, "# "); !strings.Contains(typed.Replace(page), typed.Replace(line)) {
			v.t.Errorf("%q is not in %s", line, page)
		}
	}
	v.shot("next")
	v.must(v.Open(webui.Queries))
	v.must(v.Query("status"))
	v.shows(`"state": "completed"`, `"phase": "done"`)
}
