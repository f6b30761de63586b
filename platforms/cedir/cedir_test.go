package cedir

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"imageport/platforms"
)

func TestParseStat(t *testing.T) {
	line := func(comm string) string {
		return "42 (" + comm + ") S 1 42 41 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 9 0 987654 1 2"
	}
	for _, comm := range []string{"imageport", "a b", "a) R 9 9 9 (", "(", ")", "", "\n"} {
		got, err := parseStat([]byte(line(comm)))
		if want := (stat{state: 'S', session: 41, threads: 9, start: 987654}); err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", comm, got, err, want)
		}
	}
	for _, st := range []stat{{state: 'Z', threads: 2}, {state: 'S', threads: 1}} {
		if !st.live() {
			t.Errorf("%+v does not live", st)
		}
	}
	for _, bad := range []string{"", "42", "42 (x) S", "42 (x) ", strings.ReplaceAll(line("x"), "987654", "soon"), strings.ReplaceAll(line("x"), " 41 ", " x ")} {
		if got, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q: %+v", bad, got)
		}
	}
	zombie := exec.Command("true")
	if err := zombie.Start(); err != nil {
		t.Fatal(err)
	}
	defer zombie.Wait()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if st, err := readStat(zombie.Process.Pid); err != nil {
			t.Fatal(err)
		} else if !st.live() {
			break
		}
		if time.Now().After(end) {
			t.Fatal("a zombie counts as alive")
		}
	}
	if !(stat{state: 'T'}).live() {
		t.Error("a stopped process counts as gone")
	}
}

// A part of an entry is not the entry.
func TestCarries(t *testing.T) {
	env := []byte("A=1\x00MARK=/a/b\x00")
	for mark, want := range map[string]bool{"MARK=/a/b": true, "MARK=/a": false, "ARK=/a/b": false, "A=1": true} {
		if carries(env, mark) != want {
			t.Errorf("%s: want %v", mark, want)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("42 (a b) S 1 42 41 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 9 0 987654 1 2"))
	f.Add([]byte(") "))
	f.Fuzz(func(t *testing.T, b []byte) { parseStat(b) })
}

// Holders of a directory's lock are alone, although each removes the directory
// under the feet of those that wait for it.
func TestLockDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ce-0123456789ab")
	var inside atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 40 {
				release, err := lockDir(t.Context(), dir, true)
				if err != nil {
					t.Error(err)
					return
				}
				if n := inside.Add(1); n != 1 {
					t.Errorf("%d are inside", n)
				}
				inside.Add(-1) // who removes the directory lets the next one in
				if err := os.Remove(dir); err != nil {
					t.Error(err)
				}
				release()
			}
		})
	}
	wg.Wait()
	if _, err := lockDir(t.Context(), dir, false); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
	release, err := lockDir(t.Context(), dir, true)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := lockDir(ctx, dir, true); !errors.Is(err, context.DeadlineExceeded) || kindOf(err) != platforms.Busy {
		t.Errorf("held by another one: %v", err)
	}
}
