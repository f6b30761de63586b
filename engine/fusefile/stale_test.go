package fusefile_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"imageport/engine/fusefile"
)

// childDir makes this test binary a process that mounts there and waits.
const childDir = "FUSEFILE_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		mounted, err := fusefile.Mount(context.Background(), dir, "disk", newMemory(1<<20, 1), 1<<20)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(mounted.Path())
		select {}
	}
	os.Exit(m.Run())
}

// startChild gives the path of the file that the process shows.
func startChild(t *testing.T, dir string) (*exec.Cmd, string) {
	t.Helper()
	child := exec.Command("/proc/self/exe")
	child.Env = append(os.Environ(), childDir+"="+dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = child.Process.Kill() })
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatal("the child has said nothing")
	}
	return child, lines.Text()
}

func TestKilled(t *testing.T) {
	dir := t.TempDir()
	child, path := startChild(t, dir)
	// A tool that is in the middle of its work when its server is killed.
	tool := exec.Command("sh", "-c", `exec 3<"$1"; while dd bs=4096 count=1 skip=0 iflag=direct <"$1" >/dev/null 2>&1; do :; done`, "sh", path)
	if err := tool.Start(); err != nil {
		t.Fatal(err)
	}
	living, livingPath := startChild(t, dir)

	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	// Before Wait: a process that nobody waits for is dead all the same. The
	// tool ends by itself, as the file is no more.
	if err := tool.Wait(); err != nil {
		t.Logf("the tool: %v", err)
	}
	if out, err := sh(t, `cat "$1"`, path); err == nil {
		t.Errorf("the file of a dead process can be read: %s", out)
	}

	// A new one in the same directory does not mind.
	m, err := fusefile.Mount(t.Context(), dir, "disk", newMemory(4096, 1), 4096)
	if err != nil {
		t.Fatal(err)
	}
	if err := fusefile.CleanStale(dir); err != nil {
		t.Error(err)
	}
	if out, err := sh(t, `test ! -e "$(dirname "$1")"`, path); err != nil {
		t.Errorf("the mount of the dead process is still there: %s", out)
	}
	// Those of the living are untouched.
	mustSh(t, `cat "$1" "$2" >/dev/null`, m.Path(), livingPath)
	if err := m.Close(); err != nil {
		t.Error(err)
	}

	if err := living.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_, _ = child.Process.Wait()
	_, _ = living.Process.Wait()
	if err := fusefile.CleanStale(dir); err != nil {
		t.Error(err)
	}
	wantNothing(t, dir)
	if err := fusefile.CleanStale(dir); err != nil {
		t.Errorf("with nothing to clean: %v", err)
	}
}
