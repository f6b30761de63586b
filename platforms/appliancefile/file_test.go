package appliancefile

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imageport/platforms"
)

// replace puts another file in the place of one.
func replace(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// The file is read once, and again when it is another one; who sends it gets what was
// read, or nothing.
func TestFile(t *testing.T) {
	path, reads := filepath.Join(t.TempDir(), "ce.raw"), 0
	f := New(Kind{"disk", "raw", "x"}, path, func(ctx context.Context, file *os.File, size int64) (string, error) {
		reads++
		b, err := io.ReadAll(Until(ctx, file))
		if len(b) != int(size) || strings.Contains(string(b), "bad") {
			return "", errors.Join(err, errors.New("no disk"))
		}
		return string(b), err
	})
	if _, err := f.Read(t.Context()); platforms.KindOf(err) != platforms.NotFound || !strings.Contains(err.Error(), "--formats raw") || !strings.Contains(err.Error(), "[x]") {
		t.Errorf("no file: %v", err)
	}
	replace(t, path, "one")
	if file, err := f.Open(); platforms.KindOf(err) != platforms.Busy {
		t.Errorf("opened before it was read: %v, %v", file, err)
	}
	for range 2 {
		if got, err := f.Read(t.Context()); got != "one" || err != nil || reads != 1 {
			t.Errorf("%q, %v, read %d times", got, err, reads)
		}
	}
	file, err := f.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	replace(t, path, "two")
	if b, err := io.ReadAll(file); string(b) != "one" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := f.Open(); platforms.KindOf(err) != platforms.Busy || !strings.Contains(err.Error(), "replaced") {
		t.Errorf("it was replaced: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Read(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if got, err := f.Read(t.Context()); got != "two" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	replace(t, path, "bad")
	if _, err := f.Read(t.Context()); platforms.KindOf(err) != platforms.BadRequest || !strings.Contains(err.Error(), path) {
		t.Errorf("refused: %v", err)
	}
	dir := New(Kind{"disk", "raw", "x"}, t.TempDir(), f.parse)
	if _, err := dir.Read(t.Context()); platforms.KindOf(err) != platforms.BadRequest {
		t.Errorf("a directory: %v", err)
	}
}

func TestTurns(t *testing.T) {
	var turns Turns
	release, err := turns.Take(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if other, err := turns.Take(t.Context(), "b"); err != nil {
		t.Fatal(err)
	} else {
		other()
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := turns.Take(ended, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("another's turn, cancelled: %v", err)
	}
	got := make(chan error)
	go func() {
		again, err := turns.Take(t.Context(), "a")
		if err == nil {
			again()
		}
		got <- err
	}()
	release()
	if err := <-got; err != nil {
		t.Error(err)
	}
}
