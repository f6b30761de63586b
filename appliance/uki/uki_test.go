package uki_test

import (
	"bytes"
	"debug/pe"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"imageport/appliance/uki"
)

var le = binary.LittleEndian

const (
	signatureAt = 0x80
	coffAt      = signatureAt + 4
	optionalAt  = coffAt + 20
	tableAt     = optionalAt + 240
)

// stub makes a small PE32+ program: a .text in the file, a .bss in memory, and
// a signature behind them.
func stub() []byte {
	b := make([]byte, 0x400+0x200)
	copy(b, "MZ")
	le.PutUint32(b[0x3c:], signatureAt)
	copy(b[signatureAt:], "PE\x00\x00")
	le.PutUint16(b[coffAt:], 0x8664)
	le.PutUint16(b[coffAt+2:], 2)
	le.PutUint32(b[coffAt+8:], 0x600) // symbols behind the sections
	le.PutUint32(b[coffAt+12:], 3)
	le.PutUint16(b[coffAt+16:], 240)
	le.PutUint16(b[coffAt+18:], 0x22)
	o := b[optionalAt:]
	le.PutUint16(o, 0x20b)
	le.PutUint32(o[8:], 0x200)
	le.PutUint32(o[32:], 0x1000)
	le.PutUint32(o[36:], 0x200)
	le.PutUint32(o[56:], 0x4000)
	le.PutUint32(o[60:], 0x400)
	le.PutUint32(o[64:], 0x12345678)
	le.PutUint16(o[68:], 10)
	le.PutUint32(o[108:], 16)
	le.PutUint32(o[144:], 0x600)
	le.PutUint32(o[148:], 16)
	section := func(i int, name string, virtual, address, raw, at uint32) {
		h := b[tableAt+40*i:]
		copy(h, name)
		for j, v := range []uint32{virtual, address, raw, at} {
			le.PutUint32(h[8+4*j:], v)
		}
		le.PutUint32(h[36:], 0x60000020)
	}
	section(0, ".text", 0x180, 0x1000, 0x200, 0x400)
	section(1, ".bss", 0x1800, 0x2000, 0, 0)
	copy(b[0x400:], "the code")
	return append(b, "0123456789abcdef"...)
}

var sections = []uki.Section{{Name: ".cmdline", Data: []byte("quiet")}, {Name: ".linux", Data: bytes.Repeat([]byte("kernel"), 1000)}}

func TestBuild(t *testing.T) {
	out, err := uki.Build(stub(), sections)
	if err != nil {
		t.Fatal(err)
	}
	f, err := pe.NewFile(bytes.NewReader(out))
	if err != nil {
		t.Fatal(err)
	}
	o := f.OptionalHeader.(*pe.OptionalHeader64)
	if len(f.Sections) != 4 || len(out)%0x200 != 0 || f.PointerToSymbolTable != 0 || o.CheckSum != 0 || o.DataDirectory[4].Size != 0 || o.SizeOfInitializedData != 0x200+0x200+0x1800 {
		t.Errorf("%+v %+v", f.FileHeader, o)
	}
	end := uint32(0x4000)
	for i, s := range sections {
		got := f.Sections[2+i]
		data, err := got.Data()
		if err != nil || got.Name != s.Name || !bytes.Equal(data[:got.VirtualSize], s.Data) || got.VirtualAddress != end || got.Characteristics != 0x40000040 {
			t.Errorf("%+v, %v", got.SectionHeader, err)
		}
		end = (got.VirtualAddress + got.VirtualSize + 0xfff) &^ 0xfff
	}
	if o.SizeOfImage != end {
		t.Errorf("the image has 0x%x bytes in memory, want 0x%x", o.SizeOfImage, end)
	}
	// Binutils see the same.
	path := filepath.Join(t.TempDir(), "uki.efi")
	if err := os.WriteFile(path, out, 0o600); err != nil {
		t.Fatal(err)
	}
	said, err := exec.Command("objdump", "-h", path).CombinedOutput()
	if err != nil || !strings.Contains(string(said), ".cmdline      00000005") || !strings.Contains(string(said), ".linux        00001770") {
		t.Errorf("objdump: %v: %s", err, said)
	}
	if again, err := uki.Build(stub(), sections); err != nil || !bytes.Equal(again, out) {
		t.Errorf("another time it is different: %v", err)
	}
}

func TestBuildRefusals(t *testing.T) {
	changed := func(at int, v uint32) []byte {
		b := stub()
		le.PutUint32(b[at:], v)
		return b
	}
	many := make([]uki.Section, 20)
	for i := range many {
		many[i] = sections[0]
	}
	for name, c := range map[string]struct {
		stub     []byte
		sections []uki.Section
		want     error
		says     string
	}{
		"empty":              {nil, sections, uki.ErrPE, "0 bytes without a DOS header"},
		"text":               {bytes.Repeat([]byte("text"), 100), sections, uki.ErrPE, "without a DOS header"},
		"signature beyond":   {changed(0x3c, 1<<31), sections, uki.ErrPE, "signature's place at offset 0x3c"},
		"no signature":       {changed(signatureAt, 0), sections, uki.ErrPE, "signature's place"},
		"32 bits":            {changed(coffAt, 0x2014c), sections, uki.ErrPE, "machine at offset 0x84 is 332"},
		"PE32":               {changed(optionalAt, 0x10b), sections, uki.ErrPE, "magic at offset"},
		"short header":       {changed(coffAt+16, 100), sections, uki.ErrPE, "size of the optional header"},
		"many sections":      {changed(coffAt, 0xffff8664), sections, uki.ErrPE, "size of the optional header"},
		"few directories":    {changed(optionalAt+108, 4), sections, uki.ErrPE, "number of data directories"},
		"no alignment":       {changed(optionalAt+32, 0), sections, uki.ErrPE, "alignment"},
		"odd alignment":      {changed(optionalAt+36, 0x201), sections, uki.ErrPE, "alignment"},
		"headers beyond":     {changed(optionalAt+60, 1<<20), sections, uki.ErrPE, "size of the headers"},
		"section beyond":     {changed(tableAt+20, 0xffffff00), sections, uki.ErrPE, "the section at offset 0x188 ends at"},
		"section in the sky": {changed(tableAt+12, 0xfffff000), sections, uki.ErrPE, "in memory at 0x"},
		"no room":            {stub(), many, uki.ErrSection, "have room for 1024 bytes"},
		"section too near":   {changed(tableAt+20, 0x1a0), sections, uki.ErrSection, "is at 0x1a0 already"},
		"no name":            {stub(), []uki.Section{{Data: []byte{1}}}, uki.ErrSection, `"" with 1 bytes`},
		"long name":          {stub(), []uki.Section{{Name: ".toolongs", Data: []byte{1}}}, uki.ErrSection, ".toolongs"},
		"no data":            {stub(), []uki.Section{{Name: ".initrd"}}, uki.ErrSection, `".initrd" with 0 bytes`},
	} {
		_, err := uki.Build(c.stub, c.sections)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// sign adds what a signing program adds.
func sign(built []byte) []byte {
	b := bytes.Clone(built)
	at := uint32(len(b))
	b = append(b, "16 bytes of it.."...)
	le.PutUint32(b[optionalAt+64:], 0xabcdef01)
	le.PutUint32(b[optionalAt+144:], at)
	le.PutUint32(b[optionalAt+148:], 16)
	return b
}

func TestCheckSigned(t *testing.T) {
	built, err := uki.Build(stub(), sections)
	if err != nil {
		t.Fatal(err)
	}
	if err := uki.CheckSigned(built, sign(built)); err != nil {
		t.Error(err)
	}
	changed := func(at int) []byte {
		b := sign(built)
		b[at] ^= 1
		return b
	}
	for name, c := range map[string]struct {
		signed []byte
		says   string
	}{
		"not signed":         {built, "it has no signature"},
		"cut off":            {sign(built)[:len(built)-1], "bytes, the image"},
		"other code":         {changed(0x400), "differs from the image"},
		"other command line": {changed(0x600), "differs from the image"},
		"other machine":      {changed(coffAt), "differs from the image"},
		"signature beyond":   {changed(optionalAt + 148), "its signature is at"},
		"more behind it":     {append(sign(built), 0), "its signature is at"},
		"nothing":            {nil, "it has 0 bytes"},
	} {
		if err := uki.CheckSigned(built, c.signed); !errors.Is(err, uki.ErrSigned) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzBuild(f *testing.F) {
	f.Add(stub(), []byte("kernel"))
	f.Fuzz(func(t *testing.T, stub, data []byte) {
		out, err := uki.Build(stub, []uki.Section{{Name: ".linux", Data: data}})
		if err != nil {
			if !errors.Is(err, uki.ErrPE) && !errors.Is(err, uki.ErrSection) {
				t.Error(err)
			}
			return
		}
		if !bytes.Contains(out, data) {
			t.Error("the section is not in the image")
		}
		if err := uki.CheckSigned(out, out); !errors.Is(err, uki.ErrSigned) {
			t.Error(err)
		}
	})
}
