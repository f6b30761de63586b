package deploytest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"imageport/testkit/disktest"
)

// systemd takes the units, finds little that they have and do not need, and the
// program takes their command lines.
func TestSystemd(t *testing.T) {
	dir := filepath.Join(root, "deploy/systemd")
	units, err := filepath.Glob(filepath.Join(dir, "*.service"))
	if err != nil || len(units) != 2 {
		t.Fatal(units, err)
	}
	// A root of its own, with the program where the units look for it.
	tree := t.TempDir()
	for _, sub := range []string{"usr/local/bin", "etc/systemd/system", "usr/lib/systemd"} {
		if err := os.MkdirAll(filepath.Join(tree, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.CopyFS(filepath.Join(tree, "etc/systemd/system"), os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	disktest.Run(t, "cp", "-a", "/usr/lib/systemd/system", filepath.Join(tree, "usr/lib/systemd/"))
	if err := os.Link(program, filepath.Join(tree, "usr/local/bin/imageport")); err != nil {
		t.Fatal(err)
	}
	verify := func(name string) {
		if out, err := exec.Command("systemd-analyze", "verify", "--man=no", "--root="+tree, name).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
	for _, unit := range units {
		name := filepath.Base(unit)
		verify(name)
		// 10 is a service without any protection, and 100 its threshold.
		disktest.Run(t, "systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", unit)
		text, err := os.ReadFile(unit)
		if err != nil {
			t.Fatal(err)
		}
		if isWorker := strings.Contains(name, "worker"); strings.Contains(string(text), "\nKillMode=process\n") != isWorker {
			t.Errorf("%s: Compositing Engines must outlive the worker, and nothing else", name)
		}
		line := ""
		for l := range strings.Lines(string(text)) {
			if after, ok := strings.CutPrefix(l, "ExecStart=/usr/local/bin/imageport "); ok {
				line = strings.TrimSpace(after)
			}
		}
		// Flags that there are not would be wrong usage, with exit code 2.
		cmd := exec.Command(program, strings.Fields(line)...)
		cmd.Args = append(cmd.Args, "--config", filepath.Join(tree, "none.toml"))
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "none.toml") {
			t.Errorf("%s: %q: %v\n%s", name, line, err, out)
		}
	}

	// What is for Compositing Engines of this machine only is not in the unit, but
	// goes well with it.
	const worker, more = "imageport-worker.service", "local-and-qemu.conf"
	text, err := os.ReadFile(filepath.Join(dir, more))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(tree, "etc/systemd/system", worker+".d"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(tree, "etc/systemd/system", worker+".d", more), text, 0o644); err != nil {
		t.Fatal(err)
	}
	verify(worker)
	for _, at := range []struct {
		threshold int
		passes    bool
	}{{20, false}, {25, true}} {
		out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--root="+tree, "--no-pager", fmt.Sprintf("--threshold=%d", at.threshold), worker).CombinedOutput()
		if (err == nil) != at.passes {
			t.Errorf("with %s, at %d: %v\n%s", more, at.threshold, err, out)
		}
	}
}
