package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imageport/job"
)

// What is wrong with a command line is said before anything is asked of anybody,
// in words that the help uses.
func TestWrongUsage(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	for line, says := range map[string]string{
		"jobs show":                             "the job is missing: imageport jobs show job",
		"jobs bundle x":                         "the file.zip is missing: imageport jobs bundle job file.zip",
		"jobs show a b":                         "there are more arguments than it takes: imageport jobs show job",
		"version x":                             "there are more arguments than it takes: imageport version",
		"serve x":                               `unknown command "x"`,
		"help nonsense":                         `unknown command "nonsense"`,
		"completion bish":                       `unknown command "bish"`,
		"jobs list --limit x":                   `"x" for "--limit" flag: it is no number, or too large`,
		"jobs list --limit 99999999999":         "it is no number, or too large",
		"jobs list --limit 0":                   "it is less than 1",
		"batch list --limit -1":                 "it is less than 1",
		"batch list --state x":                  "it is none of running, completed, failed, canceled, terminated",
		"jobs list --platform hyper-v":          "it is none of vSphere, XenServer, Azure, GCP, qemu, local",
		"start convert-to-uefi --format raw":    "it is none of vhdx, vhd",
		"worker --log-level loud":               "it is none of debug, info, warn, error",
		"disk create x.vhdx --type thin":        "it is none of dynamic, fixed",
		"disk convert a":                        "there is no output: give its name, or --to-device",
		"image plan x --boot-manager 1999":      "it is none of 2011, 2023",
		"credentials add x --type ssh":          "it is none of UsernamePassword, Azure, Gcp",
		"catalogue add x --version 1 --arch s3": "it is none of x64, x86, arm64",
	} {
		r := call(t.Context(), "", strings.Fields(line)...)
		if r.code != exitUsage || !strings.Contains(r.err, says) || !strings.Contains(r.err, "\nSee imageport ") || r.out != "" {
			t.Errorf("%s: %+v; want %q", line, r, says)
		}
	}
	if r := call(t.Context(), "", "help", "jobs", "show"); r.code != exitOK || !strings.HasPrefix(r.out, "Show how a job stands") {
		t.Errorf("%+v", r)
	}
}

// What can be refused without a server is, and for programs as JSON.
func TestRefusedWithoutServer(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	bad := filepath.Join(t.TempDir(), "bad.json")
	if err := os.WriteFile(bad, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	for line, says := range map[string]string{
		"start convert-to-uefi -f " + bad:             "the request is not valid: line 1",
		"start reverse-image --image win10":           "outputDiskName is missing",
		"batch start -f " + bad:                       "the request is not valid: line 1",
		"worker":                                      "no resource location",
		"jobs list --address temporal.example.com":    `"temporal.example.com" of the Temporal server has no port`,
		"health 127.0.0.1:9464":                       "is not the URL of a process",
		"health ftp://127.0.0.1/healthz":              "is not the URL of a process",
		"jobs list --since tomorrow":                  "is no time",
		"sweep --resource-location x --settle=-1s":    "must not be less than nothing",
		"credentials remove nope":                     "nobody can be asked",
		"catalogue list":                              "there is no catalogue",
		"disk info smb://files/pvs/store/win10.vhdx":  "there is no credential for the share",
		"image convert win10.vhdx --screenshot x.png": "nothing is to be booted",
	} {
		args := append(strings.Fields(line), "-o", "json")
		if strings.HasPrefix(line, "image") {
			args = append(args, "out") // or that is what is wrong
		}
		r := call(t.Context(), "", args...)
		var told struct{ Error job.Error }
		if err := json.Unmarshal([]byte(r.err), &told); err != nil || r.code != exitFailed || r.out != "" {
			t.Errorf("%s: %v, %+v", line, err, r)
		}
		if e := told.Error; e.Code != job.BadRequest || !strings.Contains(e.Message, says) || e.Remedy == "" || strings.Contains(e.Message, e.Remedy) {
			t.Errorf("%s: %+v; want %q", line, e, says)
		}
	}
	if r := call(t.Context(), "", "health", "http://127.0.0.1:1/"); r.code != exitFailed || !strings.HasSuffix(r.err, "refused. Check that what is asked runs, and listens there\n") {
		t.Errorf("%+v", r)
	}
}
