package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/vmware/govmomi/session"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/soap"

	"imageport/job"
	"imageport/wallet"
)

// written is what a running command has written so far.
type written struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *written) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *written) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

// runningLab is a lab that runs until ^C.
type runningLab struct {
	credentialSite
	sheet     labSheet
	out       *written
	words     *written
	interrupt func()
	ended     chan int
}

// startLab runs `imageport lab` for a platform, with the credential "lab".
func startLab(t *testing.T, platform string) runningLab {
	t.Helper()
	l := runningLab{
		credentialSite: newCredentialSite(t, "[gateway]\nlisten = \"127.0.0.1:7555\"\n"),
		out:            new(written), words: new(written), ended: make(chan int, 1),
	}
	ctx, interrupt := context.WithCancel(t.Context())
	t.Cleanup(interrupt)
	l.interrupt = interrupt
	go func() {
		l.ended <- run(ctx, []string{"--config", filepath.Join(l.dir, "config.toml"), "lab", platform, "--credential", "lab", "-o", "json"}, strings.NewReader(""), l.out, l.words)
	}()
	await(t, "up", func() bool {
		if len(l.ended) > 0 {
			t.Fatalf("it ended: %s", l.words)
		}
		return json.Unmarshal([]byte(l.out.String()), &l.sheet) == nil
	})
	return l
}

// A lab runs until ^C, with its credential in the wallet, and leaves nothing.
func TestLab(t *testing.T) {
	t.Parallel()
	for command, platform := range map[string]struct {
		name, username string
		login          func(sheet labSheet, username, password string) error
	}{
		"vsphere":   {job.PlatformVSphere, "imageport-lab@vsphere.local", vSphereLogin},
		"xenserver": {job.PlatformXenServer, "root", xenServerLogin},
	} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			l := startLab(t, command)
			sheet := l.sheet
			if sheet.GatewayAddress != "127.0.0.1:7555" || sheet.Request.Platform != platform.name || sheet.Request.PlatformCredentialID != "lab" {
				t.Errorf("%+v", sheet)
			}
			for _, file := range []string{sheet.Appliance, sheet.Storage, sheet.Logs} {
				if _, err := os.Stat(file); err != nil {
					t.Error(err)
				}
			}
			password := l.password(wallet.ProviderFile, "lab")
			if strings.Contains(l.out.String()+l.words.String(), password) {
				t.Error("it shows the password")
			}
			if err := platform.login(sheet, platform.username, password); err != nil {
				t.Error(err)
			}
			if err := platform.login(sheet, platform.username, "x"+password); err == nil {
				t.Error("another password is good, too")
			}

			second := call(t.Context(), "", "--config", filepath.Join(l.dir, "config.toml"), "lab", command, "--credential", "lab")
			if second.code != exitFailed || !strings.Contains(second.err, `there is a credential "lab"`) || strings.Contains(second.err, "at https://") {
				t.Errorf("%+v", second)
			}

			l.interrupt()
			if code := <-l.ended; code != exitOK {
				t.Errorf("exit code %d: %s", code, l.words)
			}
			if _, err := os.Stat(sheet.Appliance); err == nil {
				t.Error("its files are left")
			}
			if r := l.works("", "list", "-o", "json"); strings.Contains(r.out, "lab") {
				t.Errorf("the credential is left: %+v", r)
			}
		})
	}
}

func vSphereLogin(sheet labSheet, username, password string) error {
	u, err := url.Parse(sheet.URL)
	if err != nil {
		return err
	}
	client := soap.NewClient(u, false)
	client.SetThumbprint(u.Host, sheet.Request.VCenterSSLFingerprint)
	c, err := vim25.NewClient(context.Background(), client)
	if err != nil {
		return err
	}
	return session.NewManager(c).Login(context.Background(), url.UserPassword(username, password))
}

// xenServerLogin speaks as XAPI's documentation says: JSON-RPC 2.0 at /jsonrpc.
func xenServerLogin(sheet labSheet, username, password string) error {
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{
		InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			sum := sha256.Sum256(s.PeerCertificates[0].Raw)
			if got := hex.EncodeToString(sum[:]); !strings.EqualFold(got, strings.ReplaceAll(sheet.Request.XenSSLFingerprint, ":", "")) {
				return fmt.Errorf("the certificate is %s, the request says %s", got, sheet.Request.XenSSLFingerprint)
			}
			return nil
		},
	}}}
	defer client.CloseIdleConnections()
	body, err := json.Marshal(map[string]any{
		"jsonrpc": "2.0", "id": 1, "method": "session.login_with_password", "params": []string{username, password, "1.0", "imageport"},
	})
	if err != nil {
		return err
	}
	at := url.URL{Scheme: "https", Host: net.JoinHostPort(sheet.Request.XenHost, strconv.Itoa(sheet.Request.XenPort)), Path: "/jsonrpc"}
	res, err := client.Post(at.String(), "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var answer struct {
		Result string
		Error  struct{ Message string }
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return err
	}
	if answer.Result == "" {
		return errors.New(answer.Error.Message)
	}
	return nil
}

// What is printed for people has all that they are to copy.
func TestLabSheet(t *testing.T) {
	t.Parallel()
	s := labSheet{URL: "https://127.0.0.1:8989", GatewayAddress: "10.0.2.2:7443", Appliance: "/lab/appliance", Storage: "/lab/ds", Logs: "/lab/logs"}
	s.Request.Platform = "Zen"
	s.Request.Datastore = "LocalDS_0"
	r := labRun{
		section: "zen", is: "A simulated Zen runs at %s. Compositing Engines run %s.", dir: "/lab", guests: guestsVM,
		storage: func(t job.Target) string { return "datastore [" + t.Datastore + "]" },
	}
	var out bytes.Buffer
	if err := (&app{out: &out, output: outputText}).printLab(r, s, "/etc/imageport/config.toml"); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"simulated", s.URL, "in QEMU", "/etc/imageport/config.toml", "[zen]\n  appliance = \"/lab/appliance\"", `address = "10.0.2.2:7443"`,
		`"platform": "Zen"`, `"datastore": "LocalDS_0"`, "datastore [LocalDS_0] is /lab/ds", "/lab/logs", "The files stay"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("%q is missing in\n%s", part, &out)
		}
	}
	r.dir, r.guests = "", guestsProcess
	out.Reset()
	if err := (&app{out: &out, output: outputText}).printLab(r, s, ""); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"as processes", "configuration needs", "removes all"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("%q is missing in\n%s", part, &out)
		}
	}
}

func TestLabRefused(t *testing.T) {
	t.Parallel()
	for args, says := range map[string]string{
		"vsphere --guests docker":                "it is none of process, vm",
		"vsphere --guests vm":                    "--appliance is missing",
		"vsphere --appliance x":                  "--appliance is for --guests vm",
		"vsphere --listen 8989":                  "--listen",
		"vsphere now":                            "more arguments than it takes",
		"vsph":                                   "did you mean vsphere",
		"vsphere --guests vm --appliance /no/it": "/no/it",
		"xenserver --listen 8989":                "--listen",
		"xenserver --guests vm":                  "--guests",
		"xen":                                    "did you mean xenserver",
	} {
		s := newCredentialSite(t, "")
		r := call(t.Context(), "", append(append([]string{"lab"}, strings.Fields(args)...), "--config", filepath.Join(s.dir, "config.toml"))...)
		if r.code == exitOK || !strings.Contains(r.err, says) {
			t.Errorf("%s: %+v", args, r)
		}
		if list := s.works("", "list"); list.out != "" {
			t.Errorf("%s: there is a credential: %+v", args, list)
		}
	}
	r := call(t.Context(), "", "lab")
	if r.code != exitOK || !strings.Contains(r.out, "It is a simulation") || !strings.Contains(r.out, "vsphere") || !strings.Contains(r.out, "xenserver") {
		t.Errorf("%+v", r)
	}
}
