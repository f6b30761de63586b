package targetdevice

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"imageport/testkit/targetdevice/cache"
)

//go:embed source/*
var sources embed.FS

// Versions of the product. Any of four numbers can be built; the Windows
// Installer compares the first three.
const (
	Version733 = "7.33.0.100"
	Version740 = "7.40.0.50"
	Version741 = "7.41.100.62"
)

// DisplayName is what the product is called in Windows' list of programs.
const DisplayName = "Citrix Provisioning Target Device x64 (test)"

// Services are those that the product installs.
var Services = []string{"bnistack", "CVhdMp", "CFsDep2", "BNDevice"}

// Kind is what an installer does.
type Kind string

const (
	// Works installs the product and ends with 3010: a reboot is required.
	Works Kind = "works"
	// Lies ends with 3010 and installs nothing.
	Lies Kind = "lies"
	// Hangs does not end, as behind a dialog that nobody sees.
	Hangs Kind = "hangs"
	// Fails ends with 1603, as the Windows Installer refuses the package.
	Fails Kind = "fails"
	// Crashes removes the service BNDevice with its program and ends by an
	// exception, 0xc0000005.
	Crashes Kind = "crashes"
	// Reboots installs the product, restarts Windows and ends with 1641.
	Reboots Kind = "reboots"
)

// Kinds are all of them.
var Kinds = []Kind{Works, Lies, Hangs, Fails, Crashes, Reboots}

// Arguments are those of a silent installation, with a log of the Windows
// Installer if log is not empty.
func Arguments(log string) string {
	if log != "" {
		log = " /l*v " + log
	}
	return `/S /v"/qn /norestart` + log + `"`
}

// compiler makes Windows' programs; the drivers need nothing of a C library.
const compiler = "x86_64-w64-mingw32-gcc"

var (
	cFlags      = []string{"-O2", "-s", "-Wall", "-Wextra", "-Werror"}
	deviceFlags = []string{"-mwindows", "-o", "BNDevice.exe", "device.c", "version.o", "-ladvapi32"}
	driverFlags = []string{"-nostdlib", "-Wl,--subsystem,native,-e,DriverEntry", "driver.c", "version.o", "-o"}
	drivers     = []string{"bnistack6.sys", "CVhdMp.sys", "CFsDep2.sys"}
)

// Build gives the path of an installer, and fails the test if it cannot be
// built.
func Build(t testing.TB, version string, kind Kind) string {
	t.Helper()
	path, err := Make(t.Context(), version, kind)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Make gives the path of an installer, PVS_Device_x64.exe in a folder of its own,
// which is built if that has not been done before. It needs mingw-w64, wixl and
// makensis.
func Make(ctx context.Context, version string, kind Kind) (string, error) {
	numbers := strings.Split(version, ".")
	if len(numbers) != 4 || strings.Trim(version, ".0123456789") != "" {
		return "", fmt.Errorf("targetdevice: version %q: want four numbers", version)
	}
	key, err := contentHash(version, kind)
	if err != nil {
		return "", err
	}
	const file = "PVS_Device_x64.exe"
	dir, err := cache.Folder(ctx, "targetdevice", key, func(dir string) error {
		work := filepath.Join(dir, "work")
		if err := build(ctx, work, numbers, kind); err != nil {
			return err
		}
		if err := os.Rename(filepath.Join(work, "installer.exe"), filepath.Join(dir, file)); err != nil {
			return fmt.Errorf("targetdevice: %w", err)
		}
		return os.RemoveAll(work)
	})
	return filepath.Join(dir, file), err
}

// contentHash is over everything of ours that determines an installer.
func contentHash(version string, kind Kind) (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, version, kind, DisplayName, cFlags, deviceFlags, driverFlags, drivers)
	err := fs.WalkDir(sources, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := sources.ReadFile(path)
		fmt.Fprintf(h, "%s %d\n%s", path, len(text), text)
		return err
	})
	return hex.EncodeToString(h.Sum(nil))[:16], err
}

// build leaves installer.exe in work.
func build(ctx context.Context, work string, numbers []string, kind Kind) error {
	source, err := fs.Sub(sources, "source")
	if err == nil {
		err = os.CopyFS(work, source)
	}
	version := strings.Join(numbers, ".")
	if err == nil {
		header := fmt.Sprintf("#define VERSION_NUMBERS %s\n#define VERSION_TEXT \"%s\"\n", strings.Join(numbers, ","), version)
		err = os.WriteFile(filepath.Join(work, "version.h"), []byte(header), 0o644)
	}
	if err != nil {
		return fmt.Errorf("targetdevice: %w", err)
	}
	// Each version is a product of its own, as the Windows Installer counts.
	product := strings.ToUpper(uuid.NewSHA1(uuid.NameSpaceURL, []byte("imageport:targetdevice:"+version)).String())
	condition := "1"
	if kind == Fails {
		condition = "0"
	}
	commands := [][]string{
		{"x86_64-w64-mingw32-windres", "version.rc", "-O", "coff", "-o", "version.o"},
		append(append([]string{compiler}, cFlags...), deviceFlags...),
	}
	for _, driver := range drivers {
		commands = append(commands, append(append(append([]string{compiler}, cFlags...), driverFlags...), driver))
	}
	commands = append(commands,
		[]string{"wixl", "-a", "x64", "-D", "ProductCode=" + product, "-D", "ProductName=" + DisplayName,
			"-D", "Version=" + version, "-D", "LaunchCondition=" + condition, "-o", "device.msi", "product.wxs"},
		[]string{"makensis", "-V2", "-WX", "-DVERSION=" + version, "-DOUT=installer.exe",
			"-D" + strings.ToUpper(string(kind)), "installer.nsi"})
	for _, command := range commands {
		cmd := exec.CommandContext(ctx, command[0], command[1:]...)
		cmd.Dir = work
		if output, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("targetdevice: %s: %w\n%s", strings.Join(command, " "), err, output)
		}
	}
	return nil
}
