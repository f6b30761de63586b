package bootcheck

import (
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/google/uuid"
)

// systemHive is a registry of nothing but MountedDevices, made by hivex from
// the boot configuration.
func systemHive(t testing.TB) []byte {
	store, err := os.ReadFile(bcdFile)
	must(t, err)
	return editHive(t, store, "cd \\Objects\ndel\ncd \\Description\ndel\ncd \\\nadd Select\nadd MountedDevices\n"+
		mountedDevicesScript(map[string][]byte{
			`\DosDevices\C:`: dmio(windowsGUID), `\DosDevices\D:`: utf16Bytes(`\??\SCSI#CdRom`),
			`\??\Volume{0a}`: dmio(recoveryGUID), `\DosDevices\F:`: mbrValue(0x002b1be5, mib),
			`\DosDevices\G:`: dmio(uuid.MustParse("11111111-2222-3333-4444-555555555555")),
		}))
}

func mountedDevicesScript(values map[string][]byte) string {
	s := fmt.Sprintf("cd \\MountedDevices\nsetval %d\n", len(values))
	for _, name := range slices.Sorted(maps.Keys(values)) {
		s += name + "\n" + hexValue(3, values[name]) + "\n"
	}
	return s
}

// editHive runs a script of hivexsh on a hive.
func editHive(t testing.TB, hive []byte, script string) []byte {
	t.Helper()
	dir, err := os.MkdirTemp("", "hive")
	must(t, err)
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "hive")
	must(t, os.WriteFile(path, hive, 0o600))
	run(t, script+"commit\n", "hivexsh", "-w", path)
	b, err := os.ReadFile(path)
	must(t, err)
	return b
}

// setElement is a script that gives an object an element.
func setElement(object string, id uint32, value string) string {
	return fmt.Sprintf("cd \\Objects\\%s\\Elements\\%08x\nsetval 1\nElement\n%s\n", object, id, value)
}

func hexValue(kind int, data []byte) string {
	s := make([]string, len(data))
	for i, b := range data {
		s[i] = fmt.Sprintf("%02x", b)
	}
	return fmt.Sprintf("hex:%d:%s", kind, strings.Join(s, ","))
}

func utf16Bytes(s string) []byte {
	var b []byte
	for _, c := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, c)
	}
	return b
}

// guidBytes is the form that GUIDs have on disk.
func guidBytes(id uuid.UUID) []byte {
	return append([]byte{id[3], id[2], id[1], id[0], id[5], id[4], id[7], id[6]}, id[8:]...)
}

func dmio(id uuid.UUID) []byte { return append([]byte("DMIO:ID:"), guidBytes(id)...) }

func mbrValue(signature uint32, at uint64) []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint32(nil, signature), at)
}

// descriptor is a device element: the options' GUID, type, flags, length, zero,
// and the rest.
func descriptor(kind, flags uint32, rest []byte) []byte {
	b := make([]byte, 16)
	for _, n := range []uint32{kind, flags, uint32(16 + len(rest)), 0} {
		b = binary.LittleEndian.AppendUint32(b, n)
	}
	return append(b, rest...)
}

func gptDevice(disk, partition uuid.UUID) []byte {
	return descriptor(6, 0, slices.Concat(guidBytes(partition), make([]byte, 8), guidBytes(disk), make([]byte, 16)))
}

func mbrDevice(signature uint32, at uint64) []byte {
	rest := make([]byte, 56)
	binary.LittleEndian.PutUint64(rest, at)
	rest[20] = 1
	binary.LittleEndian.PutUint32(rest[24:], signature)
	return descriptor(6, 0, rest)
}

func bootDevice() []byte { return descriptor(5, 0, make([]byte, 56)) }

func locateDevice(element uint32) []byte {
	rest := make([]byte, 14)
	binary.LittleEndian.PutUint32(rest[4:], element)
	return descriptor(8, 0, rest)
}

// ramdisk is a RAM disk made of a file on another device.
func ramdisk(options uuid.UUID, inner []byte, path string) []byte {
	name := append(utf16Bytes(path), 0, 0)
	rest := binary.LittleEndian.AppendUint32(nil, 3)
	rest = append(rest, make([]byte, 20)...)
	for _, n := range []uint32{1, uint32(12 + len(inner) - 16 + len(name)), 5} {
		rest = binary.LittleEndian.AppendUint32(rest, n)
	}
	b := descriptor(0, 1, slices.Concat(rest, inner[16:], name))
	copy(b, guidBytes(options))
	return b
}

// program is the beginning of one, followed by noise.
func program(machine, subsystem uint16, size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i * i >> 3)
	}
	copy(b, "MZ")
	le := binary.LittleEndian
	le.PutUint32(b[60:], 128)
	copy(b[128:], "PE\x00\x00")
	le.PutUint16(b[132:], machine)
	le.PutUint16(b[152:], 0x20b)
	le.PutUint16(b[152+68:], subsystem)
	return b
}
