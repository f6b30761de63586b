package bcd

import (
	"bytes"
	"encoding/hex"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"imageport/engine/windows/hive"
)

var corpus = []string{"BCDTest", "BCDgen", "win8-bios.BCD", "win8-uefi.BCD", "win10-uefi.BCD"}

func corpusFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func read(t testing.TB, b []byte) *Store {
	t.Helper()
	s, _, err := Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func object(t testing.TB, s *Store, id GUID) Object {
	t.Helper()
	o, ok := s.Object(id)
	if !ok {
		t.Fatalf("no object %s", Name(id))
	}
	return o
}

// TestCorpusDevices decodes every device of real and hand-made stores.
func TestCorpusDevices(t *testing.T) {
	kinds := map[Kind]int{}
	for _, name := range corpus {
		checkDevices(t, name, corpusFile(t, name), kinds)
	}
	want := map[Kind]int{KindPartition: 42, KindBoot: 3, KindLocate: 3, KindRAMDisk: 8, KindFile: 4, KindVHD: 2}
	if !maps.Equal(kinds, want) {
		t.Errorf("devices by kind: %v, want %v", kinds, want)
	}
}

// TestMoreDevices does the same with stores that may not be committed, where a
// folder of them lies beside the repository.
func TestMoreDevices(t *testing.T) {
	_ = filepath.WalkDir(filepath.Join("..", "..", "..", "..", "shared", "corpus"), func(path string, f fs.DirEntry, err error) error {
		if err != nil || f.IsDir() || !strings.Contains(f.Name(), "BCD") {
			return nil // there is no such folder
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
		} else if bytes.HasPrefix(b, []byte("regf")) {
			t.Log(path)
			checkDevices(t, path, b, map[Kind]int{})
		}
		return nil
	})
}

// checkDevices decodes and encodes every device element of a store, and counts
// the devices by their kinds.
func checkDevices(t *testing.T, name string, store []byte, kinds map[Kind]int) {
	t.Helper()
	for _, o := range read(t, store).Objects() {
		for _, e := range o.Elements() {
			if e.Format() != FormatDevice {
				continue
			}
			v, _ := o.value(e, hive.Binary)
			d, err := DecodeDevice(v.Data)
			if err != nil {
				t.Fatal(name, o.ID, e, err)
			}
			if !bytes.Equal(d.Encode(), v.Data) {
				t.Errorf("%s %s %s: % x becomes % x", name, Name(o.ID), e, v.Data, d.Encode())
			}
			d.Walk(func(d *Device, _ int) { kinds[d.Kind]++ })
		}
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func utf16Hex(s string) string {
	return hex.EncodeToString(appendPath(nil, s))
}

const (
	zeros4  = "00000000"
	zeros16 = "00000000000000000000000000000000"
	// From a Windows 10 that was installed in an MBR disk.
	mbrHex = "06000000 00000000 48000000 00000000" +
		"0000402400000000 0000000000000000" + "00000000 01000000" +
		"3da2a476 00000000 00000000 00000000" + zeros16
	// From a Windows 10 that was installed in a GPT disk.
	gptHex = "06000000 00000000 48000000 00000000" +
		"382c0f8eeae4ba47b7fc9d8c74dccf0b" + "00000000 00000000" +
		"a994230b5e097d488d48719ecd4d78ca" + zeros16
)

var (
	mbrRef = MBRPartition(0x76a4a23d, 0x24400000)
	gptRef = GPTPartition(uuid.MustParse("0b2394a9-095e-487d-8d48-719ecd4d78ca"), uuid.MustParse("8e0f2c38-e4ea-47ba-b7fc-9d8c74dccf0b"))
)

func TestDeviceBytes(t *testing.T) {
	const wim = `\Recovery\WindowsRE\Winre.wim`
	options := uuid.MustParse("733b62e7-f608-11eb-825c-c112f60133ab")
	tests := []struct {
		d    Device
		hex  string
		text string
	}{
		{BootDevice(), zeros16 + "05000000 00000000 48000000 00000000" + strings.Repeat("00", 56), "boot"},
		{PartitionDevice(mbrRef), zeros16 + mbrHex, "partition at byte 0x24400000 of MBR disk 76a4a23d"},
		{PartitionDevice(gptRef), zeros16 + gptHex,
			"partition {8e0f2c38-e4ea-47ba-b7fc-9d8c74dccf0b} of GPT disk {0b2394a9-095e-487d-8d48-719ecd4d78ca}"},
		{LocateDevice(ElementPath), zeros16 + "08000000 00000000 1e000000 00000000 00000000 02000012 00000000 0000", "locate=path"},
		{RAMDiskDevice(options, PartitionDevice(mbrRef), wim),
			"e7623b7308f6eb11825cc112f60133ab 00000000 01000000 b8000000 00000000 03000000" + zeros16 + zeros4 +
				"01000000 90000000 05000000" + mbrHex + utf16Hex(wim),
			`ramdisk=[partition at byte 0x24400000 of MBR disk 76a4a23d]` + wim},
		{FileDevice(PartitionDevice(gptRef), `\f`),
			zeros16 + "00000000 00000000 6e000000 00000000 05000000 01000000 5a000000 05000000" + gptHex + utf16Hex(`\f`),
			`file=[partition {8e0f2c38-e4ea-47ba-b7fc-9d8c74dccf0b} of GPT disk {0b2394a9-095e-487d-8d48-719ecd4d78ca}]\f`},
		{VHDDevice(PartitionDevice(mbrRef), `\f`),
			zeros16 + "00000000 00000000 96000000 00000000 06000000" + zeros16 + zeros4 +
				"00000000 00000000 6e000000 00000000 05000000 01000000 5a000000 05000000" + mbrHex + utf16Hex(`\f`),
			`vhd=file=[partition at byte 0x24400000 of MBR disk 76a4a23d]\f`},
		{Device{Kind: KindUnknown, Raw: []byte{4, 0, 0, 0}}, zeros16 + "04000000", "unknown device of 4 bytes"},
	}
	for _, tt := range tests {
		want := unhex(t, tt.hex)
		if got := tt.d.Encode(); !bytes.Equal(got, want) {
			t.Errorf("%s encodes to\n% x, want\n% x", tt.text, got, want)
		}
		got, err := DecodeDevice(want)
		if err != nil {
			t.Error(tt.text, err)
		}
		if got.String() != tt.text || tt.d.String() != tt.text || got.Kind != tt.d.Kind || got.Options != tt.d.Options {
			t.Errorf("decoded %s, want %s", got, tt.text)
		}
	}
}

// TestOddDevices keeps what it does not know, byte for byte, and still finds
// the partitions of MBR disks in it.
func TestOddDevices(t *testing.T) {
	ramdisk := RAMDiskDevice(GUID{1}, PartitionDevice(mbrRef), `\x.wim`).Encode()
	change := func(b []byte, at int, v byte) []byte {
		b = bytes.Clone(b)
		b[at] = v
		return b
	}
	deep := PartitionDevice(mbrRef)
	for range 20 {
		deep = FileDevice(deep, `\f`)
	}
	partition := PartitionDevice(mbrRef).Encode()
	tests := []struct {
		what string
		b    []byte
		kind Kind
		mbr  int
	}{
		{"nothing but options", make([]byte, 16), KindUnknown, 0},
		{"half a header", make([]byte, 20), KindUnknown, 0},
		{"bytes after it", append(bytes.Clone(partition), 0), KindUnknown, 1},
		{"flags in a partition", change(partition, 20, 1), KindUnknown, 1},
		{"bytes at the end of a partition", change(partition, 16+0x40, 1), KindUnknown, 1},
		{"a partition without a table", change(partition, 16+0x24, 2), KindUnknown, 0},
		{"size too large", change(partition, 24, 0x49), KindUnknown, 0},
		{"size near 4 GiB", change(change(partition, 26, 0xff), 27, 0xff), KindUnknown, 0},
		{"a base address in a RAM disk", change(ramdisk, 16+0x18, 1), KindUnknown, 1},
		{"flags in a RAM disk's partition", change(ramdisk, 16+0x28+12+4, 1), KindRAMDisk, 1},
		{"path without an end", ramdisk[:len(ramdisk)-2], KindUnknown, 1},
		{"half a surrogate pair in the path", change(ramdisk, len(ramdisk)-3, 0xd8), KindUnknown, 1},
		{"inner size of 0", change(ramdisk, 16+0x28+12+8, 0), KindUnknown, 0},
	}
	for _, tt := range tests {
		d, err := DecodeDevice(tt.b)
		if err != nil {
			t.Errorf("%s: %v", tt.what, err)
			continue
		}
		if got := d.Encode(); !bytes.Equal(got, tt.b) {
			t.Errorf("%s: % x becomes % x", tt.what, tt.b, got)
		}
		s := New()
		o := s.AddObject(GUID{1}, TypeOSLoader)
		o.set(ElementDevice, hive.Bytes(elementValue, tt.b))
		refs := s.PartitionRefs()
		if d.Kind != tt.kind || len(refs) != tt.mbr {
			t.Errorf("%s: kind %d with %d partitions, want %d with %d", tt.what, d.Kind, len(refs), tt.kind, tt.mbr)
		}
		for _, use := range refs {
			if use.Ref != mbrRef {
				t.Errorf("%s: %s", tt.what, use.Ref)
			}
		}
	}
	if _, err := DecodeDevice(make([]byte, 15)); err == nil {
		t.Error("15 bytes are a device")
	}
	if d, err := DecodeDevice(deep.Encode()); err != nil || !bytes.Equal(d.Encode(), deep.Encode()) {
		t.Error("20 files in each other:", err)
	}
}

func TestStoreElements(t *testing.T) {
	s := New()
	id, other := uuid.MustParse("733b62e5-f608-11eb-825c-c112f60133ab"), GUID{7}
	o := s.AddObject(id, TypeOSLoader)
	o.SetString(ElementDescription, "Windows 10")
	o.SetObject(ElementResumeObject, other)
	o.SetObjectList(ElementInherit, BootLoaderSettings, other)
	o.SetBool(ElementWinPE, true)
	o.SetInt(ElementNX, 3)
	o.SetIntList(ElementAllowedInMemory, 0x15000075)
	o.SetDevice(ElementOSDevice, PartitionDevice(gptRef))
	b, err := hive.Build(s.Root(), hive.BuildOptions{Minor: 3})
	if err != nil {
		t.Fatal(err)
	}
	s = read(t, b)
	o = object(t, s, id)
	if o.Type != TypeOSLoader || len(s.Objects()) != 1 || len(o.Elements()) != 7 {
		t.Error(o.Type, s.Objects(), o.Elements())
	}
	if v, ok := o.String(ElementDescription); !ok || v != "Windows 10" {
		t.Error(v, ok)
	}
	if v, ok := o.Object(ElementResumeObject); !ok || v != other {
		t.Error(v, ok)
	}
	if v, ok := o.ObjectList(ElementInherit); !ok || len(v) != 2 || v[0] != BootLoaderSettings || v[1] != other {
		t.Error(v, ok)
	}
	if v, ok := o.Bool(ElementWinPE); !ok || !v {
		t.Error(v, ok)
	}
	if v, ok := o.Int(ElementNX); !ok || v != 3 {
		t.Error(v, ok)
	}
	if v, ok := o.Device(ElementOSDevice); !ok || v.Ref != gptRef {
		t.Error(v, ok)
	}
	// What is not there, or of another format.
	if _, ok := o.String(ElementPath); ok {
		t.Error("has a path")
	}
	if _, ok := o.Object(ElementDescription); ok {
		t.Error("a description is an object")
	}
	if _, ok := o.Int(ElementWinPE); ok {
		t.Error("a boolean is an integer")
	}
	if _, ok := o.Device(ElementNX); ok {
		t.Error("an integer is a device")
	}
	o.Remove(ElementNX)
	if _, ok := o.Int(ElementNX); ok {
		t.Error("removed element is still there")
	}
	s.RemoveObject(id)
	if len(s.Objects()) != 0 {
		t.Error("removed object is still there")
	}
}
