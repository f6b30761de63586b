package initramfs

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"path"
	"strings"

	"imageport/appliance/deb"
)

// ErrProgram: a program, or a library that it needs, is not in the packages,
// or not one for this machine.
var ErrProgram = errors.New("not a usable program")

// libraryDirs are where Debian has shared libraries.
var libraryDirs = []string{"/usr/lib/x86_64-linux-gnu", "/usr/lib"}

// libraryDir is one that the dynamic linker looks in without any
// configuration, ld.so(8).
const libraryDir = "/lib"

// maxString bounds a path in an ELF file, in bytes.
const maxString = 4096

// AddPrograms adds programs at their paths, with the dynamic linker and the
// shared libraries that their ELF headers name.
func (t *Tree) AddPrograms(files deb.Tree, paths []string) error {
	a := programAdder{tree: t, files: files, added: map[string]bool{}, linkers: map[string]bool{}}
	for _, name := range paths {
		if err := a.add(name, name); err != nil {
			return err
		}
	}
	return nil
}

type programAdder struct {
	tree    *Tree
	files   deb.Tree
	added   map[string]bool // paths in the tree
	linkers map[string]bool // names of the dynamic linkers there
}

// add adds the file that is at a path in the packages under another one.
func (a *programAdder) add(name, from string) error {
	if a.added[name] {
		return nil
	}
	a.added[name] = true
	file, _, ok := a.files.Find(from)
	if !ok {
		return fmt.Errorf("%w: %s is in none of the packages", ErrProgram, from)
	}
	linker, libraries, err := needs(file.Data)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrProgram, from, err)
	}
	if err := a.tree.AddFile(name, 0o755, file.Data); err != nil {
		return err
	}
	if linker != "" {
		a.linkers[path.Base(linker)] = true
		if err := a.add(linker, linker); err != nil {
			return fmt.Errorf("%s: %w", from, err)
		}
	}
	for _, library := range libraries {
		if err := a.addLibrary(library); err != nil {
			return fmt.Errorf("%s: %w", from, err)
		}
	}
	return nil
}

func (a *programAdder) addLibrary(library string) error {
	if a.linkers[library] {
		return nil // it is loaded already when it loads the others
	}
	for _, dir := range libraryDirs {
		if _, _, ok := a.files.Find(path.Join(dir, library)); ok {
			return a.add(path.Join(libraryDir, library), path.Join(dir, library))
		}
	}
	return fmt.Errorf("%w: %s is in none of the packages: pin the one that has it", ErrProgram, library)
}

// needs gives the dynamic linker of an ELF file, "" if it names none, and the
// names of the libraries that it is linked with.
func needs(file []byte) (linker string, libraries []string, err error) {
	if !bytes.HasPrefix(file, []byte(elf.ELFMAG)) {
		return "", nil, errors.New("it is no ELF file")
	}
	e, err := elf.NewFile(bytes.NewReader(file))
	if err != nil {
		return "", nil, err
	}
	if e.Machine != elf.EM_X86_64 || e.Class != elf.ELFCLASS64 {
		return "", nil, fmt.Errorf("it is for %s, want %s", e.Machine, elf.EM_X86_64)
	}
	for _, p := range e.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		if p.Off > uint64(len(file)) || p.Filesz > min(maxString, uint64(len(file))-p.Off) {
			return "", nil, fmt.Errorf("the name of its dynamic linker at offset %d has %d bytes", p.Off, p.Filesz)
		}
		linker = strings.TrimRight(string(file[p.Off:][:p.Filesz]), "\x00")
		if !path.IsAbs(linker) || path.Clean(linker) != linker {
			return "", nil, fmt.Errorf("its dynamic linker is %q, want an absolute path", linker)
		}
	}
	for _, s := range e.Sections {
		// The package would unpack, or believe, these.
		if s.Flags&elf.SHF_COMPRESSED != 0 && s.Type != elf.SHT_PROGBITS {
			return "", nil, fmt.Errorf("its section %s is compressed", s.Name)
		}
	}
	libraries, err = e.ImportedLibraries()
	if err != nil {
		return "", nil, err
	}
	for _, library := range libraries {
		if library == "" || strings.ContainsAny(library, "/\x00") {
			return "", nil, fmt.Errorf("it needs a library called %q", library)
		}
	}
	return linker, libraries, nil
}

// CheckStatic says why a file is not a program for x86-64 that runs without
// libraries. Errors wrap ErrProgram.
func CheckStatic(file []byte) error {
	linker, libraries, err := needs(file)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrProgram, err)
	case linker != "":
		return fmt.Errorf("%w: it needs %s and libraries: build it with CGO_ENABLED=0", ErrProgram, linker)
	case len(libraries) > 0:
		return fmt.Errorf("%w: it needs %s: build it with CGO_ENABLED=0", ErrProgram, strings.Join(libraries, ", "))
	}
	return nil
}
