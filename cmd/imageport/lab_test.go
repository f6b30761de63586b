package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
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

// A lab runs until ^C, with its credential in the wallet, and leaves nothing.
func TestLabVSphere(t *testing.T) {
	t.Parallel()
	s := newCredentialSite(t, "[gateway]\nlisten = \"127.0.0.1:7555\"\n")
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	var out, words written
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"--config", filepath.Join(s.dir, "config.toml"), "lab", "vsphere", "--credential", "lab", "-o", "json"}, strings.NewReader(""), &out, &words)
	}()
	var sheet labSheet
	await(t, "up", func() bool {
		if len(ended) > 0 {
			t.Fatalf("it ended: %s", &words)
		}
		return json.Unmarshal([]byte(out.String()), &sheet) == nil
	})
	if sheet.GatewayAddress != "127.0.0.1:7555" || sheet.Request.Platform != job.PlatformVSphere || sheet.Request.PlatformCredentialID != "lab" {
		t.Errorf("%+v", sheet)
	}
	for _, file := range []string{sheet.Appliance, sheet.Datastore, sheet.Logs} {
		if _, err := os.Stat(file); err != nil {
			t.Error(err)
		}
	}
	password := s.password(wallet.ProviderFile, "lab")
	if strings.Contains(out.String()+words.String(), password) {
		t.Error("it shows the password")
	}
	u, err := url.Parse(sheet.URL)
	if err != nil {
		t.Fatal(err)
	}
	client := soap.NewClient(u, false)
	client.SetThumbprint(u.Host, sheet.Request.VCenterSSLFingerprint)
	c, err := vim25.NewClient(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	m := session.NewManager(c)
	if err := m.Login(t.Context(), url.UserPassword("imageport-lab@vsphere.local", password)); err != nil {
		t.Error(err)
	}

	second := call(t.Context(), "", "--config", filepath.Join(s.dir, "config.toml"), "lab", "vsphere", "--credential", "lab")
	if second.code != exitFailed || !strings.Contains(second.err, `there is a credential "lab"`) || strings.Contains(second.err, "at https://") {
		t.Errorf("%+v", second)
	}

	interrupt()
	if code := <-ended; code != exitOK {
		t.Errorf("exit code %d: %s", code, &words)
	}
	if _, err := os.Stat(sheet.Appliance); err == nil {
		t.Error("its files are left")
	}
	if r := s.works("", "list", "-o", "json"); strings.Contains(r.out, "lab") {
		t.Errorf("the credential is left: %+v", r)
	}
}

// What is printed for people has all that they are to copy.
func TestLabSheet(t *testing.T) {
	t.Parallel()
	s := labSheet{URL: "https://127.0.0.1:8989/sdk", GatewayAddress: "10.0.2.2:7443", Appliance: "/lab/appliance.ova", Datastore: "/lab/ds", Logs: "/lab/logs", guests: "in QEMU"}
	s.Request.Platform, s.Request.VCenterHost, s.Request.VCenterPort, s.Request.Datastore = job.PlatformVSphere, "127.0.0.1", 8989, "LocalDS_0"
	var out bytes.Buffer
	if err := (&app{out: &out, output: outputText}).printLab(s, "/etc/imageport/config.toml"); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"simulated", s.URL, "in QEMU", "/etc/imageport/config.toml", "[vsphere]\n  appliance = \"/lab/appliance.ova\"", `address = "10.0.2.2:7443"`,
		`"platform": "vSphere"`, `"vCenterPort": 8989`, "[LocalDS_0] is /lab/ds", "The files stay"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("%q is missing in\n%s", part, &out)
		}
	}
}

func TestLabRefused(t *testing.T) {
	t.Parallel()
	for args, says := range map[string]string{
		"vsphere --guests docker":                "neither process nor vm",
		"vsphere --guests vm":                    "--appliance is missing",
		"vsphere --appliance x":                  "--appliance is for --guests vm",
		"vsphere --listen 8989":                  "--listen",
		"vsphere now":                            "unknown command",
		"vsph":                                   "did you mean vsphere",
		"vsphere --guests vm --appliance /no/it": "/no/it",
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
	if r.code != exitOK || !strings.Contains(r.out, "It is a simulation") || !strings.Contains(r.out, "vsphere") {
		t.Errorf("%+v", r)
	}
}
