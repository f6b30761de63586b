package biosboot

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "assemble loader/loader.bin anew")

// TestLoaderIsItsSource assembles the loader again: the bytes that we ship are
// those of the sources beside them.
func TestLoaderIsItsSource(t *testing.T) {
	const path = "loader/loader.bin"
	built := assemble(t, "loader/loader.S", "0x7C00")
	if *update {
		if err := os.WriteFile(path, built, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(built, loader) {
		t.Errorf("%s is not what loader.S assembles to: run go test -run %s -update", path, t.Name())
	}
	if len(loader) != SectorSize+Stage2Size {
		t.Errorf("%s has %d bytes, want %d", path, len(loader), SectorSize+Stage2Size)
	}
	if rest := loader[MBRSize:SectorSize]; !bytes.Equal(rest, make([]byte, len(rest))) {
		t.Errorf("the loader has code where the partition table is: % X", rest)
	}
}

// assemble returns the bytes of a source, linked to run at an address.
func assemble(t *testing.T, source, address string) []byte {
	t.Helper()
	dir := t.TempDir()
	object, binary := filepath.Join(dir, "o"), filepath.Join(dir, "bin")
	for _, args := range [][]string{
		{"as", "--32", "-mx86-used-note=no", "-I", filepath.Dir(source), "-o", object, source},
		{"ld", "-m", "elf_i386", "-Ttext", address, "-e", address, "--oformat", "binary", "-o", binary, object},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	b, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
