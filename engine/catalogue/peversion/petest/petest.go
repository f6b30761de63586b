// Package petest builds small Windows programs with a version resource, for
// tests. They have headers, the resource section and nothing to run: no vendor's
// program is needed to test what reads versions.
package petest

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"unicode/utf16"
)

// The machines of programs.
const (
	MachineX64   = 0x8664
	MachineX86   = 0x014c
	MachineARM64 = 0xaa64
)

// Program says what to build. The zero value is an x64 program whose version
// resource is empty.
type Program struct {
	Machine uint16 // 0 is MachineX64
	// Fixed is the version in the fixed part, of file and product: four numbers.
	Fixed [4]uint16
	// Tables are the tables of strings, by language and code page ("040904b0").
	Tables map[string]map[string]string
	// NoResources leaves the resources out.
	NoResources bool
	// ByteLengths gives the length of strings in bytes, as some linkers do.
	ByteLengths bool
	// Overlay is what follows the program in its file, as in installers.
	Overlay []byte
}

// Installer is an x64 program with that product version, which goes on with so
// many bytes.
func Installer(productVersion string, overlay []byte) []byte {
	return Program{Overlay: overlay, Tables: map[string]map[string]string{"040904b0": {
		"CompanyName":    "imageport",
		"ProductName":    "IPS Test Target Device",
		"ProductVersion": productVersion,
		"FileVersion":    productVersion,
	}}}.Build()
}

const (
	fileAlignment = 0x200
	sectionRVA    = 0x1000
	peAt          = 0x80
)

// Build gives the bytes of the file.
func (p Program) Build() []byte {
	machine := cmp.Or(p.Machine, MachineX64)
	var rsrc []byte
	if !p.NoResources {
		rsrc = resources(p.version())
	}
	raw := (len(rsrc) + fileAlignment - 1) / fileAlignment * fileAlignment
	optional := optionalHeader(machine, len(rsrc))

	var b bytes.Buffer
	b.WriteString("MZ")
	b.Write(make([]byte, 0x3a))
	put(&b, uint32(peAt))
	b.Write(make([]byte, peAt-b.Len()))
	b.WriteString("PE\x00\x00")
	put(&b, machine, uint16(1), uint32(0), uint32(0), uint32(0), uint16(len(optional)), uint16(0x22))
	b.Write(optional)
	b.WriteString(".rsrc\x00\x00\x00")
	put(&b, uint32(max(len(rsrc), 1)), uint32(sectionRVA), uint32(raw), uint32(fileAlignment), uint64(0), uint32(0), uint32(0x40000040))
	b.Write(make([]byte, fileAlignment-b.Len()))
	b.Write(rsrc)
	b.Write(make([]byte, raw-len(rsrc)))
	b.Write(p.Overlay)
	return b.Bytes()
}

func put(b *bytes.Buffer, values ...any) {
	for _, v := range values {
		if err := binary.Write(b, binary.LittleEndian, v); err != nil {
			panic(err) // a type without a fixed size: a defect of this file
		}
	}
}

func optionalHeader(machine uint16, resourceBytes int) []byte {
	var b bytes.Buffer
	if machine == MachineX86 {
		put(&b, uint16(0x10b), uint16(0), [6]uint32{}, uint32(0x400000))
	} else {
		put(&b, uint16(0x20b), uint16(0), [5]uint32{}, uint64(0x140000000))
	}
	put(&b, uint32(0x1000), uint32(fileAlignment), // alignments
		[4]uint16{6, 0, 0, 0}, uint16(6), uint16(0), uint32(0), // versions
		uint32(0x2000+0x1000), uint32(fileAlignment), uint32(0), uint16(2), uint16(0)) // sizes, subsystem
	if machine == MachineX86 {
		put(&b, [4]uint32{}, uint32(0))
	} else {
		put(&b, [4]uint64{}, uint32(0))
	}
	var directories [16][2]uint32
	if resourceBytes > 0 {
		directories[2] = [2]uint32{sectionRVA, uint32(resourceBytes)}
	}
	put(&b, uint32(len(directories)), directories)
	return b.Bytes()
}

// resources is a tree with the one version.
func resources(version []byte) []byte {
	var b bytes.Buffer
	for _, level := range []struct{ id, at uint32 }{{16, 24 | 1<<31}, {1, 48 | 1<<31}, {0x409, 72}} {
		put(&b, uint32(0), uint32(0), uint16(0), uint16(0), uint16(0), uint16(1), level.id, level.at)
	}
	put(&b, uint32(sectionRVA+88), uint32(len(version)), uint64(0))
	b.Write(version)
	return b.Bytes()
}

// version is a VS_VERSIONINFO.
func (p Program) version() []byte {
	var fixed bytes.Buffer
	v := [2]uint32{uint32(p.Fixed[0])<<16 | uint32(p.Fixed[1]), uint32(p.Fixed[2])<<16 | uint32(p.Fixed[3])}
	put(&fixed, uint32(0xFEEF04BD), uint32(0x10000), v, v, [7]uint32{0x3f, 0, 0x40004, 1})
	var tables [][]byte
	for _, language := range slices.Sorted(maps.Keys(p.Tables)) {
		var list [][]byte
		for _, key := range slices.Sorted(maps.Keys(p.Tables[language])) {
			value := text(p.Tables[language][key])
			n := len(value) / 2
			if p.ByteLengths {
				n = len(value)
			}
			list = append(list, frame(1, n, key, value))
		}
		tables = append(tables, frame(1, 0, language, nil, list...))
	}
	var kinds [][]byte
	if len(tables) > 0 {
		kinds = append(kinds, frame(1, 0, "StringFileInfo", nil, tables...))
	}
	return frame(0, fixed.Len(), "VS_VERSION_INFO", fixed.Bytes(), kinds...)
}

// frame makes a block of a version resource.
func frame(kind uint16, valueLength int, key string, value []byte, children ...[]byte) []byte {
	var b bytes.Buffer
	put(&b, uint16(0), uint16(valueLength), kind)
	b.Write(text(key))
	pad(&b)
	b.Write(value)
	for _, c := range children {
		pad(&b)
		b.Write(c)
	}
	out := b.Bytes()
	if len(out) > 0xffff {
		panic(fmt.Sprintf("%s has %d bytes, more than a block can have", key, len(out)))
	}
	binary.LittleEndian.PutUint16(out, uint16(len(out)))
	return out
}

func pad(b *bytes.Buffer) { b.Write(make([]byte, -b.Len()&3)) }

// text is UTF-16 with its terminator.
func text(s string) []byte {
	var b bytes.Buffer
	put(&b, utf16.Encode([]rune(s)), uint16(0))
	return b.Bytes()
}
