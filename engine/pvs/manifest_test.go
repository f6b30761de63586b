package pvs

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf16"
)

func utc(s string) time.Time {
	t, err := time.Parse("2006-01-02 15:04:05", s)
	if err != nil {
		panic(err)
	}
	return t
}

// version writes a version as scripts that recreate manifests do.
func version(number, typ, access, file, size, modified string) string {
	return "            <version>\r\n" +
		"                <versionNumber>" + number + "</versionNumber>\r\n" +
		"                <description>January &amp; <![CDATA[<February>]]></description>\r\n" +
		"                <type>" + typ + "</type>\r\n" +
		"                <access>" + access + "</access>\r\n" +
		"                <createDate>2026-01-31 10:00:00</createDate>\r\n" +
		"                <scheduledDate></scheduledDate>\r\n" +
		"                <deleteWhenFree>0</deleteWhenFree>\r\n" +
		"                <diskFileName>" + file + "</diskFileName>\r\n" +
		"                <size>" + size + "</size>\r\n" +
		"                <lastWriteTime>" + modified + "</lastWriteTime>\r\n" +
		"              </version>\r\n"
}

func document(starting string, versions ...string) string {
	return "<?xml version=\"1.0\" encoding=\"utf-8\"?>\r\n<versionManifest>\r\n<startingVersion>" + starting + "</startingVersion>\r\n" +
		strings.Join(versions, "") + "</versionManifest>\r\n"
}

var (
	base   = version("0", "0", "0", "win10.vhdx", "34359738368", "2026-01-30T08:00:00")
	first  = version("1", "1", "0", "win10.1.avhdx", "1048576", "2026-01-31T10:05:00")
	second = version("2", "1", "7", "win10.2.avhdx", "2097152", "2026-02-01T10:05:00")

	listing = []File{
		{"win10.vhdx", 34359738368, utc("2026-01-30 08:00:00").Add(123 * time.Millisecond)},
		{"win10.pvp", 528896, utc("2026-01-30 08:00:00")},
		{"win10.1.avhdx", 1048576, utc("2026-01-31 10:05:00").Add(999999900 * time.Nanosecond)},
		{"WIN10.2.AVHDX", 2097152, utc("2026-02-01 10:05:00").In(time.FixedZone("CET", 3600))},
		{"win10.xml", 1234, utc("2026-02-02 08:00:00")},
		{"other.7.avhdx", 1, utc("2026-02-02 08:00:00")},
	}
	output = File{"win10.3.avhdx", 36700160, utc("2026-03-01 12:34:56").Add(789 * time.Millisecond)}
)

// added is the output as it goes into a manifest with the layout of version.
const added = "            <version>\r\n" +
	"                <versionNumber>3</versionNumber>\r\n" +
	"                <description>Converted to UEFI by imageport</description>\r\n" +
	"                <type>1</type>\r\n" +
	"                <access>1</access>\r\n" +
	"                <createDate>2026-03-01 12:34:56</createDate>\r\n" +
	"                <scheduledDate></scheduledDate>\r\n" +
	"                <deleteWhenFree>0</deleteWhenFree>\r\n" +
	"                <diskFileName>win10.3.avhdx</diskFileName>\r\n" +
	"                <size>36700160</size>\r\n" +
	"                <lastWriteTime>2026-03-01T12:34:56</lastWriteTime>\r\n" +
	"              </version>\r\n"

func utf16File(e encoding, s string) []byte {
	b := []byte(e.mark)
	for _, u := range utf16.Encode([]rune(s)) {
		b = e.order.AppendUint16(b, u)
	}
	return b
}

func TestAddVersionKeepsTheRest(t *testing.T) {
	compact := `<versionManifest a="b"><!-- by hand --><x:note xmlns:x="u"><x:version/></x:note><startingVersion>2</startingVersion>` +
		`<version><versionNumber>2</versionNumber><type>1</type><access>3</access><diskFileName>win10.2.avhdx</diskFileName><replicas>4</replicas></version></versionManifest>`
	compactAdded := `<version><versionNumber>3</versionNumber><description>Converted to UEFI by imageport</description><type>1</type><access>1</access>` +
		`<createDate>2026-03-01T12:34:56</createDate><scheduledDate></scheduledDate><deleteWhenFree>0</deleteWhenFree><diskFileName>win10.3.avhdx</diskFileName>` +
		`<size>36700160</size><lastWriteTime>2026-03-01T12:34:56</lastWriteTime></version>`
	const end = "</versionManifest>"
	tests := []struct {
		name, old, want string
	}{
		{"ascending", document("0", base, first, second), document("0", base, first, second, added)},
		{"descending", document("0", second, first, base), document("0", added, second, first, base)},
		{"exported from the latest on", document("2", second), document("2", second, added)},
		{"compact, unknown elements", compact, strings.Replace(compact, end, compactAdded+end, 1)},
	}
	for _, tt := range tests {
		for name, encode := range map[string]func(string) []byte{
			"UTF-8":        func(s string) []byte { return []byte(s) },
			"UTF-8, mark":  func(s string) []byte { return []byte("\uFEFF" + s) },
			"UTF-16LE":     func(s string) []byte { return utf16File(encodings[1], strings.Replace(s, "utf-8", "utf-16", 1)) },
			"UTF-16BE":     func(s string) []byte { return utf16File(encodings[2], s) },
			"ASCII":        func(s string) []byte { return []byte(strings.Replace(s, "utf-8", "windows-1252", 1)) },
			"non-ASCII":    func(s string) []byte { return []byte(strings.Replace(s, "January", "Jänner", 1)) },
			"beyond UCS-2": func(s string) []byte { return utf16File(encodings[1], strings.Replace(s, "January", "𝄞", 1)) },
		} {
			t.Run(tt.name+", "+name, func(t *testing.T) {
				old, want := encode(tt.old), encode(tt.want)
				kept := bytes.Clone(old)
				m, err := ParseManifest(old)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(m.Encode(), old) {
					t.Error("encoding changes the manifest")
				}
				for _, files := range [][]File{listing, append(slices.Clone(listing), File{Name: "WIN10.3.avhdx"})} {
					got, err := AddVersion(old, files, output)
					if err != nil {
						t.Fatal(err)
					}
					if !bytes.Equal(got, want) {
						t.Errorf("got\n%s\nwant\n%s", got, want)
					}
				}
				if !bytes.Equal(old, kept) {
					t.Error("the old manifest was changed")
				}
			})
		}
	}
}

func TestParseManifest(t *testing.T) {
	m, err := ParseManifest([]byte(document("0", base, first, second)))
	if err != nil {
		t.Fatal(err)
	}
	want := Entry{2, "January & <February>", Manual, Test, utc("2026-01-31 10:00:00"), false, "win10.2.avhdx", 2097152, utc("2026-02-01 10:05:00")}
	if got := m.Entries(); len(got) != 3 || got[2] != want || m.Latest() != want || m.Disk() != "win10" || m.StartingVersion() != 0 {
		t.Errorf("%+v", m)
	}
	if warnings, err := m.Check(listing); err != nil || len(warnings) != 0 {
		t.Errorf("%q, %v", warnings, err)
	}
	// What the generators leave out where a file is missing.
	bare := strings.NewReplacer("<size>2097152</size>", "<size/>", "2026-02-01T10:05:00", "", "<deleteWhenFree>0<", "<deleteWhenFree>True<").Replace(document("0", base, first, second))
	if m, err = ParseManifest([]byte(bare)); err != nil {
		t.Fatal(err)
	}
	want.Size, want.Modified, want.DeleteWhenFree = -1, time.Time{}, true
	if m.Latest() != want {
		t.Errorf("%+v", m.Latest())
	}
	// The base of a vDisk that is called like a version.
	if m, err = ParseManifest([]byte(strings.ReplaceAll(document("0", base, first), "win10.", "win10.4."))); err != nil || m.Disk() != "win10.4" {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestParseManifestRefused(t *testing.T) {
	good := document("0", base, first, second)
	replace := func(old, with string) string {
		if !strings.Contains(good, old) {
			panic(old)
		}
		return strings.Replace(good, old, with, 1)
	}
	tests := []struct{ name, file, says string }{
		{"empty", "", "there is no versionManifest"},
		{"cut off", good[:len(good)/2], "unexpected EOF"},
		{"not XML", "MZ\x90\x00", "neither UTF-8"},
		{"half a unit", "\xFF\xFE<", "invalid UTF-16"},
		{"wrong mark", "\uFEFF\xFF", "not UTF-8"},
		{"another file", `<VDisk/>`, `element "VDisk" in place of one versionManifest`},
		{"two roots", good + good, "unexpected"},
		{"second root", good + "<versionManifest/>", "in place of one"},
		{"text behind", good + "x", "text outside"},
		{"DTD", `<!DOCTYPE x [<!ENTITY y "z">]>` + good, "document type"},
		{"entity", replace("January", "&y;"), "entity"},
		{"prefix", strings.NewReplacer("<versionManifest>", `<p:versionManifest xmlns:p="u">`, "</versionManifest>", "</p:versionManifest>").Replace(good[strings.Index(good, "<v"):]), "namespace prefix"},
		{"another encoding", strings.Replace(replace("utf-8", "windows-1252"), "January", "Jänner", 1), `"windows-1252"`},
		{"no versions", document("0"), "no version"},
		{"no start", replace("<startingVersion>0</startingVersion>", ""), "no startingVersion"},
		{"private mode", replace("<startingVersion>0</startingVersion>", "<startingVersion/>"), `startingVersion is ""`},
		{"two starts", replace("</startingVersion>", "</startingVersion><startingVersion>0</startingVersion>"), "second startingVersion"},
		{"start behind a version", replace("<startingVersion>0", "<startingVersion>1"), "version 0: lies before the startingVersion, 1"},
		{"no number", replace("<versionNumber>1</versionNumber>", ""), `versionNumber is ""`},
		{"negative", replace("<versionNumber>1<", "<versionNumber>-1<"), `"-1"`},
		{"twice", document("0", base, first, first), "version 1: listed twice"},
		{"two numbers", replace("<versionNumber>1", "<versionNumber>1</versionNumber><versionNumber>1"), "a second versionNumber"},
		{"number and file differ", replace("win10.2.avhdx", "win10.4.avhdx"), `"win10.4.avhdx" is not the name`},
		{"no disk", replace("win10.2.avhdx", "win10.2.pvp"), `"win10.2.pvp"`},
		{"path", replace("win10.2.avhdx", `D:\store\win10.2.avhdx`), "is not the name"},
		{"another vDisk", replace("win10.2.avhdx", "win11.2.avhdx"), "of the vDisk win11, not of win10"},
		{"type of a base", replace("<type>1<", "<type>4<"), "the type is 4"},
		{"unknown type", replace("<type>1<", "<type>5<"), `type is "5"`},
		{"unknown access", replace("<access>7<", "<access>8<"), `access is "8"`},
		{"maintenance below the latest", document("0", base, version("1", "1", "1", "win10.1.avhdx", "", ""), second), "version 1: in maintenance"},
		{"date", replace("<createDate>2026-01-31 10:00:00", "<createDate>31.1.2026"), `createDate is "31.1.2026"`},
		{"size", replace("<size>1048576", "<size>1,048,576"), `"1,048,576"`},
		{"negative size", replace("<size>1048576", "<size>-1"), `"-1"`},
		{"flag", replace("<deleteWhenFree>0", "<deleteWhenFree>2"), "deleteWhenFree"},
		{"element in a field", replace("<access>7<", "<access><b/>7<"), `element "b" in access`},
		{"big", strings.Repeat(" ", maxManifest) + good, "more than"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseManifest([]byte(tt.file))
			if !errors.Is(err, ErrManifest) || !strings.Contains(err.Error(), tt.says) && tt.says != "unexpected" {
				t.Error(err)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	merged := version("3", "4", "0", "win10.3.vhdx", "5", "2026-02-03T10:05:00")
	mergedFile := File{"win10.3.vhdx", 5, utc("2026-02-03 10:05:00")}
	without := func(name string) []File {
		return slices.DeleteFunc(slices.Clone(listing), func(f File) bool { return fold(f.Name) == name })
	}
	changed := slices.Clone(listing)
	changed[2] = File{"win10.1.avhdx", 1048577, utc("2026-01-31 10:05:01")}
	tests := []struct {
		name     string
		file     string
		listing  []File
		warnings []string
		err      string
	}{
		{"base missing", document("0", base, first, second), without("win10.vhdx"), nil, "lists version 0, win10.vhdx, but there is no such file"},
		{"latest missing", document("0", base, first, second), without("win10.2.avhdx"), nil, "lists version 2"},
		{"missing in an export from 1 on", document("1", first, second), without("win10.1.avhdx"), nil, "lists version 1"},
		{"base of before", document("1", first, second), without("win10.vhdx"), nil, ""},
		{"merged and gone", document("0", base, first, second, merged), append(without("win10.1.avhdx"), mergedFile), []string{"win10.1.avhdx, which is no longer needed and gone"}, ""},
		{"to be deleted, and gone", document("0", base, strings.Replace(first, "Free>0", "Free>1", 1), second), without("win10.1.avhdx"), []string{"no longer needed"}, ""},
		{"other size and time", document("0", base, first, second), changed, []string{
			"the manifest gives win10.1.avhdx 1048576 bytes, it has 1048577 bytes",
			"win10.1.avhdx was last written 2026-01-31 10:05:00 UTC, it was 2026-01-31 10:05:01 UTC"}, ""},
		{"nothing known", document("0", base, version("1", "1", "0", "win10.1.avhdx", "", ""), second), listing, []string{"no size", "no known time"}, ""},
		{"later version", document("0", base, first), listing, nil, "it ends at version 1, but there is version 2, WIN10.2.AVHDX"},
		{"unlisted version", document("0", base, second), listing, []string{"does not list win10.1.avhdx"}, ""},
		{"starts late", document("0", first, second), without("win10.vhdx"), []string{"starts at version 0, but the first that it lists is 1"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := ParseManifest([]byte(tt.file))
			if err != nil {
				t.Fatal(err)
			}
			warnings, err := m.Check(tt.listing)
			if tt.err != "" {
				if !errors.Is(err, ErrManifest) || !strings.Contains(err.Error(), tt.err) {
					t.Error(err)
				}
				return
			}
			if err != nil || len(warnings) != len(tt.warnings) {
				t.Fatalf("%q, %v", warnings, err)
			}
			for i, w := range tt.warnings {
				if !strings.Contains(warnings[i], w) {
					t.Errorf("%q, want %q", warnings[i], w)
				}
			}
		})
	}
}

func TestAddVersionRefused(t *testing.T) {
	in := func(access string) string {
		return document("0", base, first, version("2", "1", access, "win10.2.avhdx", "2097152", "2026-02-01T10:05:00"))
	}
	good := document("0", base, first, second)
	tests := []struct {
		name   string
		old    string
		output string
		err    error
		says   string
	}{
		{"maintenance", in("1"), "win10.3.avhdx", ErrManifest, "version 2 in maintenance"},
		{"highest maintenance", in("2"), "win10.3.avhdx", ErrManifest, "version 2 in maintenance"},
		{"merge", in("6"), "win10.3.avhdx", ErrManifest, "version 2 in a merge to test"},
		{"other vDisk", good, "win11.3.avhdx", ErrManifest, "versions of win10, not of win11"},
		{"not the next", good, "win10.1.avhdx", ErrManifest, "no such file"},
		{"empty file", "", "win10.3.avhdx", ErrManifest, "there is no versionManifest"},
		{"no version", good, "win10-uefi.avhdx", ErrName, "win10-uefi.avhdx"},
		{"base", good, "win10.3.vhdx", ErrName, "win10.3.vhdx"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := AddVersion([]byte(tt.old), listing, File{Name: tt.output})
			if !errors.Is(err, tt.err) || !strings.Contains(err.Error(), tt.says) || got != nil {
				t.Errorf("%s, %v", got, err)
			}
		})
	}
	m, err := ParseManifest([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Add(Entry{Number: 2, File: "win10.2.avhdx"}); !errors.Is(err, ErrManifest) {
		t.Error(err)
	}
	if _, err := m.Add(Entry{Number: 3, File: "win10.4.avhdx", Type: Manual}); !errors.Is(err, ErrManifest) {
		t.Error(err)
	}
}

func TestNewManifest(t *testing.T) {
	day := utc("2026-01-01 00:00:00")
	files := []File{
		{"Srv.2.avhdx", 2, day}, {"srv.3.vhdx", 30, day}, {"Srv.4.avhdx", 4, day}, {"Srv.3.pvp", 528896, day},
		{"Srv.vhd", 7, day}, {"Srv-2.vhdx", 8, day}, {"Srv.xml.old", 9, day}, {"Srv.6.avhdx", 6, day.Add(time.Hour)},
	}
	out, err := AddVersion(nil, files, File{"Srv.7.avhdx", 70, day.Add(2*time.Hour + time.Second/2)})
	if err != nil {
		t.Fatal(err)
	}
	m, err := ParseManifest(out)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := []Entry{
		{Number: 3, Type: MergeBase, File: "srv.3.vhdx", Size: 30, Created: day, Modified: day},
		{Number: 4, Type: Manual, File: "Srv.4.avhdx", Size: 4, Created: day, Modified: day},
		{Number: 6, Type: Manual, File: "Srv.6.avhdx", Size: 6, Created: day.Add(time.Hour), Modified: day.Add(time.Hour)},
		{7, "Converted to UEFI by imageport", Manual, Maintenance, day.Add(2 * time.Hour), false, "Srv.7.avhdx", 70, day.Add(2 * time.Hour)},
	}
	if !slices.Equal(m.Entries(), want) || m.StartingVersion() != 3 {
		t.Errorf("starting with %d: %+v", m.StartingVersion(), m.Entries())
	}
	slices.Reverse(files)
	if again, err := AddVersion(nil, files, File{"Srv.7.avhdx", 70, day.Add(2*time.Hour + time.Second/2)}); err != nil || !bytes.Equal(again, out) {
		t.Errorf("the order of the listing matters: %v", err)
	}
	// A base, and an output that is still to be made.
	out, err = AddVersion(nil, listing[:1], File{Name: "win10.1.avhdx"})
	wantText := "<?xml version=\"1.0\" encoding=\"utf-8\"?>\r\n<versionManifest>\r\n  <startingVersion>0</startingVersion>\r\n  <version>\r\n    <versionNumber>0</versionNumber>\r\n"
	if err != nil || !strings.HasPrefix(string(out), wantText) {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := AddVersion(nil, listing[2:], output); !errors.Is(err, ErrManifest) || !strings.Contains(err.Error(), "no base") {
		t.Error(err)
	}
}

func FuzzParseManifest(f *testing.F) {
	for _, s := range []string{document("0", base, first, second), document("2", second), document("0", second, first, base), document("")} {
		f.Add([]byte(s))
		f.Add([]byte("\uFEFF" + s))
		f.Add(utf16File(encodings[1], s))
	}
	f.Add([]byte(`<versionManifest><startingVersion>1</startingVersion><version><diskFileName>a.1.vhd</diskFileName><versionNumber>1</versionNumber><type>4</type><access>0</access></version></versionManifest>`))
	f.Fuzz(func(t *testing.T, file []byte) {
		m, err := ParseManifest(file)
		if err != nil {
			if !errors.Is(err, ErrManifest) {
				t.Error(err)
			}
			return
		}
		if !bytes.Equal(m.Encode(), file) {
			t.Error("encoding changes the manifest")
		}
		if _, err := m.Check(listing); err != nil && !errors.Is(err, ErrManifest) {
			t.Error(err)
		}
		latest := m.Latest()
		e := Entry{Number: latest.Number + 1, Description: "<&\x00>", Type: Manual, Access: Maintenance, Size: 5, Modified: output.Modified.Truncate(time.Second)}
		e.File = Name{Disk: m.Disk(), Number: e.Number, Differencing: true}.File()
		got, err := m.Add(e)
		if err != nil {
			// UTF-16 takes every character, whatever the file declares.
			if latest.Access == Production && latest.Number < maxNumber && len(file) < maxManifest/2 && m.encoding.order != nil {
				t.Error(err)
			}
			return
		}
		e.Description = "<&\uFFFD>"
		if got.Latest() != e || !slices.Equal(got.Entries()[:len(got.entries)-1], m.Entries()) {
			t.Errorf("%+v, want %+v", got.Entries(), e)
		}
	})
}
