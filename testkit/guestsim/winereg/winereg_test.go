package winereg

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"

	"imageport/engine/windows/hive"
)

// What Wine writes.
const written = `WINE REGISTRY Version 2
;; All keys relative to REGISTRY\\Machine

#arch=win64

[Software\\Classes\\Installer\\Products\\1111] 1795450268
#time=1dd7b65400e1ff0
"Clients"=str(7):":\0"
"Language"=dword:00000409
"ProductName"="Citrix \"Provisioning\" \x00e9t\x00e9 \x20ac"
@="C:\\windows"

[Software\\With \[brackets\]] 1795450268
#class="c"
"Data"=hex:01,02,\
  03
"Empty"=hex(7):
"Path"=str(2):"%SystemRoot%\\x"

[Software\\Classes\\Installer\\PRODUCTS\\1111] 1795450269
"language"=dword:00000407
`

func TestRead(t *testing.T) {
	keys, err := Read([]byte(written))
	if err != nil {
		t.Fatal(err)
	}
	expand := hive.ExpandSZ("Path", `%SystemRoot%\x`)
	want := []Key{
		{`Software\Classes\Installer\Products\1111`, []hive.Value{
			hive.MultiSZ("Clients", ":"), hive.DWORD("language", 0x407),
			hive.SZ("ProductName", `Citrix "Provisioning" été €`), hive.SZ("", `C:\windows`),
		}},
		{`Software\With [brackets]`, []hive.Value{
			hive.Bytes("Data", []byte{1, 2, 3}), {Name: "Empty", Type: hive.MultiString, Data: []byte{}}, expand,
		}},
	}
	if !reflect.DeepEqual(keys, want) {
		t.Errorf("got  %q\nwant %q", keys, want)
	}
	// What is written reads as the same, also behind what Wine wrote.
	var out bytes.Buffer
	if err := Write(&out, time.Unix(1795450268, 0), keys); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{out.String(), written + out.String()} {
		again, err := Read([]byte(text))
		if err != nil || !reflect.DeepEqual(again, want) {
			t.Errorf("%v: got %q\nfrom %s", err, again, text)
		}
	}
}

func TestMalformed(t *testing.T) {
	for _, text := range []string{
		"[Software", `[Software\`, "[Software]x", `"a"="b"`, "[a]\n\"a", "[a]\n\"a\"", "[a]\n\"a\"=", "[a]\n\"a\"=dword:x",
		"[a]\n\"a\"=hex:0", "[a]\n\"a\"=hex(:00", "[a]\n\"a\"=str(:\"a\"", "[a]\n\"a\"=what:1", "[a]\n\"a\"=\"b\"c", "[a]\n\"a\"=str(1):\"b",
	} {
		if keys, err := Read([]byte(text)); err == nil || !strings.Contains(err.Error(), "line ") {
			t.Errorf("%q: %q, %v", text, keys, err)
		}
	}
}
