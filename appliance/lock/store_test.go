package lock_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"imageport/appliance/lock"
)

// mirror is a mirror with files at paths, which counts what is asked of it.
type mirror struct {
	*httptest.Server
	mu    sync.Mutex
	files map[string]func(w http.ResponseWriter)
	asked []string
}

func newMirror(t *testing.T) *mirror {
	m := &mirror{files: map[string]func(http.ResponseWriter){}}
	m.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		m.asked = append(m.asked, r.URL.Path)
		answer := m.files[r.URL.Path]
		m.mu.Unlock()
		if strings.ContainsAny(r.URL.RawPath+r.RequestURI, "+~") {
			t.Errorf("asked for %s, which some mirrors misread", r.RequestURI)
		}
		if answer == nil {
			http.NotFound(w, r)
			return
		}
		answer(w)
	}))
	t.Cleanup(m.Close)
	return m
}

func bytesOf(text string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) { w.Write([]byte(text)) }
}

func pkg(name, archive, path, text string) lock.Package {
	s := sha256.Sum256([]byte(text))
	return lock.Package{Name: name, Version: "1.0+b1~x", Archive: archive, SHA256: hex.EncodeToString(s[:]), Size: int64(len(text)), Path: path, Source: name + "=1.0"}
}

func store(t *testing.T, bases ...string) *lock.Store {
	s := &lock.Store{Dir: filepath.Join(t.TempDir(), "debs"), Mirror: lock.Mirror{}}
	for _, b := range bases {
		s.Mirror[lock.Debian] = append(s.Mirror[lock.Debian], b+"/debian")
		s.Mirror[lock.Security] = append(s.Mirror[lock.Security], b+"/debian-security")
	}
	return s
}

func TestStore(t *testing.T) {
	m := newMirror(t)
	l := lock.Lock{Packages: []lock.Package{
		pkg("a", lock.Debian, "pool/main/a/a_1.0+b1~x_amd64.deb", "the first"),
		pkg("b", lock.Security, "pool/updates/main/b/b_1.deb", "the second"),
		pkg("c", lock.Security, "pool/updates/main/c/c_1.deb", "the third"),
	}}
	m.files["/debian/pool/main/a/a_1.0+b1~x_amd64.deb"] = bytesOf("the first")
	m.files["/debian-security/pool/updates/main/b/b_1.deb"] = bytesOf("the second")
	m.files["/debian/pool/main/c/c_1.deb"] = bytesOf("the third") // taken over by a point release
	s := store(t, m.URL)
	check := func() {
		t.Helper()
		got, err := s.Get(t.Context(), l)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []string{"the first", "the second", "the third"} {
			if string(got[i]) != want {
				t.Errorf("%q, want %q", got[i], want)
			}
		}
	}
	check()
	asked := len(m.asked)
	check()
	if len(m.asked) != asked {
		t.Errorf("what is kept is asked for again: %v", m.asked[asked:])
	}
	// What is damaged is not taken, and replaced.
	for i, damaged := range []string{"the fIrst", "the"} {
		if err := os.WriteFile(filepath.Join(s.Dir, l.Packages[i].SHA256+".deb"), []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	check()
	m.Close()
	check()
	if left, _ := filepath.Glob(filepath.Join(s.Dir, "*.partial")); len(left) > 0 {
		t.Errorf("%v are left", left)
	}
}

func TestStoreRefusals(t *testing.T) {
	const path = "pool/main/a/a_1.deb"
	a := pkg("a", lock.Debian, path, "the first")
	broken := func(w http.ResponseWriter) {
		w.Header().Set("Content-Length", "9")
		w.Write([]byte("the"))
	}
	for name, c := range map[string]struct {
		answer func(http.ResponseWriter)
		want   error
		says   string
	}{
		"wrong bytes":    {bytesOf("the worst"), lock.ErrWrong, "not the bytes that the lock has pinned"},
		"fewer bytes":    {bytesOf("the"), lock.ErrWrong, "3 bytes with SHA-256"},
		"more bytes":     {bytesOf("the first and more"), lock.ErrDownload, "more than the 9 bytes"},
		"broken off":     {broken, lock.ErrDownload, "unexpected EOF"},
		"server's error": {func(w http.ResponseWriter) { w.WriteHeader(http.StatusBadGateway) }, lock.ErrDownload, "the answer is 502"},
		"gone":           {nil, lock.ErrGone, "a 1.0+b1~x: the mirror does not have it: " + path},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMirror(t)
			if c.answer != nil {
				m.files["/debian/"+path] = c.answer
			}
			s := store(t, m.URL)
			_, err := s.Get(t.Context(), lock.Lock{Packages: []lock.Package{a}})
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) || errors.Is(err, lock.ErrGone) != (c.answer == nil) {
				t.Error(err)
			}
			if left, _ := filepath.Glob(filepath.Join(s.Dir, "*")); len(left) > 0 {
				t.Errorf("%v is kept", left)
			}
		})
	}
}

func TestStoreMirrors(t *testing.T) {
	const path = "pool/main/a/a_1.deb"
	a, gone := pkg("a", lock.Debian, path, "the first"), pkg("gone", lock.Debian, "pool/main/g/gone_1.deb", "x")
	m, other := newMirror(t), newMirror(t)
	m.files["/debian/"+path] = bytesOf("the first")
	if _, err := store(t, other.URL, m.URL).Get(t.Context(), lock.Lock{Packages: []lock.Package{a}}); err != nil {
		t.Errorf("the second mirror is not asked: %v", err)
	}
	_, err := store(t, m.URL).Get(t.Context(), lock.Lock{Packages: []lock.Package{a, gone, pkg("gone2", lock.Security, "pool/updates/main/g/gone2_1.deb", "y")}})
	if !errors.Is(err, lock.ErrGone) || !strings.Contains(err.Error(), "gone 1.0") || !strings.Contains(err.Error(), "gone2 1.0") {
		t.Errorf("not all that is gone is named: %v", err)
	}
	if _, err := store(t).Get(t.Context(), lock.Lock{Packages: []lock.Package{a}}); !errors.Is(err, lock.ErrNoMirror) {
		t.Errorf("no mirror: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := store(t, m.URL).Get(ctx, lock.Lock{Packages: []lock.Package{a}}); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}
