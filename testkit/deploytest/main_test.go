package deploytest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"imageport/job"
	"imageport/testkit/devserver"
	"imageport/testkit/disktest"
	"imageport/testkit/samba"
	"imageport/testkit/winimage"
)

// root is the checkout, program imageport as built from it.
var root, program string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "imageport-deploy")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		program = filepath.Join(dir, "imageport")
		if root, err = filepath.Abs("../.."); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		if out, err := exec.Command("go", "build", "-o", program, "imageport/cmd/imageport").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "%v: %s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// newHost is a host for docker-compose.yml with the secrets that docs/operations.md
// has people make.
func newHost(t *testing.T, resourceLocation string) *Host {
	t.Helper()
	project, err := Load(t.Context(), root, "RESOURCE_LOCATION="+resourceLocation, "NUM_HISTORY_SHARDS=4")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "ipd") // short, for sockets in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	temporal, err := devserver.Program()
	if err != nil {
		t.Fatal(err)
	}
	disktest.Run(t, "age-keygen", "-o", filepath.Join(dir, "wallet.key"))
	if err := os.WriteFile(filepath.Join(dir, "postgres_password"), []byte(uuid.NewString()), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string]string{"wallet_key": "wallet.key", "postgres_password": "postgres_password"} {
		secret := project.Secrets[name]
		secret.File = filepath.Join(dir, file)
		project.Secrets[name] = secret
	}
	h := &Host{Project: project, Dir: dir, Programs: map[string]string{"/imageport": program, "temporal": temporal}}
	for _, inside := range [][]string{{"0.0.0.0:7443", "127.0.0.1:7443"}, {"127.0.0.1:9464"}, {"0.0.0.0:8088", "127.0.0.1:8088"}} {
		if _, err := h.Port(inside...); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// exec runs imageport in a service, as docker compose run does.
func (h *Host) exec(t *testing.T, stdin string, service string, args ...string) string {
	t.Helper()
	cmd, err := h.Command(t.Context(), service, append([]string{"/imageport"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	var out, bad bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &bad
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, &bad)
	}
	return strings.TrimSpace(out.String())
}

// up starts a service until the test ends.
func (h *Host) up(t *testing.T, service string) *Process {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p, err := h.Up(ctx, service)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Down() })
	return p
}

// address is what stands for an address of the containers.
func (h *Host) address(inside string) string {
	for i := 0; i < len(h.addresses); i += 2 {
		if h.addresses[i] == inside {
			return h.addresses[i+1]
		}
	}
	return ""
}

// trial brings worker and API of the compose file up, and has them convert an
// image that is asked for over HTTP, with a key that was made as the documentation
// says.
func trial(t *testing.T, h *Host, resourceLocation string) (worker *Process) {
	t.Helper()
	store := t.TempDir()
	img, err := winimage.Cached(t.Context(), winimage.Small())
	if err != nil {
		t.Fatal(err)
	}
	if err := img.VHDX(t.Context(), filepath.Join(store, "win10.vhdx"), winimage.Dynamic); err != nil {
		t.Fatal(err)
	}
	smb := samba.New(t, samba.Options{Dir: filepath.Join(h.Dir, "samba"), Shares: map[string]string{"disks": store}})
	h.exec(t, smb.Password, "worker", "credentials", "add", "pvs-smb", "--username", smb.Username, "--password-file", "-")
	key := h.exec(t, "", "api", "serve", "keys", "add", "test", "--resource-location", resourceLocation)
	if strings.Contains(key, "\n") || len(key) < 20 {
		t.Fatalf("the key is %q", key)
	}

	worker = h.up(t, "worker")
	api := h.up(t, "api")

	body, err := json.Marshal(map[string]any{
		"platform": "local", "resourceLocationId": resourceLocation,
		"inputStorageLocation": map[string]any{"type": "SMB", "host": smb.Host, "port": smb.Port, "sharePath": "disks", "credentialId": "pvs-smb"},
		"inputImageFilename":   "win10", "inputImageFormat": "VhdxDiskFormat", "outputImageFilename": "win10-uefi",
	})
	if err != nil {
		t.Fatal(err)
	}
	call := func(method, path string, body []byte) (int, []byte) {
		request, err := http.NewRequestWithContext(t.Context(), method, "http://"+h.address("127.0.0.1:8088")+path, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+key)
		request.Header.Set("Content-Type", "application/json")
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatalf("%v\n%s", err, api.Log())
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		if location := answer.Header.Get("Location"); location != "" {
			text = []byte(location)
		}
		return answer.StatusCode, text
	}
	code, location := call(http.MethodPost, "/ips/images/$convertToUefi", body)
	if code != http.StatusAccepted {
		t.Fatalf("%d: %s\n%s", code, location, api.Log())
	}
	path := string(location)
	if _, after, ok := strings.Cut(path, "://"); ok {
		path = after[strings.IndexByte(after, '/'):]
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		var s job.Status
		code, text := call(http.MethodGet, path, nil)
		if err := json.Unmarshal(text, &s); err != nil || code != http.StatusOK {
			t.Fatalf("%d, %v: %s", code, err, text)
		}
		if s.State == job.StateCompleted {
			return worker
		}
		if s.State != job.StateRunning || time.Now().After(deadline) {
			t.Fatalf("%s\n%s", text, worker.Log())
		}
	}
}
