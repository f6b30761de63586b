package starter_test

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"testing"

	"imageport/job"
	"imageport/starter/startertest"
)

func TestLogs(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	startertest.Serve(t, s.temporal, s.queue)
	started := s.start(t, startertest.Fails)
	if _, err := s.Result(t.Context(), started.JobID); job.CodeOf(err) != job.AlreadyGPT {
		t.Fatal(err)
	}
	logs, err := s.Logs(t.Context(), started.RunID)
	if err != nil {
		t.Fatal(err)
	}
	if logs.JobID != started.JobID || logs.RunID != started.RunID || len(logs.Logs) != 2 || len(logs.Warnings) != 0 {
		t.Fatalf("%+v", logs)
	}
	if ce := logs.Logs[0]; ce.Source != job.LogCE || ce.Name != "ce-0123456789ab" || !strings.Contains(ce.Text, "msg=enrolled\n") || strings.Contains(ce.Text, "hunter2") || ce.At.IsZero() {
		t.Errorf("%+v", ce)
	}
	if tried := logs.Logs[1]; tried.Source != job.LogPlatform || tried.Name != "attempts" || !strings.HasSuffix(tried.Text, "Z Compose: failed: ALREADY_GPT: the image has a GPT already. Use the image as it is\n") {
		t.Errorf("%+v", tried)
	}
	if _, err := s.Logs(t.Context(), "ips/no/such"); job.CodeOf(err) != job.JobNotFound {
		t.Error(err)
	}
}

// What is tried again is in the logs while it is, and without a worker, too.
func TestLogsOfARunningJob(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	stop := startertest.Serve(t, s.temporal, s.queue)
	started := s.start(t, startertest.Flaky)
	s.until(t, started.JobID, "retrying", func(got job.Status) bool {
		return slices.ContainsFunc(got.Warnings, func(w string) bool { return strings.HasPrefix(w, "Compose is on attempt ") })
	})
	check := func(warnings int) {
		t.Helper()
		logs, err := s.Logs(t.Context(), started.JobID)
		if err != nil {
			t.Fatal(err)
		}
		if len(logs.Logs) != 1 || !strings.Contains(logs.Logs[0].Text, "the one before failed: SHARE_UNREACHABLE: files.example.com does not answer\n") || len(logs.Warnings) != warnings {
			t.Errorf("%+v", logs)
		}
	}
	check(0)
	stop()
	check(1)
	if err := s.temporal.TerminateWorkflow(t.Context(), started.JobID, "", ""); err != nil {
		t.Fatal(err)
	}
}

// A bundle has everything, and no secret: also none that somebody has put into
// the request.
func TestBundle(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	startertest.Serve(t, s.temporal, s.queue)
	body := bytes.Replace(startertest.Body(s.queue, s.image, startertest.Completes), []byte(`"platform"`), []byte(`"password": "hunter2", "note": "Bearer abcdefghijklmnop0123", "platform"`), 1)
	started, err := s.Start(t.Context(), job.OpConvertToUEFI, body)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Result(t.Context(), started.JobID); err != nil {
		t.Fatal(err)
	}
	var content bytes.Buffer
	if err := s.Bundle(t.Context(), started.RunID, &content); err != nil {
		t.Fatal(err)
	}
	r, err := zip.NewReader(bytes.NewReader(content.Bytes()), int64(content.Len()))
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]string)
	for _, f := range r.File {
		in, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		files[f.Name] = string(b)
		if strings.Contains(string(b), "hunter2") || strings.Contains(string(b), "mnop0123") {
			t.Errorf("%s has a secret:\n%s", f.Name, b)
		}
		if strings.HasSuffix(f.Name, ".json") && !json.Valid(b) {
			t.Errorf("%s is no JSON", f.Name)
		}
	}
	for name, part := range map[string]string{
		"README.txt":                     "history.json",
		"status.json":                    `"state": "completed"`,
		"result.json":                    `"outputFile": "completes.avhdx"`,
		"logs.json":                      `"source": "ce"`,
		"logs/01-ce-ce-0123456789ab.txt": "msg=enrolled",
		"history.json":                   `"inputImageFilename": "` + s.image + `"`,
	} {
		if !strings.Contains(files[name], part) {
			t.Errorf("%q is missing in %s: %q", part, name, files[name])
		}
	}
	if err := s.Bundle(t.Context(), started.JobID, io.Discard); err != nil {
		t.Error(err)
	}
	if err := s.Bundle(t.Context(), started.JobID, full{}); err == nil {
		t.Error("a bundle that could not be written is a success")
	}
}

// full is a disk without room.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, io.ErrShortWrite }
