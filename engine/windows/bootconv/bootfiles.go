package bootconv

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"imageport/engine/disk/fat32"
	"imageport/engine/windows/ntfs"
	"imageport/engine/windows/offline"
	"imageport/job"
)

// BootFile is a file of the EFI system partition.
type BootFile struct {
	// Source is its path on C:, empty for what the conversion makes itself.
	Source string `json:"source,omitempty"`
	// Target is its path on the ESP, '/'-separated.
	Target string `json:"target"`
	Size   int64  `json:"sizeBytes"`
}

// bootFile is a BootFile with its contents.
type bootFile struct {
	BootFile
	modified time.Time
	data     io.ReaderAt
}

// Targets on the ESP. The firmware of a VM whose NVRAM is empty starts
// EFI/Boot/bootx64.efi, so the boot manager is there, too.
const (
	espMicrosoft = "EFI/Microsoft/Boot"
	espBootMgr   = espMicrosoft + "/bootmgfw.efi"
	espFallback  = "EFI/Boot/bootx64.efi"
	espStore     = espMicrosoft + "/BCD"
	espRecovery  = "EFI/Microsoft/Recovery/BCD" // what starts Windows RE when the other store is lost
)

// checkBootFiles lists the boot files, and makes sure that they and the kernel
// are for x64 and can be read.
func (im *Image) checkBootFiles() error {
	// Only the boot manager is copied. The others stay where Windows reads them.
	for _, path := range []string{pathBootMgr, pathWinload, pathKernel} {
		if err := im.checkMachine(path, path == pathBootMgr); err != nil {
			return err
		}
	}
	var err error
	im.boot, im.boot2023, err = im.listBootFiles()
	return err
}

// checkMachine refuses an executable that is not for x64.
func (im *Image) checkMachine(path string, copied bool) error {
	const repair = "Repair Windows (DISM /RestoreHealth) in a maintenance version"
	f, err := im.windows.NTFS.Open(path)
	if errors.Is(err, ntfs.ErrNotFound) {
		return job.Errorf(job.MissingBootFile, repair, "%s has no %s", im.windows, path)
	}
	if err != nil {
		return volumeError(im.windows, err)
	}
	const amd64 = 0x8664
	header := make([]byte, 4096)
	n, err := f.ReadAt(header, 0)
	switch {
	case errors.Is(err, ntfs.ErrUnsupported) && !copied && !f.Encrypted():
		return nil // what we cannot read, Windows can
	case unreadable(f, err):
		return compressed(path, err)
	case err != nil && !errors.Is(err, io.EOF):
		return volumeError(im.windows, err)
	}
	machine, ok := peMachine(header[:n])
	if !ok {
		return job.Errorf(job.MissingBootFile, repair, "%s is not an executable", path)
	}
	if machine != amd64 {
		return job.Errorf(job.NotX64, "Only 64-bit Windows (x64) can be converted", "%s is for machine %#04x, not for x64 (%#04x)", path, machine, amd64)
	}
	return nil
}

// peMachine gives the machine field of a PE header.
func peMachine(b []byte) (uint16, bool) {
	if len(b) < 0x40 || string(b[:2]) != "MZ" {
		return 0, false
	}
	at := int64(binary.LittleEndian.Uint32(b[0x3c:]))
	if at+6 > int64(len(b)) || string(b[at:at+4]) != "PE\x00\x00" {
		return 0, false
	}
	return binary.LittleEndian.Uint16(b[at+4:]), true
}

// bootTrees are the folders below \Windows\Boot that Windows itself would copy
// to an ESP, and where. Those that end with _EX hold the files which are signed
// by the authority of 2023; their names end with it, too.
var bootTrees = []struct {
	source, target string
	optional       bool
}{
	{pathBootEFI, espMicrosoft, false},
	{`\Windows\Boot\Fonts`, espMicrosoft + "/Fonts", true}, // they make the boot menu pretty, no more
	{`\Windows\Boot\Resources`, espMicrosoft + "/Resources", true},
	{pathBootEFI + suffix2023, espMicrosoft, true},
	{`\Windows\Boot\Fonts` + suffix2023, espMicrosoft + "/Fonts", true},
}

const suffix2023 = "_EX"

// listBootFiles lists the boot files, and those of 2023 under the names that
// they take.
func (im *Image) listBootFiles() (files, files2023 []bootFile, err error) {
	left := maxBootEntries
	for _, tree := range bootTrees {
		found, err := im.listTree(tree.source, tree.target, &left)
		if errors.Is(err, ntfs.ErrNotFound) && tree.optional {
			continue
		}
		if err != nil {
			return nil, nil, missing(im.windows, err)
		}
		if !strings.HasSuffix(tree.source, suffix2023) {
			files = append(files, found...)
			continue
		}
		for _, f := range found {
			f.Target = without2023(f.Target)
			files2023 = append(files2023, f)
		}
	}
	return files, files2023, nil
}

// without2023 gives the target of a file of 2023 the name that it takes:
// bootmgfw_EX.efi becomes bootmgfw.efi, and bootmgfw_EX.efi.mui, the texts that
// belong to it, bootmgfw.efi.mui.
func without2023(target string) string {
	dir, name := path.Split(target)
	stem, ext, _ := strings.Cut(name, ".")
	if n := len(stem) - len(suffix2023); n > 0 && strings.EqualFold(stem[n:], suffix2023) {
		name = stem[:n]
		if ext != "" {
			name += "." + ext
		}
	}
	return dir + name
}

// maxBootEntries is how many files and folders there may be below \Windows\Boot:
// many times what Windows has, and few enough that a volume made to be walked
// for ever is not.
const maxBootEntries = 4096

// listTree lists the files below a folder of C:, taking each entry from left.
func (im *Image) listTree(source, target string, left *int) ([]bootFile, error) {
	entries, err := im.windows.NTFS.ReadDir(source)
	if err != nil {
		return nil, volumeFault(im.windows, err)
	}
	var files []bootFile
	for _, e := range entries {
		if *left--; *left < 0 {
			return nil, job.Errorf(job.BootFilesTooBig, "Remove what does not belong below \\Windows\\Boot", "there are more than %d files and folders below \\Windows\\Boot", maxBootEntries)
		}
		from, to := source+`\`+e.Name, path.Join(target, e.Name)
		if e.IsDir {
			below, err := im.listTree(from, to, left)
			if err != nil {
				return nil, err
			}
			files = append(files, below...)
			continue
		}
		f, err := im.windows.NTFS.Open(from)
		if err != nil {
			return nil, volumeError(im.windows, err)
		}
		if _, err := f.ReadAt(make([]byte, 1), 0); unreadable(f, err) {
			return nil, compressed(from, err)
		}
		files = append(files, bootFile{BootFile{from, to, f.Size()}, f.ModTime(), f})
	}
	return files, nil
}

// unreadable reports whether err is about how the file is compressed or
// encrypted.
func unreadable(f *ntfs.File, err error) bool {
	return errors.Is(err, ntfs.ErrUnsupported) || f.WOF() && offline.OfNTFS(err)
}

func compressed(path string, err error) error {
	return job.Errorf(job.CompressedBootFile, "Run compact /exe /u on it (or compact /compactos:never), or cipher /d, in a maintenance version; if it is damaged, repair Windows (DISM /RestoreHealth)", "%s cannot be read: %w", path, err)
}

// chooseBootFiles settles which boot manager the ESP gets.
func (p *planner) chooseBootFiles() error {
	p.Plan.boot = slices.Clone(p.Image.boot)
	if p.opt.BootManager == job.BootManager2023 {
		replaced := 0
		for _, f := range p.boot2023 {
			if i := slices.IndexFunc(p.Plan.boot, func(g bootFile) bool { return strings.EqualFold(g.Target, f.Target) }); i >= 0 {
				f.Target = p.Plan.boot[i].Target
				p.Plan.boot[i] = f
				replaced++
			} else {
				p.Plan.boot = append(p.Plan.boot, f)
			}
		}
		if replaced == 0 {
			return job.Errorf(job.MissingBootFile, "Install the updates of 2024 or later in a maintenance version, or leave out uefiOptions.bootManager", "%s has no boot manager of 2023: %s does not hold one", p.windows, pathBootEFI+suffix2023)
		}
		p.Plan.warn("the boot manager is the one signed by Windows UEFI CA 2023: with Secure Boot, the targets' firmware must trust that")
	}
	for _, f := range p.Plan.boot {
		if strings.EqualFold(f.Target, espBootMgr) {
			f.Target = espFallback
			p.Plan.boot = append(p.Plan.boot, f)
			break
		}
	}
	return nil
}

// planBootFiles lists what the ESP gets.
func (p *planner) planBootFiles() error {
	for _, f := range p.espFiles() {
		p.BootFiles = append(p.BootFiles, f.BootFile)
	}
	return nil
}

// espFiles is everything that the ESP gets, sorted by path.
func (p *Plan) espFiles() []bootFile {
	files := slices.Clone(p.boot)
	made := func(target string, data []byte) {
		files = append(files, bootFile{BootFile{Target: target, Size: int64(len(data))}, p.modify, bytes.NewReader(data)})
	}
	made(espStore, p.store)
	if p.recovery != nil {
		made(espRecovery, p.recovery)
	}
	slices.SortFunc(files, func(a, b bootFile) int { return strings.Compare(a.Target, b.Target) })
	return files
}

func fatFiles(files []bootFile) []fat32.File {
	out := make([]fat32.File, len(files))
	for i, f := range files {
		out[i] = fat32.File{Path: f.Target, Size: f.Size, ModTime: f.modified, Data: f.data}
	}
	return out
}
