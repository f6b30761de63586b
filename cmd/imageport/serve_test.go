package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"imageport/starter/httpapi"
	"imageport/testkit/devserver"
)

// notice is a writer that can be waited on.
type notice struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (n *notice) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.b.Write(p)
}

func (n *notice) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.b.String()
}

// serving runs "imageport serve" with that configuration until the test ends, and
// gives its address and log.
func serving(t *testing.T, config string) (address string, log *notice) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	log = new(notice)
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"--config", config, "--address", devserver.Shared(t).Address, "serve", "--log-format", "text"}, strings.NewReader(""), io.Discard, log)
	}()
	t.Cleanup(func() {
		stop()
		if code := <-ended; code != exitOK {
			t.Errorf("exit code %d: %s", code, log)
		}
		if t.Failed() {
			t.Logf("server: %s", log)
		}
	})
	pattern := regexp.MustCompile(`http://127\.0\.0\.1:\d+`)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if address = pattern.FindString(log.String()); address != "" {
			return address, log
		}
		if time.Now().After(deadline) {
			t.Fatalf("it does not serve: %s", log)
		}
	}
}

// TestServe runs the server with a wallet and API keys of its own.
func TestServe(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "config.toml")
	if err := os.WriteFile(config, []byte("[serve]\nlisten = '127.0.0.1:0'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	call := func(args ...string) (code int, out, errs string) {
		var o, e bytes.Buffer
		code = run(t.Context(), append([]string{"--config", config}, args...), strings.NewReader(""), &o, &e)
		return code, o.String(), e.String()
	}
	code, key, errs := call("serve", "keys", "add", "admin", "--resource-location", "*", "--credentials")
	if code != exitOK || !strings.HasPrefix(key, "ipk_") || strings.Contains(errs, key[:20]) {
		t.Fatalf("%d %q %q", code, key, errs)
	}
	key = strings.TrimSpace(key)
	if code, _, errs := call("serve", "keys", "add", "admin", "--resource-location", "a"); code != exitFailed || !strings.Contains(errs, "there is a key") {
		t.Errorf("%d %q", code, errs)
	}
	if code, out, _ := call("serve", "keys", "list"); code != exitOK || !strings.Contains(out, "admin") || strings.Contains(out, key[len(key)-20:]) {
		t.Errorf("%d %q", code, out)
	}
	text, err := os.ReadFile(filepath.Join(dir, "api-keys.json"))
	if err != nil || bytes.Contains(text, []byte(key[len(key)-20:])) {
		t.Errorf("%v: %s", err, text)
	}

	base, log := serving(t, config)
	ask := func(method, path, body string) (int, string) {
		r, err := http.NewRequestWithContext(t.Context(), method, base+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+key)
		r.Header.Set("Content-Type", "application/json")
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		b, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, string(b)
	}
	for i, tc := range []struct {
		method, path, body string
		want               int
	}{
		{"GET", "/readyz", "", 200},
		{"GET", "/ips/jobs/", "", 200},
		{"GET", "/credentials", "", 200},
		{"POST", "/credentials", `{"id":"files","type":"UsernamePassword","username":"svc","domain":"corp","password":"hunter2"}`, 201},
		{"POST", "/credentials", `{"id":"files","type":"UsernamePassword","username":"svc","password":"hunter2"}`, 409},
		{"POST", "/credentials", `{"id":"../files","type":"UsernamePassword","username":"svc","password":"hunter2"}`, 400},
		{"POST", "/credentials", `{"id":"other","type":"UsernamePassword","username":"svc"}`, 400},
		{"POST", "/credentials", `{"id":"other","type":"Aws","password":"hunter2"}`, 400},
		{"PUT", "/credentials/other", `{"id":"files","type":"UsernamePassword","username":"svc","password":"hunter2"}`, 400},
		{"PUT", "/credentials/files", `{"type":"UsernamePassword","username":"svc2","password":"hunter3"}`, 200},
		{"DELETE", "/credentials/nothing", "", 404},
	} {
		status, body := ask(tc.method, tc.path, tc.body)
		if status != tc.want || strings.Contains(body, "hunter") {
			t.Errorf("%d: %s %s: %d %s", i, tc.method, tc.path, status, body)
		}
	}
	_, body := ask("GET", "/credentials", "")
	var list httpapi.CredentialList
	if err := json.Unmarshal([]byte(body), &list); err != nil || len(list.Items) != 1 || list.Items[0].Username != "svc2" || list.Items[0].State != "Ok" {
		t.Errorf("%v %s", err, body)
	}
	if code, out, _ := call("credentials", "list", "-o", "json"); code != exitOK || !strings.Contains(out, "svc2") {
		t.Errorf("the wallet: %d %s", code, out)
	}
	if code, out, _ := call("serve", "keys", "remove", "admin", "-o", "json"); code != exitOK || !strings.Contains(out, "removed") {
		t.Errorf("%d %s", code, out)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if status, _ := ask("GET", "/status", ""); status == http.StatusUnauthorized {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a key that was removed is taken")
		}
	}
	if strings.Contains(log.String(), "hunter") || strings.Contains(log.String(), key[len(key)-20:]) {
		t.Error("the log has a secret")
	}
}

func TestServeRefusesToBeOpen(t *testing.T) {
	for _, section := range []string{
		"listen = '0.0.0.0:8088'",
		"listen = '0.0.0.0:8088'\nplain_http = true\nauth = 'none'",
		"auth = 'basic'", "cert_file = 'x.pem'", "listen = 'nowhere'",
		"[serve.oidc]\nissuer = 'http://login.example.com'\naudience = 'x'\n[[serve.oidc.grants]]\nvalue = 'a'\nresource_locations = ['*']",
		"[serve.oidc]\nissuer = 'https://login.example.com'\n[[serve.oidc.grants]]\nvalue = 'a'\nresource_locations = ['*']",
		"[serve.oidc]\nissuer = 'https://login.example.com'\naudience = 'x'",
		"[serve.oidc]\naudience = 'x'",
	} {
		config := filepath.Join(t.TempDir(), "config.toml")
		if err := os.WriteFile(config, fmt.Appendf(nil, "[serve]\n%s\n", section), 0o600); err != nil {
			t.Fatal(err)
		}
		var errs bytes.Buffer
		if code := run(t.Context(), []string{"--config", config, "serve"}, strings.NewReader(""), io.Discard, &errs); code != exitFailed || !strings.Contains(errs.String(), "serve") {
			t.Errorf("%s: %d %s", section, code, errs.String())
		}
	}
}
