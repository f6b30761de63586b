package worker_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"imageport/job"
	"imageport/starter"
	"imageport/testkit/devserver"
	"imageport/testkit/proxy"
	"imageport/testkit/samba"
	"imageport/wallet"
)

// A request that names another server than the credential is for is refused,
// and that server is not even dialled: it would be sent what NTLM makes of the
// password. Both servers would let the credential in.
func TestCredentialForOneOfTwoServers(t *testing.T) {
	first, second := samba.New(t), samba.New(t)
	door := proxy.New(t, second.Addr())
	cfg := good(t)
	dir := t.TempDir()
	for id, c := range map[string]map[string]any{
		"bound":  {"username": first.Username, "password": first.Password, "hosts": []string{first.Host}},
		"any":    {"username": first.Username, "password": first.Password},
		"second": {"username": second.Username, "password": second.Password, "hosts": "localhost, other.example.com"},
	} {
		b, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, id+".json"), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg.Wallet = wallet.Dir(dir)
	temporal := devserver.Start(t)
	run(t, temporal, cfg)
	jobs := starter.New(temporal)
	refused := func(credential, host string, port int, code job.Code) {
		t.Helper()
		body, err := json.Marshal(map[string]any{
			"platform": "local", "resourceLocationId": cfg.ResourceLocation, "inputImageFilename": "win10", "outputImageFilename": "win10-uefi",
			"inputStorageLocation": map[string]any{"credentialId": credential, "host": host, "port": port, "sharePath": samba.DefaultShare},
		})
		if err != nil {
			t.Fatal(err)
		}
		started, err := jobs.Start(t.Context(), job.OpConvertToUEFI, body)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := jobs.Result(t.Context(), started.RunID); job.CodeOf(err) != code {
			t.Errorf("%s for %s: %v; want %s", credential, host, err, code)
		}
	}
	// The image is missing: so somebody has looked for it.
	refused("bound", first.Host, first.Port, job.ImageNotFound)
	for _, host := range []string{"localhost", "::1", "second.example.com", "127.0.0.1.example.com"} {
		refused("bound", host, door.Port(), job.CredentialNotForHost)
	}
	if n := door.Connections(); n != 0 {
		t.Errorf("the second server was dialled %d times", n)
	}
	refused("second", "localhost", door.Port(), job.ImageNotFound)
	if door.Connections() == 0 {
		t.Error("nobody dials the second server at all")
	}
	// A wallet of before there were hosts works as ever: it goes where it is told.
	refused("any", first.Host, first.Port, job.ImageNotFound)
	refused("any", "localhost", door.Port(), job.ShareAuthFailed)
}
