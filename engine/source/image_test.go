package source_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"imageport/engine/share"
	"imageport/engine/source"
	"imageport/job"
	"imageport/testkit/disktest"
)

func folder(t *testing.T) (string, share.Store) {
	t.Helper()
	dir := t.TempDir()
	store, err := share.Dir(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	disktest.Run(t, "qemu-img", "create", "-q", "-f", "vhdx", filepath.Join(dir, "win.vhdx"), "8M")
	return dir, store
}

func TestImage(t *testing.T) {
	dir, store := folder(t)
	for _, access := range []source.Access{source.Scattered, source.Streamed} {
		im, err := source.Open(t.Context(), source.Input{Store: store, Name: "win.vhdx", Format: job.FormatVHDX, Access: access})
		if err != nil {
			t.Fatal(err)
		}
		if im.Size() != 8<<20 || im.Name() != "win.vhdx" || im.ReadBytes() == 0 || im.Top().Name != "win.vhdx" {
			t.Errorf("%d bytes, %q, read %d", im.Size(), im.Name(), im.ReadBytes())
		}
		files := im.Files()
		if len(files) != 1 || files[0] != im.File() || files[0].ID == "" || files[0].File.SizeBytes == 0 {
			t.Errorf("%+v", files)
		}
		if err := im.Sound(t.Context(), nil); err != nil {
			t.Error(err)
		}
		if err := im.Same(files); err != nil {
			t.Error(err)
		}
		other := slices.Clone(files)
		other[0].File.SizeBytes++
		for _, approved := range [][]source.Layer{nil, other, append(slices.Clone(files), files...)} {
			if err := im.Same(approved); job.CodeOf(err) != job.SourceChanged {
				t.Errorf("%+v: %v", approved, err)
			}
		}
		if err := im.Untouched(t.Context()); err != nil {
			t.Error(err)
		}
		f, err := os.OpenFile(filepath.Join(dir, "win.vhdx"), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if err := im.Untouched(t.Context()); job.CodeOf(err) != job.SourceChanged || !strings.Contains(err.Error(), "win.vhdx") {
			t.Errorf("a longer file: %v", err)
		}
		if err := im.Close(); err != nil {
			t.Error(err)
		}
	}
	for code, in := range map[job.Code]source.Input{
		job.ImageNotFound: {Name: "no.vhdx"},
		job.WrongFormat:   {Name: "win.vhdx", Format: job.FormatVHD},
	} {
		in.Store = store
		if _, err := source.Open(t.Context(), in); job.CodeOf(err) != code || !strings.Contains(err.Error(), in.Name) {
			t.Errorf("%+v: %v", in, err)
		}
	}
}

func TestUnlocked(t *testing.T) {
	dir, store := folder(t)
	if err := source.Unlocked(t.Context(), store, "win.vhdx"); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "win.1.lok"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := source.Unlocked(t.Context(), store, "win.vhdx"); err != nil {
		t.Errorf("the lock of another version: %v", err)
	}
	if err := source.Unlocked(t.Context(), store, "win.1.avhdx"); job.CodeOf(err) != job.ImageLocked {
		t.Error(err)
	}
}
