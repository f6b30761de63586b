package main

import (
	"archive/zip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imageport/job"
	"imageport/starter"
	"imageport/starter/startertest"
)

func TestJobsLogs(t *testing.T) {
	s := newSite(t)
	started := decode[starter.Started](t, s.call("start", "convert-to-uefi", "-f", s.body(startertest.Flaky), "-o", "json"))
	followed := make(chan result)
	go func() { followed <- s.call("jobs", "logs", started.JobID, "-f") }()
	s.until("tried again", func() bool { return strings.Contains(s.call("jobs", "show", started.JobID).out, "is on attempt") })
	time.Sleep(3 * time.Second)
	if r := s.call("jobs", "cancel", started.JobID, "--wait"); r.code != exitOK {
		t.Fatalf("%+v", r)
	}
	r := <-followed
	if r.code != exitOK || !strings.Contains(r.out, "--- platform attempts\n") || !strings.Contains(r.out, "SHARE_UNREACHABLE: files.example.com does not answer\n") ||
		!strings.Contains(r.out, "--- ce ce-0123456789ab at ") || strings.Count(r.out, "msg=enrolled\n") != 1 || strings.Contains(r.out, "hunter2") {
		t.Errorf("%+v", r)
	}
	if r = s.call("jobs", "logs", started.RunID, "--source", "ce"); r.code != exitOK || !strings.Contains(r.out, "msg=enrolled") || strings.Contains(r.out, "attempts") {
		t.Errorf("%+v", r)
	}
	if got := decode[job.Logs](t, s.call("jobs", "logs", started.RunID, "--source", "guest", "-o", "json")); got.JobID != started.JobID || len(got.Logs) != 0 {
		t.Errorf("%+v", got)
	}

	path := filepath.Join(t.TempDir(), "job.zip")
	if r = s.call("jobs", "bundle", started.RunID, path); r.code != exitOK || !strings.HasPrefix(r.out, path+", ") {
		t.Errorf("%+v", r)
	}
	z, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	if len(z.File) < 5 {
		t.Errorf("%d files", len(z.File))
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if r = s.call("jobs", "bundle", started.RunID, path); r.code != exitFailed || !strings.Contains(r.err, "OUTPUT_EXISTS") {
		t.Errorf("%+v", r)
	}
	if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
		t.Error("the file was touched")
	}
	if r = s.call("jobs", "bundle", started.RunID, filepath.Join(path, "x.zip")); r.code != exitFailed || !strings.Contains(r.err, "cannot be saved") {
		t.Errorf("%+v", r)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*")); err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func (s site) until(what string, f func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if f() {
			return
		}
	}
	s.t.Fatalf("not %s", what)
}

// A log that grows is printed once; one that lost its beginning from where it is.
func TestShownLogs(t *testing.T) {
	var out strings.Builder
	a := &app{out: &out, err: &out}
	var shown shownLogs
	show := func(logs ...job.Log) {
		if err := a.printLogs(job.Logs{Logs: logs, Warnings: []string{"no worker"}}, &shown); err != nil {
			t.Fatal(err)
		}
	}
	log := job.Log{Source: job.LogPlatform, Name: "attempts", Text: "one\n"}
	show(log)
	log.Text += "two\n"
	show(log)
	show(log)
	show(log, job.Log{Source: job.LogGuest, Name: "msi\x1b[2J.log", Text: "a\r\nb"})
	log.Text, log.OmittedBytes = "ten\n", 2000
	show(log)
	want := `imageport: warning: no worker
--- platform attempts
one
two
--- guest msi` + "\uFFFD" + `[2J.log
a
b
--- platform attempts
(2.0 KiB before were not kept)
ten
`
	if out.String() != want {
		t.Errorf("got\n%s", out.String())
	}
}

func TestParseSince(t *testing.T) {
	now := time.Date(2026, 3, 10, 12, 0, 0, 0, time.Local)
	for text, want := range map[string]time.Time{
		"":                     {},
		"2026-01-31":           time.Date(2026, 1, 31, 0, 0, 0, 0, time.Local),
		"2026-01-31 10:30":     time.Date(2026, 1, 31, 10, 30, 0, 0, time.Local),
		"2026-01-31T10:00:00Z": time.Date(2026, 1, 31, 10, 0, 0, 0, time.UTC),
		"90m":                  now.Add(-90 * time.Minute),
		"7d":                   now.AddDate(0, 0, -7),
	} {
		if got, err := parseSince(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"-1h", "7", "-7d", "tomorrow", "99999d"} {
		if _, err := parseSince(text, now); job.CodeOf(err) != job.BadRequest {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// What an upgrade did is told in lines, and where to read on.
func TestPrintUpgrade(t *testing.T) {
	code := 3010
	s := job.Status{
		JobID: "ips/files/pvs/win10.vhdx", RunID: "r1", Operation: job.OpUpgradePVS, State: job.StateCompleted,
		Result: &job.Result{
			SizeBytes: 9 << 30, VirtualSizeBytes: 40 << 30, SHA256: "ab", WindowsProduct: "Windows 10 Pro", WindowsBuild: 19045, BytesRead: 1 << 30, BytesWritten: 2 << 30,
			Upgrade: &job.Upgrade{
				From: "7.33.0.1", To: "7.41.100.62", Installer: "PVS_Device_x64.exe", Boots: 2, Guests: 1,
				Steps:   []job.UpgradeStep{{Name: "install", ExitCode: &code, Attempts: 2, Seconds: 61.4, Note: "restart"}},
				Removed: []job.FixUp{{What: "the service", Old: "imageport"}},
			},
		},
		Guest: &job.GuestReport{Log: "x", Logs: []job.GuestLog{{Name: "pvs-msi.log", Tail: "x"}}, Screen: []byte("png")},
	}
	var out strings.Builder
	a := &app{out: &out, output: outputText}
	if err := a.printStatus(s); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"  software  7.33.0.1 -> 7.41.100.62", "  installer PVS_Device_x64.exe", "  size      9.0 GiB, of a disk of 40.0 GiB",
		"  step      install, exit code 3010 after 1m1s, tried 2 times: restart", "  boots     Windows started 2 times, the machine was switched on once",
		"  removed   the service: imageport -> (none)", "  logs      runner, pvs-msi.log (imageport jobs logs r1 --source guest)",
		"  screen    there is one (imageport jobs show r1 --screenshot screen.png)",
	} {
		if !strings.Contains(out.String(), line+"\n") {
			t.Errorf("%q is missing in\n%s", line, out.String())
		}
	}
	path := filepath.Join(t.TempDir(), "screen.png")
	if err := saveScreen(s, path); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "png" {
		t.Errorf("%q, %v", b, err)
	}
	out.Reset()
	s.Guest, s.Result.Upgrade.Skipped = nil, true
	if err := a.printStatus(s); err != nil || !strings.Contains(out.String(), "7.33.0.1 is in the image already: nothing was made\n") {
		t.Errorf("%v\n%s", err, out.String())
	}
	if err := saveScreen(s, path); job.CodeOf(err) != job.BadRequest {
		t.Error(err)
	}
}
