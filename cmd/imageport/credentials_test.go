package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"imageport/wallet"
)

const testKey = `{"type":"service_account","project_id":"lab","client_email":"ce@lab","private_key":"-----BEGIN PRIVATE KEY-----\nczNjcjN0\n-----END PRIVATE KEY-----\n"}`

// credentialSite is a configuration in a directory of its own.
type credentialSite struct {
	t   *testing.T
	dir string
}

func newCredentialSite(t *testing.T, config string) credentialSite {
	t.Helper()
	s := credentialSite{t, t.TempDir()}
	s.write("config.toml", config)
	return s
}

func (s credentialSite) write(name, content string) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

func (s credentialSite) args(args ...string) []string {
	return append([]string{"--config", filepath.Join(s.dir, "config.toml"), "credentials"}, args...)
}

// call calls the command. It never shows a secret.
func (s credentialSite) call(stdin string, args ...string) result {
	s.t.Helper()
	r := call(s.t.Context(), stdin, s.args(args...)...)
	if strings.Contains(r.out+r.err, "s3cr3t") || strings.Contains(r.out+r.err, "czNj") {
		s.t.Errorf("%q shows a secret: %+v", args, r)
	}
	return r
}

func (s credentialSite) works(stdin string, args ...string) result {
	s.t.Helper()
	r := s.call(stdin, args...)
	if r.code != exitOK {
		s.t.Fatalf("%q: %+v", args, r)
	}
	return r
}

func (s credentialSite) password(provider, id string) string {
	s.t.Helper()
	w, err := wallet.Open(wallet.Config{Provider: provider}.Complete(s.dir))
	if err != nil {
		s.t.Fatal(err)
	}
	c, err := w.Credential(s.t.Context(), id)
	if err != nil {
		s.t.Fatal(err)
	}
	u, err := c.UsernamePassword()
	if err != nil {
		s.t.Fatal(err)
	}
	return u.Password.Reveal()
}

// The whole life of credentials, in the wallets that we write.
func TestCredentials(t *testing.T) {
	for provider, config := range map[string]string{wallet.ProviderFile: "", wallet.ProviderDir: "wallet = 'wallet'\n"} {
		t.Run(provider, func(t *testing.T) {
			s := newCredentialSite(t, config)
			r := s.works("s3cr3t 1 \r\n", "add", "files", "--username", "svc", "--domain", "corp", "--password-file", "-")
			if !strings.Contains(r.out, `credential "files" is in `) || !strings.Contains(r.out, "username  svc") {
				t.Errorf("%+v", r)
			}
			if got := s.password(provider, "files"); got != "s3cr3t 1 " {
				t.Errorf("the password is %q", got)
			}
			m := decode[wallet.Metadata](t, s.works("", "add", "azure", "--type", "azure", "--tenant-id", "t-1", "--client-id", "c-1", "--secret-file", s.write("secret", "s3cr3t\n"), "-o", "json"))
			if m.ID != "azure" || m.Type != wallet.TypeAzure || m.Username != "c-1" || m.Domain != "t-1" || m.State != wallet.StateOK || m.CreatedAt.IsZero() {
				t.Errorf("%+v", m)
			}
			s.works("", "add", "managed", "--type", "Azure", "--identity", "managed")
			s.works("", "remove", "managed", "--yes")
			s.works("", "add", "here", "--type", "Gcp", "--application-default", "--project-id", "lab")
			s.works("", "remove", "here", "--yes")
			s.works("", "add", "gcp", "--type", "GCP", "--key-file", s.write("key.json", testKey))
			if list := decode[[]wallet.Metadata](t, s.works("", "list", "-o", "json")); len(list) != 3 || list[2].Username != "ce@lab" {
				t.Errorf("%+v", list)
			}
			r = s.works("", "list")
			if lines := strings.Split(r.out, "\n"); len(lines) != 5 || !strings.HasPrefix(lines[0], "ID ") || strings.Join(strings.Fields(lines[2])[:5], " ") != "files UsernamePassword svc corp Ok" {
				t.Errorf("%+v", r)
			}
			if r = s.works("", "show", "gcp"); !strings.Contains(r.out, `credential "gcp" in `) || !strings.Contains(r.out, "domain    lab") {
				t.Errorf("%+v", r)
			}
			r = call(t.Context(), "", append([]string{cobra.ShellCompRequestCmd}, s.args("show", "")...)...)
			if !strings.HasPrefix(r.out, "azure\tAzure c-1\nfiles\tUsernamePassword svc\n") {
				t.Errorf("%+v", r)
			}
			s.works("s3cr3t", "add", "bound", "--username", "u", "--password-file", "-", "--host", "files.example.com", "--host", "*.corp.example", "--host", "10.1.0.0/16", "--host", "x")
			r = s.works("", "list")
			for _, part := range []string{"any host", "files.example.com, *.corp.example, 10.1.0.0/16 and 1 more"} {
				if !strings.Contains(r.out, part) {
					t.Errorf("the list lacks %q: %+v", part, r)
				}
			}
			if r = s.works("", "show", "bound"); !strings.Contains(r.out, "10.1.0.0/16, x\n") {
				t.Errorf("%+v", r)
			}
			for _, x := range []struct {
				hosts int
				flags []string
			}{{4, nil}, {1, []string{"--host", "y"}}, {0, []string{"--any-host"}}} {
				args := append([]string{"add", "bound", "--username", "u", "--password-file", "-", "--replace", "-o", "json"}, x.flags...)
				if m := decode[wallet.Metadata](t, s.works("s3cr3t", args...)); len(m.Hosts) != x.hosts {
					t.Errorf("%q: %+v", x.flags, m)
				}
			}
			s.works("", "remove", "bound", "--yes")
			add := []string{"add", "files", "--username", "svc2", "--password-file", s.write("new", "s3cr3t 2")}
			if r = s.call("", add...); r.code != exitFailed || !strings.Contains(r.err, "already. Give --replace") {
				t.Errorf("%+v", r)
			}
			s.works("", append(add, "--replace")...)
			if got := s.password(provider, "files"); got != "s3cr3t 2" {
				t.Errorf("the password is %q", got)
			}
			if r = s.call("", "remove", "files"); r.code != exitFailed || !strings.Contains(r.err, "Give --yes") {
				t.Errorf("%+v", r)
			}
			if r = s.works("", "remove", "files", "--yes", "-o", "json"); decode[map[string]string](t, r)["removed"] != "files" {
				t.Errorf("%+v", r)
			}
			for _, args := range [][]string{{"remove", "files", "--yes"}, {"show", "files"}} {
				if r = s.call("", args...); r.code != exitFailed || !strings.HasPrefix(r.err, `imageport: UNKNOWN_CREDENTIAL: there is no credential "files"`) {
					t.Errorf("%+v", r)
				}
			}
		})
	}
}

func TestCredentialsRefused(t *testing.T) {
	s := newCredentialSite(t, "")
	user := []string{"add", "files", "--username", "u"}
	for _, x := range []struct {
		code  int
		says  string
		stdin string
		args  []string
	}{
		{exitFailed, "standard input is not a terminal: nobody can be asked for the secret. Give --password-file", "s3cr3t\n", user},
		{exitFailed, "--password-file - is empty", "\n", append(user, "--password-file", "-")},
		{exitFailed, "more than 65536 bytes", strings.Repeat("s3cr3t", 20000), append(user, "--password-file", "-")},
		{exitFailed, "/no/such", "", append(user, "--password-file", "/no/such")},
		{exitFailed, "not the JSON of a key file", "s3cr3t", []string{"add", "gcp", "--type", "Gcp", "--key-file", "-"}},
		{exitFailed, "cannot be the id", "s3cr3t", []string{"add", "a/b", "--username", "u", "--password-file", "-"}},
		{exitUsage, "more arguments than it takes", "", append(user, "s3cr3t")},
		{exitUsage, "unknown flag: --password", "", append(user, "--password", "s3cr3t")},
		{exitUsage, "unknown flag: --password", "", append(user, "--password=s3cr3t")},
		{exitUsage, "--username is missing", "", []string{"add", "files"}},
		{exitUsage, "--client-id is missing", "", []string{"add", "azure", "--type", "Azure", "--tenant-id", "t"}},
		{exitUsage, "--tenant-id is missing", "", []string{"add", "azure", "--type", "Azure", "--client-id", "c"}},
		{exitUsage, "--identity needs no --secret-file", "", []string{"add", "azure", "--type", "Azure", "--identity", "managed", "--secret-file", "x"}},
		{exitUsage, "either --secret-file or --certificate-file", "", []string{"add", "azure", "--type", "Azure", "--certificate-file", "y", "--secret-file", "x"}},
		{exitUsage, "it is none of managed, workload", "", []string{"add", "azure", "--type", "Azure", "--identity", "mine"}},
		{exitUsage, "either --key-file or --application-default", "", []string{"add", "gcp", "--type", "Gcp"}},
		{exitUsage, "--project-id is for --application-default", "", []string{"add", "gcp", "--type", "Gcp", "--key-file", "-", "--project-id", "p"}},
		{exitUsage, "--key-file is for the type Gcp", "", append(user, "--key-file", "x")},
		{exitUsage, "--host: host \"a:445\": a port is not part of it", "", append(user, "--host", "a:445")},
		{exitUsage, "either --host or --any-host", "", append(user, "--host", "a", "--any-host")},
		{exitUsage, "--host is for the type UsernamePassword", "", []string{"add", "gcp", "--type", "Gcp", "--key-file", "-", "--host", "a"}},
		{exitUsage, "it is none of UsernamePassword, Azure, Gcp", "", []string{"add", "aws", "--type", "Aws"}},
		{exitUsage, "unknown command", "", []string{"edit"}},
	} {
		if r := s.call(x.stdin, x.args...); r.code != x.code || !strings.Contains(r.err, x.says) || r.out != "" {
			t.Errorf("%q: %+v; want %d and %q", x.args, r, x.code, x.says)
		}
	}
	if r := s.works("", "list"); r.out != "" || !strings.Contains(r.err, "there are no credentials in "+s.dir+"/wallet.age") {
		t.Errorf("%+v", r)
	}
	if files, err := os.ReadDir(s.dir); err != nil || len(files) != 1 {
		t.Errorf("what was refused has left %v, %v", files, err)
	}
	strict := newCredentialSite(t, "[wallet]\nrequire_hosts = true\n")
	if r := strict.call("s3cr3t", append(user, "--password-file", "-")...); r.code != exitFailed || !strings.Contains(r.err, "require_hosts in the configuration of the wallet forbids") {
		t.Errorf("%+v", r)
	}
	strict.works("s3cr3t", append(user, "--password-file", "-", "--host", "a")...)
	vault := newCredentialSite(t, "[wallet]\nprovider = 'vault'\n[wallet.vault]\naddress = 'https://127.0.0.1:1'\ntoken_file = 'token'\n")
	vault.write("token", "s3cr3t")
	for _, args := range [][]string{append(user, "--password-file", "-"), {"remove", "files", "--yes"}} {
		if r := vault.call("s3cr3t", args...); r.code != exitFailed || !strings.Contains(r.err, "changed there. Run: vault kv put -mount=secret imageport/<id>") {
			t.Errorf("%q: %+v", args, r)
		}
	}
	for _, args := range [][]string{{"list"}, {"show", "files"}} {
		if r := vault.call("", args...); r.code != exitFailed || !strings.HasPrefix(r.err, "imageport: WALLET_UNAVAILABLE: ") {
			t.Errorf("%q: %+v", args, r)
		}
	}
}

// terminal is a terminal with somebody at it.
type terminal struct {
	t      *testing.T
	master *os.File
	slave  *os.File

	mu    sync.Mutex
	shown bytes.Buffer
}

func newTerminal(t *testing.T) *terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	tt := &terminal{t: t, master: master, slave: slave}
	go func() {
		b := make([]byte, 1024)
		for {
			n, err := master.Read(b)
			if err != nil {
				return
			}
			tt.mu.Lock()
			tt.shown.Write(b[:n])
			tt.mu.Unlock()
		}
	}()
	return tt
}

func (tt *terminal) screen() string {
	tt.mu.Lock()
	defer tt.mu.Unlock()
	return tt.shown.String()
}

// shows waits until the terminal shows a text.
func (tt *terminal) shows(text string) bool {
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if strings.Contains(tt.screen(), text) {
			return true
		}
	}
	return false
}

// answer waits until the terminal ends with the prompt, with its echo off if
// it is for a secret, and types a line.
func (tt *terminal) answer(prompt, line string, secret bool) {
	tt.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		state, err := unix.IoctlGetTermios(int(tt.slave.Fd()), unix.TCGETS)
		if err != nil {
			tt.t.Fatal(err)
		}
		if strings.HasSuffix(tt.screen(), prompt) && (state.Lflag&unix.ECHO == 0) == secret {
			if _, err := tt.master.WriteString(line); err != nil {
				tt.t.Fatal(err)
			}
			return
		}
	}
	tt.t.Fatalf("no prompt %q on %q", prompt, tt.screen())
}

func (tt *terminal) start(ctx context.Context, args []string) (code <-chan int) {
	done := make(chan int, 1)
	go func() { done <- run(ctx, args, tt.slave, tt.slave, tt.slave) }()
	return done
}

// At a terminal the secret is asked for, twice, and not shown.
func TestCredentialsAtATerminal(t *testing.T) {
	s := newCredentialSite(t, "")
	tt := newTerminal(t)
	add := s.args("add", "files", "--username", "svc")
	code := tt.start(t.Context(), add)
	tt.answer("Password of svc: ", "s3cr3t\n", true)
	tt.answer("Password of svc again: ", "s3cr3t-other\n", true)
	if got := <-code; got != exitFailed || !tt.shows("differently the second time") {
		t.Errorf("%d: %q", got, tt.screen())
	}
	code = tt.start(t.Context(), add)
	tt.answer("Password of svc: ", "s3cr3t\n", true)
	tt.answer("Password of svc again: ", "s3cr3t\n", true)
	if got := <-code; got != exitOK || s.password(wallet.ProviderFile, "files") != "s3cr3t" {
		t.Errorf("%d: %q", got, tt.screen())
	}
	code = tt.start(t.Context(), add)
	if got := <-code; got != exitFailed || !tt.shows("Give --replace") {
		t.Errorf("it was asked for in vain: %d: %q", got, tt.screen())
	}

	// ^C leaves the terminal as it was.
	ctx, cancel := context.WithCancel(t.Context())
	code = tt.start(ctx, append(add, "--replace"))
	tt.answer("Password of svc: ", "s3cr3t-half", true)
	time.Sleep(100 * time.Millisecond) // what is typed reaches the terminal by and by
	cancel()
	if got := <-code; got != exitInterrupted {
		t.Errorf("%d: %q", got, tt.screen())
	}
	state, err := unix.IoctlGetTermios(int(tt.slave.Fd()), unix.TCGETS)
	if err != nil || state.Lflag&unix.ECHO == 0 || !term.IsTerminal(int(tt.slave.Fd())) {
		t.Errorf("the terminal is left without echo: %+v, %v", state, err)
	}
	if strings.Contains(tt.screen(), "s3cr3t") {
		t.Errorf("the secret was shown: %q", tt.screen())
	}

	tt = newTerminal(t) // the reader that ^C has left is on the other one
	remove := s.args("remove", "files")
	code = tt.start(t.Context(), remove)
	tt.answer("wallet.age? [y/N] ", "n\n", false)
	if got := <-code; got != exitFailed || s.password(wallet.ProviderFile, "files") != "s3cr3t" {
		t.Errorf("%d: %q", got, tt.screen())
	}
	code = tt.start(t.Context(), remove)
	tt.answer("wallet.age? [y/N] ", "y\n", false)
	if got := <-code; got != exitOK {
		t.Errorf("%d: %q", got, tt.screen())
	}
}
