package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"imageport/appliance"
	"imageport/appliance/lock"
)

// callAppliance runs a command of appliance in this process.
func callAppliance(t *testing.T, args ...string) result {
	t.Helper()
	var out, err bytes.Buffer
	a := &app{in: strings.NewReader(""), out: &out, err: &err, output: outputText}
	root := a.root()
	if !slices.ContainsFunc(root.Commands(), func(c *cobra.Command) bool { return c.Name() == "appliance" }) {
		root.AddCommand(a.applianceCommand())
	}
	root.SetArgs(append([]string{"appliance"}, args...))
	root.SetOut(&out)
	root.SetErr(&err)
	cmd, failure := root.ExecuteContextC(t.Context())
	code := a.report(cmd, failure)
	return result{code, out.String(), err.String()}
}

// emptyMirror has no package, and is asked for the lock's.
func emptyMirror(t *testing.T) string {
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	return server.URL + "/debian"
}

func TestApplianceRefusals(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	empty, damaged, keyring := emptyMirror(t), file("damaged.lock", "nonsense\n"), file("keyring.gpg", "nonsense")
	cache := filepath.Join(dir, "debs")
	for args, want := range map[string]struct {
		code int
		says string
	}{
		"build":                                                                        {exitUsage, `required flag(s) "out" not set`},
		"build --out x --formats raw,qcow2":                                            {exitFailed, `BAD_REQUEST: there is no format "qcow2". Give some of uki, raw, ova, vhd, gcp, iso`},
		"build --out x --bios --formats uki,iso":                                       {exitFailed, "--bios is for disks"},
		"fetch --lock " + damaged:                                                      {exitFailed, "damaged.lock: not a valid package lock: line 1"},
		"fetch --lock " + damaged + ".absent":                                          {exitFailed, "no such file"},
		"fetch --mirror nonsense --cache " + cache:                                     {exitFailed, "Give one with --mirror"},
		"fetch --security-mirror http://x":                                             {exitFailed, "has a meaning with --mirror only"},
		"fetch --mirror " + empty + " --cache " + cache:                                {exitFailed, "imageport appliance lock --out packages.lock"},
		"fetch --refresh " + damaged + " --mirror " + empty + " --cache " + cache:      {exitFailed, "damaged.lock: not a valid package lock"},
		"fetch --refresh " + dir + "/new.lock --mirror " + empty + " --cache " + cache: {exitFailed, "going on with other versions"},
		"fetch --mirror http://127.0.0.1:1/debian --cache " + cache:                    {exitFailed, "cannot be downloaded: http://127.0.0.1:1/debian"},
		"lock --out " + dir + "/new.lock --mirror http://127.0.0.1:1/debian":           {exitFailed, "connection refused. Name another mirror with --mirror; behind a proxy"},
		"lock --out " + dir + "/new.lock --mirror " + empty:                            {exitFailed, "debian trixie: the mirror does not have it: dists/trixie/InRelease"},
		"lock --out " + dir + "/new.lock --keyring " + keyring:                         {exitFailed, "debian-archive-keyring"},
		"lock --out " + dir + "/new.lock --keyring " + keyring + ".absent":             {exitFailed, "debian-archive-keyring"},
	} {
		if r := callAppliance(t, strings.Fields(args)...); r.code != want.code || !strings.Contains(r.err, want.says) || r.out != "" {
			t.Errorf("%s: %+v", args, r)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "new.lock")); err == nil {
		t.Error("there is a lock of a mirror that has none")
	}
}

// TestApplianceRefresh has a mirror that lost the pinned packages, and a lock
// that was refreshed before, whose package is kept.
func TestApplianceRefresh(t *testing.T) {
	dir := t.TempDir()
	l, err := appliance.Pinned()
	if err != nil {
		t.Fatal(err)
	}
	const contents = "contents of a package"
	sum := sha256.Sum256([]byte(contents))
	l.Packages = l.Packages[:1]
	l.Packages[0].Size, l.Packages[0].SHA256 = int64(len(contents)), hex.EncodeToString(sum[:])
	refreshed := filepath.Join(dir, "refreshed.lock")
	if err := writeLock(refreshed, l); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, l.Packages[0].SHA256+".deb"), []byte(contents), 0o600); err != nil {
		t.Fatal(err)
	}
	r := callAppliance(t, "fetch", "--mirror", emptyMirror(t), "--cache", dir, "--refresh", refreshed)
	if r.code != exitOK || !strings.Contains(r.err, "warning: ") || !strings.Contains(r.err, "going on with other versions, see "+refreshed) || !strings.Contains(r.out, "1 packages of trixie") || !strings.Contains(r.out, l.SHA256()) {
		t.Errorf("%+v", r)
	}
}

func TestLockChanges(t *testing.T) {
	of := func(packages ...string) (l lock.Lock) {
		for i := 0; i < len(packages); i += 2 {
			l.Packages = append(l.Packages, lock.Package{Name: packages[i], Version: packages[i+1]})
		}
		return l
	}
	if said := changes(of("a", "1", "b", "1", "c", "1"), of("a", "1", "b", "2", "d", "1")); said != "changed: b from 1, new d, no longer c" {
		t.Error(said)
	}
	if said := changes(of("a", "1"), of("a", "1")); said != "nothing has changed" {
		t.Error(said)
	}
}
