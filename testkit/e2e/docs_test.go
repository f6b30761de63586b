package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imageport/job"
	"imageport/starter"
	"imageport/testkit/devserver"
	"imageport/testkit/docs"
	"imageport/testkit/site"
	"imageport/testkit/targetdevice"
	"imageport/testkit/winimage"
)

// elsewhere are the documents whose commands other tests run, with the test's file.
var elsewhere = map[string]string{"docs/http-api.md": "cmd/imageport/serve_docs_test.go"}

// documents are those of the project.
func documents(t *testing.T) []docs.Document {
	t.Helper()
	all, err := docs.Read("../..")
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Every command line of imageport and of the Temporal CLI in the documents is one
// that the program takes.
func TestDocumentedCommandLines(t *testing.T) {
	t.Parallel()
	temporal, err := devserver.Program()
	if err != nil {
		t.Fatal(err)
	}
	programs := map[string]*docs.Program{"imageport": docs.NewProgram(program), "temporal": docs.NewProgram(temporal)}
	seen := 0
	check := func(where, shell string, whole bool) {
		for _, words := range docs.Commands(shell) {
			if len(words) > 4 && strings.HasPrefix(strings.Join(words, " "), "docker compose run --rm ") {
				words = append([]string{"imageport"}, words[5:]...) // of the service in words[4]
			}
			p := programs[path.Base(words[0])]
			if p == nil || len(words) == 1 {
				continue
			}
			seen++
			if err := p.Check(t.Context(), words[1:], whole); err != nil {
				t.Errorf("%s: %v\n%s", where, err, shell)
			}
		}
	}
	for _, d := range documents(t) {
		for _, b := range d.Blocks() {
			if b.Language == "sh" {
				check(b.String(), b.Text, true)
			}
		}
		for _, s := range d.Spans() {
			if programs[strings.Split(s.Text, " ")[0]] != nil {
				check(s.String(), s.Text, false)
			}
		}
	}
	if seen < 50 {
		t.Errorf("only %d command lines were found", seen)
	}
}

// The commands that a document says can be run work as they are printed, in order.
// All documents have one site, and each a folder of its own on the share.
func TestDocumentedCommands(t *testing.T) {
	t.Parallel()
	r := newRigWith(t, site.Options{Image: winimage.Small(), Guest: simulator})
	r.startWorker()
	installer, err := os.ReadFile(targetdevice.Build(t, newVersion, targetdevice.Works))
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	t.Run("of", func(t *testing.T) {
		for _, d := range documents(t) {
			script := ""
			for _, b := range d.Blocks() {
				if b.Language == "sh" && b.Mark == "run" {
					script += b.Text
				}
			}
			if test := elsewhere[d.Path]; test != "" {
				source, err := os.ReadFile("../../" + test)
				if err != nil || !bytes.Contains(source, []byte(d.Path)) {
					t.Errorf("%s does not run the commands of %s (%v)", test, d.Path, err)
				}
				continue
			}
			if script == "" {
				continue
			}
			ran++
			t.Run(path.Base(d.Path), func(t *testing.T) {
				t.Parallel()
				r := rig{r.Site, t}
				r.runDocument(strings.TrimSuffix(path.Base(d.Path), ".md"), script, installer)
			})
		}
	})
	if ran < 2 {
		t.Errorf("there are commands to run in %d documents", ran)
	}
	jobs, err := r.Jobs.List(t.Context(), starter.Filter{ResourceLocation: r.ResourceLocation})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range jobs {
		if s := r.wait(s.RunID, 2*time.Minute); s.State == job.StateFailed {
			t.Errorf("%s failed: %+v", s.JobID, s.Error)
		}
	}
	r.noCE()
}

// runDocument runs a script where its files are: a vDisk on the share, and what
// documents call requests for it and secrets.
func (r rig) runDocument(name, script string, installer []byte) {
	t := r.t
	dir := filepath.Join(r.Store, name)
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(r.Store, site.Image), filepath.Join(dir, site.Image)); err != nil {
		t.Fatal(err)
	}
	share := func(b map[string]any) { b["inputStorageLocation"].(map[string]any)["sharePath"] = "disks/" + name }
	body := r.body(share)
	request, _, err := job.Parse[job.ConvertToUEFI](body)
	if err != nil {
		t.Fatal(err)
	}
	id, err := request.WorkflowID()
	if err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string][]byte{
		"body.json":     body,
		"dry-run.json":  r.body(func(b map[string]any) { share(b); b["dryRun"] = true }),
		"other.json":    r.body(func(b map[string]any) { share(b); b["outputImageFilename"] = "win10-by-hand" }),
		"reverse.json":  r.reverse(func(b map[string]any) { share(b); b["outputDiskName"] = name }),
		"batch.json":    r.documentedBatch(name, share),
		"password.txt":  []byte(r.Samba.Password + "\n"),
		"installer.exe": installer,
	} {
		if err := os.WriteFile(filepath.Join(dir, file), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	temporal, err := devserver.Program()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-e", "-x", "-o", "pipefail", "-c", script)
	cmd.Dir = dir
	cmd.Env = append(r.Env(), "PATH="+filepath.Dir(r.Program)+":"+filepath.Dir(temporal)+":"+os.Getenv("PATH"),
		"SMB_USER="+r.Samba.Username, "RESOURCE_LOCATION="+r.ResourceLocation, "JOB="+id, "BATCH=batch/"+r.ResourceLocation+"/"+name,
		"STORE=smb://"+r.Samba.Addr()+"/disks/"+name)
	cmd.WaitDelay = time.Minute
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if bytes.Contains(out, []byte(r.Samba.Password)) {
		t.Error("a command prints the password")
	}
}

// documentedBatch is a batch over a document's folder.
func (r rig) documentedBatch(name string, change func(map[string]any)) []byte {
	r.t.Helper()
	template := r.body(func(b map[string]any) {
		change(b)
		delete(b, "inputImageFilename")
		delete(b, "outputImageFilename")
	})
	return r.batchBody(map[string]any{"name": name, "pattern": "win10", "template": json.RawMessage(template)})
}
