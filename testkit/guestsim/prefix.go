package guestsim

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"imageport/testkit/targetdevice/cache"
)

// Inside of a machine.
const (
	prefixInside = "/prefix"
	driveC       = prefixInside + "/drive_c"
	system32     = driveC + "/windows/system32"
	registryFile = prefixInside + "/system.reg"

	templateInside = "/template"
	volumeInside   = "/volume" // of the disk's Windows
)

// powerFile is where the stand-in for shutdown.exe says what it was asked for.
const powerFile = driveC + "/guestsim-power.txt"

//go:embed shims/bcryptprimitives.c
var bcryptSource []byte

//go:embed shims/shutdown.c
var shutdownSource []byte

// wine is the Wine that is installed: 64 bits are enough.
type wine struct {
	loader, server string
	libraries      string // where its own libraries for Windows are
	version        string
}

// findWine looks for Wine where Debian has its programs, which are not all in the
// search path, and then in that.
func findWine(ctx context.Context) (wine, error) {
	w := wine{
		loader: firstProgram("/usr/lib/wine/wine64", "wine64", "wine"),
		server: firstProgram("/usr/lib/wine/wineserver64", "/usr/lib/wine/wineserver", "wineserver"),
	}
	found, err := filepath.Glob("/usr/lib/*/wine/x86_64-windows")
	if w.loader == "" || w.server == "" || err != nil || len(found) == 0 {
		return wine{}, errors.New("guestsim: Wine for 64 bits was not found: install the packages wine and wine64")
	}
	w.libraries = found[0]
	out, err := exec.CommandContext(ctx, w.loader, "--version").Output()
	if err != nil {
		return wine{}, fmt.Errorf("guestsim: %s --version: %w", w.loader, err)
	}
	w.version = strings.TrimSpace(string(out))
	return w, nil
}

func firstProgram(candidates ...string) string {
	for _, c := range candidates {
		if path, err := exec.LookPath(c); err == nil {
			return path
		}
	}
	return ""
}

// template is a Windows as Wine makes it, which machines add a disk to.
type template struct {
	wine   wine
	prefix string // must not be written to
	root   string // an empty folder, see onMachine
}

// newTemplate gives the template, which is made if that has not been done before:
// it takes some 10 seconds.
func newTemplate(ctx context.Context) (template, error) {
	w, err := findWine(ctx)
	if err != nil {
		return template{}, err
	}
	h := sha256.New()
	fmt.Fprintf(h, "1 %+v\n%s\n%s", w, bcryptSource, shutdownSource)
	dir, err := cache.Folder(ctx, "wine", hex.EncodeToString(h.Sum(nil))[:16], func(dir string) error {
		return makeTemplate(ctx, w, dir)
	})
	return template{wine: w, prefix: filepath.Join(dir, "prefix"), root: filepath.Join(dir, "root")}, err
}

func makeTemplate(ctx context.Context, w wine, dir string) error {
	prefix, root := filepath.Join(dir, "prefix"), filepath.Join(dir, "root")
	if err := errors.Join(os.Mkdir(prefix, 0o755), os.Mkdir(root, 0o755)); err != nil {
		return fmt.Errorf("guestsim: %w", err)
	}
	binds := []bind{{host: prefix, inside: prefixInside, writable: true}}
	if err := onMachine(root, nil, w, binds, func(m *machine) error {
		if code, err := m.run(ctx, w.loader, "wineboot", "-i"); err != nil || code != 0 {
			return errors.Join(fmt.Errorf("guestsim: wineboot -i: exit code %d", code), err)
		}
		_, err := m.run(ctx, w.server, "-w")
		return err
	}); err != nil {
		return err
	}
	if err := addShims(ctx, w, prefix, dir); err != nil {
		return err
	}
	if err := shareLibraries(filepath.Join(prefix, "drive_c/windows/system32"), w.libraries); err != nil {
		return err
	}
	// Not another set-up at each start; and no way to the files of the host.
	return errors.Join(
		os.WriteFile(filepath.Join(prefix, ".update-timestamp"), []byte("disable\n"), 0o644),
		os.Remove(filepath.Join(prefix, "dosdevices/z:")),
	)
}

// addShims compiles what Wine lacks.
func addShims(ctx context.Context, w wine, prefix, work string) error {
	build := func(name string, source []byte, flags ...string) error {
		out := filepath.Join(prefix, "drive_c/windows/system32", name)
		if err := os.Remove(out); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("guestsim: %w", err)
		}
		cmd := exec.CommandContext(ctx, "x86_64-w64-mingw32-gcc", append([]string{"-O2", "-s", "-Wall", "-Wextra", "-Werror", "-x", "c", "-", "-o", out}, flags...)...)
		cmd.Dir, cmd.Stdin = work, bytes.NewReader(source)
		if output, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("guestsim: %v: %w\n%s", cmd.Args, err, output)
		}
		return nil
	}
	if err := build("shutdown.exe", shutdownSource); err != nil {
		return err
	}
	const library = "bcryptprimitives.dll"
	if _, err := os.Stat(filepath.Join(w.libraries, library)); err == nil {
		return nil // newer versions have it
	}
	return build(library, bcryptSource, "-shared", "-ladvapi32")
}

// shareLibraries puts hard links to Wine's libraries in the place of their copies,
// 700 MB, if they lie on the same file system. Machines have them below an
// overlay: nothing ever writes to them.
func shareLibraries(folder, libraries string) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return fmt.Errorf("guestsim: %w", err)
	}
	for _, e := range entries {
		library, own := filepath.Join(libraries, e.Name()), filepath.Join(folder, e.Name())
		a, err := os.ReadFile(library)
		if err != nil {
			continue // not a library of Wine's
		}
		b, err := os.ReadFile(own)
		if err != nil {
			return fmt.Errorf("guestsim: %w", err)
		}
		if !bytes.Equal(a, b) {
			continue
		}
		switch err := os.Link(library, own+".link"); {
		case errors.Is(err, unix.EXDEV), errors.Is(err, unix.EPERM):
			return nil
		case err != nil:
			return fmt.Errorf("guestsim: %w", err)
		}
		if err := os.Rename(own+".link", own); err != nil {
			return fmt.Errorf("guestsim: %w", err)
		}
	}
	return nil
}
