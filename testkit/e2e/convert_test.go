package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.temporal.io/api/enums/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"imageport/job"
	"imageport/testkit/devserver"
	"imageport/testkit/ovmf"
	"imageport/testkit/site"
	"imageport/testkit/winimage"
)

// maxEvents is the goal for the history of a job: seven activities, the enrolment
// of one CE, and a dozen search attributes and timers.
const maxEvents = 72

// The main job as an admin starts it: with the Temporal CLI and the
// specification's JSON. The result boots, the parent is as it was, and nothing
// secret is to be seen.
func TestConvertToUEFI(t *testing.T) {
	r := newRig(t, winimage.Default())
	r.startWorker()
	before := r.files()

	body := filepath.Join(r.Dir, "body.json")
	if err := os.WriteFile(body, r.body(nil), 0o600); err != nil {
		t.Fatal(err)
	}
	cli, err := devserver.Program()
	if err != nil {
		t.Fatal(err)
	}
	const id = "any id at all"
	start := exec.CommandContext(t.Context(), cli, "workflow", "start", "--type", "convertToUefi", "--task-queue", r.ResourceLocation, "--input-file", body, "--workflow-id", id)
	start.Env = r.Env()
	if out, err := start.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	// What is seen while it runs holds no secret either.
	seen := r.watchCE(t)
	if out, err := r.Command(t.Context(), "jobs", "watch", id).CombinedOutput(); err != nil {
		t.Fatalf("jobs watch: %v: %s", err, out)
	}
	res := r.completed(id, time.Minute)

	after := r.files()
	if len(after) != 2 || after[site.Image] != before[site.Image] {
		t.Errorf("the share has %v, at first %v", after, before)
	}
	if res.OutputFile != "win10-converted.avhdx" || res.SHA256 != r.sha256(res.OutputFile) {
		t.Errorf("the result says %s with %s, the share has %v", res.OutputFile, res.SHA256, after)
	}
	r.noCE()

	raw := r.decode7z(res)
	report, err := ovmf.Boot(t.Context(), ovmf.Options{Disk: raw})
	if err != nil || !report.Passed {
		t.Errorf("firmware does not get to Windows: %v\n%s", err, report)
	}

	history := r.history(id)
	if n := bytes.Count(history, []byte(`"eventId"`)); n > maxEvents {
		t.Errorf("%d history events, the goal is %d", n, maxEvents)
	}
	log, err := os.ReadFile(filepath.Join(r.Dir, "worker.log"))
	if err != nil {
		t.Fatal(err)
	}
	for where, text := range map[string][]byte{"history": history, "worker's log": log, "CE's processes and files": seen()} {
		if len(text) == 0 {
			t.Errorf("there is no %s to look at", where)
		}
		if bytes.Contains(text, []byte(r.Samba.Password)) {
			t.Errorf("the password is in the %s", where)
		}
	}
}

// watchCE collects the command lines, environments and logs of our
// Compositing Engines until the function that it gives is called.
func (r rig) watchCE(t *testing.T) func() []byte {
	ctx, cancel := context.WithCancel(t.Context())
	seen, done := new(bytes.Buffer), make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			for _, pid := range r.agents() {
				for _, file := range []string{"cmdline", "environ"} {
					b, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), file)) // it may be gone
					seen.Write(b)
				}
			}
			logs, _ := filepath.Glob(filepath.Join(r.State(), "*", "*"))
			for _, log := range logs {
				b, _ := os.ReadFile(log)
				seen.Write(b)
			}
			time.Sleep(25 * time.Millisecond)
		}
	}()
	return func() []byte {
		cancel()
		<-done
		return seen.Bytes()
	}
}

// history is the whole history of a job as JSON.
func (r rig) history(id string) []byte {
	r.t.Helper()
	var out bytes.Buffer
	events := r.Temporal.Client().GetWorkflowHistory(r.t.Context(), id, "", false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		e, err := events.Next()
		if err != nil {
			r.t.Fatal(err)
		}
		b, err := protojson.Marshal(e)
		if err != nil {
			r.t.Fatal(err)
		}
		var plain any // payloads are base64 in JSON: show what is in them
		if err := json.Unmarshal(b, &plain); err != nil {
			r.t.Fatal(err)
		}
		out.Write(b)
		for _, text := range payloads(plain) {
			out.WriteString(text)
		}
		out.WriteByte('\n')
	}
	return out.Bytes()
}

// payloads finds the decoded data of all payloads in a JSON value.
func payloads(v any) []string {
	var found []string
	switch v := v.(type) {
	case map[string]any:
		for key, inner := range v {
			if text, ok := inner.(string); ok && key == "data" {
				var b []byte
				if json.Unmarshal([]byte(`"`+text+`"`), &b) == nil {
					found = append(found, string(b))
				}
			}
			found = append(found, payloads(inner)...)
		}
	case []any:
		for _, inner := range v {
			found = append(found, payloads(inner)...)
		}
	}
	return found
}

// decode7z decodes the output through its parent with 7zz: the raw disk.
func (r rig) decode7z(res job.Result) string {
	r.t.Helper()
	raw := filepath.Join(r.Dir, "converted.img")
	out, err := os.Create(raw)
	if err != nil {
		r.t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.CommandContext(r.t.Context(), "7zz", "e", "-so", "-tvhdx", filepath.Join(r.Store, res.OutputFile))
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	buf, zeros, size := make([]byte, 1<<20), make([]byte, 1<<20), int64(0)
	for {
		n, err := io.ReadFull(stdout, buf)
		if !bytes.Equal(buf[:n], zeros[:n]) {
			if _, err := out.WriteAt(buf[:n], size); err != nil {
				r.t.Fatal(err)
			}
		}
		if size += int64(n); err != nil {
			break
		}
	}
	if err := cmd.Wait(); err != nil {
		r.t.Fatal(err)
	}
	if size != res.VirtualSizeBytes {
		r.t.Fatalf("7zz decodes %d bytes of %d", size, res.VirtualSizeBytes)
	}
	if err := out.Truncate(size); err != nil {
		r.t.Fatal(err)
	}
	return raw
}

// Run again under the same workflow id, a job writes the same bytes. Without
// overwriteOutput it is refused.
func TestSameJobAgain(t *testing.T) {
	r := newRig(t, winimage.Small())
	r.startWorker()
	first := r.completed(r.start(r.body(nil)), time.Minute)
	before := r.files()
	if s := r.wait(r.start(r.body(nil)), time.Minute); s.Error == nil || s.Error.Code != job.OutputExists {
		t.Errorf("ended as %s, %v", s.State, s.Error)
	}
	if !same(before, r.files()) {
		t.Error("the refused job changed the share")
	}
	again := r.completed(r.start(r.body(func(b map[string]any) { b["overwriteOutput"] = true })), time.Minute)
	if again.SHA256 != first.SHA256 || r.sha256(again.OutputFile) != first.SHA256 {
		t.Errorf("two runs gave %s and %s", first.SHA256, again.SHA256)
	}
	if files := r.files(); len(files) != 2 {
		t.Errorf("left behind: %v", files)
	}
}

// The older SMB library does the job, too.
func TestOtherShareDriver(t *testing.T) {
	r := newRig(t, winimage.Small())
	text, err := os.ReadFile(r.Config())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.Config(), append([]byte("share_driver = \"hirochachacha\"\n"), text...), 0o600); err != nil {
		t.Fatal(err)
	}
	r.startWorker()
	res := r.completed(r.start(r.body(nil)), time.Minute)
	sum, err := os.ReadFile(filepath.Join(r.Store, res.OutputFile))
	if err != nil {
		t.Fatal(err)
	}
	if got := sha256.Sum256(sum); hex.EncodeToString(got[:]) != res.SHA256 {
		t.Error("the output is not what the result says")
	}
}

// The command line starts, waits, shows and lists a job.
func TestCommandLine(t *testing.T) {
	r := newRig(t, winimage.Small())
	r.startWorker()
	start := r.Command(t.Context(), "start", "convert-to-uefi", "-f", "-", "--wait", "-o", "json")
	start.Stdin = bytes.NewReader(r.body(nil))
	start.Stderr = os.Stderr
	out, err := start.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var s job.Status
	if err := json.Unmarshal(out, &s); err != nil || s.State != job.StateCompleted || s.Result == nil {
		t.Fatalf("start --wait printed %s: %v", out, err)
	}
	show, err := r.Command(t.Context(), "jobs", "show", s.JobID).CombinedOutput()
	if err != nil || !strings.Contains(string(show), s.Result.SHA256) {
		t.Errorf("jobs show: %v: %s", err, show)
	}
	list, err := r.Command(t.Context(), "jobs", "list").CombinedOutput()
	if err != nil || !strings.Contains(string(list), s.JobID) {
		t.Errorf("jobs list: %v: %s", err, list)
	}
}
