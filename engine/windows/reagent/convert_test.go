package reagent

import (
	"bytes"
	"encoding/binary"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/google/uuid"
)

var mapping = Mapping{4238117423, uuid.MustParse("1BBE1186-B3BB-4A08-AF22-264B3379D8CD")}

// windowsFile is what Windows 10 writes, with the locations put in as id, offset
// and GUID. Which elements there are: Microsoft's support pages show a file of
// each partition style.
func windowsFile(winre, image, downlevel string) string {
	return "<?xml version='1.0' encoding='utf-8'?>\r\n\r\n" +
		`<WindowsRE version="2.0">` + "\r\n" +
		`  <WinreBCD id="{d9ebf8fe-279b-11e3-8baa-937d583d467a}"/>` + "\r\n" +
		`  <WinreLocation path="\Recovery\WindowsRE" ` + winre + `/>` + "\r\n" +
		`  <ImageLocation path="\Recovery\WindowsRE" ` + image + `/>` + "\r\n" +
		`  <PBRImageLocation path="" ` + none + ` index="0"/>` + "\r\n" +
		`  <PBRCustomImageLocation path="" ` + none + ` index="0"/>` + "\r\n" +
		`  <InstallState state="1"/>` + "\r\n" +
		`  <OsBuildVersion path="19041.1.amd64fre.vb_release.191206-1406"/>` + "\r\n" +
		`  <DownlevelWinreLocation path="" ` + downlevel + `/>` + "\r\n" +
		`  <ScheduledOperation state="4"/>` + "\r\n" +
		`</WindowsRE>` + "\r\n"
}

const (
	none  = `id="0" offset="0" guid="{00000000-0000-0000-0000-000000000000}"`
	ours  = `id="4238117423" offset="1048576" guid="{00000000-0000-0000-0000-000000000000}"`
	after = `id="0"          offset="1048576" guid="{1bbe1186-b3bb-4a08-af22-264b3379d8cd}"`
	other = `id="4238117424" offset="1048576" guid="{00000000-0000-0000-0000-000000000000}"`
)

func utf16LE(s string) []byte {
	b := []byte{0xFF, 0xFE}
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

func TestConvert(t *testing.T) {
	element := func(s string) string { return "<WindowsRE>" + s + "</WindowsRE>" }
	tests := []struct {
		name         string
		before, want string
		edits        int
	}{
		{"Windows RE", windowsFile(ours, none, none), windowsFile(after, none, none), 2},
		{"every location", windowsFile(ours, ours, ours), windowsFile(after, after, after), 6},
		{"none enabled", windowsFile(none, none, none), windowsFile(none, none, none), 0},
		{"another disk", windowsFile(other, ours, none), windowsFile(other, after, none), 2},
		{"in the GPT disk already", windowsFile(after, none, none), windowsFile(after, none, none), 0},
		{"byte order mark", "\uFEFF" + windowsFile(ours, none, none), "\uFEFF" + windowsFile(after, none, none), 2},
		{"other order, quotes and spaces",
			element("<XLocation\tguid = '{00000000-0000-0000-0000-000000000000}'\n offset='512' id='4238117423' path='a\"&lt;é𝄞'></XLocation>"),
			element("<XLocation\tguid = '{1bbe1186-b3bb-4a08-af22-264b3379d8cd}'\n offset='512' id='0'          path='a\"&lt;é𝄞'></XLocation>"), 2},
		{"no space behind the attribute", element(`<aLocation path=""  offset="5" guid="` + zeroGUID + `" id="4238117423"/>`),
			element(`<aLocation path=""  offset="5" guid="{1bbe1186-b3bb-4a08-af22-264b3379d8cd}" id="0"         />`), 2},
		{"comments and text", element("<!-- <WinreLocation " + ours + "/> --> <WinreLocation/> id=\"4238117423\""), element("<!-- <WinreLocation " + ours + "/> --> <WinreLocation/> id=\"4238117423\""), 0},
		{"leading zeros", element(`<WinreLocation path="" id="04238117423" offset="0" guid="` + zeroGUID + `"/>`),
			element(`<WinreLocation path="" id="0"           offset="0" guid="{1bbe1186-b3bb-4a08-af22-264b3379d8cd}"/>`), 2},
	}
	for _, tt := range tests {
		for _, enc := range []struct {
			name   string
			encode func(string) []byte
		}{
			{"UTF-8", func(s string) []byte { return []byte(s) }},
			{"UTF-16", utf16LE},
			{"declared UTF-16", func(s string) []byte { return utf16LE(strings.Replace(s, "utf-8", "UTF-16", 1)) }},
		} {
			t.Run(tt.name+", "+enc.name, func(t *testing.T) {
				before, want := enc.encode(tt.before), enc.encode(tt.want)
				kept := bytes.Clone(before)
				got, edits, err := Convert(before, mapping)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got, want) {
					t.Errorf("got\n%s\nwant\n%s", got, want)
				}
				if len(got) != len(before) || !bytes.Equal(before, kept) {
					t.Error("another length, or the input changed")
				}
				if len(edits) != tt.edits {
					t.Errorf("%d edits: %v", len(edits), edits)
				}
				if again, edits, err := Convert(got, mapping); err != nil || len(edits) != 0 || !bytes.Equal(again, got) {
					t.Errorf("again: %v %v", edits, err)
				}
			})
		}
	}
	_, edits, err := Convert([]byte(windowsFile(ours, none, none)), mapping)
	if want := []Edit{
		{"WinreLocation", "id", "4238117423", "0"},
		{"WinreLocation", "guid", zeroGUID, "{1bbe1186-b3bb-4a08-af22-264b3379d8cd}"},
	}; err != nil || !reflect.DeepEqual(edits, want) {
		t.Errorf("edits %v, want %v; %v", edits, want, err)
	}
	// A disk without a signature is none that a location could name.
	file := windowsFile(none, none, none)
	if out, edits, err := Convert([]byte(file), Mapping{0, mapping.DiskGUID}); err != nil || len(edits) != 0 || string(out) != file {
		t.Errorf("signature 0: %v %v", edits, err)
	}
}

func TestLocations(t *testing.T) {
	got, err := Locations([]byte(windowsFile(ours, after, none)))
	if err != nil {
		t.Fatal(err)
	}
	const path = `\Recovery\WindowsRE`
	want := []Location{
		{"WinreLocation", path, mapping.Signature, uuid.Nil, 1 << 20},
		{"ImageLocation", path, 0, mapping.DiskGUID, 1 << 20},
		{"PBRImageLocation", "", 0, uuid.Nil, 0},
		{"PBRCustomImageLocation", "", 0, uuid.Nil, 0},
		{"DownlevelWinreLocation", "", 0, uuid.Nil, 0},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestRefuses(t *testing.T) {
	element := func(attributes string) string {
		return "<WindowsRE><WinreLocation " + attributes + "/></WindowsRE>"
	}
	tests := []struct {
		name, file, says string
	}{
		{"empty", "", `the root element is ""`},
		{"no XML", "hello", "root element"},
		{"another file", "<unattend/>", `the root element is "unattend"`},
		{"cut off", windowsFile(ours, none, none)[:400], "unexpected EOF"},
		{"zeros behind it", windowsFile(ours, none, none) + "\x00\x00", "U+0000"},
		{"end tag missing", "<WindowsRE><a></WindowsRE>", "closed by </WindowsRE>"},
		{"not UTF-8", windowsFile(ours, none, "\xFF"), "neither UTF-8"},
		{"UTF-16 without a mark", string(utf16LE(windowsFile(ours, none, none))[2:]), "expected element name"},
		{"half a unit", string(append(utf16LE(windowsFile(ours, none, none)), 1)), "invalid UTF-16"},
		{"half a surrogate pair", string(append(utf16LE(windowsFile(ours, none, none)), 0, 0xD8)), "invalid UTF-16"},
		{"another code page", "<?xml version='1.0' encoding='windows-1252'?><WindowsRE/>", "windows-1252"},
		{"id is no number", element(`path="" id="0x12" offset="0" guid="` + zeroGUID + `"`), `id of WinreLocation is "0x12"`},
		{"id of 33 bits", element(`path="" id="4294967296" offset="0" guid="` + zeroGUID + `"`), `is "4294967296"`},
		{"negative offset", element(`path="" id="0" offset="-1" guid="` + zeroGUID + `"`), `offset of WinreLocation is "-1"`},
		{"short GUID", element(`path="" id="0" offset="0" guid="{0}"`), `guid of WinreLocation is "{0}"`},
		{"no GUID", element(`path="" id="4238117423" offset="0"`), "has no attribute guid"},
		{"no offset", element(`path="" id="4238117423" guid="` + zeroGUID + `"`), "has no attribute offset"},
		{"two ids", element(`path="" id="0" id="4238117423" offset="0" guid="` + zeroGUID + `"`), "two attributes id"},
		{"escaped id", element(`path="" id="423811742&#51;" offset="0" guid="` + zeroGUID + `"`), `id of WinreLocation is written "423811742&#51;"`},
		{"signature and GUID", element(strings.Replace(after, `"0"`, `"4238117423"`, 1) + ` path=""`), "by id 4238117423 and by GUID"},
		{"a megabyte", windowsFile(ours, none, none) + strings.Repeat(" ", maxSize), "more than 1048576"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, edits, err := Convert([]byte(tt.file), mapping)
			if !errors.Is(err, ErrMalformed) || !strings.Contains(fmt.Sprint(err), tt.says) || out != nil || edits != nil {
				t.Errorf("got %v, want one that says %q", err, tt.says)
			}
		})
	}
}

// FuzzConvert checks what Convert makes by reading it with encoding/xml again:
// the same document, but for the locations.
func FuzzConvert(f *testing.F) {
	f.Add([]byte(windowsFile(ours, other, none)))
	f.Add(utf16LE(windowsFile(after, ours, none)))
	f.Add([]byte("\uFEFF<WindowsRE><Location a='>' id='4238117423' offset='0' path='&quot;' guid='" + zeroGUID + "'>x</Location></WindowsRE>"))
	f.Fuzz(func(t *testing.T, file []byte) {
		out, edits, err := Convert(file, mapping)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		if len(out) != len(file) || len(edits) == 0 && !bytes.Equal(out, file) {
			t.Fatalf("%d bytes become %d, %d edits", len(file), len(out), len(edits))
		}
		locations, err := Locations(out)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range locations {
			if l.Signature == mapping.Signature {
				t.Errorf("left: %+v", l)
			}
		}
		got, want := tokens(t, out), tokens(t, file)
		if len(got) != len(want) {
			t.Fatalf("%d tokens become %d", len(want), len(got))
		}
		changed := 0
		for i := range want {
			g, ok := got[i].(xml.StartElement)
			if w, also := want[i].(xml.StartElement); ok && also && g.Name == w.Name && len(g.Attr) == len(w.Attr) {
				for j := range w.Attr {
					if g.Attr[j].Name != w.Attr[j].Name {
						t.Errorf("%v becomes %v", w, g)
					}
					if g.Attr[j].Value != w.Attr[j].Value {
						changed++
					}
				}
			} else if !reflect.DeepEqual(got[i], want[i]) {
				t.Errorf("%v becomes %v", want[i], got[i])
			}
		}
		if changed != len(edits) {
			t.Errorf("%d values changed, %d edits", changed, len(edits))
		}
	})
}

func tokens(t *testing.T, file []byte) (list []xml.Token) {
	doc, err := decode(file)
	if err != nil {
		t.Fatal(err)
	}
	dec := xml.NewDecoder(strings.NewReader(doc.text))
	dec.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	for {
		token, err := dec.Token()
		if err == io.EOF {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, xml.CopyToken(token))
	}
}
