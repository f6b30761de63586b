package share_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"imageport/engine/share"
	"imageport/job"
	"imageport/testkit/samba"
)

var drivers = []string{share.DriverCloudSoda, share.DriverHirochachacha}

// dial opens a share of a server for one test.
func dial(t *testing.T, s *samba.Server, name, driver string) share.Store {
	t.Helper()
	n := network(s, "", driver)
	n.Location.Share = name
	store, err := share.Dial(t.Context(), n.Location, n.Credential, n.Options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

func wantCode(t *testing.T, op string, err error, code job.Code, words ...string) {
	t.Helper()
	if job.CodeOf(err) != code {
		t.Errorf("%s: %q (%s), want %s", op, err, job.CodeOf(err), code)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%s: %q does not say %q", op, err, w)
		}
	}
}

func TestReadOnlyShare(t *testing.T) {
	dir := t.TempDir()
	s := samba.New(t, samba.Options{Shares: map[string]string{"frozen": dir}, ReadOnly: []string{"frozen"}})
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, driver := range drivers {
		store := dial(t, s, "frozen", driver)
		wantCode(t, "ask for write permission", store.Writable(t.Context()), job.ShareDenied)
		_, err := store.CreateExcl(t.Context(), "new")
		wantCode(t, "create", err, job.ShareDenied, s.Username, "new")
		wantCode(t, "remove", store.Remove(t.Context(), "f"), job.ShareDenied)
		wantCode(t, "rename", store.Rename(t.Context(), "f", "g"), job.ShareDenied)
		f, err := store.Open(t.Context(), "f")
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestPermission: what the server does not let the user do.
func TestPermission(t *testing.T) {
	dir, err := os.MkdirTemp("", "permission")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := samba.New(t, samba.Options{
		Shares: map[string]string{"closed": dir, "foreign": dir},
		Closed: []string{"closed"},
		As:     map[string]string{"foreign": "nobody"},
	})
	for name, mode := range map[string]os.FileMode{"secret": 0o600, "public": 0o644} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "locked"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, driver := range drivers {
		n := network(s, "", driver)
		n.Location.Share = "closed"
		_, err := share.Dial(t.Context(), n.Location, n.Credential, n.Options)
		wantCode(t, "dial a share for others", err, job.ShareDenied, s.Username, "closed")

		store := dial(t, s, "foreign", driver)
		_, err = store.Open(t.Context(), "secret")
		wantCode(t, "open", err, job.ShareDenied, s.Username, "secret")
		wantCode(t, "ask for write permission", store.Writable(t.Context()), job.ShareDenied)
		_, err = store.CreateExcl(t.Context(), "new")
		wantCode(t, "create", err, job.ShareDenied, s.Username, "new")
		wantCode(t, "remove", store.Remove(t.Context(), "public"), job.ShareDenied, "public")
		wantCode(t, "rename", store.Rename(t.Context(), "public", "g"), job.ShareDenied, "public")
		n.Location.Share, n.Location.Folder = "foreign", "locked"
		if inside, err := share.Dial(t.Context(), n.Location, n.Credential, n.Options); err == nil {
			_, err = inside.List(t.Context())
			wantCode(t, "list", err, job.ShareDenied, "locked")
			inside.Close()
		} else {
			wantCode(t, "dial a locked folder", err, job.ShareDenied, "locked")
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 3 {
		t.Errorf("the folder has %v, %v", entries, err)
	}
}

func TestFullVolume(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	s := samba.New(t, samba.Options{Shares: map[string]string{"small": dir}})
	local, err := share.Dir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for name, store := range map[string]share.Store{
		"cloudsoda":     dial(t, s, "small", share.DriverCloudSoda),
		"hirochachacha": dial(t, s, "small", share.DriverHirochachacha),
		"local":         local,
	} {
		if free, err := store.Free(t.Context()); err != nil || free != 4<<20 {
			t.Errorf("%s: %d bytes free, %v", name, free, err)
		}
		w, err := store.CreateExcl(t.Context(), "big")
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.WriteAt(make([]byte, 5<<20), 0)
		wantCode(t, name, err, job.ShareFull, "big")
		_ = w.Close()
		if err := store.Remove(t.Context(), "big"); err != nil {
			t.Error(err)
		}
	}
}

func TestRenameOfAnOpenFile(t *testing.T) {
	s := samba.New(t)
	for _, driver := range drivers {
		store := dial(t, s, samba.DefaultShare, driver)
		w, err := store.CreateExcl(t.Context(), "f")
		if err != nil {
			t.Fatal(err)
		}
		wantCode(t, "rename", store.Rename(t.Context(), "f", "g"), job.ShareIO, "open")
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if err := store.Rename(t.Context(), "f", "g"); err != nil {
			t.Error(err)
		}
		if err := store.Remove(t.Context(), "g"); err != nil {
			t.Error(err)
		}
	}
}

func TestDialArguments(t *testing.T) {
	s := samba.New(t)
	for _, driver := range drivers {
		for _, user := range []string{s.Username, `ANY\` + s.Username, s.Username + "@" + samba.Domain} {
			n := network(s, "", driver)
			n.Credential.Username = user
			store, err := share.Dial(t.Context(), n.Location, n.Credential, n.Options)
			if err != nil {
				t.Errorf("%s as %q: %v", driver, user, err)
				continue
			}
			for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
				if text := fmt.Sprintf(format, store); strings.Contains(text, s.Password) {
					t.Errorf("a printed store shows the password")
				}
			}
			store.Close()
		}
	}
	for name, change := range map[string]func(*share.Location, *share.Options){
		"host":   func(l *share.Location, _ *share.Options) { l.Host = `a\b` },
		"port":   func(l *share.Location, _ *share.Options) { l.Port = 70000 },
		"share":  func(l *share.Location, _ *share.Options) { l.Share = "a/b" },
		"folder": func(l *share.Location, _ *share.Options) { l.Folder = "a/../../b" },
		"driver": func(_ *share.Location, o *share.Options) { o.Driver = "none" },
	} {
		n := network(s, "", "")
		change(&n.Location, &n.Options)
		_, err := share.Dial(t.Context(), n.Location, n.Credential, n.Options)
		wantCode(t, name, err, job.BadRequest)
	}
	n := network(s, "", "")
	n.Location.User, n.Credential.Username = n.Credential.Username, ""
	store, err := share.Dial(t.Context(), n.Location, n.Credential, n.Options)
	if err != nil {
		t.Errorf("with the user of the location: %v", err)
	} else {
		store.Close()
	}
	n.Location.User = ""
	_, err = share.Dial(t.Context(), n.Location, n.Credential, n.Options)
	wantCode(t, "no user", err, job.ShareAuthFailed)
}
