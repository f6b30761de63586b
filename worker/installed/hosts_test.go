package installed

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"imageport/config"
	"imageport/job"
	"imageport/wallet"
)

// A login that names hosts is used at no other vCenter and no other XenServer,
// and nobody there is dialled.
func TestHosts(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"ce": "x", "bound.json": `{"username":"u","password":"p","hosts":["*.example.com"]}`, "any.json": `{"username":"u","password":"p"}`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ce := filepath.Join(dir, "ce")
	p, err := Open(config.Config{VSphere: config.VSphere{Appliance: ce}, XenServer: config.XenServer{Appliance: ce}}, wallet.Dir(dir))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close(t.Context()) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, text, _ := net.SplitHostPort(l.Addr().String())
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, platform := range []string{job.PlatformVSphere, job.PlatformXenServer} {
		for _, x := range []struct {
			credential, host string
			code             job.Code
		}{
			{"bound", "VC.example.com", ""}, {"bound", "127.0.0.1", job.CredentialNotForHost}, {"bound", "vc.example.com.evil.org", job.CredentialNotForHost},
			{"any", "127.0.0.1", ""}, {"none", "vc.example.com", job.UnknownCredential},
		} {
			where := job.Target{Platform: platform, PlatformCredentialID: x.credential}
			where.Network = "n"
			where.VCenterHost, where.VCenterPort, where.Datacenter, where.Datastore, where.Cluster = x.host, port, "d", "s", "c"
			where.XenHost, where.XenPort, where.StorageRepositoryUUID = x.host, port, "5f3b2c1e-0d8a-4a77-9a40-1f0c7d1f3a10"
			if _, err := p.Registry.Driver(t.Context(), where); job.CodeOf(err) != x.code || (err == nil) != (x.code == "") {
				t.Errorf("%s, %s at %s: %v", platform, x.credential, x.host, err)
			}
		}
	}
	_ = l.(*net.TCPListener).SetDeadline(time.Now().Add(50 * time.Millisecond))
	if c, err := l.Accept(); err == nil {
		c.Close()
		t.Error("the host was dialled")
	}
}

// Where nobody says for which host it is, only a credential for any is given.
func TestLoginWithoutHost(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "bound.json"), []byte(`{"username":"u","password":"p","hosts":["a"]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := login(wallet.Dir(dir))(t.Context(), "bound"); job.CodeOf(err) != job.CredentialNotForHost {
		t.Error(err)
	}
}
