//go:build postgres

package deploytest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.temporal.io/sdk/client"

	"imageport/testkit/disktest"
)

// The whole compose file runs, but for the Web UI: Debian's PostgreSQL and the
// Temporal server of the release that the file names, which `make postgres`
// builds, with the file's scripts, environment and health checks. The database is
// stopped and started again in the end, and the worker is well again.
func TestPostgres(t *testing.T) {
	location := uuid.NewString()
	h := newHost(t, location)
	for name, file := range map[string]string{"temporal-server": "temporal-server", "temporal-sql-tool": "temporal-sql-tool"} {
		h.Programs[name] = filepath.Join(root, "bin", file)
		if _, err := os.Stat(h.Programs[name]); err != nil {
			t.Fatalf("%v: run make postgres", err)
		}
	}
	if got, want := version(t, h.Programs["temporal-server"]), h.Project.Services["temporal"].Image; !strings.HasSuffix(want, ":"+got) {
		t.Errorf("the server is %s, the compose file has %s", got, want)
	}
	if err := os.Chmod(h.Dir, 0o755); err != nil { // the database is another user's
		t.Fatal(err)
	}
	db := newDatabase(t, h)
	db.start(t)

	// On PostgreSQL, Temporal takes ports up to 32767 only. Those of the host that
	// the compose file has are its defaults.
	frontend := lowPort(t)
	h.Stand("127.0.0.1:"+frontend, "temporal:7233")
	h.Stand("127.0.0.1", "postgresql", "0.0.0.0")
	h.Stand(frontend, "7233")
	set := func(service, key, value string) {
		s := h.Project.Services[service]
		s.Environment[key] = &value
	}
	for _, service := range []string{"temporal-schema", "temporal"} {
		set(service, "DB_PORT", db.port)
	}
	set("temporal", "TEMPORAL_BROADCAST_ADDRESS", "127.0.0.1")
	for _, key := range []string{"FRONTEND_MEMBERSHIP_PORT", "FRONTEND_HTTP_PORT", "HISTORY_GRPC_PORT", "HISTORY_MEMBERSHIP_PORT", "MATCHING_GRPC_PORT", "MATCHING_MEMBERSHIP_PORT", "WORKER_GRPC_PORT", "WORKER_MEMBERSHIP_PORT"} {
		set("temporal", key, lowPort(t))
	}
	set("temporal", "FRONTEND_GRPC_PORT", frontend)

	run := func(service string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		began := time.Now()
		if err := h.Run(ctx, service); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s took %v", service, time.Since(began).Round(time.Millisecond))
	}
	run("temporal-schema")
	began := time.Now()
	temporal := h.up(t, "temporal")
	t.Logf("temporal was well after %v", time.Since(began).Round(time.Millisecond))
	run("temporal-namespace")
	began = time.Now()
	trial(t, h, location)
	t.Logf("worker, API and a job took %v", time.Since(began).Round(time.Millisecond))

	// What runs once may run again, as after an upgrade: the job is still there.
	if err := temporal.Down(); err != nil {
		t.Errorf("temporal ended with %v", err)
	}
	db.stop(t)
	db.start(t)
	run("temporal-schema")
	h.up(t, "temporal")
	run("temporal-namespace")
	c, err := client.DialContext(t.Context(), client.Options{HostPort: h.address("temporal:7233"), Namespace: "imageport"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	jobs := h.exec(t, "", "worker", "jobs", "list", "-o", "json")
	if !strings.Contains(jobs, `"completed"`) {
		t.Errorf("after a restart there is %s", jobs)
	}
}

// database is Debian's PostgreSQL in place of the image's.
type database struct {
	dir, port string
	as        *syscall.Credential
}

const postgresBin = "/usr/lib/postgresql/15/bin/"

func newDatabase(t *testing.T, h *Host) *database {
	t.Helper()
	s := h.Project.Services["postgresql"]
	db := &database{dir: filepath.Join(h.Dir, "pg"), port: lowPort(t)}
	if os.Geteuid() == 0 { // as which it does not run
		u, err := user.Lookup("postgres")
		if err != nil {
			t.Fatal(err)
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		db.as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	if err := os.Mkdir(db.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if db.as != nil {
		if err := os.Chown(db.dir, int(db.as.Uid), int(db.as.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	args := append([]string{"-D", db.dir + "/data", "-U", *s.Environment["POSTGRES_USER"], "--auth-local=trust", "--pwfile=" + h.Project.Secrets["postgres_password"].File},
		strings.Fields(*s.Environment["POSTGRES_INITDB_ARGS"])...)
	db.run(t, "initdb", args...)
	return db
}

func (db *database) run(t *testing.T, program string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), postgresBin+program, args...)
	cmd.Dir = db.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: db.as}
	var out bytes.Buffer
	f, err := os.Create(filepath.Join(t.TempDir(), "out")) // a pipe would be kept open by the server
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd.Stdout, cmd.Stderr = f, f
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(f.Name())
		out.Write(text)
		t.Fatalf("%s: %v\n%s", program, err, &out)
	}
}

func (db *database) start(t *testing.T) {
	t.Helper()
	db.run(t, "pg_ctl", "-D", db.dir+"/data", "-l", db.dir+"/log", "-w", "-o", fmt.Sprintf("-p %s -k %s -c listen_addresses=127.0.0.1", db.port, db.dir), "start")
	t.Cleanup(func() {
		cmd := exec.Command(postgresBin+"pg_ctl", "-D", db.dir+"/data", "-m", "immediate", "stop")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: db.as}
		_ = cmd.Run() // it may have stopped
	})
	disktest.Run(t, "pg_isready", "-h", "127.0.0.1", "-p", db.port, "-U", "temporal")
}

func (db *database) stop(t *testing.T) {
	t.Helper()
	db.run(t, "pg_ctl", "-D", db.dir+"/data", "-m", "fast", "-w", "stop")
}

// lowPort is a free port below those that the kernel hands out.
func lowPort(t *testing.T) string {
	t.Helper()
	for range 1000 {
		nextPort++
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", nextPort))
		if err == nil {
			l.Close()
			return strconv.Itoa(nextPort)
		}
	}
	t.Fatal("no free port")
	return ""
}

var nextPort = 21000 + os.Getpid()%5000

// version is that of a Temporal server.
func version(t *testing.T, program string) string {
	t.Helper()
	out, err := exec.Command(program, "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Fields(string(out))
	return words[len(words)-1]
}
