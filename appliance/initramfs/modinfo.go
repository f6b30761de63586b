package initramfs

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"strings"
)

// ErrModule: a kernel module is damaged, unsigned, or not there.
var ErrModule = errors.New("not a usable kernel module")

// modinfo is what a module says of itself.
type modinfo struct {
	name    string
	depends []string
	before  []string // wanted, but not needed: "softdep pre"
	aliases []string
}

// signed ends a module that has a signature, see the kernel's documentation,
// "Kernel module signing facility".
const signed = "~Module signature appended~\n"

// readModinfo reads the section .modinfo of a module: strings of the form
// key=value.
func readModinfo(ko []byte) (modinfo, error) {
	if !bytes.HasSuffix(ko, []byte(signed)) {
		return modinfo{}, fmt.Errorf("%w: it has no signature", ErrModule)
	}
	raw, err := section(ko, ".modinfo")
	if err != nil {
		return modinfo{}, fmt.Errorf("%w: %w", ErrModule, err)
	}
	var m modinfo
	for _, pair := range strings.Split(string(raw), "\x00") {
		key, value, _ := strings.Cut(pair, "=")
		switch key {
		case "name":
			m.name = value
		case "depends":
			if value != "" {
				m.depends = strings.Split(underscored(value), ",")
			}
		case "softdep":
			m.before = append(m.before, softdep(value)...)
		case "alias":
			if strings.ContainsAny(value, " \t\n") {
				return modinfo{}, fmt.Errorf("%w: the alias %q has a blank in it", ErrModule, value)
			}
			m.aliases = append(m.aliases, value)
		}
	}
	if m.name == "" || strings.ContainsAny(m.name, "/\t\n ") {
		return modinfo{}, fmt.Errorf("%w: its name is %q", ErrModule, m.name)
	}
	return m, nil
}

// underscored writes names of modules as the kernel does.
func underscored(name string) string { return strings.ReplaceAll(name, "-", "_") }

// softdep gives what is behind "pre:", see modprobe.d(5).
func softdep(value string) []string {
	var before []string
	pre := false
	for word := range strings.FieldsSeq(value) {
		if strings.HasSuffix(word, ":") {
			pre = word == "pre:"
		} else if pre {
			before = append(before, underscored(word))
		}
	}
	return before
}

// section gives the bytes of an ELF file's section.
func section(file []byte, name string) ([]byte, error) {
	e, err := elf.NewFile(bytes.NewReader(file))
	if err != nil {
		return nil, err
	}
	if e.Machine != elf.EM_X86_64 || e.Class != elf.ELFCLASS64 {
		return nil, fmt.Errorf("it is for %s, want %s", e.Machine, elf.EM_X86_64)
	}
	s := e.Section(name)
	if s == nil {
		return nil, fmt.Errorf("it has no section %s", name)
	}
	if s.Flags&elf.SHF_COMPRESSED != 0 || s.Type == elf.SHT_NOBITS || s.Offset > uint64(len(file)) || s.FileSize > uint64(len(file))-s.Offset {
		return nil, fmt.Errorf("its section %s is not all in the file", name)
	}
	return file[s.Offset:][:s.FileSize], nil
}
