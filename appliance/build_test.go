package appliance_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"imageport/appliance"
	"imageport/appliance/export"
	"imageport/appliance/lock"
)

// inputs are what all tests build from.
var inputs = sync.OnceValues(func() (appliance.Options, error) {
	l, err := appliance.Pinned()
	if err != nil {
		return appliance.Options{}, err
	}
	mirror, err := lock.AptMirror(os.DirFS("/etc/apt"))
	if err != nil {
		return appliance.Options{}, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return appliance.Options{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	store := lock.Store{Dir: filepath.Join(cache, "imageport", "debs"), Mirror: mirror}
	packages, err := store.Get(ctx, l)
	if errors.Is(err, lock.ErrGone) {
		// The set-up of the tests refreshes the lock where that is so.
		raw, missing := os.ReadFile("../build/packages.lock")
		if missing != nil {
			return appliance.Options{}, err
		}
		if l, err = lock.Parse(raw); err == nil {
			packages, err = store.Get(ctx, l)
		}
	}
	return appliance.Options{Lock: l, Packages: packages}, err
})

// workDir is a folder of all tests.
var workDir string

func TestMain(m *testing.M) {
	var err error
	if workDir, err = os.MkdirTemp("", "appliance-test-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(workDir)
	os.Exit(code)
}

// agent is the program of the tests' appliances.
var agent = sync.OnceValues(func() (string, error) {
	program := filepath.Join(workDir, "init")
	compile := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", program, "./testdata/init")
	compile.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := compile.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return program, nil
})

// options gives what to build an appliance from.
func options(t *testing.T) appliance.Options {
	t.Helper()
	o, err := inputs()
	if err != nil {
		t.Fatal(err)
	}
	if o.Agent, err = agent(); err != nil {
		t.Fatal(err)
	}
	o.Dir = t.TempDir()
	return o
}

func build(t *testing.T, o appliance.Options) appliance.Result {
	t.Helper()
	begun := time.Now()
	r, err := appliance.Build(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: built in %s", r.Digest, time.Since(begun).Round(time.Millisecond))
	return r
}

// built is an appliance that tests look at.
var built = sync.OnceValues(func() (appliance.Result, error) {
	o, err := inputs()
	if err != nil {
		return appliance.Result{}, err
	}
	if o.Agent, err = agent(); err != nil {
		return appliance.Result{}, err
	}
	o.Dir, o.Formats, o.BIOS = filepath.Join(workDir, "built"), export.Formats(), true
	return appliance.Build(context.Background(), o)
})

func shared(t *testing.T) appliance.Result {
	t.Helper()
	r, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// path gives the file of a format, whose size and hash have to be as the result
// says.
func path(t *testing.T, r appliance.Result, format string) string {
	t.Helper()
	for _, f := range r.Files {
		if f.Format != format {
			continue
		}
		raw, err := os.ReadFile(f.Path)
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(raw); hex.EncodeToString(sum[:]) != f.SHA256 || int64(len(raw)) != f.SizeBytes {
			t.Errorf("%s has %d bytes with %x, the result says %+v", f.Path, len(raw), sum, f)
		}
		return f.Path
	}
	t.Fatalf("no %s in %+v", format, r)
	return ""
}

// TestReproducible builds a second time, in another folder and with another
// umask.
func TestReproducible(t *testing.T) {
	sums := func(r appliance.Result) map[string]string {
		sums := map[string]string{}
		for _, f := range r.Files {
			path(t, r, f.Format)
			sums[filepath.Base(f.Path)] = f.SHA256
		}
		return sums
	}
	r := shared(t)
	defer syscall.Umask(syscall.Umask(0o077))
	o := options(t)
	o.Formats, o.BIOS, o.Step = export.Formats(), true, t.Logf
	first, second := sums(r), sums(build(t, o))
	if !maps.Equal(first, second) {
		t.Errorf("%v\nthe second time %v", first, second)
	}
	names := slices.Sorted(maps.Keys(first))
	if want := "imageport-ce-gcp.tar.gz imageport-ce.cdx.json imageport-ce.efi imageport-ce.iso imageport-ce.ova imageport-ce.raw imageport-ce.vhd"; strings.Join(names, " ") != want {
		t.Errorf("%v, want %s", names, want)
	}
	for _, f := range r.Files[2:] { // the exports
		check := exec.Command("sha256sum", "-c", filepath.Base(f.Path)+".sha256")
		check.Dir = filepath.Dir(f.Path)
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", f.Path, err, out)
		}
	}
	if r.Files[0].SHA256 != r.Digest || r.Name != appliance.Name || r.Version == "" || r.Unsigned != "" || !strings.HasSuffix(r.Kernel, "-cloud-amd64") {
		t.Errorf("%+v", r)
	}
}
