package embedded

import (
	"bytes"
	"crypto/sha256"
	"debug/pe"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"testing/fstest"
)

// maxSize is what the runner may grow to, in bytes: it is in every Compositing
// Engine, and goes to every working disk.
const maxSize = 4 << 20

func TestRunner(t *testing.T) {
	b, err := Runner()
	if err != nil {
		t.Fatal(err)
	}
	if len(b) > maxSize {
		t.Errorf("%d bytes, at most %d expected", len(b), maxSize)
	}
	f, err := pe.NewFile(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if f.Machine != pe.IMAGE_FILE_MACHINE_AMD64 {
		t.Errorf("machine %#x", f.Machine)
	}
	// What it imports by name must be in every Windows.
	libraries, err := f.ImportedLibraries()
	if err != nil {
		t.Fatal(err)
	}
	if len(libraries) > 0 {
		t.Errorf("imports %v", libraries)
	}
}

func TestProgramWithoutIt(t *testing.T) {
	for name, files := range map[string]fstest.MapFS{
		"none":  {"files/README.txt": {Data: []byte("x")}},
		"empty": {runnerFile: {}},
	} {
		if _, err := runner(files); !errors.Is(err, ErrMissing) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Built elsewhere it is the same program: nothing of the place, of the repository
// or of the day is in it. That is also how a runner is found that is older than
// its sources.
func TestBuildIsReproducible(t *testing.T) {
	b, err := Runner()
	if err != nil {
		t.Fatal(err)
	}
	const root = "../.."
	elsewhere, built := t.TempDir(), filepath.Join(t.TempDir(), "runner.exe")
	for _, name := range []string{"go.mod", "go.sum"} {
		content, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(elsewhere, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"cmd/firstboot", "firstboot/plan", "firstboot/runner"} {
		if err := os.CopyFS(filepath.Join(elsewhere, dir), os.DirFS(filepath.Join(root, dir))); err != nil {
			t.Fatal(err)
		}
	}
	// The command is that of the Makefile.
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid=", "-o", built, "./cmd/firstboot")
	build.Dir = elsewhere
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=windows", "GOARCH=amd64")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	again, err := os.ReadFile(built)
	if err != nil {
		t.Fatal(err)
	}
	if sha256.Sum256(again) != sha256.Sum256(b) {
		t.Errorf("%d bytes here and %d elsewhere differ: run make build; if that does not help, the build is not reproducible", len(b), len(again))
	}
}
