package guestsim

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// Program builds the command guestsim for a test, and gives its path: a machine
// as a program, for platforms that start one. See its source for what it takes.
func Program(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "guestsim")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", path, "imageport/testkit/guestsim/cmd/guestsim")
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, output)
	}
	return path
}
