package cevm

import (
	"context"
	"crypto/sha256"
	"debug/pe"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"imageport/appliance"
	"imageport/appliance/export"
	"imageport/appliance/lock"
)

// Image is the appliance in files, which must not be written to.
type Image struct {
	UKI         string // for UEFI
	Raw         string // the disk, for UEFI and BIOS
	Kernel      string // what is in the UKI, for a start without firmware
	Initrd      string
	CommandLine string
}

// unusedFor is how long an image is kept after its last use: longer than any
// run of the tests. Every change of the code makes another, of 80 MiB.
const unusedFor = 2 * time.Hour

// Appliance gives the appliance with cmd/imageport-ce of this tree. It is built
// when the program, the packages or the builder have changed since the last
// time, by whichever test needs it first.
func Appliance(t testing.TB) Image {
	t.Helper()
	i, err := built()
	if err != nil {
		t.Fatalf("cevm: %v", err)
	}
	return i
}

var built = sync.OnceValues(func() (Image, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	root, err := moduleRoot(ctx)
	if err != nil {
		return Image{}, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return Image{}, err
	}
	dir := filepath.Join(cache, "imageport-testkit", "cevm")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Image{}, err
	}
	work, err := os.MkdirTemp(dir, "partial-")
	if err != nil {
		return Image{}, err
	}
	defer os.RemoveAll(work)
	agent := filepath.Join(work, "agent")
	if err := compile(ctx, root, "./cmd/imageport-ce", agent); err != nil {
		return Image{}, err
	}
	key, err := hash(agent, filepath.Join(root, "appliance"), filepath.Join(root, "build", "packages.lock"))
	if err != nil {
		return Image{}, err
	}
	// Tests of several packages run at once: one of them builds.
	guard, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return Image{}, err
	}
	defer guard.Close()
	if err := unix.Flock(int(guard.Fd()), unix.LOCK_EX); err != nil {
		return Image{}, err
	}
	final := filepath.Join(dir, key)
	now := time.Now()
	if err := os.Chtimes(final, now, now); err == nil {
		return open(final)
	}
	removeUnused(dir, now)
	if err := build(ctx, root, cache, agent, work); err != nil {
		return Image{}, err
	}
	if err := errors.Join(os.Remove(agent), os.Rename(work, final)); err != nil {
		return Image{}, err
	}
	return open(final)
})

func moduleRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("go list: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// compile builds a static program as releases are built.
func compile(ctx context.Context, root, pkg, to string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", to, pkg)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w: %s", pkg, err, out)
	}
	return nil
}

// hash is that of everything that the image depends on.
func hash(agent, builder, refreshed string) (string, error) {
	files := []string{agent}
	err := filepath.WalkDir(builder, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() && !strings.HasSuffix(path, "_test.go") && !strings.Contains(path, "/testdata/") {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(refreshed); err == nil {
		files = append(files, refreshed)
	}
	slices.Sort(files[1:])
	sum := sha256.New()
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return "", err
		}
		n, err := io.Copy(sum, f)
		f.Close()
		if err != nil {
			return "", err
		}
		fmt.Fprintf(sum, "\x00%d\x00", n)
	}
	return hex.EncodeToString(sum.Sum(nil)[:12]), nil
}

// removeUnused makes room for the next image. What cannot be removed is in use.
func removeUnused(dir string, now time.Time) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if info, err := e.Info(); err == nil && e.IsDir() && now.Sub(info.ModTime()) > unusedFor {
			_ = os.RemoveAll(filepath.Join(dir, e.Name()))
		}
	}
}

// build builds the appliance and takes its UKI apart.
func build(ctx context.Context, root, cache, agent, dir string) error {
	o, err := inputs(ctx, root, cache)
	if err != nil {
		return err
	}
	o.Agent, o.Dir, o.Formats, o.BIOS = agent, dir, []export.Format{export.Raw}, true
	result, err := appliance.Build(ctx, o)
	if err != nil {
		return err
	}
	for _, f := range result.Files {
		switch f.Format {
		case "uki":
			if err := errors.Join(split(f.Path, dir), os.Rename(f.Path, filepath.Join(dir, "uki"))); err != nil {
				return err
			}
		case string(export.Raw):
			if err := os.Rename(f.Path, filepath.Join(dir, "raw")); err != nil {
				return err
			}
		}
	}
	return nil
}

// inputs are the packages that this release is pinned to, or where the mirror
// has them no more, those that the set-up of the tests has pinned instead.
func inputs(ctx context.Context, root, cache string) (appliance.Options, error) {
	l, err := appliance.Pinned()
	if err != nil {
		return appliance.Options{}, err
	}
	mirror, err := lock.AptMirror(os.DirFS("/etc/apt"))
	if err != nil {
		return appliance.Options{}, err
	}
	store := lock.Store{Dir: filepath.Join(cache, "imageport", "debs"), Mirror: mirror}
	packages, err := store.Get(ctx, l)
	if errors.Is(err, lock.ErrGone) {
		raw, missing := os.ReadFile(filepath.Join(root, "build", "packages.lock"))
		if missing != nil {
			return appliance.Options{}, err
		}
		if l, err = lock.Parse(raw); err == nil {
			packages, err = store.Get(ctx, l)
		}
	}
	return appliance.Options{Lock: l, Packages: packages}, err
}

// sections are what a start without firmware needs of the UKI.
var sections = map[string]string{".linux": "kernel", ".initrd": "initrd", ".cmdline": "cmdline"}

func split(uki, dir string) error {
	f, err := pe.Open(uki)
	if err != nil {
		return err
	}
	defer f.Close()
	for section, name := range sections {
		s := f.Section(section)
		if s == nil {
			return fmt.Errorf("%s has no %s", uki, section)
		}
		data, err := s.Data()
		if err != nil {
			return err
		}
		// The rest is padding.
		if err := os.WriteFile(filepath.Join(dir, name), data[:min(int(s.VirtualSize), len(data))], 0o444); err != nil {
			return err
		}
	}
	return nil
}

func open(dir string) (Image, error) {
	cmdline, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	return Image{
		UKI: filepath.Join(dir, "uki"), Raw: filepath.Join(dir, "raw"),
		Kernel: filepath.Join(dir, "kernel"), Initrd: filepath.Join(dir, "initrd"),
		CommandLine: strings.Trim(string(cmdline), "\x00\n "),
	}, err
}
