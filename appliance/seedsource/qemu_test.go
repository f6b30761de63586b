package seedsource

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"imageport/appliance/seedsource/media"
)

// oemTable is a table of SMBIOS with the OEM strings, a structure without
// strings before them and the end after them.
func oemTable(oem ...string) string {
	return "\x20\x0b\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00" +
		"\x0b\x05\x00\x0b" + string(rune(len(oem))) + strings.Join(oem, "\x00") + "\x00\x00" +
		"\x7f\x04\x00\x7f\x00\x00"
}

func TestOEMStrings(t *testing.T) {
	// A whole table as QEMU 7.2 makes it for -smbios type=11,value=…,value=….
	recorded, err := os.ReadFile("testdata/dmi-qemu.bin")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what  string
		table string
		want  []string
	}{
		{"QEMU's", string(recorded), []string{"somebody else", media.OEMString([]byte(`{"name":"ce-0123456789ab"}`))}},
		{"nothing", "", nil},
		{"one", oemTable("one"), []string{"one"}},
		{"two structures", strings.TrimSuffix(oemTable("one", "two"), "\x7f\x04\x00\x7f\x00\x00") + oemTable("three"), []string{"one", "two", "three"}},
		{"no strings", "\x0b\x05\x00\x0b\x00\x00\x00\x7f\x04\x00\x7f\x00\x00", nil},
		{"behind the end", "\x7f\x04\x00\x7f\x00\x00" + oemTable("one"), nil},
		{"cut", oemTable("one", "two")[:24], nil},
		{"a header too short", "\x0b\x03\x00\x0bone\x00\x00", nil},
		{"a formatted area behind the end", "\x0b\xff\x00\x0bone\x00\x00", nil},
	} {
		if got := oemStrings([]byte(c.table)); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
}

func FuzzOEMStrings(f *testing.F) {
	f.Add([]byte(oemTable("one", "two")))
	f.Add([]byte("\x0b\x05\x00\x0b\x00\x00\x00\x7f\x04\x00\x7f\x00\x00"))
	f.Fuzz(func(t *testing.T, table []byte) {
		for _, s := range oemStrings(table) {
			if strings.Contains(s, "\x00") || !bytes.Contains(table, []byte(s)) {
				t.Errorf("%q is no string of the table", s)
			}
		}
	})
}
