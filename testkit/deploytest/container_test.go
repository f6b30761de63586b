//go:build postgres

package deploytest

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The program that the container file builds needs nothing that is not in the
// image: it runs where there is no other file at all.
func TestContainer(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "deploy/Containerfile"))
	if err != nil {
		t.Fatal(err)
	}
	var build string
	for line := range strings.Lines(string(text)) {
		if command, ok := strings.CutPrefix(line, "RUN "); ok && strings.Contains(command, "go build") {
			build = strings.TrimSpace(command)
		}
	}
	image := t.TempDir()
	if err := os.Chmod(image, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", strings.ReplaceAll(build, "/out/", image+"/"))
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", build, err, out)
	}
	program := filepath.Join(image, "imageport")
	f, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("it is linked dynamically")
		}
	}
	if os.Geteuid() != 0 {
		t.Log("only root can run it where there is no other file")
		return
	}
	cmd = exec.CommandContext(t.Context(), "/imageport", "version")
	cmd.Env, cmd.Dir = []string{"HOME=/var/lib/imageport"}, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: image, Credential: &syscall.Credential{Uid: 65532, Gid: 65532}}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "imageport ") {
		t.Errorf("%v: %s", err, out)
	}
	if st, err := os.Stat(program); err == nil {
		t.Logf("%d MiB", st.Size()>>20)
	}
}
