package sharetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"imageport/job"
)

func testMissing(t *testing.T, h Harness) {
	s := h.open(t)
	_, err := s.Open(t.Context(), "none.vhdx")
	wantError(t, "open", err, job.ImageNotFound, fs.ErrNotExist)
	_, err = s.Stat(t.Context(), "none.vhdx")
	wantError(t, "stat", err, job.ImageNotFound, fs.ErrNotExist)
	wantError(t, "remove", s.Remove(t.Context(), "none.vhdx"), job.ImageNotFound, fs.ErrNotExist)
	wantError(t, "rename", s.Rename(t.Context(), "none.vhdx", "other.vhdx"), job.ImageNotFound, fs.ErrNotExist)
	if !strings.Contains(err.Error(), "none.vhdx") {
		t.Errorf("the message does not name the file: %v", err)
	}
}

func testCreateExcl(t *testing.T, h Harness) {
	s := h.open(t)
	if err := s.Writable(t.Context()); err != nil {
		t.Errorf("the folder is not to be written to: %v", err)
	}
	h.put(t, "there.vhdx", []byte("old"))
	_, err := s.CreateExcl(t.Context(), "there.vhdx")
	wantError(t, "create over a file", err, job.OutputExists, fs.ErrExist)
	if got := h.get(t, "there.vhdx"); string(got) != "old" {
		t.Errorf("the file in the way is now %q", got)
	}

	w := create(t, s, "new.vhdx")
	_, err = s.CreateExcl(t.Context(), "new.vhdx")
	wantError(t, "create twice", err, job.OutputExists, fs.ErrExist)
	// Written backwards, with a hole.
	writeAt(t, w, []byte("end"), 100)
	writeAt(t, w, []byte("start"), 0)
	if err := w.Sync(); err != nil {
		t.Fatal(err)
	}
	want := append([]byte("start"), append(make([]byte, 95), "end"...)...)
	if got := h.get(t, "new.vhdx"); !bytes.Equal(got, want) {
		t.Errorf("after Sync the file is %q", got)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.WriteAt([]byte("x"), 0); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("write after close: %v", err)
	}
	if err := w.Close(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("second close: %v", err)
	}
}

func testRename(t *testing.T, h Harness) {
	s := h.open(t)
	h.put(t, "out.partial", []byte("new"))
	h.put(t, "out.vhdx", []byte("old"))
	err := s.Rename(t.Context(), "out.partial", "out.vhdx")
	wantError(t, "rename over a file", err, job.OutputExists, fs.ErrExist)
	if a, b := h.get(t, "out.partial"), h.get(t, "out.vhdx"); string(a) != "new" || string(b) != "old" {
		t.Errorf("a refused rename left %q and %q", a, b)
	}

	if err := s.Rename(t.Context(), "out.vhdx", "out.old"); err != nil {
		t.Fatal(err)
	}
	if err := s.Rename(t.Context(), "out.partial", "out.vhdx"); err != nil {
		t.Fatal(err)
	}
	if a, b := h.get(t, "out.vhdx"), h.get(t, "out.old"); string(a) != "new" || string(b) != "old" {
		t.Errorf("after the renames: %q and %q", a, b)
	}
	if names := list(t, s); !slices.Equal(names, []string{"out.old", "out.vhdx"}) {
		t.Errorf("the folder has %q", names)
	}

	// Of many that take one name at the same time, one wins.
	const rivals = 6
	if wins := race(rivals, func(int) error {
		w, err := s.CreateExcl(t.Context(), "claim")
		if err == nil {
			err = w.Close()
		} else if !errors.Is(err, fs.ErrExist) {
			t.Errorf("a loser's error: %v", err)
		}
		return err
	}); wins != 1 {
		t.Errorf("%d of %d exclusive creates of one name succeeded", wins, rivals)
	}
	if h.Network != nil {
		return // Samba promises less for renames: see share.Store
	}
	for i := range rivals {
		h.put(t, fmt.Sprint("rival", i), nil)
	}
	if wins := race(rivals, func(i int) error {
		err := s.Rename(t.Context(), fmt.Sprint("rival", i), "winner")
		if err != nil && !errors.Is(err, fs.ErrExist) {
			t.Errorf("a loser's error: %v", err)
		}
		return err
	}); wins != 1 {
		t.Errorf("%d of %d renames to one name succeeded", wins, rivals)
	}
}

// race runs attempt n times at once and counts the successes.
func race(n int, attempt func(i int) error) int {
	var (
		wg   sync.WaitGroup
		wins atomic.Int32
	)
	for i := range n {
		wg.Go(func() {
			if attempt(i) == nil {
				wins.Add(1)
			}
		})
	}
	wg.Wait()
	return int(wins.Load())
}

func testList(t *testing.T, h Harness) {
	s := h.open(t)
	if names := list(t, s); len(names) != 0 {
		t.Errorf("an empty folder has %q", names)
	}
	want := []string{"A file with spaces.vhdx", "b.vhd", "c.lok", "é ü 日本.pvp"}
	for _, name := range slices.Backward(want) {
		h.put(t, name, []byte(name))
	}
	if err := os.Mkdir(h.path("folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	if names := list(t, s); !slices.Equal(names, want) {
		t.Errorf("list: %q, want %q", names, want)
	}
	infos, err := s.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range infos {
		if got, err := s.Stat(t.Context(), info.Name); err != nil || got.Size != info.Size || !got.ModTime.Equal(info.ModTime) || info.Size != int64(len(info.Name)) {
			t.Errorf("list says %+v, stat %+v, %v", info, got, err)
		}
	}
	for i := range 300 { // more than one answer
		h.put(t, strings.Repeat("long name ", 7)+string(rune(0x4E00+i)), nil)
	}
	if names := list(t, s); len(names) != 304 || !slices.IsSorted(names) {
		t.Errorf("list of 304 files gives %d, sorted %v", len(names), slices.IsSorted(names))
	}
}

func testFolderIsNoFile(t *testing.T, h Harness) {
	s := h.open(t)
	if err := os.Mkdir(h.path("sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := s.Open(t.Context(), "sub")
	wantError(t, "open a folder", err, job.ImageNotFound, nil)
	_, err = s.Stat(t.Context(), "sub")
	wantError(t, "stat a folder", err, job.OutputExists, fs.ErrExist)
	if err != nil && !strings.Contains(err.Error(), "folder") {
		t.Errorf("the message does not say what it is: %v", err)
	}
	if errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder looks like nothing: %v", err)
	}
	h.put(t, "f", nil)
	if err := s.Rename(t.Context(), "f", "sub"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("rename over a folder: %v", err)
	}
	if err := s.Remove(t.Context(), "sub"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("remove a folder: %v", err)
	}
	if st, err := os.Stat(h.path("sub")); err != nil || !st.IsDir() {
		t.Errorf("the folder is gone: %v", err)
	}
	_, err = s.CreateExcl(t.Context(), "sub")
	wantError(t, "create over a folder", err, job.OutputExists, fs.ErrExist)
}

func testRemove(t *testing.T, h Harness) {
	s := h.open(t)
	h.put(t, "f", nil)
	if err := s.Remove(t.Context(), "f"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(h.path("f")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file is still there: %v", err)
	}
}

func testFree(t *testing.T, h Harness) {
	if free, err := h.open(t).Free(t.Context()); err != nil || free < 1<<20 {
		t.Errorf("free: %d bytes, %v", free, err)
	}
}

func testNames(t *testing.T, h Harness) {
	s := h.open(t)
	h.put(t, "ok", []byte("ok"))
	for _, name := range []string{"", ".", "..", "a/b", `a\b`, "../ok", `..\ok`, "/ok", "ok:stream", "ok::$DATA",
		"a\x00b", "a\nb", "a\x7fb", "a*", "a?", "ok.", "ok ", "\xff", strings.Repeat("x", 256)} {
		_, openErr := s.Open(t.Context(), name)
		_, createErr := s.CreateExcl(t.Context(), name)
		_, statErr := s.Stat(t.Context(), name)
		for op, err := range map[string]error{
			"open": openErr, "create": createErr, "stat": statErr,
			"remove":      s.Remove(t.Context(), name),
			"rename from": s.Rename(t.Context(), name, "x"),
			"rename to":   s.Rename(t.Context(), "ok", name),
		} {
			if job.CodeOf(err) != job.BadRequest {
				t.Errorf("%s %q: %v", op, name, err)
			}
		}
	}
	if names := list(t, s); !slices.Equal(names, []string{"ok"}) {
		t.Errorf("the folder has %q", names)
	}
}

func testClosed(t *testing.T, h Harness) {
	s := h.open(t)
	h.put(t, "f", []byte("x"))
	f, err := s.Open(t.Context(), "f")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Errorf("close a file of a closed store: %v", err)
	}
}

func testCancelled(t *testing.T, h Harness) {
	s := h.open(t)
	h.put(t, "f", []byte("x"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, openErr := s.Open(ctx, "f")
	_, createErr := s.CreateExcl(ctx, "new")
	_, statErr := s.Stat(ctx, "f")
	_, listErr := s.List(ctx)
	_, freeErr := s.Free(ctx)
	for op, err := range map[string]error{
		"open": openErr, "create": createErr, "stat": statErr, "list": listErr, "free": freeErr,
		"rename": s.Rename(ctx, "f", "g"), "remove": s.Remove(ctx, "f"),
	} {
		if !errors.Is(err, context.Canceled) || job.CodeOf(err) != "" {
			t.Errorf("%s with a cancelled context: %v", op, err)
		}
	}
	if names := list(t, s); !slices.Equal(names, []string{"f"}) {
		t.Errorf("the folder has %q", names)
	}
}
