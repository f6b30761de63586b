package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"imageport/config"
	"imageport/job"
	"imageport/starter"
	"imageport/starter/startertest"
	"imageport/testkit/devserver"
)

// envMain makes the test binary the program.
const envMain = "IMAGEPORT_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(envMain) != "" {
		main()
	}
	// The tests have the Temporal and the home that they set themselves.
	for _, name := range []string{"TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE", "TEMPORAL_PROFILE", "TEMPORAL_CONFIG_FILE", config.EnvPath} {
		if err := os.Unsetenv(name); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// result is what one call of the program gave.
type result struct {
	code     int
	out, err string
}

// call runs the program in this process.
func call(ctx context.Context, stdin string, args ...string) result {
	var out, err bytes.Buffer
	code := run(ctx, args, strings.NewReader(stdin), &out, &err)
	return result{code, out.String(), err.String()}
}

// site is a resource location whose worker is a stand-in.
type site struct {
	t       *testing.T
	address string
	queue   string
	image   string
}

func newSite(t *testing.T) site {
	t.Helper()
	unique := uuid.NewString()[:8]
	s := site{t, devserver.Shared(t).Address, "location-" + unique, "win10-" + unique}
	startertest.Serve(t, devserver.Start(t), s.queue)
	return s
}

func (s site) call(args ...string) result {
	return call(s.t.Context(), "", append(args, "--address", s.address)...)
}

// body writes a request that ends so, and gives its path.
func (s site) body(ends string) string {
	s.t.Helper()
	path := filepath.Join(s.t.TempDir(), "body.json")
	if err := os.WriteFile(path, startertest.Body(s.queue, s.image, ends), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

func decode[T any](t *testing.T, r result) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(r.out), &v); err != nil {
		t.Fatalf("%v in %+v", err, r)
	}
	return v
}

func TestStartAndWait(t *testing.T) {
	s := newSite(t)
	r := s.call("start", "convert-to-uefi", "-f", s.body(startertest.Completes), "--wait")
	for _, part := range []string{"convertToUefi completed after", `\\Files.example.com\PVS\Store\completes.avhdx`, "7.0 MiB, for 5.0 MiB changed of a disk of 40.0 GiB", "Windows 10 Pro, build 19045", strings.Repeat("ab", 32)} {
		if !strings.Contains(r.out, part) {
			t.Errorf("%q is missing in %+v", part, r)
		}
	}
	if r.code != exitOK {
		t.Errorf("%+v", r)
	}
	r = s.call("start", "convert-to-uefi", "-f", s.body(startertest.Completes), "--wait", "-o", "json")
	if got := decode[job.Status](t, r); r.code != exitOK || got.State != job.StateCompleted || got.Result == nil {
		t.Errorf("%+v", r)
	}
	r = s.call("start", "convert-to-uefi", "-f", s.body(startertest.Fails), "--wait")
	if r.code != exitFailed || !strings.HasSuffix(r.err, "imageport: ALREADY_GPT: the image has a GPT already. Use the image as it is\n") || !strings.Contains(r.out, "convertToUefi failed") {
		t.Errorf("%+v", r)
	}
}

func TestStartFromStandardInput(t *testing.T) {
	s := newSite(t)
	r := call(t.Context(), string(startertest.Body(s.queue, s.image, startertest.Works)), "start", "convert-to-uefi", "-f", "-", "-o", "json", "--request-id", "r1", "--address", s.address)
	first := decode[starter.Started](t, r)
	if r.code != exitOK || first.RunID == "" {
		t.Fatalf("%+v", r)
	}
	r = s.call("start", "convert-to-uefi", "-f", s.body(startertest.Works), "--request-id", "r1")
	if r.code != exitOK || !strings.Contains(r.out, "was started before") || !strings.Contains(r.out, first.RunID) {
		t.Errorf("%+v", r)
	}
	r = s.call("start", "convert-to-uefi", "-f", s.body(startertest.Works))
	if r.code != exitFailed || !strings.HasPrefix(r.err, "imageport: ALREADY_RUNNING: ") || !strings.Contains(r.err, first.RunID) || r.out != "" {
		t.Errorf("%+v", r)
	}
	r = s.call("jobs", "cancel", first.JobID, "--wait", "--reason", "test")
	if r.code != exitOK || !strings.Contains(r.out, "canceled") {
		t.Errorf("%+v", r)
	}
}

func TestJobs(t *testing.T) {
	s := newSite(t)
	started := decode[starter.Started](t, s.call("start", "convert-to-uefi", "-f", s.body(startertest.CleansUp), "-o", "json"))
	var r result
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if r = s.call("jobs", "show", started.JobID); strings.Contains(r.out, "write 512.0 MiB of 1.0 GiB (50 %)") {
			break
		}
	}
	for _, part := range []string{"convertToUefi running after", started.RunID, "phase     compose", "ce-0123456789ab", "(50 %)"} {
		if !strings.Contains(r.out, part) {
			t.Errorf("%q is missing in %+v", part, r)
		}
	}
	list := decode[[]job.Status](t, s.call("jobs", "list", "--state", "running", "--image", s.image, "-o", "json"))
	if len(list) != 1 || list[0].JobID != started.JobID || list[0].Phase != job.PhaseCompose {
		t.Errorf("list: %+v", list)
	}
	r = s.call("jobs", "list", "--resource-location", s.queue)
	if lines := strings.Split(strings.TrimSpace(r.out), "\n"); len(lines) != 2 || !strings.HasPrefix(lines[0], "STATE") || !strings.HasPrefix(lines[1], "running  compose") {
		t.Errorf("%+v", r)
	}
	if r = s.call("jobs", "list", "--image", "nothing like it", "-o", "json"); r.out != "[]\n" {
		t.Errorf("%+v", r)
	}

	watched := make(chan result)
	go func() { watched <- s.call("jobs", "watch", started.RunID, "-o", "json") }()
	if r = s.call("jobs", "cancel", started.JobID); r.code != exitOK || !strings.Contains(r.out, "requested") {
		t.Errorf("%+v", r)
	}
	r = <-watched
	lines := strings.Split(strings.TrimSpace(r.out), "\n")
	last := decode[job.Status](t, result{out: lines[len(lines)-1]})
	if r.code != exitCanceled || last.State != job.StateCanceled || !strings.Contains(r.err, "\n{\"error\":{\"code\":\"JOB_CANCELED\",") {
		t.Errorf("%+v", r)
	}
	if !strings.Contains(r.err, "compose: write 512.0 MiB of 1.0 GiB (50 %)\n") || !strings.Contains(r.err, "warning: cancellation was requested") || strings.Contains(r.err, "\x1b") {
		t.Errorf("progress: %q", r.err)
	}
	if r = s.call("jobs", "cancel", started.JobID); r.code != exitOK {
		t.Errorf("cancel of a canceled job: %+v", r)
	}
	if r = s.call("jobs", "show", "ips/no/such"); r.code != exitFailed || !strings.HasPrefix(r.err, "imageport: JOB_NOT_FOUND: ") {
		t.Errorf("%+v", r)
	}
}

func TestTerminatedAndInterrupted(t *testing.T) {
	s := newSite(t)
	started := decode[starter.Started](t, s.call("start", "convert-to-uefi", "-f", s.body(startertest.Works), "-o", "json"))
	ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
	defer cancel()
	interrupted, stop := context.WithCancel(t.Context())
	context.AfterFunc(ctx, stop)
	if r := call(interrupted, "", "jobs", "watch", started.JobID, "--address", s.address); r.code != exitInterrupted || !strings.Contains(r.err, "the job goes on") {
		t.Errorf("%+v", r)
	}
	if err := devserver.Start(t).TerminateWorkflow(t.Context(), started.JobID, "", ""); err != nil {
		t.Fatal(err)
	}
	if r := s.call("jobs", "watch", started.JobID); r.code != exitTerminated || !strings.Contains(r.err, "imageport: JOB_TERMINATED: ") {
		t.Errorf("%+v", r)
	}
}

func TestRefused(t *testing.T) {
	s := newSite(t)
	bad := filepath.Join(t.TempDir(), "bad.json")
	if err := os.WriteFile(bad, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(cfg, []byte("walet = 'x'"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"start", "convert-to-uefi", "-f", bad}, exitFailed, "imageport: BAD_REQUEST: the request is not valid: line 1"},
		{[]string{"start", "reverse-image", "-f", s.body("x")}, exitFailed, "outputDiskName is missing"},
		{[]string{"start", "upgrade-pvs", "-f", s.body("x")}, exitFailed, "upgradeOptions.installPvs is missing"},
		{[]string{"start", "convert-to-uefi", "-f", "/no/such.json"}, exitFailed, "/no/such.json"},
		{[]string{"start", "convert-to-uefi"}, exitUsage, "there is no request: give -f with a file, or flags such as --image\nSee imageport start convert-to-uefi --help"},
		{[]string{"start", "export"}, exitUsage, `unknown command "export"`},
		{[]string{"job"}, exitUsage, `unknown command "job": did you mean jobs?`},
		{[]string{"jobs", "show"}, exitUsage, "See imageport jobs show --help"},
		{[]string{"jobs", "list", "-o", "xml"}, exitUsage, `"xml" for "-o, --output" flag: it is none of text, json`},
		{[]string{"jobs", "list", "--nope"}, exitUsage, "unknown flag: --nope"},
		{[]string{"jobs", "list", "--state", "asleep"}, exitUsage, `"asleep" for "--state" flag: it is none of running, completed`},
		{[]string{"jobs", "list", "--phase", "asleep"}, exitUsage, "it is none of preflight, createCE"},
		{[]string{"jobs", "list", "--since", "tomorrow"}, exitFailed, `--since "tomorrow" is no time`},
		{[]string{"jobs", "logs", "x", "--source", "moon"}, exitUsage, `"moon" for "--source" flag: it is none of ce, guest, platform, all`},
		{[]string{"jobs", "bundle", "ips/no/such", "/no/such/dir/x.zip"}, exitFailed, "imageport: JOB_NOT_FOUND: "},
		{[]string{"jobs", "bundle", "x", bad}, exitFailed, "imageport: OUTPUT_EXISTS: "},
		{[]string{"jobs", "list", "--profile", "nope"}, exitFailed, "nope"},
		{[]string{"worker", "--config", cfg}, exitFailed, `unknown key "walet"`},
		{[]string{"worker"}, exitFailed, "no resource location"},
		{[]string{"agent"}, exitUsage, `required flag(s) "seed" not set`},
	} {
		t.Setenv("HOME", t.TempDir())
		if r := s.call(tc.args...); r.code != tc.code || !strings.Contains(r.err, tc.says) || r.out != "" {
			t.Errorf("%v: %+v; want %d and %q", tc.args, r, tc.code, tc.says)
		}
	}
	if r := call(t.Context(), "", "jobs", "list", "--address", "127.0.0.1:1"); r.code != exitFailed || !strings.HasPrefix(r.err, "imageport: TEMPORAL_UNREACHABLE: ") {
		t.Errorf("%+v", r)
	}
}

func TestConnectionFromTheEnvironment(t *testing.T) {
	s := newSite(t)
	t.Setenv("TEMPORAL_ADDRESS", s.address)
	if r := call(t.Context(), "", "jobs", "list", "--limit", "1"); r.code != exitOK {
		t.Errorf("%+v", r)
	}
	if err := os.Unsetenv("TEMPORAL_ADDRESS"); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "temporal.toml")
	if err := os.WriteFile(file, fmt.Appendf(nil, "[profile.site]\naddress = %q\nnamespace = %q\n", s.address, devserver.Namespace), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TEMPORAL_CONFIG_FILE", file)
	if r := call(t.Context(), "", "jobs", "list", "--profile", "site"); r.code != exitOK {
		t.Errorf("%+v", r)
	}
	if r := call(t.Context(), "", "jobs", "list", "--profile", "site", "--namespace", "nowhere"); r.code != exitFailed || !strings.Contains(r.err, "nowhere") {
		t.Errorf("%+v", r)
	}
}

// The real worker, configured by a file, refuses what it cannot do, and ends
// with success when it is told to.
func TestWorker(t *testing.T) {
	address := devserver.Shared(t).Address
	dir := t.TempDir()
	file := filepath.Join(dir, "config.toml")
	if err := os.WriteFile(file, []byte("resource_location = 'real'\nwallet = 'wallet'\n[local]\nstate_dir = 'ce'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan result)
	go func() { ended <- call(ctx, "", "worker", "--config", file, "--address", address) }()
	r := call(t.Context(), string(startertest.Body("real", "win10-real", "out")), "start", "convert-to-uefi", "-f", "-", "--wait", "--address", address)
	if r.code != exitFailed || !strings.Contains(r.err, "imageport: UNKNOWN_CREDENTIAL: ") || !strings.Contains(r.err, filepath.Join(dir, "wallet")) {
		t.Errorf("%+v", r)
	}
	body := strings.Replace(string(startertest.Body("real", "win10-real", "out")), `"platform"`, `"upgradeOptions": {"installPvs": "2311"}, "platform"`, 1)
	r = call(t.Context(), body, "start", "upgrade-pvs", "-f", "-", "--wait", "--address", address)
	if r.code != exitFailed || !strings.Contains(r.err, "imageport: INSTALLER_NOT_FOUND: ") {
		t.Errorf("%+v", r)
	}
	cancel()
	if r := <-ended; r.code != exitOK || !strings.Contains(r.err, "resourceLocation=real") {
		t.Errorf("worker: %+v", r)
	}
	if _, err := os.Stat(filepath.Join(dir, "ce")); err != nil {
		t.Error(err)
	}
}

// Every command has a description and an example, and the examples use
// commands and flags that there are.
func TestHelp(t *testing.T) {
	a := &app{output: outputText}
	root := a.root()
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		if cmd.Short == "" || cmd.Example == "" {
			t.Errorf("%s lacks help", cmd.CommandPath())
		}
		for line := range strings.SplitSeq(cmd.Example, "\n") {
			_, line, ok := strings.Cut(line, "imageport ")
			if !ok {
				t.Errorf("%s: example %q", cmd.CommandPath(), line)
				continue
			}
			line, _, _ = strings.Cut(line, " | ")
			found, rest, err := root.Find(strings.Fields(line))
			if err != nil || found == root {
				t.Errorf("%s: example %q: %v", cmd.CommandPath(), line, err)
				continue
			}
			for _, word := range rest {
				if name, ok := strings.CutPrefix(word, "--"); ok && found.Flag(name) == nil {
					t.Errorf("%s: example %q: no flag %s", cmd.CommandPath(), line, word)
				}
			}
		}
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
	}
	visit(root)
	if r := call(t.Context(), "", "version", "-o", "json"); r.code != exitOK || decode[version](t, r).Go == "" {
		t.Errorf("%+v", r)
	}
	if r := call(t.Context(), "", "--help"); r.code != exitOK || strings.Contains(r.out, "\n  agent") {
		t.Errorf("%+v", r)
	}
}

func TestCompletionOfJobs(t *testing.T) {
	s := newSite(t)
	started := decode[starter.Started](t, s.call("start", "convert-to-uefi", "-f", s.body(startertest.Works), "-o", "json"))
	var lines []string
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		lines = strings.Split(s.complete("jobs", "cancel"), "\n")
		if slices.Contains(lines, started.JobID+"\tconvertToUefi, running") {
			break
		}
	}
	if !slices.Contains(lines, started.JobID+"\tconvertToUefi, running") {
		t.Errorf("%q", lines)
	}
	if r := s.call("jobs", "cancel", started.JobID); r.code != exitOK {
		t.Errorf("%+v", r)
	}
}

// complete gives the completions for the next word.
func (s site) complete(args ...string) string {
	all := append([]string{cobra.ShellCompRequestCmd, "--address", s.address}, args...)
	return call(s.t.Context(), "", append(all, "")...).out
}
