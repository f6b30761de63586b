package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"imageport/job"
	"imageport/testkit/devserver"
	"imageport/testkit/site"
	"imageport/testkit/targetdevice"
	"imageport/testkit/winimage"
)

// fence is a block of commands in our documentation: run by the test, or for a real
// site.
var fence = regexp.MustCompile("(?ms)^ *```(sh|powershell)( [a-z]+)?\n(.*?)^ *```$")

// The commands of the quick start work as they are printed; those of all documents
// say whether they do.
func TestDocumentedCommands(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := map[string][]string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range fence.FindAllSubmatch(text, -1) {
			switch mark := strings.TrimSpace(string(m[2])); {
			case mark == "run" && string(m[1]) == "sh":
				blocks[filepath.Base(file)] = append(blocks[filepath.Base(file)], string(m[3]))
			case mark != "site":
				t.Errorf("%s: say whether a test runs this (sh run) or it needs a real site (site):\n%s", file, m[3])
			}
		}
	}
	if len(blocks["quick-start.md"]) < 5 {
		t.Fatalf("the quick start has %d blocks to run", len(blocks["quick-start.md"]))
	}
	for file := range blocks {
		if file != "quick-start.md" {
			t.Errorf("no test runs the commands of %s", file)
		}
	}

	r := newRigWith(t, site.Options{Image: winimage.Small(), Guest: simulator})
	r.startWorker()
	dir := r.Store // so that names of files are as on the share
	write := func(name string, body []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("body.json", r.body(nil))
	write("dry-run.json", r.body(func(b map[string]any) { b["dryRun"] = true }))
	write("other.json", r.body(func(b map[string]any) { b["outputImageFilename"] = "win10-by-hand" }))
	write("reverse.json", r.reverse(nil))
	write("password.txt", []byte(r.Samba.Password+"\n"))
	installer, err := os.ReadFile(targetdevice.Build(t, newVersion, targetdevice.Works))
	if err != nil {
		t.Fatal(err)
	}
	write("installer.exe", installer)

	temporal, err := devserver.Program()
	if err != nil {
		t.Fatal(err)
	}
	script := "set -e\nset -o pipefail\n" + strings.Join(blocks["quick-start.md"], "\n")
	cmd := exec.CommandContext(t.Context(), "bash", "-x", "-c", script)
	cmd.Dir = dir
	cmd.Env = append(r.Env(), "PATH="+filepath.Dir(r.Program)+":"+filepath.Dir(temporal)+":"+os.Getenv("PATH"),
		"SMB_USER="+r.Samba.Username, "RESOURCE_LOCATION="+r.ResourceLocation)
	cmd.WaitDelay = time.Minute
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if bytes.Contains(out, []byte(r.Samba.Password)) {
		t.Error("a command prints the password")
	}
	var jobs []job.Status
	list, err := r.Command(t.Context(), "jobs", "list", "-o", "json").Output()
	if err == nil {
		err = json.Unmarshal(list, &jobs)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(len(jobs)); len(jobs) < 3 {
		t.Errorf("there are %s jobs", got)
	}
}
