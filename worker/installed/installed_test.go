package installed

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"imageport/config"
	"imageport/wallet"
)

// Open makes what a configuration asks for, and says what is wrong with it.
func TestOpen(t *testing.T) {
	dir := t.TempDir()
	secrets := wallet.Dir(dir)
	file := func(name string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	var none config.Config
	p, err := Open(none, secrets)
	if err != nil || len(p.Registry) > 0 {
		t.Errorf("%v, %v", p, err)
	}
	all := config.Config{
		VSphere:   config.VSphere{Appliance: file("ce.ova")},
		XenServer: config.XenServer{Appliance: file("ce.raw")},
		Azure:     config.Azure{Image: "/subscriptions/5d2f/resourceGroups/g/providers/Microsoft.Compute/galleries/x/images/ce/versions/1.0.0", ResourceGroup: "g"},
		GCP:       config.GCP{Image: "projects/lab/global/images/ce"},
	}
	p, err = Open(all, secrets)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(p.Registry.Names(), " "); got != "Azure GCP XenServer vSphere" || len(Names()) != 4 {
		t.Errorf("it has %s; built with %q", got, Names())
	}
	if err := p.Close(t.Context()); err != nil {
		t.Error(err)
	}
	all.XenServer.MemoryMB = 3
	if _, err := Open(all, secrets); err == nil || !strings.Contains(err.Error(), "XenServer") {
		t.Errorf("3 MiB of memory: %v", err)
	}
}

// A program without a platform does not have its SDK, and refuses a
// configuration that asks for it.
func TestSubset(t *testing.T) {
	for tag, sdk := range map[string]string{
		"no_vsphere": "github.com/vmware/govmomi", "no_xenserver": "imageport/platforms/xenserver",
		"no_azure": "github.com/Azure/", "no_gcp": "cloud.google.com/go/compute",
	} {
		for _, with := range []bool{false, true} {
			args := []string{"list", "-deps", "-f", "{{.ImportPath}}"}
			if !with {
				args = append(args, "-tags", tag)
			}
			out, err := exec.CommandContext(t.Context(), "go", append(args, "imageport/worker/installed")...).Output()
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Contains(string(out), sdk); got != with {
				t.Errorf("-tags %s, %v: it has %s: %v", tag, !with, sdk, got)
			}
		}
	}
	saved := known[0].build
	defer func() { known[0].build = saved }()
	known[0].build = nil
	if _, err := Open(config.Config{VSphere: config.VSphere{Template: "t"}}, nil); err == nil || !strings.Contains(err.Error(), "built without it") {
		t.Error(err)
	}
}

// What runs in a Compositing Engine has none of them.
func TestAgent(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{.ImportPath}}", "imageport/cmd/imageport-ce").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, sdk := range []string{"github.com/vmware/govmomi", "github.com/Azure/", "cloud.google.com/", "google.golang.org/api/", "imageport/platforms"} {
		if strings.Contains(string(out), sdk) {
			t.Errorf("it has %s", sdk)
		}
	}
}
