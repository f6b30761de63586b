package devserver_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/operatorservice/v1"

	"imageport/job/durable"
	"imageport/testkit/devserver"
)

// envParent makes the test binary a process that starts a server and waits.
const envParent = "DEVSERVER_TEST_PARENT"

func TestMain(m *testing.M) {
	if os.Getenv(envParent) == "" {
		os.Exit(m.Run())
	}
	s, err := devserver.Run(context.Background(), devserver.Options{})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(s.Address)
	select {}
}

func TestSearchAttributesAreThere(t *testing.T) {
	c := devserver.Start(t)
	if devserver.Start(t) != c {
		t.Error("a second server in one test binary")
	}
	attrs, err := c.OperatorService().ListSearchAttributes(t.Context(), &operatorservice.ListSearchAttributesRequest{Namespace: devserver.Namespace})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range durable.SearchAttributes() {
		if got := attrs.GetCustomAttributes()[name]; got != enums.INDEXED_VALUE_TYPE_KEYWORD {
			t.Errorf("%s is %s", name, got)
		}
	}
}

func TestRunAndStop(t *testing.T) {
	db := filepath.Join(t.TempDir(), "temporal.db")
	s, err := devserver.Run(t.Context(), devserver.Options{DBFile: db, UIPort: 18239})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get(s.UI)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("Web UI: %s", resp.Status)
	}
	for range 2 {
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-s.Exited():
	default:
		t.Error("still there after Stop")
	}
	if _, err := os.Stat(db); err != nil {
		t.Error(err)
	}
}

func TestFailureTellsWhatTheServerSaid(t *testing.T) {
	program := filepath.Join(t.TempDir(), "temporal")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho cannot open the database >&2\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := devserver.Run(t.Context(), devserver.Options{Program: program}); err == nil || !strings.Contains(err.Error(), "cannot open the database") {
		t.Errorf("got %v", err)
	}
}

func TestTakenPort(t *testing.T) {
	real, err := devserver.Program()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "temporal")
	script := fmt.Sprintf("#!/bin/sh\ncd %s\nif ! test -e tried; then : >tried; echo bind: address already in use >&2; exit 1; fi\nexec %s \"$@\"\n", dir, real)
	if err := os.WriteFile(program, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := devserver.Run(t.Context(), devserver.Options{Program: program})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(); err != nil {
		t.Error(err)
	}

	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	if _, err := devserver.Run(t.Context(), devserver.Options{Port: port}); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("got %v", err)
	}
}

func TestMissingProgram(t *testing.T) {
	t.Setenv(devserver.EnvProgram, "")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	if _, err := devserver.Program(); err == nil || !strings.Contains(err.Error(), "make tools") {
		t.Errorf("got %v", err)
	}
	t.Setenv(devserver.EnvProgram, "/nowhere/temporal")
	if _, err := devserver.Program(); err == nil || !strings.Contains(err.Error(), devserver.EnvProgram) {
		t.Errorf("got %v", err)
	}
}

// A parent that is killed cannot stop its server; the server must go anyway.
func TestServerDiesWithItsParent(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	parent := exec.Command(self)
	parent.Env = append(os.Environ(), envParent+"=1")
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	address := strings.TrimSpace(line)
	if err != nil || !strings.HasPrefix(address, "127.0.0.1:") {
		t.Fatalf("parent said %q, %v", line, err)
	}
	_, port, _ := strings.Cut(address, ":")
	if !serverOn(t, port) {
		t.Fatalf("no server process on port %s", port)
	}
	if err := parent.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // it was killed
	for deadline := time.Now().Add(5 * time.Second); serverOn(t, port); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the server outlived its parent")
		}
	}
}

// serverOn reports whether a dev server with that port among its arguments runs.
func serverOn(t *testing.T, port string) bool {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err == nil && strings.Contains(string(b), "start-dev\x00") && strings.Contains(string(b), "\x00--port\x00"+port+"\x00") {
			return true
		}
	}
	return false
}
