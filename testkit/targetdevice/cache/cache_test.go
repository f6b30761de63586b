package cache

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"imageport/testkit/winimage"
)

func TestFolder(t *testing.T) {
	root := t.TempDir()
	t.Setenv(winimage.CacheDirVariable, root)
	// One that nobody has used for days, and one of another kind.
	old, other := filepath.Join(root, "kind-old"), filepath.Join(root, "other-old")
	long := time.Now().Add(-2 * unusedFor)
	for _, dir := range []string{old, other} {
		if err := errors.Join(os.Mkdir(dir, 0o755), os.Chtimes(dir, long, long)); err != nil {
			t.Fatal(err)
		}
	}
	failed := errors.New("failed")
	if _, err := Folder(t.Context(), "kind", "a", func(dir string) error {
		return errors.Join(os.WriteFile(filepath.Join(dir, "half"), nil, 0o600), failed)
	}); !errors.Is(err, failed) {
		t.Error(err)
	}
	var filled atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			dir, err := Folder(t.Context(), "kind", "a", func(dir string) error {
				filled.Add(1)
				return os.WriteFile(filepath.Join(dir, "whole"), nil, 0o600)
			})
			if entries, _ := os.ReadDir(dir); err != nil || len(entries) != 1 || entries[0].Name() != "whole" {
				t.Errorf("%s: %v, %v", dir, entries, err)
			}
		})
	}
	all.Wait()
	if filled.Load() != 1 {
		t.Errorf("filled %d times", filled.Load())
	}
	if _, err := os.Stat(old); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the unused one: %v", err)
	}
	if _, err := os.Stat(other); err != nil {
		t.Error(err)
	}
	// Somebody else is filling it.
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := Folder(ctx, "kind", "b", func(string) error {
		cancel()
		_, err := Folder(ctx, "kind", "b", func(string) error { return nil })
		return err
	}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
