package program_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"imageport/engine/program"
)

func TestFind(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	for _, dir := range []string{first, second} {
		if err := os.WriteFile(filepath.Join(dir, "tool"), []byte("#!/bin/sh\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", second)
	if path, err := program.Find("tool", first); err != nil || path != filepath.Join(second, "tool") {
		t.Errorf("%s, %v: want that of the PATH", path, err)
	}
	t.Setenv("PATH", "/nowhere")
	if path, err := program.Find("tool", "/nowhere", first, second); err != nil || path != filepath.Join(first, "tool") {
		t.Errorf("%s, %v: want that of the first directory", path, err)
	}
	if _, err := program.Find("tool", "/nowhere"); err == nil || !strings.Contains(err.Error(), "/nowhere/tool") {
		t.Error(err)
	}
	if err := os.Chmod(filepath.Join(first, "tool"), 0o600); err != nil {
		t.Fatal(err)
	}
	if path, err := program.Find("tool", first, second); err != nil || path != filepath.Join(second, "tool") {
		t.Errorf("%s, %v: the first is no program", path, err)
	}
}

// starts makes this test binary a process that starts a program, and then waits to
// be killed.
const starts = "PROGRAM_TEST_STARTS"

func TestMain(m *testing.M) {
	if os.Getenv(starts) == "" {
		os.Exit(m.Run())
	}
	cmd := exec.Command("sleep", "600")
	cmd.Stdout = os.Stdout // open until it ends
	_, err := program.Start(cmd, syscall.SIGTERM)
	fmt.Println(err)
	select {}
}

func TestStart(t *testing.T) {
	if _, err := program.Start(exec.Command("/nowhere/tool"), syscall.SIGTERM); err == nil {
		t.Error("what is not there has started")
	}
	r, err := program.Start(exec.Command("sh", "-c", "exit 7"), syscall.SIGTERM)
	if err != nil {
		t.Fatal(err)
	}
	<-r.Ended()
	for range 2 {
		if err := r.Wait(); err == nil || err.Error() != "exit status 7" {
			t.Error(err)
		}
	}
	r.Signal(syscall.SIGKILL) // for nothing
	if r, err = program.Start(exec.Command("sleep", "600"), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	r.Signal(syscall.SIGKILL)
	if err := r.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Error(err)
	}
}

// A program does not outlive the process that has started it.
func TestStartedEndsToo(t *testing.T) {
	parent := exec.Command("/proc/self/exe")
	parent.Env = append(os.Environ(), starts+"=1")
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	said := make([]byte, len("<nil>\n"))
	if _, err := io.ReadFull(out, said); err != nil || string(said) != "<nil>\n" {
		t.Fatalf("%q, %v", said, err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	// The end of the output is that of the program.
	if rest, err := io.ReadAll(out); err != nil || len(rest) > 0 {
		t.Errorf("%q, %v", rest, err)
	}
	_ = parent.Wait()
}

func TestTail(t *testing.T) {
	for _, limit := range []int{0, 1, 7, 100} {
		kept, all := program.Tail{Max: limit}, ""
		for _, piece := range []string{"", "abc", "defghijkl", "m", strings.Repeat("xyz", 50), "", "n"} {
			all += piece
			if n, err := kept.Write([]byte(piece)); n != len(piece) || err != nil {
				t.Error(n, err)
			}
			if want := all[max(0, len(all)-limit):]; kept.String() != want {
				t.Errorf("of %d bytes %q is kept, want %q", len(all), kept.String(), want)
			}
		}
	}
}
