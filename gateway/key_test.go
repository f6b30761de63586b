package gateway

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Workers that come up at the same time, without a key, end up with the same one.
func TestKeyIsShared(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "gateway.key")
	keys := make([]*Key, 8)
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() {
			var err error
			if keys[i], err = LoadKey(path); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, k := range keys {
		if k == nil || !bytes.Equal(k.seal, keys[0].seal) || !bytes.Equal(k.ca.Raw, keys[0].ca.Raw) {
			t.Fatal("they differ")
		}
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	if st, err := os.Stat(path); err != nil || st.Mode() != 0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
}

// What the workers of one release derive from a key, those of the next must too.
func TestKeyDerivation(t *testing.T) {
	k, err := newKey(bytes.Repeat([]byte{7}, keyBytes))
	if err != nil {
		t.Fatal(err)
	}
	const ca = "e09a4576"
	if !strings.HasPrefix(k.CA(), ca) {
		t.Errorf("the CA is %s; want %s…", k.CA(), ca)
	}
}

func TestKeyRefused(t *testing.T) {
	for what, tc := range map[string]struct {
		content string
		mode    os.FileMode
		says    string
	}{
		"open to others": {strings.Repeat("0", 64), 0o640, "open to others"},
		"empty":          {"", 0o600, "EOF"},
		"short":          {"00", 0o600, "does not hold 64 hexadecimal digits"},
		"long":           {strings.Repeat("0", 70), 0o600, "does not hold 64"},
		"no digits":      {strings.Repeat("x", 64), 0o600, "does not hold 64"},
	} {
		path := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(path, []byte(tc.content), tc.mode); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadKey(path); err == nil || !strings.Contains(err.Error(), tc.says) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v; want %q", what, err, tc.says)
		}
	}
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(strings.Repeat("0", 64)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, 65534, -1); err == nil { // root may, and could read it
		if _, err := LoadKey(path); err == nil || !strings.Contains(err.Error(), "belongs to user 65534") {
			t.Errorf("another user's file: %v", err)
		}
	}
	if _, err := LoadKey(t.TempDir()); err == nil {
		t.Error("a directory was taken")
	}
}

// The longest id that a job may have fits into a seed and a certificate.
func TestLongJob(t *testing.T) {
	k, err := newKey(make([]byte, keyBytes))
	if err != nil {
		t.Fatal(err)
	}
	p := Peer{CE: "ce-0123456789ab", Job: "ips/" + strings.Repeat("ü%/", 240)}
	token, err := k.invite(p, time.Now().Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := k.invited(token, time.Now()); err != nil || got != p {
		t.Errorf("got %v, %v", got, err)
	}
	if len(token) > 1500 {
		t.Errorf("the token has %d bytes", len(token))
	}
}

func FuzzInvited(f *testing.F) {
	k, err := newKey(make([]byte, keyBytes))
	if err != nil {
		f.Fatal(err)
	}
	good, _ := k.invite(Peer{CE: "ce-0123456789ab", Job: "j"}, time.Now().Add(time.Hour))
	f.Add(good)
	f.Add("")
	f.Fuzz(func(t *testing.T, token string) {
		if p, err := k.invited(token, time.Now()); err == nil && (p.CE != "ce-0123456789ab" || p.Job != "j") {
			t.Errorf("%q invites %v", token, p)
		}
	})
}
