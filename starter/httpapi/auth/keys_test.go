package auth_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"imageport/job"
	"imageport/starter/httpapi/auth"
)

func with(t *testing.T, keys auth.Keys, name string, g auth.Grant) (auth.Keys, string) {
	t.Helper()
	more, _, secret, err := keys.With(name, g, time.Date(2026, 1, 31, 10, 0, 0, 0, time.UTC), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return more, secret
}

func TestKeys(t *testing.T) {
	t.Parallel()
	keys, ci := with(t, auth.Keys{}, "ci", auth.Grant{ResourceLocations: []string{"a", "b"}})
	keys, look := with(t, keys, "look", auth.Grant{ResourceLocations: []string{auth.Everywhere}, ReadOnly: true})
	text, err := keys.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(text, []byte(ci)) || bytes.Contains(text, []byte(ci[20:])) {
		t.Errorf("the file has a key: %s", text)
	}
	read, err := auth.ParseKeys(text)
	if err != nil || !reflect.DeepEqual(read, keys) {
		t.Fatalf("%v: %+v; want %+v", err, read, keys)
	}
	p, err := read.Authenticate(t.Context(), ci)
	if err != nil || p.Name != "key ci" || !p.MayOperate("a") || !p.MaySee("b") || p.MaySee("c") || p.MaySee("") || p.MaySee("*") || p.MaySeeCredentials() || !reflect.DeepEqual(p.Visible(), []string{"a", "b"}) {
		t.Errorf("%+v, %v", p, err)
	}
	if p, err = read.Authenticate(t.Context(), look); err != nil || !p.MaySee("x") || p.MayOperate("x") || p.Visible() != nil {
		t.Errorf("%+v, %v", p, err)
	}
	for _, bad := range []string{"", "ipk_", "ipk__", ci + " ", strings.ToUpper(ci), ci[:len(ci)-1], strings.Replace(ci, ci[4:16], look[4:16], 1), ci[4:]} {
		if p, err := read.Authenticate(t.Context(), bad); job.CodeOf(err) != job.Unauthenticated || !reflect.DeepEqual(p, auth.Principal{}) {
			t.Errorf("%q: %+v, %v", bad, p, err)
		}
	}
	fewer, removed, err := read.Without("ci")
	if err != nil || removed.Name != "ci" || len(fewer.List()) != 1 {
		t.Errorf("%+v, %v", fewer, err)
	}
	if _, err := fewer.Authenticate(t.Context(), ci); job.CodeOf(err) != job.Unauthenticated {
		t.Errorf("a removed key: %v", err)
	}
	if _, _, err := fewer.Without("ci"); job.CodeOf(err) != job.BadRequest {
		t.Errorf("removed twice: %v", err)
	}
	for name, g := range map[string]auth.Grant{"look": {ResourceLocations: []string{"a"}}, "": {ResourceLocations: []string{"a"}}, "none": {}, "empty": {ResourceLocations: []string{""}}, "a\nb": {Credentials: true}} {
		if _, _, _, err := fewer.With(name, g, time.Time{}, rand.Reader); job.CodeOf(err) != job.BadRequest {
			t.Errorf("%q %+v: %v", name, g, err)
		}
	}
}

func TestBadKeyFiles(t *testing.T) {
	t.Parallel()
	keys, _ := with(t, auth.Keys{}, "ci", auth.Grant{ResourceLocations: []string{"a"}})
	good, err := keys.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"no JSON": "keys", "more behind": string(good) + "{}", "another version": strings.Replace(string(good), `"version": 1`, `"version": 2`, 1),
		"a misspelt right":   strings.Replace(string(good), `"name"`, `"readonly_": true, "name"`, 1),
		"a short hash":       strings.Replace(string(good), `"sha256": "`, `"sha256": "ab`, 1),
		"nothing is allowed": strings.Replace(string(good), `"a"`, ``, 1),
	} {
		if _, err := auth.ParseKeys([]byte(text)); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if none, err := auth.ParseKeys([]byte("\n")); err != nil || len(none.List()) != 0 {
		t.Errorf("empty: %+v, %v", none, err)
	}
}

func FuzzParseKeys(f *testing.F) {
	keys, _, _, err := auth.Keys{}.With("ci", auth.Grant{ResourceLocations: []string{"a"}}, time.Time{}, rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	good, err := keys.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, err := auth.ParseKeys(text)
		if err != nil {
			return
		}
		again, err := keys.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if read, err := auth.ParseKeys(again); err != nil || len(read.List()) != len(keys.List()) {
			t.Errorf("%s: %v", again, err)
		}
		if p, err := keys.Authenticate(t.Context(), string(text)); err == nil {
			t.Errorf("the file lets in %+v", p)
		}
	})
}

func TestKeyFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys.json")
	now := time.Date(2026, 1, 31, 10, 0, 0, 0, time.UTC)
	var told []error
	var unreadable, unseen error
	f, err := auth.NewKeyFile(func() ([]byte, error) {
		if unreadable != nil {
			return nil, unreadable
		}
		return os.ReadFile(path)
	}, func() (fs.FileInfo, error) {
		if unseen != nil {
			return nil, unseen
		}
		return os.Stat(path)
	}, func() time.Time { return now }, func(err error) { told = append(told, err) })
	if err != nil {
		t.Fatal(err)
	}
	keys, ci := with(t, auth.Keys{}, "ci", auth.Grant{ResourceLocations: []string{"a"}})
	lets := func() bool {
		_, err := f.Authenticate(t.Context(), ci)
		return err == nil
	}
	write := func(text []byte) {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		now = now.Add(time.Minute)
		if err := os.Chtimes(path, now, now); err != nil {
			t.Fatal(err)
		}
	}
	if lets() {
		t.Error("without a file")
	}
	good, err := keys.Encode()
	if err != nil {
		t.Fatal(err)
	}
	write(good)
	if !lets() {
		t.Error("a new key is not seen")
	}
	write([]byte("spoilt"))
	if first, second := lets(), lets(); !first || !second || len(told) != 1 {
		t.Errorf("a spoilt file: %v", told)
	}
	// What the file system does not tell now changes nothing, and is asked again.
	told = nil
	unseen = errors.New("stale handle")
	now = now.Add(time.Minute)
	if first, second := lets(), lets(); !first || !second || len(told) != 1 {
		t.Errorf("the file cannot be looked at: %v", told)
	}
	unseen, unreadable = nil, errors.New("input/output error")
	none, err := auth.Keys{}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	write(none)
	if !lets() || len(told) != 2 {
		t.Errorf("the file cannot be read: %v", told)
	}
	unreadable = nil
	now = now.Add(time.Minute)
	if lets() {
		t.Error("a key was removed while the file could not be read, and is taken for good")
	}
	write(good)
	if !lets() {
		t.Error("a file that is good again is not read")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Minute)
	if lets() {
		t.Error("the file is gone, and the key is taken")
	}
	write([]byte("spoilt"))
	if _, err := auth.NewKeyFile(func() ([]byte, error) { return os.ReadFile(path) }, func() (fs.FileInfo, error) { return os.Stat(path) }, time.Now, nil); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("spoilt at first: %v", err)
	}
}
