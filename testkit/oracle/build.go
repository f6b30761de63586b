package oracle

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

//go:embed efi/*.c efi/*.h bios/*
var sources embed.FS

// ErrNoToolchain says that gnu-efi's headers or libraries were not found.
var ErrNoToolchain = errors.New("oracle: gnu-efi is not installed")

// Paths are the two programs, as x64 PE32+ EFI applications.
type Paths struct {
	BootMgr string // in the place of bootmgfw.efi and bootx64.efi
	WinLoad string // in the place of \Windows\System32\winload.efi

	// What a BIOS starts: the code of the master boot record, at most 440 bytes,
	// and that of a boot sector of NTFS from BootCodeOffset on.
	MBRCode, BootCode string
}

// BootCodeOffset is where the code is in a boot sector of NTFS, behind its
// parameters, and BootCodeLimit how many bytes it may have.
const (
	BootCodeOffset = 0x54
	BootCodeLimit  = 510 - BootCodeOffset
)

// biosPrograms are what a BIOS starts, by the address at which it runs.
var biosPrograms = map[string]string{
	"mbr":  "0x600",
	"boot": "0x7c54", // BootCodeOffset
}

// The programs and the objects that they are linked from.
var programs = map[string][]string{
	"bootmgr": {"bootmgr", "recovery", "resolve", "bcd", "regf", "gpt", "ntfs", "volume", "report"},
	"winload": {"winload", "report"},
}

// compilerFlags make position-independent code for the firmware's calling
// convention and its 16-bit characters.
var compilerFlags = []string{
	"-isystem", "/usr/include/efi", "-isystem", "/usr/include/efi/x86_64",
	"-std=c11", "-O2", "-Wall", "-Wextra", "-Werror",
	"-ffreestanding", "-fpic", "-fshort-wchar", "-mno-red-zone",
	"-fno-stack-protector", "-fno-strict-aliasing", "-maccumulate-outgoing-args",
	"-DGNU_EFI_USE_MS_ABI",
}

// imageSections are the sections that an EFI program consists of.
var imageSections = []string{
	".text", ".sdata", ".data", ".rodata", ".dynamic", ".dynsym",
	".rel", ".rela", ".rel.*", ".rela.*", ".reloc", ".areloc",
}

// Build compiles the oracle with gcc, ld, objcopy and gnu-efi. The result is
// kept in dir, in a folder named after the hash of the sources and of the way
// they are built, and is used again by the next call: the paths must be
// treated as read-only. Several processes may build in one dir at a time.
func Build(ctx context.Context, dir string) (Paths, error) {
	key, err := contentHash()
	if err != nil {
		return Paths{}, err
	}
	built := filepath.Join(dir, "oracle-"+key)
	paths := Paths{
		BootMgr: filepath.Join(built, "bootmgr.efi"),
		WinLoad: filepath.Join(built, "winload.efi"),

		MBRCode:  filepath.Join(built, "mbr.bin"),
		BootCode: filepath.Join(built, "boot.bin"),
	}
	if _, err := os.Stat(built); err == nil {
		return paths, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Paths{}, fmt.Errorf("oracle: %w", err)
	}
	work, err := os.MkdirTemp(dir, "oracle-build-*")
	if err != nil {
		return Paths{}, fmt.Errorf("oracle: %w", err)
	}
	defer os.RemoveAll(work)
	if err := compile(ctx, work, sources); err != nil {
		return Paths{}, err
	}
	// The folder appears with both programs in it, or not at all. Losing the
	// race to another process is as good as winning it.
	if err := os.Rename(filepath.Join(work, "out"), built); err != nil {
		if _, statErr := os.Stat(built); statErr != nil {
			return Paths{}, fmt.Errorf("oracle: %w", err)
		}
	}
	return paths, nil
}

// contentHash is over everything of ours that determines the programs.
func contentHash() (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, programs, compilerFlags, imageSections, biosPrograms)
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

// compile leaves the programs in work/out; src has the sources below efi.
func compile(ctx context.Context, work string, src fs.FS) error {
	libraries, err := findGnuEFI()
	if err != nil {
		return err
	}
	if err := os.CopyFS(work, src); err != nil {
		return fmt.Errorf("oracle: %w", err)
	}
	if err := os.Mkdir(filepath.Join(work, "out"), 0o755); err != nil {
		return fmt.Errorf("oracle: %w", err)
	}
	for program, address := range biosPrograms {
		if err := run(ctx, work, "as", "--32", "-I", "bios", "-o", program+".o", "bios/"+program+".S"); err != nil {
			return err
		}
		if err := run(ctx, work, "ld", "-m", "elf_i386", "-Ttext", address, "--oformat", "binary", "-o", "out/"+program+".bin", program+".o"); err != nil {
			return err
		}
	}
	for program, modules := range programs {
		var objects []string
		for _, module := range modules {
			objects = append(objects, module+".o")
			args := append([]string{"-c", "efi/" + module + ".c", "-o", module + ".o"}, compilerFlags...)
			if err := run(ctx, work, "gcc", args...); err != nil {
				return err
			}
		}
		// A shared object may have unresolved symbols, an EFI program not.
		link := append([]string{
			"-shared", "-Bsymbolic", "--no-undefined", "--build-id=none",
			"-L" + libraries, "-T", filepath.Join(libraries, "elf_x86_64_efi.lds"),
			filepath.Join(libraries, "crt0-efi-x86_64.o"),
		}, objects...)
		link = append(link, "-o", program+".so", "-lgnuefi", "-lefi")
		if err := run(ctx, work, "ld", link...); err != nil {
			return err
		}
		copyArgs := []string{"--target", "efi-app-x86_64", "--subsystem=10"}
		for _, section := range imageSections {
			copyArgs = append(copyArgs, "-j", section)
		}
		copyArgs = append(copyArgs, program+".so", "out/"+program+".efi")
		if err := run(ctx, work, "objcopy", copyArgs...); err != nil {
			return err
		}
	}
	return nil
}

// findGnuEFI gives the folder of gnu-efi's libraries, which distributions put
// in different places.
func findGnuEFI() (string, error) {
	candidates := []string{"/usr/lib", "/usr/lib/gnuefi", "/usr/lib64/gnuefi", "/usr/lib/x86_64-linux-gnu/gnuefi"}
	for _, dir := range candidates {
		if _, err := os.Stat(filepath.Join(dir, "crt0-efi-x86_64.o")); err == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("%w: no crt0-efi-x86_64.o in %s; install the package gnu-efi",
		ErrNoToolchain, strings.Join(candidates, ", "))
}

// run runs one tool in work; the error carries what the tool said.
func run(ctx context.Context, work, tool string, args ...string) error {
	cmd := exec.CommandContext(ctx, tool, args...)
	cmd.Dir = work
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("oracle: %s %s: %w\n%s", tool, strings.Join(args, " "), err, output)
	}
	return nil
}
