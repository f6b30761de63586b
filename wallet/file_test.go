package wallet_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"

	"imageport/wallet"
)

var noon = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

// newFile gives an empty wallet in a directory that is not there yet.
func newFile(t *testing.T) (w *wallet.EncryptedFile, path, key string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "imageport")
	path, key = filepath.Join(dir, "wallet.age"), filepath.Join(dir, "wallet.key")
	w = wallet.File(path, key)
	wallet.SetClock(w, func() time.Time { return noon })
	return w, path, key
}

func user(id, password string) wallet.Credential {
	return wallet.Credential{ID: id, Value: wallet.UsernamePassword{Username: "ips", Password: wallet.NewSecret(password), Domain: "test"}}
}

func add(t *testing.T, w wallet.Editor, c wallet.Credential) {
	t.Helper()
	if _, err := w.Add(t.Context(), c, false); err != nil {
		t.Fatal(err)
	}
}

// plain decrypts a wallet with the program age.
func plain(t *testing.T, path, key string) string {
	t.Helper()
	out, err := exec.Command("age", "--decrypt", "-i", key, path).Output()
	if err != nil {
		t.Fatalf("age: %v", err)
	}
	return string(out)
}

// seal makes a wallet with the programs age and age-keygen.
func seal(t *testing.T, content string) (w *wallet.EncryptedFile, path, key string) {
	t.Helper()
	w, path, key = newFile(t)
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("age-keygen", "-o", key).CombinedOutput(); err != nil {
		t.Fatalf("age-keygen: %v: %s", err, out)
	}
	cmd := exec.Command("age", "--encrypt", "-i", key, "-o", path)
	cmd.Stdin = strings.NewReader(content)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("age: %v: %s", err, out)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return w, path, key
}

func TestFile(t *testing.T) {
	w, path, key := newFile(t)
	if list, err := w.List(t.Context()); err != nil || list == nil || len(list) != 0 {
		t.Errorf("the wallet that is not there: %v, %v", list, err)
	}
	_, err := w.Credential(t.Context(), "files")
	refused(t, err, path, `"files"`, "not there yet", "imageport credentials add files")
	refused(t, w.Remove(t.Context(), "files"), "not there yet")

	gcp, err := wallet.NewGCP([]byte(gcpKey))
	if err != nil {
		t.Fatal(err)
	}
	add(t, w, wallet.Credential{ID: "gcp", Value: gcp})
	add(t, w, user("files", "s3cr3t <&> \u00e4\u2028"))
	add(t, w, wallet.Credential{ID: "azure", Value: wallet.Azure{TenantID: "t-1", ClientID: "c-1", ClientSecret: wallet.NewSecret(password)}})
	for _, name := range []string{path, key} {
		if st, err := os.Stat(name); err != nil || st.Mode() != 0o600 {
			t.Errorf("%v, %v", st.Mode(), err)
		}
	}
	if files, err := os.ReadDir(filepath.Dir(path)); err != nil || len(files) != 2 {
		t.Errorf("%v, %v", files, err)
	}
	sealed, err := os.ReadFile(path)
	if err != nil || bytes.Contains(sealed, []byte("ips")) || bytes.Contains(sealed, []byte("files")) {
		t.Errorf("the wallet is readable: %q, %v", sealed, err)
	}
	content := plain(t, path, key)
	stamps := `"createdAt":"2026-01-31T12:00:00Z","updatedAt":"2026-01-31T12:00:00Z"`
	want := `{"version":1,"credentials":[
{"id":"azure","type":"Azure",` + stamps + `,"tenantId":"t-1","clientId":"c-1","clientSecret":"s3cr3t-Pa55"},
{"id":"files","type":"UsernamePassword",` + stamps + `,"username":"ips","password":"s3cr3t \u003c\u0026\u003e ä\u2028","domain":"test"},
{"id":"gcp","type":"Gcp",` + stamps + `,"serviceAccountKey":` + gcpKey + `}
]}
`
	if content != want {
		t.Errorf("got  %s\nwant %s", content, want)
	}
	c, err := w.Credential(t.Context(), "files")
	if err != nil || passwordOf(t, c) != "s3cr3t <&> ä\u2028" {
		t.Errorf("%v, %v", c, err)
	}
	if c, err = w.Credential(t.Context(), "gcp"); err != nil {
		t.Fatal(err)
	}
	if got, err := c.GCP(); err != nil || got.Key.Reveal() != gcpKey {
		t.Errorf("%v, %v", got, err)
	}

	if _, err := w.Add(t.Context(), user("files", "s3cr3t-2"), false); !errors.Is(err, wallet.ErrExists) {
		t.Errorf("a second one: %v", err)
	}
	wallet.SetClock(w, func() time.Time { return noon.Add(time.Hour) })
	m, err := w.Add(t.Context(), user("files", "s3cr3t-2"), true)
	if err != nil || !m.CreatedAt.Equal(noon) || !m.UpdatedAt.Equal(noon.Add(time.Hour)) {
		t.Errorf("%+v, %v", m, err)
	}
	if c, err := w.Credential(t.Context(), "files"); err != nil || passwordOf(t, c) != "s3cr3t-2" {
		t.Errorf("%v, %v", c, err)
	}
	if err := w.Remove(t.Context(), "files"); err != nil {
		t.Error(err)
	}
	refused(t, w.Remove(t.Context(), "files"), `"files"`)
	_, err = w.Credential(t.Context(), "files")
	refused(t, err, `"files"`)
	if list, err := w.List(t.Context()); err != nil || len(list) != 2 {
		t.Errorf("%v, %v", list, err)
	}
	for _, c := range []wallet.Credential{user("../x", "s3cr3t"), user("x", ""), {ID: "x"}, user("x", strings.Repeat("s3cr3t", 20000))} {
		if _, err := w.Add(t.Context(), c, false); err == nil || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%v was added: %v", c, err)
		}
	}
}

// The wallet is age's own format: what age makes, we read and change, and what
// we do not understand of it stays.
func TestFileOfAge(t *testing.T) {
	w, path, key := seal(t, `{"version":1,"credentials":[
		{"id":"files","type":"usernamepassword","username":"ips","domain":"test","password":"s3cr3t","updatedAt":"2026-01-31T12:00:00Z"},
		{"id":"bad","type":"Quantum","spin":1.50,"secret":"s3cr3t"},
		{"id":"azure","type":"Azure","tenantId":"t-1","clientId":"c-1","secret":"s3cr3t","updatedAt":"2026-01-31T12:00:00Z","note":"x"},
		{"id":"gcp","type":"Gcp","updatedAt":"2026-01-31T12:00:00Z","key":`+gcpKey+`}]}`)
	lookThrough(t, w)
	add(t, w, user("new", "s3cr3t-new"))
	got := plain(t, path, key)
	for _, kept := range []string{`{"id":"bad","type":"Quantum","spin":1.50,"secret":"s3cr3t"}`, `"note":"x"`, `"id":"new"`} {
		if !strings.Contains(got, kept) {
			t.Errorf("%s is not in %s", kept, got)
		}
	}
	// Another key in front: the wallet is read with the old one, and written for the new one.
	old, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	next, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	write(t, key, next.String()+"\n"+string(old))
	add(t, w, user("newer", "s3cr3t"))
	write(t, key, next.String())
	if _, err := w.Credential(t.Context(), "newer"); err != nil {
		t.Error(err)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFileRefused(t *testing.T) {
	spoil := func(path string, change func(b []byte) []byte) func(*testing.T) {
		return func(t *testing.T) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			write(t, path, string(change(b)))
		}
	}
	w, path, key := newFile(t)
	add(t, w, user("files", password))
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	goodKey, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	chmod := func(path string, mode os.FileMode) func(t *testing.T) {
		return func(t *testing.T) {
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, tc := range map[string]struct {
		spoil func(*testing.T)
		in    string
	}{
		"key missing":       {func(t *testing.T) { os.Remove(key) }, "its key " + key + " is missing. Restore the key"},
		"other key":         {func(t *testing.T) { write(t, key, other.String()) }, "not encrypted for the key"},
		"empty key":         {func(t *testing.T) { write(t, key, "# nothing\n") }, "no identity of age"},
		"key cut short":     {spoil(key, func(b []byte) []byte { return b[:len(b)-5] }), "line 3 is not an X25519 identity"},
		"not a key":         {func(t *testing.T) { write(t, key, "s3cr3t\n") }, "line 1 is not"},
		"key open":          {chmod(key, 0o640), "open to others than its owner (mode 0640)"},
		"key a directory":   {func(t *testing.T) { os.Remove(key); os.Mkdir(key, 0o700) }, "not a regular file"},
		"key too big":       {func(t *testing.T) { write(t, key, strings.Repeat("#\n", 40000)) }, "more than 65536 bytes"},
		"wallet writable":   {chmod(path, 0o660), "mode 0660"},
		"empty":             {func(t *testing.T) { write(t, path, "") }, "damaged"},
		"not age":           {func(t *testing.T) { write(t, path, `{"password":"s3cr3t"}`) }, "damaged"},
		"header cut":        {spoil(path, func(b []byte) []byte { return b[:100] }), "damaged"},
		"payload cut":       {spoil(path, func(b []byte) []byte { return b[:len(b)-1] }), "damaged"},
		"something behind":  {spoil(path, func(b []byte) []byte { return append(b, 0) }), "damaged"},
		"payload tampered":  {spoil(path, func(b []byte) []byte { b[len(b)-20] ^= 1; return b }), "damaged"},
		"header tampered":   {spoil(path, func(b []byte) []byte { return bytes.Replace(b, []byte("\n--- "), []byte("\n--- A"), 1) }), "damaged"},
		"too big":           {func(t *testing.T) { os.Truncate(path, 4<<20+1) }, "more than 4194304 bytes"},
		"wallet a pipe":     {func(t *testing.T) { os.Remove(path); syscall.Mkfifo(path, 0o600) }, "not a regular file"},
		"wallet in a cycle": {func(t *testing.T) { os.Remove(path); os.Symlink(path, path) }, "too many levels"},
	} {
		t.Run(name, func(t *testing.T) {
			tc.spoil(t)
			defer func() {
				os.RemoveAll(key)
				os.Remove(path)
				write(t, path, string(good))
				write(t, key, string(goodKey))
			}()
			_, err := w.Credential(t.Context(), "files")
			refused(t, err, path[:len(path)-4], tc.in)
			_, err = w.List(t.Context())
			refused(t, err, tc.in)
			if name != "wallet a pipe" { // which waits for a writer
				before, _ := os.ReadFile(path)
				if _, err := w.Add(t.Context(), user("other", "s3cr3t"), true); err == nil || strings.Contains(err.Error(), "s3cr3t") {
					t.Errorf("Add: %v", err)
				}
				if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
					t.Error("Add has changed the wallet that it could not read")
				}
			}
		})
	}
}

// What was encrypted for our key, but is not a wallet.
func TestFileContent(t *testing.T) {
	for content, in := range map[string]string{
		``:                                       "not valid JSON",
		`[]`:                                     "not a JSON object",
		`{}`:                                     "version 0",
		`{"version":2,"credentials":[]}`:         "version 2, and this release knows version 1",
		`{"version":1,"credentials":{}}`:         "not of their types",
		`{"version":1,"keys":["s3cr3t"]}`:        "other keys",
		`{"version":1}{"password":"s3cr3t`:       "not valid JSON",
		`{"version":1,"credentials":["s3cr3t"]}`: "entry 0: it is not a JSON object",
		`{"version":1,"credentials":[{"password":"s3cr3t"}]}`:                 `entry 0 has the id ""`,
		`{"version":1,"credentials":[{"id":"a"},{"id":"b"},{"id":"a"}]}`:      `the credential "a" twice`,
		`{"version":1,"credentials":[{"id":"../a","password":"s3cr3t"}]}`:     `the id "../a"`,
		"{\"version\":1,\"credentials\":[{\"id\":\"files\",\"x\":\"\xff\"}]}": "not in UTF-8",
	} {
		if _, err := wallet.ParseContents([]byte(content)); err == nil && !strings.Contains(in, "UTF-8") {
			t.Errorf("%s was read", content)
			continue
		}
		w, path, _ := seal(t, content)
		_, err := w.Credential(t.Context(), "files")
		refused(t, err, path, in)
	}
	w, _, _ := seal(t, `{"version":1,"credentials":[{"id":"files","type":"Azure","secret":"s3cr3t"}]}`)
	_, err := w.Credential(t.Context(), "files")
	refused(t, err, "no tenantId", "credentials add files --replace")
	if _, err := w.Add(t.Context(), user("files", password), true); err != nil {
		t.Errorf("what cannot be used cannot be replaced: %v", err)
	}
}

// Writers wait for each other: nothing that was added is lost.
func TestFileWritersAtOnce(t *testing.T) {
	_, path, key := newFile(t)
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			w := wallet.File(path, key)
			if _, err := w.Add(t.Context(), user(fmt.Sprintf("c%02d", i), "s3cr3t"), false); err != nil {
				t.Error(err)
			}
			if _, err := w.List(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if list, err := wallet.File(path, key).List(t.Context()); err != nil || len(list) != 20 {
		t.Errorf("%d, %v", len(list), err)
	}
}

func FuzzContents(f *testing.F) {
	for _, seed := range []string{`{"version":1,"credentials":[]}`, `{"version":1,"credentials":[{"id":"a","username":"u","password":"p"},{"id":"b"}]}`,
		`{"version":1,"credentials":null}`, `{"VERSION":1,"Credentials":[{"ID":"a"}]}`, `{"version":1,"credentials":[{"id":"a","id":"b"}]}`, `{"version":1}x`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		once, err := wallet.ParseContents(b)
		if err != nil {
			return
		}
		twice, err := wallet.ParseContents(once)
		if err != nil || !bytes.Equal(once, twice) {
			t.Errorf("%q is written as %q, then as %q, %v", b, once, twice, err)
		}
	})
}

// FuzzSealed spoils the encrypted file: it is never taken for a wallet.
func FuzzSealed(f *testing.F) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		f.Fatal(err)
	}
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, id.Recipient())
	if err != nil {
		f.Fatal(err)
	}
	if _, err := io.WriteString(w, `{"version":1,"credentials":[{"id":"a","username":"u","password":"s3cr3t"}]}`); err != nil {
		f.Fatal(err)
	}
	if err := w.Close(); err != nil {
		f.Fatal(err)
	}
	dir := f.TempDir()
	path, key := filepath.Join(dir, "wallet.age"), filepath.Join(dir, "wallet.key")
	if err := os.WriteFile(key, []byte(id.String()), 0o600); err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{}, uint16(0))
	f.Add([]byte("X25519"), uint16(30))
	f.Fuzz(func(t *testing.T, patch []byte, at uint16) {
		b := bytes.Clone(sealed.Bytes())
		copy(b[min(int(at), len(b)):], patch)
		write(t, path, string(b))
		_, err := wallet.File(path, key).Credential(t.Context(), "a")
		if same := bytes.Equal(b, sealed.Bytes()); same != (err == nil) {
			t.Errorf("spoiled with %q at %d: %v", patch, at, err)
		}
		if err != nil {
			refused(t, err)
		}
	})
}
