package share

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imageport/job"
)

func TestLocation(t *testing.T) {
	for _, c := range []struct {
		loc            Location
		unc, url, addr string
	}{
		{Location{Host: "fs1", Share: "pvs"}, `\\fs1\pvs`, "smb://fs1/pvs", "fs1:445"},
		{Location{Host: "fs1", Port: 445, Share: "pvs", Folder: "a/b c"}, `\\fs1\pvs\a\b c`, "smb://fs1/pvs/a/b%20c", "fs1:445"},
		{Location{Host: "10.0.0.1", Port: 4450, Share: "pvs$"}, `\\10.0.0.1\pvs$`, "smb://10.0.0.1:4450/pvs$", "10.0.0.1:4450"},
		{Location{Host: "fs1", Share: "pvs", User: `CORP\me`}, `\\fs1\pvs`, "smb://CORP%5Cme@fs1/pvs", "fs1:445"},
		{Location{Host: "fd00::1", Share: "pvs"}, `\\fd00::1\pvs`, "smb://[fd00::1]/pvs", "[fd00::1]:445"},
	} {
		if c.loc.String() != c.unc || c.loc.URL() != c.url || c.loc.addr() != c.addr {
			t.Errorf("%+v: %s %s %s", c.loc, c.loc, c.loc.URL(), c.loc.addr())
		}
	}
}

func TestCredentialAccount(t *testing.T) {
	for _, c := range []struct {
		cred                  Credential
		user, domain, display string
	}{
		{Credential{Username: "svc"}, "svc", "", "svc"},
		{Credential{Username: `CORP\svc`}, "svc", "CORP", `CORP\svc`},
		{Credential{Username: "svc@corp.example"}, "svc@corp.example", "", "svc@corp.example"},
		{Credential{Username: "svc", Domain: "CORP"}, "svc", "CORP", `CORP\svc`},
		{Credential{Username: "a@b", Domain: "CORP"}, "a@b", "CORP", `CORP\a@b`},
	} {
		user, domain := c.cred.account()
		if user != c.user || domain != c.domain || c.cred.display() != c.display {
			t.Errorf("%q, %q: %q, %q, %q", c.cred.Username, c.cred.Domain, user, domain, c.cred.display())
		}
	}
}

func TestCredentialNeverPrints(t *testing.T) {
	cred := Credential{Username: "svc", Password: "hunter2", Domain: "CORP"}
	holder := struct {
		Cred  Credential
		Deep  *Credential
		Slice []Credential
	}{cred, &cred, []Credential{cred}}
	var out strings.Builder
	for _, v := range []any{cred, &cred, holder, &holder} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&out, verb, v)
		}
		j, err := json.Marshal(v)
		if err != nil {
			t.Error(err)
		}
		out.Write(j)
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "cred", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "cred", v)
	}
	for _, secret := range []string{"hunter2", fmt.Sprintf("%x", "hunter2"), "svc"} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("printed %q: %s", secret, out.String())
		}
	}
}

// TestLinkAndUnlink tests the fallback of Dir for file systems that cannot
// rename without replacing.
func TestLinkAndUnlink(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	for _, f := range []string{a, b} {
		if err := os.WriteFile(f, []byte(f), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := linkAndUnlink(a, b); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a file: %v", err)
	}
	if err := os.Remove(b); err != nil {
		t.Fatal(err)
	}
	if err := linkAndUnlink(a, b); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(b); err != nil || string(data) != a {
		t.Errorf("%q, %v", data, err)
	}
	if _, err := os.Stat(a); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old name: %v", err)
	}
}

func TestDirArguments(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, filepath.Join(dir, "none")} {
		if _, err := Dir(path); job.CodeOf(err) != job.ShareNotFound {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestRefusalsAreComplete(t *testing.T) {
	for status, r := range refusals {
		if r.code == "" || r.what == "" || r.remedy == "" {
			t.Errorf("%#x: %+v", status, r)
		}
	}
}

func TestVolumeBytes(t *testing.T) {
	for _, c := range []struct {
		units, unit uint64
		want        int64
	}{{0, 0, 0}, {10, 4096, 40960}, {math.MaxUint64, 2, math.MaxInt64}, {1 << 62, 2, math.MaxInt64}} {
		if got := volumeBytes(c.units, c.unit); got != c.want {
			t.Errorf("%d × %d = %d", c.units, c.unit, got)
		}
	}
}
