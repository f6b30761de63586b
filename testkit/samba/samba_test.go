package samba_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"imageport/testkit/samba"
)

// parentEnv makes the test binary a program that runs a server and waits.
const parentEnv = "SAMBA_TEST_PARENT"

func TestMain(m *testing.M) {
	if os.Getenv(parentEnv) == "" {
		os.Exit(m.Run())
	}
	s, err := samba.Start(context.Background(), samba.Options{Dir: os.Getenv(parentEnv)})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(s.Port)
	select {}
}

// client runs a command of smbclient.
func client(t *testing.T, s *samba.Server, share, user, password, command string) (string, error) {
	t.Helper()
	auth := filepath.Join(t.TempDir(), "auth")
	if err := os.WriteFile(auth, []byte("username = "+user+"\npassword = "+password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("smbclient", "--configfile=/dev/null", "-A", auth,
		"-p", strconv.Itoa(s.Port), "//"+s.Host+"/"+share, "-c", command).CombinedOutput()
	return string(out), err
}

func TestServes(t *testing.T) {
	start := time.Now()
	frozen := t.TempDir()
	s := samba.New(t, samba.Options{
		Shares:   map[string]string{"disks": t.TempDir(), "100% frozen": frozen},
		ReadOnly: []string{"100% frozen"},
	})
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("starting took %v", took)
	} else {
		t.Logf("up after %v", took)
	}
	put := "put " + "samba_test.go" + " x"
	if out, err := client(t, s, "disks", s.Username, s.Password, put); err != nil {
		t.Errorf("put: %v: %s", err, out)
	}
	if _, err := os.Stat(filepath.Join(s.Shares["disks"], "x")); err != nil {
		t.Error(err)
	}
	if out, err := client(t, s, "disks", s.Username, "wrong", "ls"); err == nil || !strings.Contains(out, "LOGON_FAILURE") {
		t.Errorf("wrong password: %v: %s", err, out)
	}
	if out, err := client(t, s, "100% frozen", s.Username, s.Password, put); err == nil || !strings.Contains(out, "ACCESS_DENIED") {
		t.Errorf("put on a read-only share: %v: %s", err, out)
	}
}

func TestServersAreApart(t *testing.T) {
	a, b := samba.New(t), samba.New(t)
	if a.Password == b.Password || a.Port == b.Port {
		t.Error("two servers share a password or a port")
	}
	for _, s := range []*samba.Server{a, b} {
		if out, err := client(t, s, samba.DefaultShare, s.Username, s.Password, "ls"); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}
	if _, err := client(t, a, samba.DefaultShare, a.Username, b.Password, "ls"); err == nil {
		t.Error("a server takes the other's password")
	}
}

func TestStopLeavesNothing(t *testing.T) {
	dir := shortDir(t)
	s, err := samba.Start(t.Context(), samba.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if len(processes(t, dir)) == 0 {
		t.Fatal("the server has no processes: the test looks in the wrong place")
	}
	s.Stop()
	s.Stop()
	if left := processes(t, dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestDiesWithItsParent(t *testing.T) {
	dir := shortDir(t)
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), parentEnv+"="+dir)
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || len(processes(t, dir)) == 0 {
		t.Errorf("the parent says %q (%v), processes %v", line, err, processes(t, dir))
	}
	_ = parent.Process.Kill()
	_ = parent.Wait()
	for deadline := time.Now().Add(3 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		left := processes(t, dir)
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			for _, pid := range left {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
			t.Fatalf("left behind: %v", left)
		}
	}
}

func TestReportsWhatIsWrong(t *testing.T) {
	s := samba.New(t)
	for name, opt := range map[string]samba.Options{
		"port taken":    {Port: s.Port},
		"name of share": {Shares: map[string]string{"global": t.TempDir()}},
		"line break":    {Shares: map[string]string{"disks": "/tmp\nguest ok = yes"}},
	} {
		if bad, err := samba.Start(t.Context(), opt); err == nil {
			bad.Stop()
			t.Errorf("%s: started", name)
		} else {
			t.Logf("%s: %v", name, err)
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := samba.Start(gone, samba.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("with a cancelled context: %v", err)
	}
}

// shortDir is a directory whose path leaves room for the names of sockets.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "smbd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// processes gives the living processes that have dir on their command line.
func processes(t *testing.T, dir string) (pids []int) {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range lines {
		line, _ := os.ReadFile(f) // gone meanwhile, or dead and not reaped: empty
		if strings.Contains(string(line), dir+"/") {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
			pids = append(pids, pid)
		}
	}
	return pids
}
