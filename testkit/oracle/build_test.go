package oracle

import (
	"context"
	"debug/pe"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
)

func TestBuild(t *testing.T) {
	dir := t.TempDir()
	paths, err := Build(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{paths.BootMgr, paths.WinLoad} {
		f, err := pe.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		header, ok := f.OptionalHeader.(*pe.OptionalHeader64)
		if f.Machine != pe.IMAGE_FILE_MACHINE_AMD64 || !ok || header.Subsystem != pe.IMAGE_SUBSYSTEM_EFI_APPLICATION {
			t.Errorf("%s is not an x64 EFI application", path)
		}
		f.Close()
	}

	// A second build of the same sources is not one, even without a compiler.
	t.Setenv("PATH", "")
	again, err := Build(t.Context(), dir)
	if err != nil || again != paths {
		t.Errorf("from the cache: %v, %v", again, err)
	}
	if _, err := Build(t.Context(), t.TempDir()); err == nil {
		t.Error("built without a compiler")
	}
}

// Test binaries share a cache: whoever comes first, all get whole programs.
func TestBuildConcurrently(t *testing.T) {
	dir := t.TempDir()
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			paths, err := Build(t.Context(), dir)
			if err != nil {
				t.Error(err)
				return
			}
			if info, err := os.Stat(paths.BootMgr); err != nil || info.Size() == 0 {
				t.Error(info, err)
			}
		})
	}
	group.Wait()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestBuildReportsCompilerError(t *testing.T) {
	src := fstest.MapFS{}
	for program := range biosPrograms {
		src["bios/"+program+".S"] = &fstest.MapFile{Mode: 0o644}
	}
	for program := range programs {
		for _, module := range programs[program] {
			src["efi/"+module+".c"] = &fstest.MapFile{Data: []byte("int missing_type = (unknown_t)1;\n"), Mode: 0o644}
		}
	}
	err := compile(t.Context(), t.TempDir(), src)
	if err == nil || !strings.Contains(err.Error(), "unknown_t") {
		t.Errorf("error does not carry the compiler's words: %v", err)
	}
}

func TestBuildCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	if _, err := Build(ctx, dir); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}
