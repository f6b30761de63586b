package appliance_test

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"imageport/appliance"
)

// compileAgent compiles the product's agent from a checkout as releases are.
func compileAgent(t *testing.T, checkout string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "imageport-ce")
	compile := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", out, "./cmd/imageport-ce")
	compile.Dir, compile.Env = checkout, append(os.Environ(), "CGO_ENABLED=0")
	if said, err := compile.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	return out
}

// copyCheckout copies what is compiled.
func copyCheckout(t *testing.T, from string) string {
	t.Helper()
	to := t.TempDir()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if slices.Contains([]string{"bin", "build", "testdata"}, d.Name()) || strings.HasPrefix(d.Name(), ".") && name != "." {
				return filepath.SkipDir
			}
			return os.MkdirAll(filepath.Join(to, name), 0o755)
		}
		if !d.Type().IsRegular() || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), raw, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// TestAgent has the product's agent, which is the same from every checkout, fit
// in an appliance.
func TestAgent(t *testing.T) {
	o := options(t)
	o.Agent = compileAgent(t, "..")
	first, err := os.ReadFile(o.Agent)
	if err != nil {
		t.Fatal(err)
	}
	second, err := os.ReadFile(compileAgent(t, copyCheckout(t, "..")))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, second) {
		t.Error("the agent depends on where it is compiled")
	}
	r := build(t, o)
	t.Logf("the agent has %d bytes, the UKI %d", len(first), r.Files[0].SizeBytes)
	if r.Files[0].SizeBytes > appliance.MaxSize {
		t.Errorf("the UKI has %d bytes, want at most %d", r.Files[0].SizeBytes, appliance.MaxSize)
	}
}
