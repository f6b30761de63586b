//go:build peer

package xapi_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"imageport/lab/xapi"
)

// TestPeer has a client that is not ours, Xen Orchestra's, make a VM. It needs
// Node.js and, once, "npm ci --prefix lab/xapi/peer".
func TestPeer(t *testing.T) {
	g := newGuests()
	s := start(t, xapi.Config{Guests: g})
	dir := t.TempDir()
	image, authority := filepath.Join(dir, "image.raw"), filepath.Join(dir, "ca.pem")
	content := pattern(4 * mib)
	for path, b := range map[string][]byte{image: content, authority: []byte(s.CertificatePEM())} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "node", "peer.mjs", s.URL(), image)
	cmd.Dir = "peer"
	cmd.Env = append(os.Environ(), "NODE_EXTRA_CA_CERTS="+authority, "XAPI_USER="+s.Username(), "XAPI_PASSWORD="+s.Password())
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v:\n%s", err, said)
	}
	vm, on := g.vm("peer")
	if !on || len(vm.Disks) != 2 || vm.Disks[1].Name != "output" {
		t.Fatalf("the guest is %+v", vm)
	}
	if b, err := os.ReadFile(vm.Disks[0].File); err != nil || !bytes.Equal(b, content) {
		t.Errorf("it starts from something else than what was imported (%v)", err)
	}
	if log := g.said(); !slices.Equal(log, []string{"on peer", "attach peer"}) {
		t.Error(log)
	}
}
