package disktest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"imageport/engine/disk"
)

// Run runs a tool and gives what it writes to standard output.
func Run(t testing.TB, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s%s", name, args, err, stderr.Bytes(), out)
	}
	return out
}

// Unpack gives a file of testdata, which is packed with xz.
func Unpack(t testing.TB, name string) []byte {
	t.Helper()
	return Run(t, "xz", "-dkc", filepath.Join("testdata", name+".xz"))
}

// WriteFile writes a file.
func WriteFile(t testing.TB, path string, p []byte) {
	t.Helper()
	if err := os.WriteFile(path, p, 0o600); err != nil {
		t.Fatal(err)
	}
}

// RawFile writes bytes to a sparse file.
func RawFile(t testing.TB, path string, raw []byte) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(int64(len(raw))); err != nil {
		t.Fatal(err)
	}
	for off := 0; off < len(raw); off += mib {
		if p := raw[off:min(off+mib, len(raw))]; bytes.Count(p, []byte{0}) < len(p) {
			if _, err := f.WriteAt(p, int64(off)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Same7zz compares a disk with what 7-Zip decodes from the file at path, whose
// parents it finds by their relative paths. format is "vhd" or "vhdx".
func Same7zz(t testing.TB, format string, d disk.Disk, path string) {
	t.Helper()
	cmd := exec.Command("7zz", "e", "-so", "-t"+format, path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		out.Close()
		if err := cmd.Wait(); err != nil && !t.Failed() {
			t.Errorf("7zz %s: %v", path, err)
		}
	}()
	Same(t, d, out, "7zz")
}

// Listed7zz checks that 7-Zip lists some things of an image, and complains of
// nothing.
func Listed7zz(t testing.TB, format, path string, want ...string) {
	t.Helper()
	listing := string(Run(t, "7zz", "l", "-slt", "-t"+format, path))
	for _, want := range want {
		if !strings.Contains(listing, want) {
			t.Errorf("7zz does not list %q", want)
		}
	}
	for _, complaint := range []string{"WARNING", "ERROR", "-> ?"} {
		if strings.Contains(listing, complaint) {
			t.Errorf("7zz complains:\n%s", listing)
		}
	}
}
