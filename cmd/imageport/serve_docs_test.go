package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"imageport/activities"
	"imageport/job"
	"imageport/job/durable"
	"imageport/starter/httpapi"
	"imageport/starter/startertest"
	"imageport/testkit/devserver"
	"imageport/testkit/docs"
	"imageport/workflows"
)

// TestDocumentedHTTP runs the commands of docs/http-api.md, in order, with its
// requests and a real server. Jobs are those of startertest.
func TestDocumentedHTTP(t *testing.T) {
	all, err := docs.Read("../..")
	if err != nil {
		t.Fatal(err)
	}
	unique := uuid.NewString()[:8]
	s := site{t, devserver.Shared(t).Address, "location-" + unique, "win10-" + unique}
	startertest.Serve(t, devserver.Start(t), s.queue, func(r worker.Registry) {
		r.RegisterWorkflowWithOptions(workflows.Batch, workflow.RegisterOptions{Name: durable.WorkflowBatch})
		r.RegisterActivityWithOptions(func(context.Context, []activities.OutputAt) ([]int, error) { return nil, nil }, activity.RegisterOptions{Name: "FindOutputs"})
	})
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	config := write("config.toml", "[serve]\nlisten = '127.0.0.1:0'\n")
	var before, script string // the server is started
	requests := strings.NewReplacer("25b561b8-06b0-45bf-83b4-86ac84598443", s.queue, "pvs-store.example.com", s.image+".example.com")
	for _, d := range all {
		if d.Path != "docs/http-api.md" {
			continue
		}
		for _, b := range d.Blocks() {
			switch {
			case b.Text == "imageport serve\n":
				before, script = script, ""
			case b.Language == "sh" && b.Mark == "run":
				script += b.Text
			case b.Language == "json" && b.Mark == "" && strings.Contains(b.Text, `"template"`):
				write("batch.json", requests.Replace(b.Text))
			case b.Language == "json" && b.Mark == "":
				write("body.json", requests.Replace(b.Text))
			}
		}
	}
	if before == "" || strings.Count(script, "\n") < 15 {
		t.Fatalf("these are all commands of the page:\n%s\n%s", before, script)
	}
	test, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	write("imageport", fmt.Sprintf("#!/bin/sh\n%s=1 exec %s \"$@\"\n", envMain, test))
	shell := func(script, address string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "bash", "-e", "-x", "-o", "pipefail", write("script", script))
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "IMAGEPORT_CONFIG="+config, "RESOURCE_LOCATION="+s.queue, "API="+address)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}
	shell(before, "")
	address, _ := serving(t, config)
	out := shell(script, address)
	s.documented(t, dir, out)
}

// documented looks at what the commands of the page have left.
func (s site) documented(t *testing.T, dir, out string) {
	t.Helper()
	var known httpapi.Job
	var page httpapi.Page
	var report httpapi.Batch
	for name, v := range map[string]any{"job.json": &known, "page.json": &page, "report.json": &report} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil {
			err = json.Unmarshal(text, v)
		}
		if err != nil {
			t.Errorf("%s: %v: %s", name, err, text)
		}
	}
	html, err := os.ReadFile(filepath.Join(dir, "report.html"))
	if err != nil || !strings.HasPrefix(string(html), "<!DOCTYPE html>") {
		t.Errorf("report.html: %v: %.100s", err, html)
	}
	if known.ResourceLocation != s.queue || known.State != job.StateRunning || report.Counts.Total != 2 || report.BatchID != "batch/"+s.queue+"/floor-3" {
		t.Errorf("%+v\n%+v", known, report)
	}
	for _, part := range []string{"event: status\n", `"id": "pvs-smb"`, `"total": 2`} {
		if !strings.Contains(out, part) {
			t.Errorf("%q is not in\n%s", part, out)
		}
	}
}
